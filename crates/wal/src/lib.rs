//! The durable log of a member, in etcd's format.
//!
//! A log is a directory of segments, called `<sequence>-<first index>.wal` with 16 hexadecimal
//! digits each. A segment is a row of frames and then zeros. etcd and its tools read what is
//! written here, and the other way round.
//!
//! A frame, all numbers little-endian:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 8 | bits 0-55: length of the record; if it is not a multiple of 8: bit 63 set, bits 56-58: length of the padding |
//! | 8 | length | the record |
//! | 8 + length | 0-7 | zeros up to the next multiple of 8 |
//!
//! A length word of zero is the end of the segment. A record is a protobuf message:
//!
//! | field | type | content |
//! |---|---|---|
//! | 1 | number | the kind |
//! | 2 | number | CRC-32C of all payloads in all segments so far, up to and with this one |
//! | 3 | bytes | the payload; a checksum record has none |
//!
//! | kind | payload | where |
//! |---|---|---|
//! | 1 metadata | 1: node ID, 2: cluster ID | after the checksum at the head of each segment |
//! | 2 entry | `raftpb.Entry`, see [`encode_entry`] | |
//! | 3 state | 1: term, 2: vote, 3: commit index | after the metadata, and whenever it changes |
//! | 4 checksum | none; field 2 is the checksum so far | first in each segment |
//! | 5 snapshot | 1: index, 2: term, 3: members {1: voters, 2: learners} | after a snapshot is durable |
//!
//! Invariants:
//!
//! - What [`Wal::sync`] returned for is there after any crash; a log can be opened after any
//!   crash. `scan.rs` says what is taken for a crash and what for damage.
//! - A segment has its name only when its head is durable, and when everything in the segments
//!   before is.
//! - Everything after the end of the last segment is zeros.
//! - A failed write or sync is never tried again.
//!
//! Beside the segments lies `synced`, a note of how far the log was durable (`mark.rs`). It
//! lets damage be told from a torn write. etcd ignores it, and it may be deleted.
//!
//! Not here: threads (see [`SpareJob`]), the meaning of entries, the state that a snapshot record
//! speaks of.

use std::path::PathBuf;

use quoin_raft::{Entry, HardState, NodeId, SnapshotMeta};

mod entry;
mod error;
mod frame;
mod mark;
mod open;
mod reader;
mod record;
mod replay;
mod scan;
mod segment;
mod spare;
#[cfg(test)]
mod tests;
mod wal;
mod wire;

pub use entry::{decode_entry, encode_entry};
pub use error::WalError;
pub use open::{read, read_data_of, snapshots};
pub use spare::{Spare, SpareJob};
pub use wal::Wal;
pub use wire::DecodeError;

/// Whose log it is. Written into each segment, so that segments of different logs do not mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The member.
    pub node: NodeId,
    /// The cluster.
    pub cluster: u64,
}

/// How a log uses the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment with at least this many bytes is full.
    pub segment_bytes: u64,
    /// A segment that was not prepared ahead is filled with this many zeros at a time.
    pub fill_bytes: u64,
}

impl Default for Options {
    /// etcd's segments of 64 MB, filled 4 MiB at a time.
    fn default() -> Self {
        Self { segment_bytes: 64_000_000, fill_bytes: 4 * 1024 * 1024 }
    }
}

/// What a log contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Whose log it is.
    pub metadata: Metadata,
    /// The last hard state. Its commit index is at least that of the snapshot to start from.
    pub hard_state: HardState,
    /// The entries after the snapshot to start from, without gaps.
    pub entries: Vec<Entry>,
    /// The committed snapshots recorded in the segments that were read, oldest first.
    pub snapshots: Vec<SnapshotMeta>,
    /// What a crash had left unfinished, if anything.
    pub repaired: Option<Repair>,
}

/// What was removed from the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// How many bytes after that had something written in them.
    pub dropped_bytes: u64,
}
