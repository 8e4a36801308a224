//! Every target over its seeds, as they are and a little damaged.

use crate::{TARGETS, seeds};

#[test]
fn seeds_pass() {
    for &(name, target) in TARGETS {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        seeds.iter().for_each(|seed| target(seed));
        target(&[]);
    }
}

#[test]
fn damaged_seeds_pass() {
    for &(name, target) in TARGETS {
        for (number, seed) in seeds::of(name).iter().enumerate() {
            let step = (seed.len() / 60).max(1);
            for at in (0..seed.len()).step_by(step) {
                println!("{name}: seed {number}, damaged or cut at {at}");
                let mut damaged = seed.clone();
                damaged[at] ^= 1 << (at % 8);
                target(&damaged);
                target(&seed[..at]);
            }
        }
    }
}
