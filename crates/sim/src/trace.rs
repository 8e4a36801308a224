//! What happened in a run: a hash over all of it, and the end of it in words.
//!
//! Invariant: everything that decides how a run goes on is in the hash, so two runs with equal
//! hashes were the same run.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

use crate::queue::{SECOND, Time};

/// Notes that are kept in words.
const TAIL: usize = 400;

/// The record of a run. `N` is what it notes.
#[derive(Debug)]
pub(crate) struct Trace<N> {
    hash: Mixer,
    notes: u64,
    tail: VecDeque<(Time, N)>,
    print: bool,
}

impl<N: Copy + Debug + Hash> Trace<N> {
    pub(crate) fn new(print: bool) -> Self {
        Self { hash: Mixer::default(), notes: 0, tail: VecDeque::new(), print }
    }

    pub(crate) fn note(&mut self, at: Time, note: N) {
        (at, note).hash(&mut self.hash);
        self.notes += 1;
        if self.print {
            println!("{}", line(at, &note));
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back((at, note));
    }

    /// Returns the hash over all notes.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }

    /// Returns how many notes there were.
    pub(crate) fn notes(&self) -> u64 {
        self.notes
    }

    /// Returns the last notes, oldest first.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.tail.iter().map(|(at, note)| line(*at, note)).collect()
    }
}

fn line(at: Time, note: &impl Debug) -> String {
    format!("{:>3}.{:06} {note:?}", at / SECOND, at % SECOND)
}

/// Returns the hash of some bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> u64 {
    let mut mixer = Mixer::default();
    mixer.write(bytes);
    mixer.finish()
}

/// A hash that is the same in every process. Eight bytes at a time, because runs are long.
#[derive(Clone, Copy, Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = word.try_into().expect("the chunk has eight bytes");
            self.write_u64(u64::from_le_bytes(word));
        }
        for byte in words.remainder() {
            self.write_u64(u64::from(*byte) | 0x100);
        }
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_note_and_its_time_count() {
        let hash = |notes: &[(Time, u32)]| {
            let mut trace = Trace::new(false);
            notes.iter().for_each(|&(at, note)| trace.note(at, note));
            trace.hash()
        };
        assert_eq!(hash(&[(1, 2), (3, 4)]), hash(&[(1, 2), (3, 4)]));
        assert_ne!(hash(&[(1, 2), (3, 4)]), hash(&[(3, 4), (1, 2)]));
        assert_ne!(hash(&[(1, 2)]), hash(&[(1, 3)]));
        assert_ne!(hash(&[(1, 2)]), hash(&[(2, 2)]));
    }

    #[test]
    fn the_tail_is_the_end() {
        let mut trace = Trace::new(false);
        (0..TAIL as u64 + 5).for_each(|at| trace.note(at, at));
        assert_eq!(trace.tail().len(), TAIL);
        assert_eq!(trace.tail()[0], "  0.000005 5");
    }

    #[test]
    fn lengths_and_contents_change_a_hash() {
        assert_ne!(hash_of(b"12345678a"), hash_of(b"12345678b"));
        assert_ne!(hash_of(b"a"), hash_of(b"a\0"));
    }
}
