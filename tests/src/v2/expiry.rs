//! Keys that end by themselves, on both servers, in the same order.
//!
//! When a member removes such a key is its own affair, to half a second. So these keys have a part
//! of the tree of their own, nothing else is changed while there are any, and the servers are
//! compared when all are gone. A key must not end while others are still made: what ends at once
//! comes last, and an episode that took longer than [`STALL`] says so.

use std::time::{Duration, Instant};

use crate::rng::Rng;
use crate::v2::http::Request;
use crate::v2::keys::{EXPIRING, KEYS};
use crate::v2::twins::{AGREEMENT_TIMEOUT, Twins};

/// The shortest time to live but for those that end at once, in seconds.
const SHORTEST_TTL_S: u64 = 2;
/// Keys are made for at most this long, or some may have ended meanwhile.
const STALL: Duration = Duration::from_millis(1_500);
const POLL: Duration = Duration::from_millis(100);

/// How an episode went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Episode {
    /// All keys ended, on both servers alike.
    Compared,
    /// The machine was too slow: the servers may differ from here on.
    Stalled,
}

/// Makes keys that end and waits until they have. Others may have been made before and after.
///
/// # Errors
/// What is different.
pub fn episode(twins: &mut Twins, rng: &mut Rng) -> Result<Episode, String> {
    let root = format!("{KEYS}/{EXPIRING}");
    let begin = |twins: &mut Twins| -> Result<u64, String> {
        twins.ask(&Request::new("DELETE", &format!("{root}?recursive=true")))?;
        let kept = twins.ask(&Request::new("PUT", &format!("{root}/kept?dir=true")))?;
        twins
            .wait(&Request::new("GET", &format!("{root}?wait=true&recursive=true&stream=true")))?;
        kept.head.number("X-Etcd-Index").ok_or_else(|| "no X-Etcd-Index".to_owned())
    };
    let first = begin(twins)?;
    let started = Instant::now();
    for _ in 0..rng.between(3, 14) {
        twins.ask(&step(rng, &root))?;
    }
    if started.elapsed() > STALL {
        return Ok(Episode::Stalled);
    }
    if rng.chance(40) {
        // 10^10 seconds wrap to a time before 1970, which is no time for a new key and has passed
        // for one that exists.
        let ttl = *rng.pick(&["0", "18446744073709551615", "10000000000"]);
        let exists = *rng.pick(&["", "&prevExist=true", "&dir=true"]);
        let key = name(rng);
        twins.ask(&Request::new("PUT", &format!("{root}/{key}?ttl={ttl}{exists}")))?;
    }
    wait_until_gone(twins, &root)?;
    twins.ask(&Request::new("GET", &format!("{root}?recursive=true&sorted=true")))?;
    let last = twins.ask(&Request::new("GET", &root))?.head.number("X-Etcd-Index");
    // Every event since the beginning, also those of which watchers are not notified.
    for index in first..=last.unwrap_or(first) {
        let target = format!("{KEYS}/?wait=true&recursive=true&waitIndex={index}");
        twins.wait(&Request::new("GET", &target))?;
        twins.watches.settle()?;
    }
    Ok(Episode::Compared)
}

/// Polls both equally often, which counts as requests, until nothing has a time to live.
fn wait_until_gone(twins: &mut Twins, root: &str) -> Result<(), String> {
    let request = Request::new("GET", &format!("{root}?recursive=true"));
    let deadline = Instant::now() + AGREEMENT_TIMEOUT;
    loop {
        let (one, two) = twins.ask_both(&request)?;
        let (one, two) = (one.text(), two.text());
        if !one.contains("\"expiration\"") && !two.contains("\"expiration\"") {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("keys do not end\nreference: {one}\nsubject:   {two}"));
        }
        std::thread::sleep(POLL);
    }
}

fn name(rng: &mut Rng) -> String {
    (*rng.pick(&["k1", "k2", "k3", "d1", "d2", "d1/k1", "d1/k2", "d1/e/k1", "d2/k1"])).to_owned()
}

fn step(rng: &mut Rng, root: &str) -> Request {
    let ttl = SHORTEST_TTL_S + rng.below(2);
    let target = format!("{root}/{}", name(rng));
    match rng.below(20) {
        0..8 => Request::new("PUT", &target).form(&format!("value={ttl}&ttl={ttl}")),
        8..11 => Request::new("PUT", &target).form(&format!("dir=true&ttl={ttl}")),
        11 => Request::new("PUT", &target).form("value=kept"),
        12 => Request::new("PUT", &target).form("value=kept&ttl=&prevExist=true"),
        13 => Request::new("PUT", &target).form(&format!("ttl={ttl}&prevExist=true&dir=true")),
        14 | 15 => {
            Request::new("PUT", &target).form(&format!("ttl={ttl}&refresh=true&prevExist=true"))
        }
        16 => Request::new("PUT", &target).form(&format!("ttl={ttl}&refresh=true")),
        17 => Request::new("POST", &target).form(&format!("value=queued&ttl={ttl}")),
        18 => Request::new("PUT", &target).form(&format!("value=5&prevValue=2&ttl={ttl}")),
        _ => Request::new("DELETE", &format!("{target}?recursive={}", rng.chance(50))),
    }
}
