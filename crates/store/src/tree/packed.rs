//! A short sorted list of byte keys in one buffer: the common prefix once, then the suffixes.

use std::cmp::Ordering;

/// Room reserved at a time, so that a list that grows does not double what it holds.
const GROW_KEYS: usize = 8;
const GROW_BYTES: usize = 1024;

/// Sorted keys. They are unique because the callers search before they insert.
#[derive(Clone, Debug, Default)]
pub(crate) struct PackedKeys {
    /// The prefix, then the suffixes in order.
    bytes: Vec<u8>,
    /// Length of the prefix that all keys share.
    prefix_len: u32,
    /// Where in `bytes` each suffix ends.
    ends: Vec<u32>,
}

impl PackedKeys {
    /// Packs sorted keys.
    pub(crate) fn pack(keys: &[Vec<u8>]) -> Self {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return Self::default();
        };
        let shared = common_prefix(first, last);
        let suffixes: usize = keys.iter().map(|key| key.len() - shared).sum();
        let mut packed = Self {
            bytes: Vec::with_capacity(shared + suffixes),
            prefix_len: offset(shared),
            ends: Vec::with_capacity(keys.len()),
        };
        packed.bytes.extend_from_slice(&first[..shared]);
        for key in keys {
            packed.bytes.extend_from_slice(&key[shared..]);
            packed.ends.push(offset(packed.bytes.len()));
        }
        packed
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes held by the keys.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the keys will take with `key` among them, which may shorten their prefix.
    pub(crate) fn size_with(&self, key: &[u8]) -> usize {
        if self.ends.is_empty() {
            return key.len();
        }
        let shared = common_prefix(self.prefix(), key);
        self.unpacked_size() + key.len() - shared * self.len()
    }

    /// Bytes that the keys of both will take in one list.
    pub(crate) fn joint_size(left: &Self, right: &Self) -> usize {
        if left.ends.is_empty() || right.ends.is_empty() {
            return left.size() + right.size();
        }
        let shared = common_prefix(&left.key(0), &right.key(right.len() - 1));
        let others = left.len() + right.len() - 1;
        left.unpacked_size() + right.unpacked_size() - shared * others
    }

    /// Bytes of the keys if each had its prefix.
    fn unpacked_size(&self) -> usize {
        self.size() + self.prefix_len as usize * self.len().saturating_sub(1)
    }

    /// Where `key` is, or where it would have to be inserted.
    pub(crate) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix();
        let Some(rest) = key.strip_prefix(prefix) else {
            let below = key.cmp(prefix) == Ordering::Less;
            return Err(if below { 0 } else { self.len() });
        };
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.suffix(middle).cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many keys are below `key`.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(at) | Err(at) => at,
        }
    }

    /// How many keys are not above `key`.
    pub(crate) fn upper_bound(&self, key: &[u8]) -> usize {
        match self.search(key) {
            Ok(at) => at + 1,
            Err(at) => at,
        }
    }

    /// Inserts `key` at the place that `search` gave.
    pub(crate) fn insert(&mut self, at: usize, key: &[u8]) {
        if self.ends.is_empty() {
            self.bytes = key.to_vec();
            self.prefix_len = offset(key.len());
            self.ends = vec![self.prefix_len];
            return;
        }
        let shared = common_prefix(self.prefix(), key);
        self.shorten_prefix(shared);
        let suffix = &key[shared..];
        let start = self.start(at);
        if self.bytes.capacity() - self.bytes.len() < suffix.len() {
            self.bytes.reserve_exact(suffix.len().max(GROW_BYTES.min(suffix.len() * GROW_KEYS)));
        }
        self.bytes.splice(start..start, suffix.iter().copied());
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact(GROW_KEYS);
        }
        self.ends.insert(at, offset(start));
        for end in &mut self.ends[at..] {
            *end = offset(*end as usize + suffix.len());
        }
    }

    /// Removes the key at `at`.
    pub(crate) fn remove(&mut self, at: usize) {
        let start = self.start(at);
        let length = self.ends[at] as usize - start;
        self.bytes.drain(start..start + length);
        self.ends.remove(at);
        for end in &mut self.ends[at..] {
            *end = offset(*end as usize - length);
        }
        if self.ends.is_empty() {
            *self = Self::default();
        }
    }

    /// Keeps the keys before `at` and returns the others.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let keys = self.to_keys();
        *self = Self::pack(&keys[..at]);
        Self::pack(&keys[at..])
    }

    /// The keys of `left`, then those of `right`, which are all above.
    pub(crate) fn concat(left: &Self, right: &Self) -> Self {
        let mut keys = left.to_keys();
        keys.extend(right.to_keys());
        Self::pack(&keys)
    }

    /// The key at `at`.
    pub(crate) fn key(&self, at: usize) -> Vec<u8> {
        [self.prefix(), self.suffix(at)].concat()
    }

    fn to_keys(&self) -> Vec<Vec<u8>> {
        (0..self.len()).map(|at| self.key(at)).collect()
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..self.prefix_len as usize]
    }

    fn start(&self, at: usize) -> usize {
        match at.checked_sub(1) {
            Some(before) => self.ends[before] as usize,
            None => self.prefix_len as usize,
        }
    }

    fn suffix(&self, at: usize) -> &[u8] {
        &self.bytes[self.start(at)..self.ends[at] as usize]
    }

    /// Moves the end of a prefix that no longer fits all keys into their suffixes.
    fn shorten_prefix(&mut self, shared: usize) {
        let prefix_len = self.prefix_len as usize;
        if shared == prefix_len {
            return;
        }
        let moved = prefix_len - shared;
        let mut bytes = Vec::with_capacity(self.bytes.len() + moved * self.len());
        let mut ends = Vec::with_capacity(self.ends.capacity());
        bytes.extend_from_slice(&self.bytes[..shared]);
        for at in 0..self.len() {
            bytes.extend_from_slice(&self.bytes[shared..prefix_len]);
            bytes.extend_from_slice(self.suffix(at));
            ends.push(offset(bytes.len()));
        }
        *self = Self { bytes, prefix_len: offset(shared), ends };
    }
}

/// The shortest key that is above `left` and not above `right`.
pub(crate) fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    debug_assert!(left < right, "keys are ascending");
    right[..right.len().min(common_prefix(left, right) + 1)].to_vec()
}

fn common_prefix(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(left, right)| left == right).count()
}

/// Offsets are 32 bits wide: a leaf is split long before, and one key is smaller than a message.
fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a leaf holds less than 4 GiB of keys")
}
