//! Random writes of the v2 API to three members, while members are killed and started again. No
//! acknowledged change is lost, no change has been overlooked by one that came after it, and in the
//! end all members have the same tree.
//!
//! `V2_WRITES` sets how many writes are sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quoin_tests::cluster::Cluster;
use quoin_tests::programs;
use quoin_tests::rng::Rng;
use quoin_tests::v2::http::{Connection, Request, Response};
use quoin_tests::v2::json::Json;

const MEMBERS: usize = 3;
const CLIENTS: usize = 6;
/// Files that all clients change.
const FILES: u64 = 8;
/// A directory in which nothing is ever removed.
const QUEUE: &str = "/queue";
/// A client gives up on an answer after this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause of a client between writes, and after one that failed.
const PACE: Duration = Duration::from_millis(5);
const PACE_AFTER_ERROR: Duration = Duration::from_millis(60);
/// A member that was killed must serve again within this time, and all must agree.
const RESTART_TIMEOUT: Duration = Duration::from_secs(60);

/// A change that a client asked for.
#[derive(Clone, Debug)]
struct Change {
    key: String,
    /// What is written; none for a removal.
    value: Option<String>,
    outcome: Outcome,
}

#[derive(Clone, Debug)]
enum Outcome {
    /// It was made at this index; before, the file had been changed at the other one.
    Made { index: u64, before: Option<u64> },
    /// Nobody knows.
    Unknown,
}

#[test]
fn no_acknowledged_write_is_lost() {
    let writes = number_of_writes();
    let seed = Rng::seed_of_run("v2_cluster");
    let mut rng = Rng::new(seed);
    let program = programs::subject_etcd();
    let mut cluster =
        Cluster::start_with(&program, MEMBERS, "v2-cluster", &[("enable-v2", "true")]);
    let left = Arc::new(AtomicU64::new(writes));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (left, rng, endpoints) = (Arc::clone(&left), rng.fork(), cluster.endpoints());
            std::thread::spawn(move || Client::new(number, rng, &endpoints).run(&left))
        })
        .collect();
    let mut kills = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        kill_and_restart(&mut cluster, &mut rng);
        kills += 1;
    }
    let changes: Vec<Change> =
        clients.into_iter().flat_map(|client| client.join().expect("a client")).collect();
    let unknown = changes.iter().filter(|change| matches!(change.outcome, Outcome::Unknown));
    let unknown = unknown.count();
    println!("{writes} writes, {} changes, {unknown} unknown, {kills} kills", changes.len());
    let tree = read_everywhere(&cluster.endpoints());
    let tree = tree.unwrap_or_else(|text| panic!("QUOIN_SEED={seed}\n{text}"));
    check(&changes, &tree).unwrap_or_else(|text| panic!("QUOIN_SEED={seed}\n{text}"));
    assert!(changes.len() - unknown > usize::try_from(writes).expect("few") / 4, "too few changes");
}

fn number_of_writes() -> u64 {
    match std::env::var("V2_WRITES") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("V2_WRITES={text:?}")),
        Err(_) if programs::slow_tests() => 10_000,
        Err(_) => 4_000,
    }
}

/// Kills one member, sometimes two or all, and brings them back.
fn kill_and_restart(cluster: &mut Cluster, rng: &mut Rng) {
    let pause = |rng: &mut Rng, high: u64| {
        std::thread::sleep(Duration::from_millis(100 + rng.below(high)));
    };
    pause(rng, 900);
    let first = usize::try_from(rng.below(3)).expect("small");
    let count = *rng.pick(&[1, 1, 1, 1, 1, 1, 2, 2, MEMBERS]);
    let victims: Vec<usize> = (0..count).map(|step| (first + step) % MEMBERS).collect();
    for &victim in &victims {
        cluster.kill(victim);
    }
    pause(rng, 500);
    for &victim in &victims {
        cluster.spawn(victim);
    }
    for &victim in &victims {
        let ready = cluster.wait_ready(victim, RESTART_TIMEOUT);
        ready.unwrap_or_else(|text| panic!("{victims:?} killed: {text}"));
    }
}

struct Client {
    number: usize,
    rng: Rng,
    members: Vec<Connection>,
    /// The member it talks to.
    member: usize,
    written: u64,
    /// The newest change that it has seen of each file.
    seen: BTreeMap<String, (u64, String)>,
}

impl Client {
    fn new(number: usize, rng: Rng, endpoints: &[String]) -> Self {
        let members = endpoints.iter().map(|url| Connection::new(url)).collect();
        Self { number, rng, members, member: number % MEMBERS, written: 0, seen: BTreeMap::new() }
    }

    fn run(mut self, left: &AtomicU64) -> Vec<Change> {
        let mut changes = Vec::new();
        let take = |left: u64| left.checked_sub(1);
        while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
            let (key, value, request) = self.request();
            let answer = self.members[self.member].send_within(&request, ANSWER_TIMEOUT);
            let change = self.outcome(key, value, answer);
            let unknown =
                change.as_ref().is_some_and(|change| matches!(change.outcome, Outcome::Unknown));
            if unknown {
                self.members[self.member].close();
                self.member = (self.member + 1) % MEMBERS;
            }
            changes.extend(change);
            std::thread::sleep(if unknown { PACE_AFTER_ERROR } else { PACE });
        }
        changes
    }

    /// A write, with its file and what is written.
    fn request(&mut self) -> (String, Option<String>, Request) {
        self.written += 1;
        let value = format!("{}-{}", self.number, self.written);
        if self.rng.chance(15) {
            let request = Request::new("POST", &format!("/v2/keys{QUEUE}"));
            return (
                QUEUE.to_owned(),
                Some(value.clone()),
                request.form(&format!("value={value}")),
            );
        }
        let number = self.rng.below(FILES);
        let key = format!("/dir{}/file{number}", number % 3);
        let target = format!("/v2/keys{key}");
        let seen = self.seen.get(&key).cloned().unwrap_or_default();
        let mut form = format!("value={value}");
        match self.rng.below(10) {
            0..4 => {}
            4 => form.push_str(&format!("&prevIndex={}", seen.0)),
            5 => form.push_str(&format!("&prevValue={}", seen.1)),
            6 => form.push_str("&prevExist=true"),
            7 => form.push_str("&prevExist=false"),
            8 => return (key, None, Request::new("DELETE", &target)),
            _ => {
                let target = format!("{target}?prevIndex={}", seen.0);
                return (key, None, Request::new("DELETE", &target));
            }
        }
        (key, Some(value), Request::new("PUT", &target).form(&form))
    }

    /// What became of a write; none if it was refused.
    fn outcome(
        &mut self,
        key: String,
        value: Option<String>,
        answer: Result<Response, String>,
    ) -> Option<Change> {
        let unknown = Change { key: key.clone(), value: value.clone(), outcome: Outcome::Unknown };
        let Ok(response) = answer else { return Some(unknown) };
        match response.head.status {
            200 | 201 => {}
            400..500 => return None,
            _ => return Some(unknown),
        }
        let text = response.text();
        let json = Json::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let index = |name| json.member(name)?.member("modifiedIndex")?.as_number();
        let made = index("node").unwrap_or_else(|| panic!("{text}"));
        let key = json.member("node").and_then(|node| node.member("key"));
        let key = key.and_then(Json::as_plain).expect("a node has a key").to_owned();
        if let Some(value) = &value {
            self.seen.insert(key.clone(), (made, value.clone()));
        }
        let outcome = Outcome::Made { index: made, before: index("prevNode") };
        Some(Change { key, value, outcome })
    }
}

/// The files of the tree: value and index of the last change.
type Tree = BTreeMap<String, (String, u64)>;

/// Reads the tree from every member until all have the same at the same index.
fn read_everywhere(endpoints: &[String]) -> Result<Tree, String> {
    let request = Request::new("GET", "/v2/keys/?recursive=true&sorted=true");
    let deadline = Instant::now() + RESTART_TIMEOUT;
    loop {
        let answers = endpoints.iter().map(|url| {
            let response = Connection::new(url).send(&request)?;
            Ok((response.head.number("X-Etcd-Index"), response.text()))
        });
        let answers: Vec<(Option<u64>, String)> = answers.collect::<Result<_, String>>()?;
        if answers.iter().all(|answer| *answer == answers[0]) {
            let mut tree = Tree::new();
            collect(&Json::parse(&answers[0].1)?, &mut tree);
            return Ok(tree);
        }
        if Instant::now() > deadline {
            return Err(format!("the members differ: {answers:#?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn collect(json: &Json, tree: &mut Tree) {
    match json {
        Json::Scalar(_) => {}
        Json::Array(values) => values.iter().for_each(|value| collect(value, tree)),
        Json::Object(members) => {
            let plain = |name| json.member(name).and_then(Json::as_plain);
            if let (Some(key), Some(value)) = (plain("key"), plain("value")) {
                let index = json.member("modifiedIndex").and_then(Json::as_number);
                tree.insert(key.to_owned(), (value.to_owned(), index.expect("an index")));
            }
            members.iter().for_each(|(_, value)| collect(value, tree));
        }
    }
}

/// Holds the acknowledged changes against each other and against the tree.
fn check(changes: &[Change], tree: &Tree) -> Result<(), String> {
    let mut by_index: BTreeMap<u64, &Change> = BTreeMap::new();
    let mut by_key: BTreeMap<&str, BTreeMap<u64, &Change>> = BTreeMap::new();
    for change in changes {
        let Outcome::Made { index, .. } = change.outcome else { continue };
        if let Some(other) = by_index.insert(index, change) {
            return Err(format!("two changes at {index}: {change:?} and {other:?}"));
        }
        by_key.entry(&change.key).or_default().insert(index, change);
    }
    for (key, made) in &by_key {
        // Between a change and what it says was there before nothing may have been acknowledged.
        for (&index, change) in made {
            let Outcome::Made { before: Some(before), .. } = change.outcome else { continue };
            if let Some((_, lost)) = made.range(before + 1..index).next() {
                return Err(format!("{lost:?} was not seen by {change:?}"));
            }
        }
        let (&last, newest) = made.last_key_value().expect("a key has a change");
        let found = tree.get(*key);
        let expected = newest.value.as_ref().map(|value| (value.clone(), last));
        if found.cloned() == expected {
            continue;
        }
        // Only a change that nobody heard of may have come after the last acknowledged one.
        let mut unknown = changes
            .iter()
            .filter(|change| change.key == *key && matches!(change.outcome, Outcome::Unknown));
        let explained = unknown.any(|change| match (&change.value, found) {
            (Some(value), Some((found, index))) => value == found && *index > last,
            (None, None) => true,
            _ => false,
        });
        if !explained {
            return Err(format!("{key}: the last change is {newest:?}, the tree has {found:?}"));
        }
    }
    Ok(())
}
