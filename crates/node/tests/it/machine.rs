//! A member with its log, turned by hand as the threads of the server would turn it.
//!
//! Not here: what becomes of a checkpoint, and what a test makes of entries and answers.

use std::path::Path;
use std::sync::Arc;

use quoin_node::recover::{Bootstrap, recover};
use quoin_node::wal::{self, Metadata, Wal};
use quoin_node::{Answer, DataDir, Event, Node, Options, Recovered};
use quoin_raft::{Entry, NodeId, SnapshotMeta};
use quoin_store::{Checkpoint, Member};
use quoin_vfs::FileSystem;

/// What distinguishes the members of the tests.
pub(crate) struct Settings {
    pub(crate) wal: wal::Options,
    /// Whether the log is synced, or only written.
    pub(crate) syncs: bool,
    pub(crate) snapshot_count: u64,
    pub(crate) catchup_entries: u64,
    pub(crate) memory_budget: usize,
}

/// The member.
pub(crate) struct Machine {
    pub(crate) node: Node<u64>,
    wal: Wal,
    syncs: bool,
}

/// Who looks at the turns of a member.
pub(crate) trait Observer {
    /// Entries are about to be written to the log.
    fn entries(&mut self, _entries: &[Entry]) {}

    /// A request was answered.
    fn answer(&mut self, _node: &Node<u64>, _answer: Answer) {}

    /// A checkpoint is to be written; the node hears of it now or later.
    fn checkpoint(&mut self, node: &mut Node<u64>, meta: SnapshotMeta, checkpoint: Checkpoint);
}

impl Machine {
    /// Starts the only member of a cluster from what its directory has.
    pub(crate) fn start(fs: &Arc<dyn FileSystem>, root: &Path, settings: &Settings) -> Self {
        let metadata = Metadata { node: NodeId(1), cluster: 9 };
        let member = Member { id: 1, name: "one".to_owned(), ..Member::default() };
        let bootstrap = Bootstrap { metadata, members: vec![member] };
        let options = Options {
            tick_ms: 100,
            lease_checkpoint_ticks: 100,
            lease_checkpoints: true,
            id: NodeId(1),
            election_ticks: 10,
            heartbeat_ticks: 1,
            request_timeout_ticks: 70,
            read_retry_ticks: 5,
            snapshot_count: settings.snapshot_count,
            memory_budget: settings.memory_budget,
            catchup_entries: settings.catchup_entries,
            max_learners: 1,
            pre_vote: true,
            seed: 1,
            start_ms: 1,
        };
        let recovered = recover(fs, &DataDir::new(root), &settings.wal, options, &bootstrap);
        let Recovered { node, wal, .. } = recovered.expect("the member starts");
        Self { node, wal, syncs: settings.syncs }
    }

    /// Runs turns until nothing moves.
    pub(crate) fn settle(&mut self, observer: &mut impl Observer) {
        loop {
            let turn = self.node.turn();
            observer.entries(&turn.log.entries);
            turn.log.append_to(&mut self.wal).expect("the log can be written");
            if turn.log.must_sync {
                let synced = if self.syncs { self.wal.sync() } else { self.wal.flush() };
                synced.expect("the log can be written");
            }
            if let Some(release) = turn.log.release {
                self.wal.release_to(release).expect("the log can be cut");
            }
            if let Some(ready) = turn.log.ready {
                self.node.persisted(ready);
            }
            for (_, answer) in turn.answers {
                observer.answer(&self.node, answer);
            }
            for event in turn.events {
                match event {
                    Event::Checkpoint(meta, checkpoint) => {
                        observer.checkpoint(&mut self.node, meta, checkpoint);
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

    /// Lets the member be elected.
    pub(crate) fn lead(&mut self, observer: &mut impl Observer) {
        self.settle(observer);
        self.node.campaign();
        self.settle(observer);
    }
}
