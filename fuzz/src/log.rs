//! A log: bytes as its segments.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quoin_raft::{Entry, EntryKind, HardState, NodeId, Term};
use quoin_vfs::MemFs;
use quoin_wal::{Options, Replay, Wal, WalError};

use crate::files::with_files;
use crate::input::Input;

const DIR: &str = "/wal";
const OPTIONS: Options = Options { segment_bytes: 4096, fill_bytes: 1024 };

/// The kinds of records that begin a segment, and the one that this target takes for the
/// beginning of the next segment.
const METADATA: u8 = 1;
pub(crate) const CHECKSUM: u8 = 4;
pub(crate) const CUT: u8 = 6;

/// Reads bytes as a log. What can be read can be opened, with the same content; what was opened
/// can be opened again, with nothing to repair; and a log that was opened goes on: what is appended
/// and synced is there the next time.
pub fn wal_replay(data: &[u8]) {
    let fs = segments(data);
    let dir = Path::new(DIR);
    let replay = quoin_wal::read(&fs, dir, None);
    for snapshot in quoin_wal::snapshots(&fs, dir).unwrap_or_default() {
        drop(quoin_wal::read(&fs, dir, Some(&snapshot)));
    }
    let opened = open(&fs);
    let (Ok(replay), Ok((wal, first))) = (&replay, &opened) else {
        assert!(replay.is_err() && opened.is_err(), "{replay:?} {opened:?}");
        return;
    };
    assert_eq!(replay, first);
    let last = wal.last_index();
    drop(opened);
    let (mut wal, second) = open(&fs).expect("it was opened before");
    assert_eq!(second, Replay { repaired: None, ..replay.clone() });
    let term = Term(replay.entries.last().map_or(1, |entry| entry.term.0));
    if last.0 == u64::MAX {
        return;
    }
    let entry = Entry { kind: EntryKind::Normal, term, index: last.next(), data: Bytes::new() };
    let state = HardState { term, vote: NodeId(0), commit: replay.hard_state.commit };
    wal.append(Some(&state), std::slice::from_ref(&entry)).expect("memory has room");
    wal.sync().expect("memory can be synced");
    drop(wal);
    let (_, third) = open(&fs).expect("it was just written");
    assert_eq!(third.hard_state, state);
    assert_eq!(third.entries, [&second.entries[..], &[entry]].concat());
}

fn open(fs: &MemFs) -> Result<(Wal, Replay), WalError> {
    Wal::open(Arc::new(fs.clone()), Path::new(DIR), None, &OPTIONS)
}

/// The log that an input describes. If the first byte is even the rest is the only segment.
/// Otherwise it is records: the kind of each, a length and so many bytes of payload, for which the
/// target makes frames and checksums.
fn segments(data: &[u8]) -> MemFs {
    let mut input = Input::new(data);
    let mut segments = Vec::new();
    if input.u8().is_multiple_of(2) {
        segments.push((name(0, 0), input.rest().to_vec()));
    } else {
        let (mut segment, mut checksum, mut first) = (Vec::new(), 0, 0);
        let mut metadata = Vec::new();
        while !input.is_empty() {
            let (kind, payload) = (input.u8(), input.bytes());
            if kind == CUT {
                segments.push((name(segments.len(), first), std::mem::take(&mut segment)));
                first = Input::new(payload).u32();
                put_record(&mut segment, &mut checksum, CHECKSUM, &[]);
                put_record(&mut segment, &mut checksum, METADATA, &metadata);
                continue;
            }
            if kind == METADATA && metadata.is_empty() {
                metadata = payload.to_vec();
            }
            put_record(&mut segment, &mut checksum, kind, payload);
        }
        segments.push((name(segments.len(), first), segment));
    }
    let files = segments.iter().map(|(name, bytes)| (&name[..], &bytes[..]));
    with_files(Path::new(DIR), files)
}

fn name(sequence: usize, first: u32) -> String {
    format!("{sequence:016x}-{first:016x}.wal")
}

/// Appends a record in its frame.
fn put_record(segment: &mut Vec<u8>, checksum: &mut u32, kind: u8, payload: &[u8]) {
    *checksum = crc32c::crc32c_append(*checksum, payload);
    let mut record = vec![1 << 3, kind & 0x7f, 2 << 3];
    put_varint(&mut record, (*checksum).into());
    if kind != CHECKSUM {
        record.push(3 << 3 | 2);
        put_varint(&mut record, payload.len() as u64);
        record.extend_from_slice(payload);
    }
    let (length, padding) = (record.len() as u64, record.len().wrapping_neg() % 8);
    let word = match padding {
        0 => length,
        _ => length | 1 << 63 | (padding as u64) << 56,
    };
    segment.extend_from_slice(&word.to_le_bytes());
    segment.extend_from_slice(&record);
    segment.resize(segment.len() + padding, 0);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
