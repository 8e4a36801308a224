//! A new member is cut off at every operation on its disk, and must begin as if it had not been.
//!
//! Two stories. The directories above the log were created and never synced: the first power cut
//! took everything that had been synced below them, and the member began again with the identity
//! of one that had voted. And a member was cut off among its first entries: a part of them was
//! there, no hard state, and it went on with members that it had not committed.

use std::path::Path;
use std::sync::Arc;

use quoin_node::recover::{Bootstrap, recover};
use quoin_node::{DataDir, Node, Options, RecoverError};
use quoin_raft::{Index, NodeId};
use quoin_store::Member;
use quoin_vfs::{CrashMode, FileSystem, MemFs};
use quoin_wal::Metadata;

/// Enough to spread their entries over several sectors.
const MEMBERS: u64 = 7;

fn boot(disk: &MemFs) -> Result<Node<()>, RecoverError> {
    let members = (1..=MEMBERS).map(|id| Member {
        id,
        peer_urls: vec![format!("http://member-{id}.example.com:2380")],
        name: format!("member-{id}"),
        ..Member::default()
    });
    let metadata = Metadata { node: NodeId(1), cluster: 9 };
    let bootstrap = Bootstrap { metadata, members: members.collect() };
    let options = Options {
        id: NodeId(1),
        election_ticks: 10,
        heartbeat_ticks: 1,
        tick_ms: 100,
        lease_checkpoint_ticks: 100,
        lease_checkpoints: true,
        request_timeout_ticks: 70,
        read_retry_ticks: 5,
        snapshot_count: 100,
        memory_budget: 0,
        catchup_entries: 100,
        max_learners: 1,
        pre_vote: true,
        seed: 0,
        start_ms: 0,
    };
    let fs: Arc<dyn FileSystem> = Arc::new(disk.clone());
    let dir = DataDir::new(Path::new("/var/lib/member.etcd"));
    let wal_options = quoin_wal::Options { segment_bytes: 64 * 1024, fill_bytes: 4096 };
    Ok(recover(&fs, &dir, &wal_options, options, &bootstrap)?.node)
}

fn modes() -> impl Iterator<Item = CrashMode> {
    let subsets = (0..16).map(|seed| CrashMode::Subset { seed });
    [CrashMode::KeepSynced, CrashMode::KeepAll].into_iter().chain(subsets)
}

/// Boots from what a crash has left, and checks that the member has its first entries.
fn check(disk: &MemFs, mode: CrashMode, when: &str) {
    let node = match boot(&disk.crash(mode)) {
        Ok(node) => node,
        Err(error) => panic!("cut off {when}, {mode:?}: {error}"),
    };
    let (status, last) = (node.status(), node.raft().last_entry().index);
    assert_eq!((status.commit, last), (Index(MEMBERS), Index(MEMBERS)), "{when}, {mode:?}");
}

#[test]
fn a_first_boot_can_be_cut_off_anywhere() {
    let whole = MemFs::new();
    boot(&whole).expect("nothing disturbs it");
    for operations in 0..whole.ops() {
        let disk = MemFs::new();
        disk.stop_after(operations);
        assert!(boot(&disk).is_err(), "operation {operations} was refused");
        modes().for_each(|mode| check(&disk, mode, &format!("after operation {operations}")));
    }
}

#[test]
fn a_finished_boot_survives_every_crash() {
    let disk = MemFs::new();
    drop(boot(&disk).expect("nothing disturbs it"));
    modes().for_each(|mode| check(&disk, mode, "when it was done"));
}
