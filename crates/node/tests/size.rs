//! What a store costs: memory, disk and the time of a start, with values in files.
//!
//! `SLOW_TESTS=1` takes a million keys of 256 bytes on the real file system; without it, a few
//! thousand in memory. The figures are printed; what must hold of them whatever the machine is
//! asserted.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    CompactionRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use quoin_node::recover::{Bootstrap, recover};
use quoin_node::wal::{self, Metadata, Wal};
use quoin_node::{DataDir, Event, Node, Options, Recovered};
use quoin_raft::NodeId;
use quoin_store::{Checkpoint, Member, WriteOptions};
use quoin_vfs::{FileSystem, MemFs, OpenMode, OsFs};

const VALUE_BYTES: usize = 256;
/// Puts in one entry, to be done sooner.
const PUTS: u64 = 100;

struct Machine {
    fs: Arc<dyn FileSystem>,
    dir: DataDir,
    node: Node<u64>,
    wal: Wal,
    next_id: u64,
    segment_bytes: u64,
}

impl Machine {
    fn start(fs: Arc<dyn FileSystem>, root: &Path, budget: usize, segment_bytes: u64) -> Self {
        let member = Member { id: 1, name: "one".to_owned(), ..Member::default() };
        let metadata = Metadata { node: NodeId(1), cluster: 9 };
        let bootstrap = Bootstrap { metadata, members: vec![member] };
        let options = Options {
            tick_ms: 100,
            lease_checkpoint_ticks: 100,
            id: NodeId(1),
            election_ticks: 10,
            heartbeat_ticks: 1,
            request_timeout_ticks: 70,
            read_retry_ticks: 5,
            snapshot_count: 1000,
            memory_budget: budget,
            catchup_entries: 100,
            pre_vote: true,
            seed: 1,
            start_ms: 1,
        };
        let dir = DataDir::new(root);
        let recovered = recover(&fs, &dir, &wal::Options::default(), options, &bootstrap);
        let Recovered { node, wal, .. } = recovered.expect("the member starts");
        let mut machine = Self { fs, dir, node, wal, next_id: 1, segment_bytes };
        machine.settle();
        machine.node.campaign();
        machine.settle();
        machine
    }

    fn settle(&mut self) {
        loop {
            let turn = self.node.turn();
            turn.log.append_to(&mut self.wal).expect("the log can be written");
            if turn.log.must_sync {
                self.wal.flush().expect("the log can be written");
            }
            if let Some(release) = turn.log.release {
                self.wal.release_to(release).expect("the log can be cut");
            }
            if let Some(ready) = turn.log.ready {
                self.node.persisted(ready);
            }
            for event in turn.events {
                match event {
                    Event::Checkpoint(meta, checkpoint) => {
                        let written = self.write(&checkpoint);
                        self.node.checkpointed(Some((meta, written)));
                    }
                    Event::Fatal(reason) => panic!("{reason}"),
                    Event::Leader(_)
                    | Event::Members
                    | Event::Removed
                    | Event::Compacted(_)
                    | Event::SendSnapshot(..) => {}
                }
            }
            if turn.idle && !self.node.wants_turn() {
                return;
            }
        }
    }

    fn write(&self, checkpoint: &Checkpoint) -> quoin_store::Written {
        let options = WriteOptions { segment_bytes: self.segment_bytes };
        let dir = self.dir.store();
        let written = checkpoint.write_paced(self.fs.as_ref(), &dir, &options, &mut |_| ());
        written.expect("the checkpoint can be written")
    }

    fn propose(&mut self, request: &InternalRaftRequest) {
        let data = Bytes::from(request.encode_to_vec());
        self.node.propose(self.next_id, data, self.next_id);
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
            self.node.tick();
            let before = self.files();
            self.settle();
            let busy = before != self.files() || self.node.store().is_placing();
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 600 {
                return ticks + 1 - quiet;
            }
        }
        unreachable!("ticks do not end")
    }

    fn files(&self) -> Vec<String> {
        self.fs.list(&self.dir.store()).expect("the directory can be read")
    }

    fn disk_bytes(&self) -> u64 {
        let length = |name: &String| {
            let file = self.fs.open(&self.dir.store().join(name), OpenMode::Read);
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
    let mut machine = Machine::start(Arc::clone(fs), root, budget, segment_bytes);
    let begun = Instant::now();
    machine.fill(keys, b'a');
    let filled = begun.elapsed();
    machine.rest();
    println!("{keys} keys in {filled:.1?}: {} MiB", memory_mib().saturating_sub(idle));
    drop(machine);

    let begun = Instant::now();
    let mut machine = Machine::start(Arc::clone(fs), root, budget, segment_bytes);
    let (started, live) = (begun.elapsed(), machine.node.store().view().size() as u64);
    let disk = machine.disk_bytes();
    println!("started in {started:.1?}: {} MiB", memory_mib().saturating_sub(idle));
    println!("disk {} MiB for {} MiB of records", disk >> 20, live >> 20);
    assert!(disk * 10 <= live * 13, "{disk} bytes on disk for {live}");
    let view = machine.node.store().view();
    let (begun, hash) = (Instant::now(), view.hash_kv(0).expect("every record can be read"));
    println!("hash of everything in {:.1?}", begun.elapsed());
    let (key, range_end) = (Bytes::from_static(b"/"), Bytes::from_static(b"0"));
    let range = RangeRequest { key, range_end, limit: 10_000, ..RangeRequest::default() };
    let (begun, response) = (Instant::now(), view.range(&range).expect("records can be read"));
    println!("range of {} keys in files in {:.1?}", response.kvs.len(), begun.elapsed());
    assert_eq!(response.count, i64::try_from(keys).expect("it is small"));

    machine.fill(keys, b'b');
    let revision = machine.node.store().view().revision();
    let compaction = Some(CompactionRequest { revision, physical: false });
    machine.propose(&InternalRaftRequest { compaction, ..InternalRaftRequest::default() });
    let before = machine.disk_bytes();
    let ticks = machine.rest();
    let (disk, live) = (machine.disk_bytes(), machine.node.store().view().size() as u64);
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
