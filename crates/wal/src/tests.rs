//! The log as a whole. `model` says what it must contain; `trace` compares the two over random
//! histories; `crash` stops the world at each operation; `damage` flips bits; `etcd` holds bytes
//! that etcd wrote; `single` has the cases that are easier to state one by one.

mod crash;
mod damage;
mod etcd;
mod model;
mod single;
mod trace;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quoin_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_vfs::{FileSystem, MemFs};

use crate::{Metadata, Options, Replay, Wal, WalError};

const METADATA: Metadata = Metadata { node: NodeId(0x1234_5678_9abc_def0), cluster: 77 };

/// Returns how many random cases to try: `fast`, or many more with `SLOW_TESTS=1`.
fn cases(fast: u64) -> u64 {
    if std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1") { fast * 50 } else { fast }
}

fn dir() -> &'static Path {
    Path::new("/member/wal")
}

/// Small, so that a few entries fill a segment.
fn options() -> Options {
    Options { segment_bytes: 6_000, fill_bytes: 1_500 }
}

/// A file system with a durable parent directory for the log.
fn new_fs() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/member")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn handle(fs: &MemFs) -> Arc<dyn FileSystem> {
    Arc::new(fs.clone())
}

fn create(fs: &MemFs) -> Wal {
    Wal::create(handle(fs), dir(), &METADATA, &options()).unwrap()
}

fn open(fs: &MemFs, from: Option<&SnapshotMeta>) -> Result<(Wal, Replay), WalError> {
    Wal::open(handle(fs), dir(), from, &options())
}

fn entry(index: u64, term: u64, size: usize) -> Entry {
    let data = Bytes::from(vec![index as u8 | 1; size]);
    Entry { kind: EntryKind::Normal, term: Term(term), index: Index(index), data }
}

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: NodeId(vote), commit: Index(commit) }
}

fn snapshot(index: u64, term: u64) -> SnapshotMeta {
    let conf = ConfState { voters: vec![NodeId(1), NodeId(1 << 63)], learners: vec![NodeId(7)] };
    SnapshotMeta { index: Index(index), term: Term(term), conf }
}
