//! The matcher against a list.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::super::matcher::{End, Keys, Matcher};
use super::model::Random;

#[test]
fn finds_what_a_list_finds() {
    for seed in 0..30 {
        check(seed);
    }
}

fn check(seed: u64) {
    let mut random = Random(seed);
    let mut matcher = Matcher::new(seed);
    let mut list: Vec<(Keys, u32)> = Vec::new();
    for step in 0..400 {
        if !list.is_empty() && random.below(3) == 0 {
            let (keys, slot) = list.swap_remove(random.below(list.len() as u64) as usize);
            matcher.remove(&keys, slot);
        } else {
            let keys = keys(&mut random);
            matcher.insert(&keys, step);
            list.push((keys, step));
        }
        let key = key(&mut random);
        let mut found = Vec::new();
        matcher.visit(&key, &mut |slot| found.push(slot));
        let expected: BTreeSet<u32> =
            list.iter().filter(|(keys, _)| contains(keys, &key)).map(|(_, slot)| *slot).collect();
        assert_eq!(found.len(), expected.len(), "seed {seed}, step {step}");
        assert_eq!(BTreeSet::from_iter(found), expected, "seed {seed}, step {step}");
        assert_eq!(matcher.is_empty(), list.is_empty());
    }
    let slots = BTreeSet::from_iter(matcher.slots());
    assert_eq!(slots, list.iter().map(|(_, slot)| *slot).collect());
}

fn key(random: &mut Random) -> Bytes {
    let length = random.below(3) as usize;
    (0..length).map(|_| b'a' + random.below(4) as u8).collect()
}

fn keys(random: &mut Random) -> Keys {
    let from = key(random);
    match random.below(3) {
        0 => Keys::One(from),
        1 => Keys::Range(from, End::Never),
        _ => {
            let end = key(random);
            if from < end { Keys::Range(from, End::Before(end)) } else { Keys::One(from) }
        }
    }
}

fn contains(keys: &Keys, key: &Bytes) -> bool {
    match keys {
        Keys::One(one) => one == key,
        Keys::Range(from, End::Never) => from <= key,
        Keys::Range(from, End::Before(end)) => from <= key && key < end,
    }
}
