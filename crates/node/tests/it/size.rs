//! What a store costs: memory, disk and the time of a start, with values in files.
//!
//! `SLOW_TESTS=1` takes a million keys of 256 bytes on the real file system; without it, a few
//! thousand in memory. The figures are printed; what must hold of them whatever the machine is
//! asserted. Those of memory are of the whole process: run this test alone for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    CompactionRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use quoin_node::wal;
use quoin_node::{DataDir, Node};
use quoin_raft::SnapshotMeta;
use quoin_store::{Checkpoint, Store, WriteOptions};
use quoin_vfs::{FileSystem, MemFs, OpenMode, OsFs};

use crate::machine::{Machine, Observer, Settings};

const VALUE_BYTES: usize = 256;
/// Puts in one entry, to be done sooner.
const PUTS: u64 = 100;

/// A member whose checkpoints are written at once.
struct Subject {
    machine: Machine,
    disk: Disk,
    next_id: u64,
}

/// Where the files are, and how large a segment of the history is.
struct Disk {
    fs: Arc<dyn FileSystem>,
    dir: DataDir,
    segment_bytes: u64,
}

impl Observer for Disk {
    fn checkpoint(&mut self, node: &mut Node<u64>, meta: SnapshotMeta, checkpoint: Checkpoint) {
        let options = WriteOptions { segment_bytes: self.segment_bytes };
        let dir = self.dir.store();
        let written = checkpoint.write_paced(self.fs.as_ref(), &dir, &options, &mut |_| ());
        node.checkpointed(Some((meta, written.expect("the checkpoint can be written"))));
    }
}

impl Subject {
    fn start(fs: Arc<dyn FileSystem>, root: &Path, budget: usize, segment_bytes: u64) -> Self {
        let settings = Settings {
            wal: wal::Options::default(),
            syncs: false,
            snapshot_count: 1000,
            catchup_entries: 100,
            memory_budget: budget,
        };
        let mut machine = Machine::start(&fs, root, &settings);
        let mut disk = Disk { fs, dir: DataDir::new(root), segment_bytes };
        machine.lead(&mut disk);
        Self { machine, disk, next_id: 1 }
    }

    fn settle(&mut self) {
        self.machine.settle(&mut self.disk);
    }

    fn store(&self) -> &Store {
        self.machine.node.store()
    }

    fn propose(&mut self, request: &InternalRaftRequest) {
        let data = Bytes::from(request.encode_to_vec());
        self.machine.node.propose(self.next_id, data, self.next_id);
        self.next_id += 1;
        self.settle();
    }

    fn fill(&mut self, keys: u64, letter: u8) {
        let value = Bytes::from(vec![letter; VALUE_BYTES]);
        for first in (0..keys).step_by(usize::try_from(PUTS).expect("it is small")) {
            let put = |nth: u64| {
                let key = Bytes::from(format!("/registry/pods/{nth:08}"));
                let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
                RequestOp { request: Some(Request::RequestPut(put)) }
            };
            let success = (first..(first + PUTS).min(keys)).map(put).collect();
            let txn = Some(TxnRequest { success, ..TxnRequest::default() });
            self.propose(&InternalRaftRequest { txn, ..InternalRaftRequest::default() });
        }
    }

    /// Ticks of an idle member until nothing is left to be done, and how many they were.
    fn rest(&mut self) -> u64 {
        let mut quiet = 0;
        for ticks in 0.. {
            self.machine.node.tick();
            let before = self.files();
            self.settle();
            let busy = before != self.files() || self.store().is_placing();
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 600 {
                return ticks + 1 - quiet;
            }
        }
        unreachable!("ticks do not end")
    }

    fn files(&self) -> Vec<String> {
        self.disk.fs.list(&self.disk.dir.store()).expect("the directory can be read")
    }

    fn disk_bytes(&self) -> u64 {
        let length = |name: &String| {
            let file = self.disk.fs.open(&self.disk.dir.store().join(name), OpenMode::Read);
            file.and_then(|file| file.len()).expect("a file can be measured")
        };
        self.files().iter().map(length).sum()
    }
}

/// Anonymous memory of this process, in MiB.
fn memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0_u64) / 1024
}

#[expect(clippy::disallowed_methods, reason = "what is measured here is time, too")]
fn measure(fs: &Arc<dyn FileSystem>, root: &Path, keys: u64, budget: usize, segment_bytes: u64) {
    let idle = memory_mib();
    let mut subject = Subject::start(Arc::clone(fs), root, budget, segment_bytes);
    let begun = Instant::now();
    subject.fill(keys, b'a');
    let filled = begun.elapsed();
    subject.rest();
    println!("{keys} keys in {filled:.1?}: {} MiB", memory_mib().saturating_sub(idle));
    drop(subject);

    let begun = Instant::now();
    let mut subject = Subject::start(Arc::clone(fs), root, budget, segment_bytes);
    let (started, live) = (begun.elapsed(), subject.store().view().size() as u64);
    let disk = subject.disk_bytes();
    println!("started in {started:.1?}: {} MiB", memory_mib().saturating_sub(idle));
    println!("disk {} MiB for {} MiB of records", disk >> 20, live >> 20);
    assert!(disk * 10 <= live * 13, "{disk} bytes on disk for {live}");
    let view = subject.store().view();
    let (begun, hash) = (Instant::now(), view.hash_kv(0).expect("every record can be read"));
    println!("hash of everything in {:.1?}", begun.elapsed());
    let (key, range_end) = (Bytes::from_static(b"/"), Bytes::from_static(b"0"));
    let range = RangeRequest { key, range_end, limit: 10_000, ..RangeRequest::default() };
    let (begun, response) = (Instant::now(), view.range(&range).expect("records can be read"));
    println!("range of {} keys in files in {:.1?}", response.kvs.len(), begun.elapsed());
    assert_eq!(response.count, i64::try_from(keys).expect("it is small"));

    subject.fill(keys, b'b');
    let revision = subject.store().view().revision();
    let compaction = Some(CompactionRequest { revision, physical: false });
    subject.propose(&InternalRaftRequest { compaction, ..InternalRaftRequest::default() });
    let before = subject.disk_bytes();
    let ticks = subject.rest();
    let (disk, live) = (subject.disk_bytes(), subject.store().view().size() as u64);
    println!(
        "everything overwritten and compacted: {} MiB on disk, {} MiB after {ticks} idle ticks, \
         {} MiB of records; {} MiB of memory",
        before >> 20,
        disk >> 20,
        live >> 20,
        memory_mib().saturating_sub(idle),
    );
    assert!(disk * 10 <= live * 13, "{disk} bytes on disk for {live}");
    assert_eq!(view.hash_kv(0), Ok(hash), "a view outlives the files that it reads");
}

#[test]
fn memory_and_disk_follow_what_is_live() {
    if std::env::var_os("SLOW_TESTS").is_some() {
        let root = std::env::temp_dir().join(format!("quoin-size-{}", std::process::id()));
        measure(&(Arc::new(OsFs) as Arc<dyn FileSystem>), &root, 1_000_000, 64 << 20, 32 << 20);
        std::fs::remove_dir_all(&root).expect("the directory can be removed");
    } else {
        let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
        measure(&fs, Path::new("/data"), 40_000, 0, 512 * 1024);
    }
}
