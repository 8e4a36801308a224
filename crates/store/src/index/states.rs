//! What the index knows of the keys of one leaf, packed: most keys take less than a dozen bytes.
//!
//! One buffer holds how many bytes each state has, then the states. A state is a byte of flags, its
//! latest main revision, and then only what its flags announce, in this order:
//!
//! | flag | announces | without it |
//! |---|---|---|
//! | 1 | - (the latest change is a deletion) | it is a put |
//! | 2 | sub revision, varint | 0 |
//! | 4 | latest main revision less the one of creation, varint | created by the latest change |
//! | 8 | version, varint | 1 |
//! | 16 | lease, 8 bytes | none |
//! | 32 | few earlier changes: how many, 1 byte; then each, the newest first | there are none |
//! | 64 | - (many earlier changes are in `pasts`) | there are none |
//!
//! An earlier change is the main revision of the one after it less its own, varint, and its sub
//! revision twice, plus 1 if it is a deletion, varint. Of a deleted key, no creation and no version
//! means 0. Varints are those of protobuf.

use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::past::{FEW, Many, Past};
use super::{Change, KeyState, Latest};
use crate::revision::Revision;
use crate::tree::Column;

const DELETED: u8 = 1;
const SUB: u8 = 2;
const CREATED: u8 = 4;
const VERSION: u8 = 8;
const LEASE: u8 = 16;
const FEW_PAST: u8 = 32;
const MANY_PAST: u8 = 64;

/// The longest state: flags, main and sub revision, creation, version, lease, earlier changes.
const STATE_MAX: usize = 1 + 10 + 5 + 10 + 10 + 8 + 1 + FEW * (10 + 5);
/// Bytes reserved at a time, so that a leaf that grows does not double what it holds.
const GROW: usize = 64;

/// The states of the keys of a leaf, in the order of the keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct States {
    bytes: Vec<u8>,
    count: usize,
    /// The earlier changes of the keys that have many, by position.
    pasts: Vec<(u8, Many)>,
}

impl States {
    fn range(&self, at: usize) -> std::ops::Range<usize> {
        let before: usize = self.bytes[..at].iter().map(|length| usize::from(*length)).sum();
        let start = self.count + before;
        start..start + usize::from(self.bytes[at])
    }

    /// Where in `pasts` the changes of the key at a position are, or belong.
    fn find_past(&self, at: usize) -> Result<usize, usize> {
        self.pasts.binary_search_by_key(&at, |(position, _)| usize::from(*position))
    }

    /// Moves the earlier changes of all keys from a position on.
    fn shift_pasts(&mut self, from: usize, by: impl Fn(u8) -> u8) {
        let first = self.pasts.partition_point(|(position, _)| usize::from(*position) < from);
        self.pasts[first..].iter_mut().for_each(|(position, _)| *position = by(*position));
    }

    fn state(&self, at: usize) -> Unpacked<'_> {
        unpack(&self.bytes[self.range(at)])
    }

    /// What a reader at the newest revision learns of the key at a position.
    pub(super) fn latest(&self, at: usize) -> Latest {
        self.state(at).latest
    }

    /// The newest change of the key at a position that is not newer than main revision `revision`.
    pub(super) fn newest_at(&self, at: usize, revision: i64) -> Option<Change> {
        let state = self.state(at);
        if state.latest.modified.main <= revision {
            return Some(state.latest.change());
        }
        match state.flags & (FEW_PAST | MANY_PAST) {
            0 => None,
            FEW_PAST => state.few().find(|change| change.revision.main <= revision),
            _ => self.many(at)?.newest_at(revision),
        }
    }

    /// The first of the changes of the key at a position.
    pub(super) fn oldest(&self, at: usize) -> Change {
        let state = self.state(at);
        let few = if state.flags & FEW_PAST == 0 { None } else { state.few().last() };
        let many = if state.flags & MANY_PAST == 0 { None } else { self.many(at) };
        few.or(many.map(Many::oldest)).unwrap_or(state.latest.change())
    }

    fn many(&self, at: usize) -> Option<&Many> {
        self.find_past(at).ok().map(|index| &self.pasts[index].1)
    }

    /// The state at a position, with its many earlier changes taken away from here.
    fn take(&mut self, at: usize) -> KeyState {
        let state = self.state(at);
        let mut state = KeyState { latest: state.latest, past: state.few_past() };
        if let Ok(index) = self.find_past(at) {
            state.past = Past::Many(self.pasts.remove(index).1);
        }
        state
    }

    /// Keeps the earlier changes of the key at a position if there are many.
    fn keep_past(&mut self, at: usize, past: Past) {
        let Past::Many(many) = past else { return };
        if let Err(index) = self.find_past(at) {
            let position = u8::try_from(at).expect("a leaf has less than 256 keys");
            if self.pasts.len() == self.pasts.capacity() {
                self.pasts.reserve_exact(4);
            }
            self.pasts.insert(index, (position, many));
        }
    }

    fn reserve(&mut self, bytes: usize) {
        if self.bytes.capacity() - self.bytes.len() < bytes {
            self.bytes.reserve_exact(bytes.max(GROW));
        }
    }
}

impl Column<KeyState> for States {
    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, at: usize) -> KeyState {
        let state = self.state(at);
        let past = match state.flags & MANY_PAST {
            0 => None,
            _ => self.many(at).cloned().map(Past::Many),
        };
        KeyState { latest: state.latest, past: past.unwrap_or_else(|| state.few_past()) }
    }

    fn is_live(&self, at: usize) -> bool {
        is_live(&self.bytes[self.range(at)])
    }

    fn insert(&mut self, at: usize, value: KeyState) {
        let packed = Packed::new(&value);
        self.reserve(packed.length + 1);
        let start = if at == self.count { self.bytes.len() } else { self.range(at).start };
        self.bytes.splice(start..start, packed.bytes().iter().copied());
        self.bytes.insert(at, packed.length_byte());
        self.count += 1;
        self.shift_pasts(at, |position| position + 1);
        self.keep_past(at, value.past);
    }

    fn change<R>(&mut self, at: usize, change: impl FnOnce(&mut KeyState) -> R) -> R {
        let mut state = self.take(at);
        let result = change(&mut state);
        let packed = Packed::new(&state);
        let range = self.range(at);
        self.reserve(packed.length.saturating_sub(range.len()));
        self.bytes.splice(range, packed.bytes().iter().copied());
        self.bytes[at] = packed.length_byte();
        self.keep_past(at, state.past);
        result
    }

    fn remove(&mut self, at: usize) -> KeyState {
        let state = self.take(at);
        let range = self.range(at);
        self.bytes.drain(range);
        self.bytes.remove(at);
        self.count -= 1;
        self.shift_pasts(at, |position| position - 1);
        state
    }

    fn split_off(&mut self, at: usize) -> Self {
        if at == self.count {
            return Self::default();
        }
        let start = self.range(at).start;
        let right = [&self.bytes[at..self.count], &self.bytes[start..]].concat();
        let left = [&self.bytes[..at], &self.bytes[self.count..start]].concat();
        let first = self.pasts.partition_point(|(position, _)| usize::from(*position) < at);
        let pasts = self.pasts.split_off(first);
        let mut right = Self { bytes: right, count: self.count - at, pasts };
        let moved = u8::try_from(at).expect("a leaf has less than 256 keys");
        right.shift_pasts(0, |position| position - moved);
        (self.bytes, self.count) = (left, at);
        self.pasts.shrink_to_fit();
        right
    }

    fn append(&mut self, mut right: Self) {
        let moved = u8::try_from(self.count).expect("a leaf has less than 256 keys");
        right.shift_pasts(0, |position| position + moved);
        self.bytes = [
            &self.bytes[..self.count],
            &right.bytes[..right.count],
            &self.bytes[self.count..],
            &right.bytes[right.count..],
        ]
        .concat();
        self.count += right.count;
        self.pasts.append(&mut right.pasts);
    }

    fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.pasts.shrink_to_fit();
    }

    fn live_before(&self, at: usize) -> usize {
        let mut start = self.count;
        let mut live = 0;
        for length in &self.bytes[..at] {
            let end = start + usize::from(*length);
            live += usize::from(is_live(&self.bytes[start..end]));
            start = end;
        }
        live
    }
}

/// Whether a packed state is live. A main revision above 0 does not begin with the byte 0.
fn is_live(packed: &[u8]) -> bool {
    packed[0] & DELETED == 0 && packed[1] != 0
}

/// One packed state.
struct Packed {
    room: [u8; STATE_MAX],
    length: usize,
}

impl Packed {
    fn new(state: &KeyState) -> Self {
        let mut packed = Self { room: [0; STATE_MAX], length: 0 };
        let latest = &state.latest;
        let main = latest.modified.main;
        let (created, version) = implied(latest.tombstone, main);
        let few: &[Change] = if let Past::Few(changes) = &state.past { changes } else { &[] };
        let flag = |bit, set| if set { bit } else { 0 };
        let flags = flag(DELETED, latest.tombstone)
            | flag(SUB, latest.modified.sub != 0)
            | flag(CREATED, latest.created != created)
            | flag(VERSION, latest.version != version)
            | flag(LEASE, latest.lease != 0)
            | flag(FEW_PAST, !few.is_empty())
            | flag(MANY_PAST, matches!(state.past, Past::Many(_)));
        packed.push(&[flags]);
        packed.varint(main as u64);
        if flags & SUB != 0 {
            packed.varint(latest.modified.sub.into());
        }
        if flags & CREATED != 0 {
            packed.varint(main.wrapping_sub(latest.created) as u64);
        }
        if flags & VERSION != 0 {
            packed.varint(latest.version as u64);
        }
        if flags & LEASE != 0 {
            packed.push(&latest.lease.to_le_bytes());
        }
        if flags & FEW_PAST != 0 {
            packed.few(main, few);
        }
        packed
    }

    fn few(&mut self, main: i64, changes: &[Change]) {
        self.push(&[u8::try_from(changes.len()).expect("a short list is short")]);
        let mut after = main;
        for change in changes.iter().rev() {
            self.varint(after.wrapping_sub(change.revision.main) as u64);
            self.varint((u64::from(change.revision.sub) << 1) | u64::from(change.tombstone));
            after = change.revision.main;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.room[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    fn varint(&mut self, number: u64) {
        encode_varint(number, &mut &mut self.room[self.length..]);
        self.length += encoded_len_varint(number);
    }

    fn bytes(&self) -> &[u8] {
        &self.room[..self.length]
    }

    fn length_byte(&self) -> u8 {
        u8::try_from(self.length).expect("a state is shorter than 256 bytes")
    }
}

/// When a key with this latest change was created and how often it was put, if nothing else is
/// said.
fn implied(tombstone: bool, main: i64) -> (i64, i64) {
    if tombstone { (0, 0) } else { (main, 1) }
}

/// A state that was unpacked, and what it says of earlier changes.
struct Unpacked<'a> {
    flags: u8,
    latest: Latest,
    past: Reader<'a>,
}

fn unpack(packed: &[u8]) -> Unpacked<'_> {
    let mut reader = Reader { rest: &packed[1..] };
    let flags = packed[0];
    let has = |bit| flags & bit != 0;
    let main = reader.varint() as i64;
    let (created, version) = implied(has(DELETED), main);
    let sub = if has(SUB) { reader.varint() as u32 } else { 0 };
    let created = if has(CREATED) { main.wrapping_sub(reader.varint() as i64) } else { created };
    let version = if has(VERSION) { reader.varint() as i64 } else { version };
    let lease = if has(LEASE) { reader.fixed() } else { 0 };
    let modified = Revision { main, sub };
    let latest = Latest { modified, tombstone: has(DELETED), created, version, lease };
    Unpacked { flags, latest, past: reader }
}

impl<'a> Unpacked<'a> {
    /// The few earlier changes, the newest first.
    fn few(&self) -> impl Iterator<Item = Change> + use<'a> {
        let mut reader = Reader { rest: self.past.rest };
        let count = if self.flags & FEW_PAST == 0 { 0 } else { reader.byte() };
        let mut main = self.latest.modified.main;
        (0..count).map(move |_| {
            main = main.wrapping_sub(reader.varint() as i64);
            let word = reader.varint();
            let revision = Revision { main, sub: (word >> 1) as u32 };
            Change { revision, tombstone: word & 1 == 1 }
        })
    }

    fn few_past(&self) -> Past {
        let mut changes: Vec<_> = self.few().collect();
        changes.reverse();
        Past::Few(changes)
    }
}

/// Reads what [`Packed`] wrote.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.rest.split_first().expect("what flags announce is there");
        self.rest = rest;
        *byte
    }

    fn varint(&mut self) -> u64 {
        decode_varint(&mut self.rest).expect("what was packed is whole")
    }

    fn fixed(&mut self) -> i64 {
        let (bytes, rest) = self.rest.split_first_chunk().expect("a lease has eight bytes");
        self.rest = rest;
        i64::from_le_bytes(*bytes)
    }
}
