//! A leader whose other members are messages.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
use quoin_raft::{Body, Message, Term};
use quoin_store::Member;
use quoin_vfs::{FileSystem, MemFs};
use quoin_wal::{Metadata, Wal};

use super::*;
use crate::recover::{Bootstrap, recover};
use crate::{DataDir, Event, Node, Options};

/// Entries that members may lag behind, in these tests.
const CATCHUP: u64 = 10;

/// The leader of a new cluster, and what it sent since that was looked at last.
struct World {
    node: Node<u32>,
    wal: Wal,
    appends: Vec<(NodeId, Index, usize)>,
    /// The receivers of states, with their index.
    states: Vec<(NodeId, Index)>,
    puts: u64,
}

impl World {
    fn new(members: u64) -> Self {
        let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
        let member =
            |id| Member { id, peer_urls: vec![format!("http://m{id}")], ..Member::default() };
        let metadata = Metadata { node: NodeId(1), cluster: 9 };
        let bootstrap = Bootstrap { metadata, members: (1..=members).map(member).collect() };
        let options = Options { catchup_entries: CATCHUP, ..crate::tests::options() };
        let dir = DataDir::new(Path::new("/data"));
        let recovered = recover(&fs, &dir, &quoin_wal::Options::default(), options, &bootstrap);
        let recovered = recovered.expect("an empty directory");
        let (node, wal) = (recovered.node, recovered.wal);
        let (appends, states) = (Vec::new(), Vec::new());
        let mut world = Self { node, wal, appends, states, puts: 0 };
        world.settle();
        world.node.campaign();
        world.settle();
        let term = world.node.raft().term();
        world.says(2, term.next(), Body::PreVoteResponse { reject: false });
        world.says(2, term.next(), Body::VoteResponse { reject: false });
        assert!(world.node.status().is_leader);
        world
    }

    /// Has another member say something, if it is one.
    fn says(&mut self, from: u64, term: Term, body: Body) {
        let from = NodeId(from);
        if self.node.raft().conf().contains(from) {
            let message = Message { from, to: NodeId(1), term, body };
            self.node.step(message).expect("it makes sense");
        }
        self.settle();
    }

    /// Has another member hold everything up to an index.
    fn holds(&mut self, from: u64, index: Index) {
        let term = self.node.raft().term();
        self.says(from, term, Body::AppendResponse { index, reject: None });
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            let turn = self.node.turn();
            turn.log.append_to(&mut self.wal).expect("memory takes every write");
            if let Some(ready) = turn.log.ready {
                self.node.persisted(ready);
            }
            for message in turn.messages {
                if let Body::Append { prev_index, entries, .. } = message.body {
                    self.appends.push((message.to, prev_index, entries.len()));
                }
            }
            for event in turn.events {
                if let Event::SendSnapshot(message, checkpoint) = event {
                    self.states.push((message.to, Index(checkpoint.id().index)));
                }
            }
            if turn.idle {
                return;
            }
        }
        panic!("the node does not come to rest");
    }

    /// Writes, and has member 2 keep up.
    fn write(&mut self, times: u64) {
        for _ in 0..times {
            self.puts += 1;
            let key = Bytes::from_static(b"key");
            let put = Some(PutRequest { key, ..PutRequest::default() });
            let request = InternalRaftRequest { put, ..InternalRaftRequest::default() };
            let data = Bytes::from(request.encode_to_vec());
            self.node.propose(self.puts, data, 0);
            self.settle();
            self.holds(2, self.node.raft().last_entry().index);
            self.tick();
        }
    }

    /// Lets time pass; member 2 is there.
    fn tick(&mut self) {
        self.node.tick();
        let term = self.node.raft().term();
        self.says(2, term, Body::HeartbeatResponse { context: Bytes::new() });
    }

    /// Entries that were applied and are in memory.
    fn kept(&self) -> u64 {
        let raft = self.node.raft();
        (self.node.status().applied.0 + 1).saturating_sub(raft.first_index().0)
    }

    /// Has member 3 come back, after the log went on without it; it is sent the state.
    fn third_needs_the_state(&mut self) -> Index {
        self.write(5 * CATCHUP);
        self.states.clear();
        let term = self.node.raft().term();
        let hint_index = Index(3);
        let reject = Some(quoin_raft::Rejection { hint_index, hint_term: Term(1) });
        let asked = self.appends.iter().rfind(|(to, ..)| *to == NodeId(3));
        let index = asked.expect("the leader asks where it is").1;
        self.says(3, term, Body::AppendResponse { index, reject });
        self.says(3, term, Body::HeartbeatResponse { context: Bytes::new() });
        let [(to, index)] = self.states[..] else { panic!("{:?}", self.states) };
        assert_eq!(to, NodeId(3));
        index
    }
}

/// A member that was down for a few seconds was sent two or three states, one after the other: the
/// log that follows a state was kept until the state had been sent, and trimmed while it was
/// installed, so the member was behind the log again when it asked for what follows.
#[test]
fn what_follows_a_state_that_was_sent_is_kept_until_it_is_taken() {
    let mut world = World::new(3);
    let index = world.third_needs_the_state();
    world.write(3 * CATCHUP);
    world.node.report_snapshot(NodeId(3), true);
    // It installs the state.
    world.write(3 * CATCHUP);
    world.appends.clear();
    world.holds(3, index);
    assert_eq!(world.states.len(), 1, "it needs no other state");
    let sent = world.appends.iter().filter(|(to, ..)| *to == NodeId(3));
    let sent: Vec<_> = sent.map(|(_, after, count)| (*after, *count)).collect();
    let missing = world.node.raft().last_entry().index - index;
    assert_eq!(sent, [(index, usize::try_from(missing).expect("it is short"))]);
    // It has caught up, and is no reason to keep more than for others.
    world.holds(3, world.node.raft().last_entry().index);
    world.tick();
    world.write(1);
    assert_eq!(world.kept(), CATCHUP);
}

/// A receiver that never says anything must not have the log kept for ever.
#[test]
fn a_receiver_that_is_silent_is_given_up() {
    let mut world = World::new(3);
    let index = world.third_needs_the_state();
    world.node.report_snapshot(NodeId(3), true);
    world.write(3 * CATCHUP);
    assert_eq!(world.kept(), world.node.status().applied.0 - index.0);
    for _ in 0..=HELD_MS.div_ceil(crate::tests::options().tick_ms) {
        world.tick();
    }
    world.write(1);
    assert_eq!(world.kept(), CATCHUP);
}

/// 100 entries more than the setting said stayed in memory.
#[test]
fn as_many_entries_are_kept_as_the_setting_says() {
    let mut world = World::new(3);
    world.write(30 * CATCHUP);
    assert_eq!(world.kept(), CATCHUP);
}

/// A cluster of one kept 5,000 entries of any size, 316 MB in a store that was idle, for followers that
/// it did not have.
#[test]
fn a_member_that_is_alone_keeps_nothing() {
    let mut world = World::new(1);
    world.write(3 * CATCHUP);
    assert_eq!(world.kept(), 0);
}
