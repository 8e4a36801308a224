//! The same random requests of the v2 API to a real etcd 3.4 and to the subject: equal status,
//! headers, bodies, events for those who wait, and counts.
//!
//! `V2_REQUESTS` sets how many requests are sent.

use std::collections::BTreeMap;
use std::time::Instant;

use quoin_tests::programs;
use quoin_tests::rng::Rng;
use quoin_tests::v2::auth::AuthRequests;
use quoin_tests::v2::expiry::{self, Episode};
use quoin_tests::v2::generate::{Generator, Step};
use quoin_tests::v2::http::Response;
use quoin_tests::v2::twins::Twins;

/// Requests to one pair of servers; then a new pair is started.
const SEGMENT: u64 = 10_000;
/// Requests between two comparisons of everything.
const SETTLE_INTERVAL: u64 = 40;
/// Comparisons after which those who still wait are cut off.
const CLEAR_INTERVAL: u64 = 7;
/// Requests between two episodes in which keys end.
const EXPIRY_INTERVAL: u64 = 1_000;
/// The longest text of a failure.
const SHOWN_CHARS: usize = 20_000;

#[test]
fn random_requests_get_equal_answers() {
    let requests = number_of_requests();
    let seed = Rng::seed_of_run("v2");
    let mut rng = Rng::new(seed);
    let started = Instant::now();
    let mut run = Run::default();
    while run.sent < requests {
        let count = SEGMENT.min(requests - run.sent);
        let outcome = run.segment(count, &mut rng);
        if let Err(text) = outcome {
            let text: String = text.chars().take(SHOWN_CHARS).collect();
            panic!("QUOIN_SEED={seed}\nrequest {}: {text}", run.sent);
        }
    }
    println!("{requests} requests in {:.1} s", started.elapsed().as_secs_f64());
    println!("{} events told to those who wait, {} episodes of expiry", run.events, run.episodes);
    println!("status codes: {:?}", run.status);
    let good = run.status.get(&200).copied().unwrap_or_default()
        + run.status.get(&201).copied().unwrap_or_default();
    assert!(good > requests / 3, "mostly bad requests say little");
    assert!(run.events > 0, "nobody was told anything");
}

fn number_of_requests() -> u64 {
    match std::env::var("V2_REQUESTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("V2_REQUESTS={text:?}")),
        Err(_) if programs::slow_tests() => 100_000,
        Err(_) => 5_000,
    }
}

#[derive(Default)]
struct Run {
    sent: u64,
    events: usize,
    episodes: u64,
    status: BTreeMap<u16, u64>,
}

impl Run {
    /// Sends requests to two new servers.
    fn segment(&mut self, count: u64, rng: &mut Rng) -> Result<(), String> {
        let (reference, subject) = (programs::reference_v2_etcd(), programs::subject_etcd());
        let mut twins = Twins::start(&reference, &subject, "v2");
        let mut generator = Generator::new(rng.any(), &twins.peer_url);
        for number in 1..=count {
            let answer = match generator.step() {
                Step::Ask(request) => Some(twins.ask(&request)?),
                Step::Wait(request) => twins.wait(&request)?,
            };
            self.sent += 1;
            if let Some(answer) = answer {
                self.learn(&mut generator, &answer);
            }
            if number % EXPIRY_INTERVAL == 0 || number == count {
                twins.settle()?;
                let episode = expiry::episode(&mut twins, rng)?;
                if episode == Episode::Stalled {
                    println!("too slow after {number} requests; other servers go on");
                    break;
                }
                self.episodes += 1;
            }
            if number % SETTLE_INTERVAL == 0 || number == count {
                twins.settle()?;
                if number % (SETTLE_INTERVAL * CLEAR_INTERVAL) == 0 {
                    twins.watches.clear();
                }
            }
        }
        self.events += twins.watches.events;
        Ok(())
    }

    fn learn(&mut self, generator: &mut Generator, answer: &Response) {
        *self.status.entry(answer.head.status).or_default() += 1;
        generator.learn(answer);
    }
}

/// Requests about users, roles and permissions to one pair of servers.
const AUTH_REQUESTS: u64 = 150;

#[test]
fn users_and_roles_are_as_etcds() {
    let pairs = if programs::slow_tests() { 20 } else { 1 };
    let seed = Rng::seed_of_run("v2 auth");
    let mut rng = Rng::new(seed);
    let mut status: BTreeMap<u16, u64> = BTreeMap::new();
    for _ in 0..pairs {
        let (reference, subject) = (programs::reference_v2_etcd(), programs::subject_etcd());
        let mut twins = Twins::start(&reference, &subject, "v2-auth");
        let mut requests = AuthRequests::new(rng.fork());
        for number in 1..=AUTH_REQUESTS {
            let answer = twins.ask(&requests.request());
            let answer =
                answer.unwrap_or_else(|text| panic!("QUOIN_SEED={seed}\n{number}: {text}"));
            *status.entry(answer.head.status).or_default() += 1;
        }
    }
    println!("status codes: {status:?}");
    assert!(status.contains_key(&401) && status.contains_key(&200) && status.contains_key(&201));
}
