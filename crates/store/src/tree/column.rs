//! How a leaf keeps its values.

use super::Entry;

/// The values of a leaf, in the order of its keys. Positions are those of the keys.
pub(crate) trait Column<V>: Clone + Default {
    /// How many values there are.
    fn len(&self) -> usize;

    /// The value at a position.
    fn get(&self, at: usize) -> V;

    /// Whether the value at a position is live.
    fn is_live(&self, at: usize) -> bool;

    /// Inserts a value before the one at a position.
    fn insert(&mut self, at: usize, value: V);

    /// Changes the value at a position.
    fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut V) -> R) -> R;

    /// Removes the value at a position.
    fn remove(&mut self, at: usize) -> V;

    /// Keeps the values before a position and returns the others.
    fn split_off(&mut self, at: usize) -> Self;

    /// Appends the values of the right neighbour.
    fn append(&mut self, right: Self);

    /// Gives back memory that is kept for more values.
    fn shrink(&mut self);

    /// How many of the values before a position are live.
    fn live_before(&self, at: usize) -> usize {
        (0..at).filter(|at| self.is_live(*at)).count()
    }
}

/// Values that are not kept in a form of their own.
impl<V: Entry> Column<V> for Vec<V> {
    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, at: usize) -> V {
        self[at].clone()
    }

    fn is_live(&self, at: usize) -> bool {
        self[at].is_live()
    }

    fn insert(&mut self, at: usize, value: V) {
        if self.len() == self.capacity() {
            self.reserve_exact(8);
        }
        self.insert(at, value);
    }

    fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut V) -> R) -> R {
        change(&mut self[at])
    }

    fn remove(&mut self, at: usize) -> V {
        self.remove(at)
    }

    fn split_off(&mut self, at: usize) -> Self {
        self.split_off(at)
    }

    fn append(&mut self, right: Self) {
        self.extend(right);
    }

    fn shrink(&mut self) {
        self.shrink_to_fit();
    }
}
