//! The future of a run: what happens when, in one order.
//!
//! Invariant: what is due at the same time happens in the order in which it was scheduled.

use std::collections::BTreeMap;

/// Microseconds since the run began.
pub(crate) type Time = u64;

/// One millisecond.
pub(crate) const MS: Time = 1000;
/// One second.
pub(crate) const SECOND: Time = 1000 * MS;

/// Everything that is going to happen.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    due: BTreeMap<(Time, u64), T>,
    scheduled: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeMap::new(), scheduled: 0 }
    }

    pub(crate) fn push(&mut self, at: Time, item: T) {
        self.scheduled += 1;
        self.due.insert((at, self.scheduled), item);
    }

    pub(crate) fn pop(&mut self) -> Option<(Time, T)> {
        self.due.pop_first().map(|((at, _), item)| (at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_time_and_then_arrival() {
        let mut queue = Queue::new();
        for (at, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            queue.push(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(1, "a"), (2, "b"), (5, "c"), (5, "d")]);
    }
}
