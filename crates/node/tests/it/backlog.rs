//! Writes that come faster than a checkpoint is written.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_node::{Answer, DataDir, Node, wal};
use quoin_raft::SnapshotMeta;
use quoin_store::{Checkpoint, WriteOptions};
use quoin_vfs::{FileSystem, MemFs};

use crate::machine::{Machine, Observer, Settings};

const VALUE_BYTES: usize = 1 << 20;
const WRITES: u64 = 300;
/// Writes that wait when the slow disk has done its work at last.
const WAITING: u64 = 20;
/// What makes a checkpoint due with so small a budget: the least there is.
const DUE_BYTES: usize = 8 << 20;

/// A disk that is slow: whatever is to be written waits until somebody lets it.
#[derive(Default)]
struct SlowDisk {
    waiting: Option<(SnapshotMeta, Checkpoint)>,
    answered: u64,
}

impl Observer for SlowDisk {
    fn answer(&mut self, _: &Node<u64>, answer: Answer) {
        let Answer::Applied(applied) = answer else { panic!("{answer:?}") };
        assert!(applied.result.is_ok());
        self.answered += 1;
    }

    fn checkpoint(&mut self, _: &mut Node<u64>, meta: SnapshotMeta, checkpoint: Checkpoint) {
        self.waiting = Some((meta, checkpoint));
    }
}

/// At 290 MB/s of writes the memory of a member grew by 1.5 GB in four seconds with a budget of 32 MB:
/// nothing held the writes back while a checkpoint was written at its own pace, and the next one began
/// two seconds after it.
#[test]
fn memory_does_not_follow_the_write_rate() {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let root = Path::new("/data");
    let settings = Settings {
        wal: wal::Options::default(),
        syncs: false,
        snapshot_count: 1_000_000,
        catchup_entries: 5000,
        memory_budget: 0,
    };
    let mut machine = Machine::start(&fs, root, &settings);
    let mut disk = SlowDisk::default();
    machine.lead(&mut disk);
    let (mut peak, mut held) = (0, false);
    for id in 1..=WRITES {
        let key = Bytes::from(id.to_string());
        let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
        let put = Some(PutRequest { key, value, ..PutRequest::default() });
        let header = Some(quoin_api::etcdserverpb::RequestHeader { id, ..Default::default() });
        let request = InternalRaftRequest { header, put, ..InternalRaftRequest::default() };
        machine.node.propose(id, Bytes::from(request.encode_to_vec()), id);
        machine.settle(&mut disk);
        peak = peak.max(machine.node.backlog().bytes);
        // The disk is done when that many clients wait.
        if disk.answered + WAITING < id {
            held = true;
            finish(&fs, root, &mut machine, &mut disk);
        }
    }
    assert!(held, "proposals wait for the disk");
    // What waited goes on together.
    let max = 8 * DUE_BYTES + (WAITING as usize + 2) * VALUE_BYTES;
    assert!(peak <= max, "{} MiB are in no file", peak >> 20);
    while disk.answered < WRITES {
        finish(&fs, root, &mut machine, &mut disk);
    }
    assert_eq!(machine.node.store().view().keys() as u64, WRITES, "what was held is not lost");
}

/// Lets the checkpoint that waits be written, and takes over its work.
fn finish(fs: &Arc<dyn FileSystem>, root: &Path, machine: &mut Machine, disk: &mut SlowDisk) {
    let (meta, checkpoint) = disk.waiting.take().expect("what is held waits for a checkpoint");
    let dir = DataDir::new(root).store();
    let written = checkpoint.write_paced(fs.as_ref(), &dir, &WriteOptions::default(), &mut |_| ());
    machine.node.checkpointed(Some((meta, written.expect("memory is not full"))));
    machine.settle(disk);
    // The rest is done between ticks.
    machine.node.tick();
    machine.settle(disk);
}
