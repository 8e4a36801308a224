use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_raft::{Index, NodeId};
use quoin_store::{EntryData, Store};

use super::{Checkpoints, RETRY_TICKS, REWRITE_TICKS, UNPLACED_MIN};
use crate::Options;

struct Member {
    store: Store,
    checkpoints: Checkpoints,
    now: u64,
}

impl Member {
    fn new(snapshot_count: u64, memory_budget: usize) -> Self {
        let options = Options {
            id: NodeId(1),
            election_ticks: 10,
            heartbeat_ticks: 1,
            request_timeout_ticks: 70,
            read_retry_ticks: 5,
            snapshot_count,
            memory_budget,
            catchup_entries: 5_000,
            max_learners: 1,
            pre_vote: true,
            seed: 1,
            start_ms: 1,
            tick_ms: 100,
            lease_checkpoint_ticks: 100,
            lease_checkpoints: true,
        };
        let checkpoints = Checkpoints::new(Index(0), &options);
        Self { store: Store::new(), checkpoints, now: 0 }
    }

    fn put(&mut self, bytes: usize) {
        let key = Bytes::from(self.store.applied().0.to_string());
        let put = PutRequest { key, value: vec![0; bytes].into(), ..PutRequest::default() };
        let request = InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() };
        let entry = Bytes::from(request.encode_to_vec());
        let index = self.store.applied().0 + 1;
        self.store.apply(index, 1, EntryData::Normal(&entry)).expect("a put is understood");
        self.checkpoints.applied(entry.len());
    }

    fn begins(&mut self) -> bool {
        self.checkpoints.begin_if_due(&self.store)
    }

    fn wait(&mut self, ticks: u64) {
        self.now += ticks;
        self.checkpoints.tick(self.now, &self.store, false);
    }
}

#[test]
fn a_long_log_makes_one_due_and_only_one_at_a_time() {
    let mut member = Member::new(10, 0);
    (0..9).for_each(|_| member.put(1));
    assert!(!member.begins());
    member.put(1);
    assert!(member.begins());
    (0..20).for_each(|_| member.put(1));
    assert!(!member.begins(), "one is under way");
    member.checkpoints.ended(member.now, Some(100));
    assert!(member.begins());
}

/// The index of a large store is not written for a few entries.
#[test]
fn the_log_grows_in_proportion_to_the_index() {
    let mut member = Member::new(10, 0);
    (0..10).for_each(|_| member.put(1));
    assert!(member.begins());
    member.checkpoints.ended(member.now, Some(40_000));
    (0..19).for_each(|_| member.put(1000));
    assert!(!member.begins());
    member.put(1000);
    assert!(member.begins());
}

#[test]
fn records_in_no_file_make_one_due() {
    for (budget, bytes) in [(0, UNPLACED_MIN), (64 << 20, 32 << 20)] {
        let mut member = Member::new(10_000, budget);
        (0..bytes / (1 << 20) - 1).for_each(|_| member.put(1 << 20));
        assert!(!member.begins());
        member.put(1 << 20);
        assert!(member.begins());
        // It could not be written: the disk is full, say.
        member.checkpoints.ended(member.now, None);
        member.wait(RETRY_TICKS - 1);
        assert!(!member.begins());
        member.wait(1);
        assert!(member.begins());
        member.checkpoints.ended(member.now, Some(1));
        member.wait(REWRITE_TICKS);
        assert!(member.begins(), "the store was not told that they are in files");
    }
}

#[test]
fn the_log_is_told_once() {
    let mut member = Member::new(10, 0);
    assert!(member.checkpoints.is_new_to_log(Index(5)));
    assert!(!member.checkpoints.is_new_to_log(Index(5)));
    member.checkpoints.installed(Index(9));
    assert!(!member.checkpoints.is_new_to_log(Index(7)));
    assert!(member.checkpoints.is_new_to_log(Index(10)));
}
