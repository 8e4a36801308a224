//! Random requests about users, roles and what they may do, with the credentials of one or the
//! other, right and wrong.
//!
//! Every check of a password costs a server tens of milliseconds, so there are few of these.

use std::fmt::Write as _;

use crate::rng::Rng;
use crate::v2::http::Request;
use crate::v2::keys::KEYS;

const USERS: &[&str] = &["root", "alice", "bob", "c%20d"];
const PASSWORDS: &[&str] = &["p1", "p2"];
const ROLES: &[&str] = &["root", "guest", "r1", "r2"];
/// No empty one: an etcd that matches it panics and closes the connection.
const PATTERNS: &[&str] = &["/*", "/a*", "/a/*", "/a", "/b", "*", "a", "/_h*"];
const PATHS: &[&str] = &["/", "", "/a", "/a/f", "/ab", "/b", "/b/f", "/_h", "/b/../a"];
/// Bodies that are no user and no role.
const BODIES: &[&str] = &["", "{", "null", "[]", "{}", "{\"user\":1}", "{\"role\":[]}", "{} {"];

/// Yields requests; the same seed gives the same requests.
#[derive(Clone, Debug)]
pub struct AuthRequests {
    rng: Rng,
    sent: u64,
}

impl AuthRequests {
    /// A generator for servers without users.
    pub fn new(rng: Rng) -> Self {
        Self { rng, sent: 0 }
    }

    /// The next request. The first few make a user of each kind and turn authentication on.
    pub fn request(&mut self) -> Request {
        self.sent += 1;
        let json = "application/json";
        match self.sent {
            1 => return Request::new("PUT", "/v2/auth/enable"),
            2 => {
                let body = "{\"user\":\"root\",\"password\":\"p1\"}";
                return Request::new("PUT", "/v2/auth/users/root").body(json, body);
            }
            3 => return Request::new("PUT", "/v2/auth/enable"),
            _ => {}
        }
        let request = match self.rng.below(100) {
            0..50 => self.key(),
            50..68 => self.user(),
            68..88 => self.role(),
            88..91 => Request::new("PUT", "/v2/auth/enable"),
            91..93 => Request::new("DELETE", "/v2/auth/enable"),
            93..95 => Request::new("GET", "/v2/auth/enable"),
            95..97 => Request::new("POST", "/v2/auth/enable"),
            97 => Request::new("DELETE", "/v2/members/12ab"),
            98 => Request::new("GET", "/v2/members"),
            _ => Request::new("GET", "/v2/stats/leader"),
        };
        self.credentials(request)
    }

    fn key(&mut self) -> Request {
        let method = *self.rng.pick(&["GET", "GET", "HEAD", "PUT", "PUT", "POST", "DELETE"]);
        let recursive = self.rng.chance(25);
        let path = *self.rng.pick(PATHS);
        let target = format!("{KEYS}{path}?recursive={recursive}");
        let request = Request::new(method, &target);
        if matches!(method, "PUT" | "POST") { request.form("value=1") } else { request }
    }

    fn user(&mut self) -> Request {
        let user = *self.rng.pick(USERS);
        let target = if self.rng.chance(10) {
            "/v2/auth/users".to_owned()
        } else {
            format!("/v2/auth/users/{user}")
        };
        let method = *self.rng.pick(&["GET", "GET", "PUT", "PUT", "PUT", "PUT", "DELETE", "POST"]);
        if method != "PUT" {
            return Request::new(method, &target);
        }
        let named = if self.rng.chance(95) { user } else { "other" };
        let mut body = format!("{{\"user\":\"{}\"", named.replace("%20", " "));
        if self.rng.chance(60) {
            let password = self.password();
            write!(body, ",\"password\":\"{password}\"").expect("a string takes all");
        }
        for (member, chance) in [("roles", 25), ("grant", 40), ("revoke", 12)] {
            if self.rng.chance(chance) {
                let roles = self.list(ROLES);
                write!(body, ",\"{member}\":{roles}").expect("a string takes all");
            }
        }
        body.push('}');
        self.put(&target, &body)
    }

    fn role(&mut self) -> Request {
        let role = *self.rng.pick(ROLES);
        let target = if self.rng.chance(10) {
            "/v2/auth/roles".to_owned()
        } else {
            format!("/v2/auth/roles/{role}")
        };
        let method = *self.rng.pick(&["GET", "GET", "PUT", "PUT", "PUT", "PUT", "DELETE", "POST"]);
        if method != "PUT" {
            return Request::new(method, &target);
        }
        let named = if self.rng.chance(95) { role } else { "other" };
        let mut body = format!("{{\"role\":\"{named}\"");
        for (member, chance) in [("permissions", 40), ("grant", 45), ("revoke", 25)] {
            if self.rng.chance(chance) {
                let (read, write) = (self.list(PATTERNS), self.list(PATTERNS));
                let kv = format!("{{\"kv\":{{\"read\":{read},\"write\":{write}}}}}");
                write!(body, ",\"{member}\":{kv}").expect("a string takes all");
            }
        }
        body.push('}');
        self.put(&target, &body)
    }

    fn put(&mut self, target: &str, body: &str) -> Request {
        let body = if self.rng.chance(5) { *self.rng.pick(BODIES) } else { body };
        let content_type = if self.rng.chance(95) { "application/json" } else { "text/plain" };
        Request::new("PUT", target).body(content_type, body)
    }

    /// Mostly the first one, so that it is mostly right.
    fn password(&mut self) -> &'static str {
        if self.rng.chance(90) { PASSWORDS[0] } else { PASSWORDS[1] }
    }

    /// Up to two of these as a JSON array, or `null`.
    fn list(&mut self, items: &[&str]) -> String {
        if self.rng.chance(5) {
            return "null".to_owned();
        }
        let count = self.rng.below(3);
        let items: Vec<String> =
            (0..count).map(|_| format!("\"{}\"", self.rng.pick(items))).collect();
        format!("[{}]", items.join(","))
    }

    fn credentials(&mut self, request: Request) -> Request {
        let user = match self.rng.below(20) {
            0..4 => return request,
            4..13 => "root",
            13 => "nobody",
            14 => {
                let bad = *self.rng.pick(&[
                    "Basic !!!",
                    "Basic",
                    "Bearer cm9vdDpwMQ==",
                    "Basic cm9vdA==",
                ]);
                return request.header("Authorization", bad);
            }
            _ => self.rng.pick(USERS),
        };
        let password = self.password();
        let pair = format!("{}:{password}", user.replace("%20", " "));
        let scheme = if self.rng.chance(95) { "Basic" } else { "basic" };
        request.header("Authorization", &format!("{scheme} {}", base64(pair.as_bytes())))
    }
}

/// Base64 with its padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |position: usize| u32::from(group.get(position).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            let sextet = (bits >> (18 - 6 * position)) & 63;
            let char = char::from(ALPHABET[sextet as usize]);
            text.push(if position <= group.len() { char } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads() {
        assert_eq!(base64(b"root:p1"), "cm9vdDpwMQ==");
        assert_eq!(base64(b"abc"), "YWJj");
        assert_eq!(base64(b"ab"), "YWI=");
    }
}
