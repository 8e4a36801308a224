//! Pseudo-random numbers: one seed gives one sequence, on every machine (`SplitMix64`).

/// A sequence of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x5851_f42d_4c95_7f2d }
    }

    /// Splits off a sequence of its own, so that one part of a run can draw more or fewer numbers
    /// without changing what the others draw.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "no number is between {low} and {high}");
        let width = u128::from(high - low) + 1;
        let scaled = (u128::from(self.next()) * width) >> 64;
        low + u64::try_from(scaled).expect("a fraction of a 64-bit width fits 64 bits")
    }

    /// Returns a position in something with `len` elements, which must not be empty.
    pub(crate) fn below(&mut self, len: usize) -> usize {
        let last = len.checked_sub(1).expect("nothing can be drawn from nothing");
        usize::try_from(self.between(0, last as u64)).expect("it is a position")
    }

    /// Returns true in so many of a thousand cases.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.between(1, 1000) <= per_mille
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Returns something around `mean`: from a quarter of it to seven quarters.
    pub(crate) fn around(&mut self, mean: u64) -> u64 {
        self.between(mean / 4, mean / 4 + mean * 3 / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            (0..8).map(|_| rng.next()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut rng = Rng::new(7);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[rng.between(3, 7) as usize - 3] += 1;
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
        assert_eq!(rng.between(u64::MAX, u64::MAX), u64::MAX);
        rng.between(0, u64::MAX);
    }

    #[test]
    fn chances_are_about_right() {
        let mut rng = Rng::new(7);
        let hits = (0..10_000).filter(|_| rng.chance(250)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| rng.chance(0)));
        assert!((0..1000).all(|_| rng.chance(1000)));
    }
}
