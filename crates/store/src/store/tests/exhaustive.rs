//! Every script of a few operations over two keys, with a crash after every operation and in the
//! middle of collecting what its compactions left: no combination is left to chance.
//!
//! A crash keeps the state of a checkpoint and applies the rest of the script to it. What the store
//! answers, shows and hashes must be what etcd's rules say, whether there was a crash or not.

use super::model::Model;
use super::random::{Files, Step, compare, run};
use super::*;

/// Operations of a script; with `SLOW_TESTS=1` the longer one.
const LENGTH: u32 = 4;
const LENGTH_SLOW: u32 = 6;
/// How often a record is collected before a crash.
const COLLECTED_MAX: usize = 2;

fn put(key: &'static [u8]) -> Step {
    let (key, value) = (Bytes::from_static(key), Bytes::from_static(b"v"));
    Step::Put(PutRequest { key, value, ..PutRequest::default() })
}

fn delete(key: &'static [u8], range_end: &'static [u8]) -> Step {
    let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
    Step::Delete(DeleteRangeRequest { key, range_end, prev_kv: true })
}

/// Compactions at the newest revision and at the one before it.
fn operations() -> Vec<Step> {
    let writes = [put(b"a"), put(b"b"), delete(b"a", b""), delete(b"b", b""), delete(b"a", b"c")];
    writes.into_iter().chain([Step::Compact(0), Step::Compact(1)]).collect()
}

/// Runs a script with a crash after the operation at `crash`, before which some records were
/// collected.
fn check(script: &[&Step], crash: Option<(usize, usize)>) {
    let (mut store, mut model, mut files) = (Store::new(), Model::new(), Files::new());
    for (position, step) in script.iter().enumerate() {
        run(&mut store, &mut model, &mut files, step);
        if let Some((_, collected)) = crash.filter(|(at, _)| *at == position) {
            for _ in 0..collected {
                store.collect(1);
            }
            files.reload(&mut store);
        }
    }
    compare(&store.view(), &model);
    while store.collect(1) {}
    compare(&store.view(), &model);
}

#[test]
fn all_short_scripts_follow_the_rules() {
    let slow = std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1");
    let operations = operations();
    let length = if slow { LENGTH_SLOW } else { LENGTH };
    let (mut scripts, mut crashes) = (0_u64, 0_u64);
    for length in 1..=length {
        for number in 0..operations.len().pow(length) {
            let mut rest = number;
            let script: Vec<&Step> = (0..length)
                .map(|_| {
                    let operation = &operations[rest % operations.len()];
                    rest /= operations.len();
                    operation
                })
                .collect();
            let checked = std::panic::catch_unwind(|| {
                check(&script, None);
                let compacts = |step: &Step| matches!(step, Step::Compact(_));
                let mut checks = 0;
                for (position, step) in script.iter().enumerate() {
                    let collected = if compacts(step) { COLLECTED_MAX } else { 0 };
                    (0..=collected).for_each(|count| check(&script, Some((position, count))));
                    checks += collected as u64 + 1;
                }
                checks
            });
            let Ok(checks) = checked else { panic!("the script is {script:?}") };
            (scripts, crashes) = (scripts + 1, crashes + checks);
        }
    }
    println!("{scripts} scripts, {crashes} crashes");
}
