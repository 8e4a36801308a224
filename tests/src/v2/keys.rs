//! Random requests to `/v2/keys`: few keys, so that they meet, every parameter, and every kind of
//! bad value now and then.
//!
//! Nothing here ends by itself while a run lasts: see [`outlives_the_run`] and, for what does end,
//! [`crate::v2::expiry`].

use std::collections::VecDeque;

use crate::rng::Rng;
use crate::v2::http::{Request, Response};
use crate::v2::json::Json;
use words::{DIRECTORIES, FALSE, FILES, NO_BOOL, NO_NUMBER, ODD, TRUE, VALUES};

mod words;

/// Where the keys are.
pub const KEYS: &str = "/v2/keys";
/// The part of the tree that random requests leave alone: what is in it ends by itself.
pub const EXPIRING: &str = "x";
/// Files that were seen lately, for comparisons that hold.
const SEEN: usize = 32;
/// A value that does not fit into one packet.
const LONG_VALUE_BYTES: u64 = 4_000;

/// A file as an answer showed it.
#[derive(Clone, Debug)]
struct Seen {
    /// As it stands in a target.
    key: String,
    /// As it stands in a form.
    value: String,
    modified: u64,
}

/// Yields requests.
#[derive(Clone, Debug)]
pub struct KeyRequests {
    rng: Rng,
    seen: VecDeque<Seen>,
    /// The v2 index that the servers have reached.
    index: u64,
    /// Before this the histories of the two servers may differ.
    history_start: u64,
}

impl KeyRequests {
    /// A generator for servers without keys.
    pub fn new(rng: Rng) -> Self {
        Self { rng, seen: VecDeque::new(), index: 0, history_start: 0 }
    }

    /// The next request, which is answered at once.
    pub fn request(&mut self) -> Request {
        match self.rng.below(100) {
            0..30 => self.read("GET"),
            30..33 => self.read("HEAD"),
            33..73 => self.put(),
            73..82 => self.post(),
            82..97 => self.delete(),
            _ => {
                let method =
                    *self.rng.pick(&["PATCH", "OPTIONS", "TRACE", "FOO", "get", "QGET", "SYNC"]);
                let target = self.target();
                Request::new(method, &target)
            }
        }
    }

    /// A request that waits for a change, from a past, the current or a later index.
    pub fn wait(&mut self) -> Request {
        let mut parameters = vec![("wait", self.yes())];
        let index = match self.rng.below(20) {
            0..6 => None,
            6..12 => Some(self.past(1000)),
            12..14 => Some(self.past(1200)),
            14..17 => Some(self.index + self.rng.below(8)),
            17 => Some(self.rng.below(3)),
            18 => Some(u64::MAX - self.rng.below(2)),
            _ => {
                parameters.push(("waitIndex", self.no_number()));
                None
            }
        };
        // What came before may be different on the two servers.
        let index = index.filter(|&index| index < 3 || index >= self.history_start);
        parameters.extend(index.map(|index| ("waitIndex", index.to_string())));
        for (name, chance) in [("recursive", 60), ("stream", 25), ("sorted", 3), ("quorum", 3)] {
            if self.rng.chance(chance) {
                parameters.push((name, self.bool(80)));
            }
        }
        self.finish("GET", parameters)
    }

    /// Takes note of what an answer says about files and the index.
    pub fn learn(&mut self, response: &Response) {
        let index = response.head.number("X-Etcd-Index").unwrap_or_default();
        self.index = self.index.max(index);
        let Ok(json) = Json::parse(&response.text()) else { return };
        let Some(node) = json.member("node") else { return };
        let key = node.member("key").and_then(Json::as_plain);
        let value = node.member("value").and_then(Json::as_plain);
        let modified = node.member("modifiedIndex").and_then(Json::as_number);
        if let (Some(key), Some(value), Some(modified)) = (key, value, modified) {
            let is_plain = |text: &str| {
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_".contains(&byte))
            };
            if is_plain(key) && is_plain(value) {
                self.seen.push_back(Seen {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    modified,
                });
            }
        }
        if self.seen.len() > SEEN {
            self.seen.pop_front();
        }
    }

    /// The v2 index of the newest answer.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Takes note that events before this index need not be equal.
    pub fn forget_history(&mut self) {
        self.history_start = self.index + 1;
    }

    fn read(&mut self, method: &str) -> Request {
        let mut parameters = Vec::new();
        for (name, chance) in [
            ("recursive", 40),
            ("sorted", 40),
            ("quorum", 15),
            ("wait", 1),
            ("stream", 2),
            ("dir", 2),
        ] {
            if self.rng.chance(chance) {
                let value =
                    if name == "wait" { self.rng.pick(FALSE).to_string() } else { self.bool(85) };
                parameters.push((name, value));
            }
        }
        self.finish(method, parameters)
    }

    fn put(&mut self) -> Request {
        let mut parameters = Vec::new();
        let refresh = self.rng.chance(5);
        if self.rng.chance(if refresh { 15 } else { 88 }) {
            parameters.push(("value", self.value()));
        }
        if refresh {
            parameters.push(("refresh", self.bool(85)));
        }
        if self.rng.chance(if refresh { 80 } else { 15 }) {
            parameters.push(("ttl", self.ttl()));
        }
        if self.rng.chance(12) {
            parameters.push(("dir", self.bool(85)));
        }
        if self.rng.chance(18) {
            parameters.push(("prevExist", self.bool(50)));
        }
        self.compare(&mut parameters, 18);
        if self.rng.chance(6) {
            parameters.push(("noValueOnSuccess", self.bool(85)));
        }
        if self.rng.chance(1) {
            parameters.push(("wait", self.yes()));
        }
        self.finish("PUT", parameters)
    }

    fn post(&mut self) -> Request {
        let mut parameters = vec![("value", self.value())];
        for (name, chance) in
            [("ttl", 15), ("dir", 8), ("prevExist", 5), ("noValueOnSuccess", 6), ("recursive", 3)]
        {
            if self.rng.chance(chance) {
                let value = if name == "ttl" { self.ttl() } else { self.bool(60) };
                parameters.push((name, value));
            }
        }
        self.finish("POST", parameters)
    }

    fn delete(&mut self) -> Request {
        let mut parameters = Vec::new();
        for (name, chance) in
            [("recursive", 40), ("dir", 30), ("prevExist", 3), ("noValueOnSuccess", 3)]
        {
            if self.rng.chance(chance) {
                parameters.push((name, self.bool(85)));
            }
        }
        self.compare(&mut parameters, 20);
        self.finish("DELETE", parameters)
    }

    /// Adds comparisons, most of which name a file that was seen.
    fn compare(&mut self, parameters: &mut Vec<(&'static str, String)>, chance: u64) {
        if !self.rng.chance(chance) {
            return;
        }
        let which = self.rng.below(3);
        if which != 0 {
            let value = self.value();
            parameters.push(("prevValue", value));
        }
        if which != 1 {
            let index =
                if self.rng.chance(5) { self.no_number() } else { self.past(50).to_string() };
            parameters.push(("prevIndex", index));
        }
    }

    /// The request with its key, and its parameters in the query or in a form.
    fn finish(&mut self, method: &str, mut parameters: Vec<(&'static str, String)>) -> Request {
        let mut target = self.target();
        // A comparison with what a file was like when it was seen.
        if self.rng.chance(50)
            && parameters.iter().any(|(name, _)| name.starts_with("prev"))
            && let Some(seen) = self.seen()
        {
            target = format!("{KEYS}{}", seen.key);
            for (name, value) in &mut parameters {
                match *name {
                    "prevValue" => seen.value.clone_into(value),
                    "prevIndex" => *value = seen.modified.to_string(),
                    _ => {}
                }
            }
        }
        if self.rng.chance(2) && !parameters.is_empty() {
            let repeated = self.rng.pick(&parameters).0;
            // A second value for the time would count if it came first.
            if repeated != "ttl" && repeated != "wait" {
                parameters.push((repeated, self.bool(50)));
            }
        }
        if self.rng.chance(2) {
            parameters.push(("unknown", "1".to_owned()));
        }
        let mut pairs: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if self.rng.chance(1) {
            pairs.push(
                self.rng
                    .pick(&["a;b", "value", "&&", "=", "=1", "%zz=1", "a=%", "Value=1"])
                    .to_string(),
            );
        }
        let form = matches!(method, "PUT" | "POST") && self.rng.chance(60) || self.rng.chance(2);
        if !form {
            let query =
                if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
            return Request::new(method, &format!("{target}{query}"));
        }
        // Some in the query, the others in the form.
        let split = if self.rng.chance(85) {
            0
        } else {
            usize::try_from(self.rng.below(3)).expect("small")
        };
        let (query, form) = pairs.split_at(split.min(pairs.len()));
        if !query.is_empty() {
            target = format!("{target}?{}", query.join("&"));
        }
        self.form(Request::new(method, &target), &form.join("&"))
    }

    fn form(&mut self, request: Request, form: &str) -> Request {
        let request = match self.rng.below(60) {
            0 => request.body("text/plain", form),
            1 => request.body("application/x-www-form-urlencoded; charset=utf-8", form),
            2 => request.body("application/json", "{\"value\":\"1\"}"),
            3 => request.body(";;", form),
            4 => request.body("Application/X-WWW-Form-URLEncoded", form),
            5 => Request { body: form.as_bytes().to_owned(), ..request },
            6 => {
                // As `curl -F` does.
                let mut body = String::new();
                for pair in form.split('&') {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    let head = format!("Content-Disposition: form-data; name=\"{name}\"");
                    body.push_str(&format!("--edge\r\n{head}\r\n\r\n{value}\r\n"));
                }
                request.body("multipart/form-data; boundary=edge", &format!("{body}--edge--\r\n"))
            }
            _ => request.form(form),
        };
        if self.rng.chance(1) { request.header("Expect", "100-continue") } else { request }
    }

    fn target(&mut self) -> String {
        if self.rng.chance(20)
            && let Some(seen) = self.seen()
        {
            return format!("{KEYS}{}", seen.key);
        }
        let depth = match self.rng.below(20) {
            0 => 0,
            1..8 => 1,
            8..15 => 2,
            15..19 => 3,
            _ => 5,
        };
        let mut target = KEYS.to_owned();
        for left in (0..depth).rev() {
            let plain = if left == 0 && self.rng.chance(70) { FILES } else { DIRECTORIES };
            let components = if self.rng.chance(4) { ODD } else { plain };
            target = format!("{target}/{}", self.rng.pick(components));
        }
        if self.rng.chance(3) {
            target.push('/');
        }
        target
    }

    fn seen(&mut self) -> Option<Seen> {
        let count = u64::try_from(self.seen.len()).expect("few");
        let position = usize::try_from(self.rng.below(count)).expect("few");
        self.seen.get(position).cloned()
    }

    fn value(&mut self) -> String {
        match self.rng.below(40) {
            0 => "x".repeat(usize::try_from(self.rng.below(LONG_VALUE_BYTES)).expect("small")),
            1..4 => self.rng.pick(VALUES).to_string(),
            _ => self.rng.below(10).to_string(),
        }
    }

    fn yes(&mut self) -> String {
        self.rng.pick(TRUE).to_string()
    }

    /// A word that is mostly one for true or false, true in `percent` of the cases.
    fn bool(&mut self, percent: u64) -> String {
        if self.rng.chance(2) {
            return self.rng.pick(NO_BOOL).to_string();
        }
        // `true` is what clients send.
        if self.rng.chance(80) {
            return self.rng.chance(percent).to_string();
        }
        let words = if self.rng.chance(percent) { TRUE } else { FALSE };
        self.rng.pick(words).to_string()
    }

    fn no_number(&mut self) -> String {
        self.rng.pick(NO_NUMBER).to_string()
    }

    fn ttl(&mut self) -> String {
        match self.rng.below(20) {
            0 | 1 => self.no_number(),
            2 => String::new(),
            3 => loop {
                let ttl_s = self.rng.any() >> self.rng.below(40);
                if outlives_the_run(ttl_s) {
                    return ttl_s.to_string();
                }
            },
            _ => self.rng.between(100_000, 1_000_000).to_string(),
        }
    }

    /// An index up to `width` before the current one.
    fn past(&mut self, width: u64) -> u64 {
        self.index.saturating_sub(self.rng.below(width))
    }
}

/// Whether a time to live ends long after the run. etcd reckons in 64 bits of nanoseconds, which
/// wrap: a very long time may be over at once.
pub fn outlives_the_run(ttl_s: u64) -> bool {
    const SECOND_NS: i64 = 1_000_000_000;
    const DAY_S: i64 = 86_400;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now_s = i64::try_from(now.expect("the clock is past 1970").as_secs()).expect("far off");
    let ttl_ns = ttl_s.cast_signed().wrapping_mul(SECOND_NS);
    let end_s = (now_s * SECOND_NS).wrapping_add(ttl_ns) / SECOND_NS;
    end_s > now_s + DAY_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_wrap_are_told_from_times_that_end() {
        assert!(outlives_the_run(100_000) && outlives_the_run(20_000_000_000));
        assert!(!outlives_the_run(5) && !outlives_the_run(u64::MAX));
        assert!(!outlives_the_run(10_000_000_000), "that is before 1970");
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let requests = |seed| {
            let mut keys = KeyRequests::new(Rng::new(seed));
            (0..200).map(|_| keys.request()).collect::<Vec<Request>>()
        };
        assert_eq!(requests(1), requests(1));
        assert_ne!(requests(1), requests(2));
        let expiring = format!("{KEYS}/{EXPIRING}");
        assert!(requests(3).iter().all(|request| !request.target.starts_with(&expiring)));
    }
}
