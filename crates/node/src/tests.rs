//! Tests of the small rooms: request IDs, waiters, reads, the raftpb mapping, what ends a member.
//! Whole members are tested by the simulator.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::InternalRaftRequest;
use quoin_api::membershippb::ClusterVersionSetRequest;
use quoin_api::raftpb;
use quoin_raft::{
    Body, ConfState, Entry, EntryKind, Index, Message, NodeId, Rejection, Role, Snapshot,
    SnapshotMeta, StepError, Term,
};

use crate::{DataDir, Event, Node, Options, RequestIds};
use quoin_store::{EntryData, Member, Store};
use quoin_vfs::{CrashMode, Fault, FaultFs, FileSystem, MemFs};
use quoin_wal::{Metadata, Wal};

use crate::reads::Reads;
use crate::recover::{Bootstrap, RecoverError, Recovered, recover};
use crate::waiters::Waiters;
use crate::wire::{self, WireError};

#[test]
fn request_ids_carry_the_member_and_grow() {
    let ids = RequestIds::new(NodeId(0x1234_5678_9abc_def0), 0x01_0203_0405);
    let (first, second) = (ids.next(), ids.next());
    assert_eq!(first, 0xdef0_0102_0304_0501);
    assert_eq!(second, first + 1);
}

#[test]
fn request_ids_keep_the_member_when_the_suffix_wraps() {
    let ids = RequestIds::new(NodeId(7), u64::MAX);
    for _ in 0..300 {
        assert_eq!(ids.next() >> 48, 7);
    }
}

#[test]
fn waiters_expire_in_order_of_their_deadlines() {
    let mut waiters = Waiters::new();
    assert!(waiters.insert(1, 10, "a").is_none());
    assert!(waiters.insert(2, 20, "b").is_none());
    assert_eq!(waiters.take_expired(9), None);
    assert_eq!(waiters.take_expired(10), Some((1, "a")));
    assert_eq!(waiters.take_expired(10), None);
    assert_eq!(waiters.take(2), Some("b"));
    assert_eq!(waiters.len(), 0);
}

#[test]
fn a_second_waiter_with_the_same_id_returns_the_first() {
    let mut waiters = Waiters::new();
    assert!(waiters.insert(1, 10, "a").is_none());
    assert_eq!(waiters.insert(1, 10, "b"), Some("a"));
    assert_eq!(waiters.drain().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_read_joins_only_a_round_that_begins_after_it() {
    let mut reads = Reads::new(100);
    reads.push(50, "early");
    let first = reads.start_round(5).expect("a read waits");
    reads.push(50, "late");
    reads.confirm(&first, Index(3));
    assert_eq!(reads.take_ready(Index(2)), Vec::<&str>::new());
    assert_eq!(reads.take_ready(Index(3)), ["early"]);
    let second = reads.start_round(5).expect("the late read waits");
    assert_ne!(first, second);
    reads.confirm(&second, Index(3));
    assert_eq!(reads.take_ready(Index(3)), ["late"]);
}

/// etcd answered stale reads after a pause (issue 20418): a retried read index reused its ID, and
/// an old heartbeat's acknowledgement satisfied the retry.
#[test]
fn a_late_confirmation_does_not_satisfy_a_retry() {
    let mut reads = Reads::new(100);
    reads.push(50, "read");
    let first = reads.start_round(5).expect("a read waits");
    let retry = reads.retry_rounds(5, 10).expect("the round is late");
    reads.confirm(&first, Index(1));
    assert_eq!(reads.take_ready(Index(9)), Vec::<&str>::new());
    reads.confirm(&retry, Index(2));
    assert_eq!(reads.take_ready(Index(9)), ["read"]);
}

#[test]
fn reads_expire_wherever_they_are() {
    let mut reads = Reads::new(0);
    reads.push(10, "confirmed");
    let context = reads.start_round(5).expect("a read waits");
    reads.confirm(&context, Index(9));
    reads.push(10, "in a round");
    reads.start_round(5).expect("a read waits");
    reads.push(10, "arrived");
    reads.push(11, "later");
    let mut expired = reads.take_expired(10);
    expired.sort_unstable();
    assert_eq!(expired, ["arrived", "confirmed", "in a round"]);
    assert_eq!(reads.len(), 1);
}

#[test]
fn a_round_with_a_foreign_context_is_ignored() {
    let mut reads = Reads::new(7);
    reads.push(10, "read");
    reads.start_round(5).expect("a read waits");
    reads.confirm(b"short", Index(1));
    reads.confirm(&8_u64.to_be_bytes(), Index(1));
    assert_eq!(reads.take_ready(Index(9)), Vec::<&str>::new());
}

fn bodies() -> Vec<Body> {
    let context = Bytes::from_static(b"12345678");
    let entry = Entry {
        kind: EntryKind::ConfChange,
        term: Term(2),
        index: Index(8),
        data: context.clone(),
    };
    let meta = SnapshotMeta {
        index: Index(9),
        term: Term(3),
        conf: ConfState { voters: vec![NodeId(1), NodeId(2)], learners: vec![NodeId(3)] },
    };
    let rejection = Rejection { hint_index: Index(4), hint_term: Term(1) };
    vec![
        Body::Append {
            prev_index: Index(7),
            prev_term: Term(2),
            entries: vec![entry],
            commit: Index(6),
        },
        Body::AppendResponse { index: Index(8), reject: None },
        Body::AppendResponse { index: Index(7), reject: Some(rejection) },
        Body::Heartbeat { commit: Index(6), context: context.clone() },
        Body::HeartbeatResponse { context: context.clone() },
        Body::Vote { last_index: Index(8), last_term: Term(2), transfer: true },
        Body::Vote { last_index: Index(8), last_term: Term(2), transfer: false },
        Body::VoteResponse { reject: true },
        Body::PreVote { last_index: Index(8), last_term: Term(2) },
        Body::PreVoteResponse { reject: false },
        Body::Snapshot(Snapshot { meta, data: context.clone() }),
        Body::Propose { entries: vec![(EntryKind::Normal, context.clone())] },
        Body::TimeoutNow,
        Body::ReadIndex { context: context.clone() },
        Body::ReadIndexResponse { index: Index(8), context },
    ]
}

#[test]
fn every_message_survives_raftpb() {
    for body in bodies() {
        let message = Message { to: NodeId(1), from: NodeId(2), term: Term(3), body };
        assert_eq!(wire::decode(wire::encode(message.clone())), Ok(message));
    }
}

#[test]
fn a_transfer_names_its_target_as_the_sender() {
    let body = Body::TransferLeader { transferee: NodeId(5) };
    let message = Message { to: NodeId(1), from: NodeId(2), term: Term(0), body: body.clone() };
    let wire = wire::encode(message);
    assert_eq!(wire.from, 5);
    assert_eq!(wire::decode(wire).map(|message| message.body), Ok(body));
}

/// Members of etcd 3.5 put an empty snapshot into every message.
#[test]
fn an_empty_snapshot_outside_a_snapshot_message_is_none() {
    let empty = raftpb::Snapshot {
        metadata: Some(raftpb::SnapshotMetadata::default()),
        ..raftpb::Snapshot::default()
    };
    let mut wire = raftpb::Message { snapshot: Some(empty), ..raftpb::Message::default() };
    wire.set_type(raftpb::MessageType::MsgHeartbeat);
    let body = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
    assert_eq!(wire::decode(wire).map(|message| message.body), Ok(body));
}

#[test]
fn what_no_peer_sends_is_refused() {
    let mut wire = raftpb::Message::default();
    assert_eq!(wire::decode(wire.clone()), Err(WireError::Type(0)));
    wire.r#type = 99;
    assert_eq!(wire::decode(wire.clone()), Err(WireError::Type(99)));
    wire.set_type(raftpb::MessageType::MsgSnap);
    assert_eq!(wire::decode(wire.clone()), Err(WireError::NoSnapshot));
    wire.set_type(raftpb::MessageType::MsgApp);
    wire.entries = vec![raftpb::Entry { r#type: 3, ..raftpb::Entry::default() }];
    assert_eq!(wire::decode(wire), Err(WireError::EntryType(3)));
}

/// A member that is both voter and learner cannot be; taken on, it made the installed snapshot
/// differ from the one that arrived.
#[test]
fn a_membership_that_contradicts_itself_is_refused() {
    let conf_state =
        raftpb::ConfState { voters: vec![1, 2], learners: vec![2], ..raftpb::ConfState::default() };
    let metadata = raftpb::SnapshotMetadata { conf_state: Some(conf_state), index: 1, term: 1 };
    let snapshot = raftpb::Snapshot { metadata: Some(metadata), data: Bytes::new() };
    let mut wire = raftpb::Message { snapshot: Some(snapshot), ..raftpb::Message::default() };
    wire.set_type(raftpb::MessageType::MsgSnap);
    assert_eq!(wire::decode(wire), Err(WireError::JointConfiguration));
}

/// Starts a member of two in a directory.
fn start(fs: &Arc<dyn FileSystem>, dir: &DataDir) -> Result<Recovered<u32>, RecoverError> {
    let member = |id| Member { id, peer_urls: vec![format!("http://m{id}")], ..Member::default() };
    let metadata = Metadata { node: NodeId(1), cluster: 9 };
    let bootstrap = Bootstrap { metadata, members: vec![member(1), member(2)] };
    recover(fs, dir, &quoin_wal::Options::default(), options(), &bootstrap)
}

/// A follower of two, fresh from its bootstrap: entries 1 and 2 of term 1 name the members.
fn follower() -> (Node<u32>, Wal) {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let recovered = start(&fs, &DataDir::new(Path::new("/data")));
    let recovered = recovered.expect("an empty directory can be bootstrapped");
    (recovered.node, recovered.wal)
}

/// A member whose log was on a disk that was not mounted, or whose `--wal-dir` was forgotten, began
/// anew: what it had acknowledged was gone, and it could vote a second time in the same term.
#[test]
fn a_member_without_its_log_does_not_begin_anew() {
    let dir = DataDir::new(Path::new("/data"));
    let elsewhere = dir.clone().with_wal(Path::new("/wal"));
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    drop(start(&fs, &elsewhere).expect("it begins with its log elsewhere"));
    // There is no checkpoint yet.
    let Err(refused) = start(&fs, &dir) else { panic!("it began anew") };
    assert!(matches!(&refused, RecoverError::NoLog { .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("/data/member/store") && text.contains("/data/member/wal"), "{text}");
    assert!(!Wal::exists(fs.as_ref(), &dir.wal()).expect("memory reads"), "nothing was begun");
    drop(start(&fs, &elsewhere).expect("with its log it goes on"));

    // A directory of a build that left no mark, with a checkpoint.
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    fs.create_dir_all(&dir.store()).expect("memory takes directories");
    let mut store = Store::new();
    let empty = Bytes::new();
    store.apply(1, 1, EntryData::Normal(&empty)).expect("an empty entry");
    let checkpoint = store.checkpoint(quoin_store::ConfState::default());
    checkpoint.write(fs.as_ref(), &dir.store()).expect("memory takes every write");
    assert!(matches!(start(&fs, &dir), Err(RecoverError::NoLog { .. })));
}

/// A start that was cut off before the log was durable is no reason to refuse the next one.
#[test]
fn a_start_that_was_cut_off_begins_again() {
    let dir = DataDir::new(Path::new("/data"));
    for operations in 0..60 {
        let disk = MemFs::new();
        let faulty = FaultFs::new(Arc::new(disk.clone()));
        faulty.fail_after(operations, Fault::Device);
        let cut: Arc<dyn FileSystem> = Arc::new(faulty);
        drop(start(&cut, &dir));
        let after: Arc<dyn FileSystem> = Arc::new(disk.crash(CrashMode::KeepSynced));
        assert!(start(&after, &dir).is_ok(), "after {operations} operations");
    }
}

/// Runs turns, writing the log at once, until nothing moves. Returns the events.
fn settle(node: &mut Node<u32>, wal: &mut Wal) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..20 {
        let turn = node.turn();
        turn.log.append_to(wal).expect("memory takes every write");
        wal.sync().expect("memory takes every sync");
        if let Some(ready) = turn.log.ready {
            node.persisted(ready);
        }
        events.extend(turn.events);
        if turn.idle {
            return events;
        }
    }
    panic!("the node does not come to rest: {events:?}");
}

/// Any host that reached the port of the peers could stop the cluster: a proposal that no member can
/// decode was appended, and every member ended at that entry and at each restart.
#[test]
fn a_proposal_that_cannot_be_applied_is_not_appended() {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let metadata = Metadata { node: NodeId(1), cluster: 9 };
    let member = Member { id: 1, peer_urls: vec!["http://m1".to_owned()], ..Member::default() };
    let bootstrap = Bootstrap { metadata, members: vec![member] };
    let dir = DataDir::new(Path::new("/data"));
    let recovered =
        recover::<u32>(&fs, &dir, &quoin_wal::Options::default(), options(), &bootstrap);
    let Recovered { mut node, mut wal, .. } = recovered.expect("an empty directory");
    settle(&mut node, &mut wal);
    node.campaign();
    settle(&mut node, &mut wal);
    assert!(node.status().is_leader);
    let last = node.raft().last_entry().index;

    let version = |ver: &str| {
        let ver = ver.to_owned();
        let cluster_version_set = Some(ClusterVersionSetRequest { ver });
        let request = InternalRaftRequest { cluster_version_set, ..Default::default() };
        Bytes::from(request.encode_to_vec())
    };
    let change = raftpb::ConfChange { r#type: 9, node_id: 5, ..Default::default() };
    let good = (EntryKind::Normal, version("3.7.0"));
    let bad = [
        (EntryKind::Normal, Bytes::from_static(b"\xff\xff")),
        (EntryKind::Normal, version("latest")),
        // A field of some later release.
        (EntryKind::Normal, Bytes::from_static(b"\xc2\xbb\x01\x00")),
        (EntryKind::ConfChange, Bytes::from_static(b"\xff")),
        (EntryKind::ConfChange, Bytes::from(change.encode_to_vec())),
        (EntryKind::ConfChangeV2, Bytes::new()),
    ];
    let propose = |entries| Message {
        from: NodeId(2),
        to: NodeId(1),
        term: Term(0),
        body: Body::Propose { entries },
    };
    node.vouch(NodeId(2));
    for entry in bad {
        // One bad entry refuses those beside it: they are one message.
        let refused = node.step(propose(vec![good.clone(), entry.clone()]));
        assert!(refused.is_err_and(|error| !error.is_fatal()), "{entry:?}");
        assert!(settle(&mut node, &mut wal).is_empty(), "{entry:?}");
        assert_eq!(node.raft().last_entry().index, last, "{entry:?}");
    }
    node.step(propose(vec![good])).expect("it can be applied");
    settle(&mut node, &mut wal);
    assert_eq!(node.raft().last_entry().index, last.next());
}

/// A joint change in the middle of a batch was reported, and then the next entry was applied all
/// the same, which broke the assertion on order: the process aborted before it could say why.
#[test]
fn nothing_is_applied_behind_an_entry_that_cannot_be() {
    let (mut node, mut wal) = follower();
    settle(&mut node, &mut wal);
    assert_eq!(node.status().applied, Index(2));
    let entry =
        |index, kind| Entry { kind, term: Term(2), index: Index(index), ..Entry::default() };
    let body = Body::Append {
        prev_index: Index(2),
        prev_term: Term(1),
        entries: vec![entry(3, EntryKind::ConfChangeV2), entry(4, EntryKind::Normal)],
        commit: Index(4),
    };
    let append = Message { to: NodeId(1), from: NodeId(2), term: Term(2), body };
    node.step(append).expect("a leader may append");
    let events = settle(&mut node, &mut wal);
    let fatal = events.iter().filter(|event| matches!(event, Event::Fatal(_))).count();
    assert_eq!(fatal, 1, "{events:?}");
    assert_eq!(node.status().applied, Index(2));
}

/// Any host that reached the port of the peers was heard by consensus, whatever it called itself: one
/// heartbeat of a later term deposed the leader, and with a commit index beyond the log it ended the
/// process, because so much can only be missing from a log that was damaged.
#[test]
fn a_stranger_is_not_heard() {
    let (mut node, mut wal) = follower();
    settle(&mut node, &mut wal);
    let before = (node.status(), node.raft().last_entry());
    let context = Bytes::new();
    let deadly = Body::Heartbeat { commit: Index(99), context };
    for body in bodies().into_iter().chain([deadly.clone()]) {
        let stranger = Message { to: NodeId(1), from: NodeId(66), term: Term(7), body };
        let heard = if let Body::Snapshot(snapshot) = &stranger.body {
            let index = snapshot.meta.index.0;
            let refused = node.step_snapshot(stranger, Store::new());
            let work = node.turn().log;
            let discarded: Vec<u64> = work.discard.iter().map(|state| state.index).collect();
            assert_eq!((discarded, work.adopt), (vec![index], None));
            refused
        } else {
            node.step(stranger)
        };
        assert_eq!(heard, Err(StepError::UnknownSender(NodeId(66))));
        settle(&mut node, &mut wal);
        assert_eq!((node.status(), node.raft().last_entry()), before);
    }

    // A leader that joined while this member was away is heard when a member lists it.
    let beat = |from, commit| {
        let body = Body::Heartbeat { commit: Index(commit), context: Bytes::new() };
        Message { to: NodeId(1), from: NodeId(from), term: Term(7), body }
    };
    node.vouch(NodeId(66));
    assert_eq!(node.step(beat(66, 0)), Ok(()));
    assert_eq!(node.raft().leader(), NodeId(66));

    // Or when the log says that it is being added, applied or not.
    let change = raftpb::ConfChange {
        r#type: raftpb::ConfChangeType::ConfChangeAddNode.into(),
        node_id: 3,
        ..Default::default()
    };
    assert_eq!(node.step(beat(3, 0)), Err(StepError::UnknownSender(NodeId(3))));
    let entry = Entry {
        kind: EntryKind::ConfChange,
        term: Term(7),
        index: Index(3),
        data: Bytes::from(change.encode_to_vec()),
    };
    let (prev_index, prev_term, entries) = (Index(2), Term(1), vec![entry]);
    let body = Body::Append { prev_index, prev_term, entries, commit: Index(2) };
    let append = Message { to: NodeId(1), from: NodeId(66), term: Term(7), body };
    node.step(append).expect("it is vouched for");
    assert_eq!(node.status().commit, Index(2));
    let vote = Body::Vote { last_index: Index(3), last_term: Term(7), transfer: true };
    let vote = Message { to: NodeId(1), from: NodeId(3), term: Term(8), body: vote };
    assert_eq!(node.step(vote), Ok(()));
    assert_eq!(node.status().term, Term(8));
}

/// The story: three members that were restarted waited a second or two for a leader that could not
/// be there, each as if it had just heard of one.
#[test]
fn an_election_can_be_hastened_until_a_leader_is_heard() {
    let ticks_to_campaign = |hastened: u32| {
        let (mut node, mut wal) = follower();
        settle(&mut node, &mut wal);
        node.hasten_election(hastened);
        let mut ticks = 0;
        while node.raft().role() == Role::Follower {
            node.tick();
            ticks += 1;
            assert!(ticks < 20, "two timeouts and no campaign");
        }
        ticks
    };
    let whole = ticks_to_campaign(0);
    assert!(whole >= 10, "{whole}");
    assert_eq!(ticks_to_campaign(8), whole - 8);
    assert_eq!(ticks_to_campaign(u32::MAX), whole - 10);

    let (mut node, mut wal) = follower();
    settle(&mut node, &mut wal);
    let body = Body::Heartbeat { commit: Index::ZERO, context: Bytes::new() };
    let heartbeat = Message { to: NodeId(1), from: NodeId(2), term: Term(2), body };
    node.step(heartbeat).expect("a leader may say that it is there");
    node.hasten_election(u32::MAX);
    assert_eq!((node.raft().role(), node.raft().leader()), (Role::Follower, NodeId(2)));
}

#[test]
fn a_snapshot_message_without_its_state_is_refused() {
    let (mut node, _wal) = follower();
    let body = Body::Snapshot(Snapshot::default());
    let message = Message { to: NodeId(1), from: NodeId(2), term: Term(2), body };
    assert!(node.step(message).is_err());
}

pub(crate) fn options() -> Options {
    Options {
        id: NodeId(1),
        election_ticks: 10,
        heartbeat_ticks: 1,
        tick_ms: 100,
        lease_checkpoint_ticks: 100,
        lease_checkpoints: true,
        request_timeout_ticks: 70,
        read_retry_ticks: 5,
        snapshot_count: 10_000,
        memory_budget: 0,
        catchup_entries: 5_000,
        max_learners: 1,
        pre_vote: true,
        seed: 1,
        start_ms: 1,
    }
}
