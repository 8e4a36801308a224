//! Seeded randomness: one number repeats a whole run.

/// The generator (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that yields the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The seed of this run: `QUOIN_SEED`, where `new` takes one from the clock, or else one that
    /// belongs to the test, so that every change is judged by the same requests. New seeds find
    /// what the usual ones do not; they are searched apart from CI. Printed, so that the log of a
    /// failed run says how to repeat it.
    ///
    /// # Panics
    /// If `QUOIN_SEED` is neither a number nor `new`.
    pub fn seed_of_run(test: &str) -> u64 {
        let seed = match std::env::var("QUOIN_SEED") {
            Ok(text) if text == "new" => clock_seed(),
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("QUOIN_SEED={text:?}")),
            Err(_) => test_seed(test),
        };
        println!("{test}: QUOIN_SEED={seed}");
        seed
    }

    /// Any 64 bits.
    pub fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound - 1`; 0 if the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.any() % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.abs_diff(low).saturating_add(1);
        low.saturating_add_unsigned(self.below(width))
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let count = u64::try_from(items.len()).expect("a slice has fewer than 2^64 items");
        let position = usize::try_from(self.below(count)).expect("below a usize");
        &items[position]
    }

    /// A generator for another task, independent of what this one yields later.
    pub fn fork(&mut self) -> Self {
        Self::new(self.any())
    }
}

/// The name of the test as a seed.
fn test_seed(test: &str) -> u64 {
    let mut state = 0;
    for byte in test.bytes() {
        state = Rng::new(state ^ u64::from(byte)).any();
    }
    state
}

fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("the clock is past 1970");
    u64::from(now.subsec_nanos()) ^ (now.as_secs() << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let numbers = |seed| {
            let mut rng = Rng::new(seed);
            (0..10).map(|_| rng.between(-3, 3)).collect::<Vec<i64>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!(numbers(7).iter().all(|number| (-3..=3).contains(number)));
    }
}
