//! Whatever arrives, nothing panics and no promise is broken: any message, well formed or not.

use bytes::Bytes;
use proptest::prelude::*;
use quoin_raft::{
    Body, ConfChange, ConfChangeKind, ConfState, Config, Entry, EntryKind, HardState, Index,
    Message, NodeId, ProposalDropped, Raft, Rejection, Restored, Role, Snapshot, SnapshotMeta,
    StepError, Term,
};

use crate::harness::{Member, conf, config};

/// Small numbers, which make sense together, and the ends of the range, which do not.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..6u64, 1 => Just(u64::MAX), 1 => Just(u64::MAX / 2), 1 => any::<u64>()]
}

fn index() -> impl Strategy<Value = Index> {
    number().prop_map(Index)
}

fn term() -> impl Strategy<Value = Term> {
    number().prop_map(Term)
}

fn node() -> impl Strategy<Value = NodeId> {
    (0..6u64).prop_map(NodeId)
}

fn kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        8 => Just(EntryKind::Normal),
        1 => Just(EntryKind::ConfChange),
        1 => Just(EntryKind::ConfChangeV2),
    ]
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..10).prop_map(Bytes::from)
}

/// Entries, mostly consecutive ones after `prev`.
fn entries(prev: (Index, Term)) -> impl Strategy<Value = Vec<Entry>> {
    let consecutive = prop::collection::vec((0..2u64, bytes()), 0..4).prop_map(move |steps| {
        let (mut index, mut term) = (prev.0.0, prev.1.0);
        let next = |(step, data)| {
            index = index.wrapping_add(1);
            term = term.wrapping_add(step);
            Entry { kind: EntryKind::Normal, term: Term(term), index: Index(index), data }
        };
        steps.into_iter().map(next).collect()
    });
    let any_entry = (kind(), term(), index(), bytes())
        .prop_map(|(kind, term, index, data)| Entry { kind, term, index, data });
    prop_oneof![4 => consecutive, 1 => prop::collection::vec(any_entry, 0..3)]
}

fn append() -> impl Strategy<Value = Body> {
    (index(), term()).prop_flat_map(|(prev_index, prev_term)| {
        (entries((prev_index, prev_term)), index()).prop_map(move |(entries, commit)| {
            Body::Append { prev_index, prev_term, entries, commit }
        })
    })
}

fn append_response() -> impl Strategy<Value = Body> {
    let rejection =
        (index(), term()).prop_map(|(hint_index, hint_term)| Rejection { hint_index, hint_term });
    (index(), prop::option::of(rejection))
        .prop_map(|(index, reject)| Body::AppendResponse { index, reject })
}

fn snapshot() -> impl Strategy<Value = Body> {
    let nodes = || prop::collection::vec(node(), 0..4);
    (index(), term(), nodes(), nodes(), bytes()).prop_map(
        |(index, term, voters, learners, data)| {
            let conf = ConfState { voters, learners };
            Body::Snapshot(Snapshot { meta: SnapshotMeta { index, term, conf }, data })
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    let context =
        || prop_oneof![bytes(), number().prop_map(|it| Bytes::copy_from_slice(&it.to_le_bytes()))];
    prop_oneof![
        4 => append(),
        3 => append_response(),
        1 => (index(), context()).prop_map(|(commit, context)| Body::Heartbeat { commit, context }),
        2 => context().prop_map(|context| Body::HeartbeatResponse { context }),
        1 => (index(), term(), any::<bool>()).prop_map(|(last_index, last_term, transfer)| {
            Body::Vote { last_index, last_term, transfer }
        }),
        2 => any::<bool>().prop_map(|reject| Body::VoteResponse { reject }),
        1 => (index(), term())
            .prop_map(|(last_index, last_term)| Body::PreVote { last_index, last_term }),
        2 => any::<bool>().prop_map(|reject| Body::PreVoteResponse { reject }),
        2 => snapshot(),
        2 => prop::collection::vec((kind(), bytes()), 0..3)
            .prop_map(|entries| Body::Propose { entries }),
        1 => node().prop_map(|transferee| Body::TransferLeader { transferee }),
        1 => Just(Body::TimeoutNow),
        1 => context().prop_map(|context| Body::ReadIndex { context }),
        1 => (index(), context())
            .prop_map(|(index, context)| Body::ReadIndexResponse { index, context }),
    ]
}

#[derive(Clone, Debug)]
enum Input {
    Message(Message),
    Tick,
    Campaign,
    Persist,
}

fn input() -> impl Strategy<Value = Input> {
    let message = (node(), prop_oneof![4 => 0..6u64, 1 => number()], body()).prop_map(
        |(from, term, body)| {
            Input::Message(Message { to: NodeId(1), from, term: Term(term), body })
        },
    );
    prop_oneof![12 => message, 2 => Just(Input::Tick), 1 => Just(Input::Campaign), 4 => Just(Input::Persist)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn nothing_that_arrives_panics(voters in 1..4usize, inputs in prop::collection::vec(input(), 1..40)) {
        let voters: Vec<u64> = (1..=voters as u64).collect();
        let mut member = Member::new(config(1), conf(&voters, &[5]));
        let (mut term, mut commit) = (Term::ZERO, Index::ZERO);
        for input in inputs {
            match input {
                Input::Message(message) => drop(member.raft.step(message)),
                Input::Tick => (0..5).for_each(|_| member.raft.tick()),
                Input::Campaign => member.raft.campaign(),
                Input::Persist => drop(member.persist()),
            }
            // The application is not what is tested: payloads of changes are arbitrary bytes.
            while let Some(ready) = member.raft.ready() {
                if let Some(last) = ready.committed.last() {
                    member.raft.set_applied(last.index);
                }
                member.raft.persisted(ready.number);
            }
            let status = member.raft.status();
            prop_assert!(status.term >= term && status.commit >= commit);
            prop_assert!(status.applied <= status.commit && status.commit <= status.last_index);
            (term, commit) = (status.term, status.commit);
        }
    }
}

fn message(term: u64, body: Body) -> Message {
    Message { to: NodeId(1), from: NodeId(2), term: Term(term), body }
}

fn append_one(prev: (u64, u64), entry: (u64, u64)) -> Body {
    let (index, term) = (Index(entry.0), Term(entry.1));
    let entry = Entry { index, term, ..Entry::default() };
    let (prev_index, prev_term) = (Index(prev.0), Term(prev.1));
    Body::Append { prev_index, prev_term, entries: vec![entry], commit: index }
}

/// A follower whose disk came back without entries that it had acknowledged must not go on, or
/// it would help to elect a leader that lacks them, too.
#[test]
fn a_leader_that_knows_more_of_our_log_than_we_do_is_reported() {
    let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
    let heartbeat = Body::Heartbeat { commit: Index(7), context: Bytes::new() };
    let error = member.raft.step(message(1, heartbeat)).unwrap_err();
    assert_eq!(error, StepError::LogLost { commit: Index(7), last_index: Index(0) });
    assert!(error.is_fatal());
    assert_eq!(member.raft.commit(), Index(0));
}

#[test]
fn a_leader_that_contradicts_a_committed_entry_is_reported() {
    let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
    member.raft.step(message(1, append_one((0, 0), (1, 1)))).unwrap();
    assert_eq!(member.raft.commit(), Index(1));
    let error = member.raft.step(message(2, append_one((1, 2), (2, 2)))).unwrap_err();
    assert_eq!(error, StepError::CommittedConflict { index: Index(1) });
    assert!(error.is_fatal());
}

#[test]
fn responses_from_strangers_are_ignored() {
    let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
    let from_stranger = |body| Message { from: NodeId(9), ..message(5, body) };
    member.raft.step(from_stranger(Body::VoteResponse { reject: true })).unwrap();
    member.raft.step(from_stranger(Body::HeartbeatResponse { context: Bytes::new() })).unwrap();
    assert_eq!(member.raft.term(), Term(0), "not even their term counts");
}

/// Contexts of other implementations may have any length; they are returned as they are.
#[test]
fn heartbeat_contexts_are_returned_byte_for_byte() {
    for context in ["", "x", "12345678", "a longer one than ours"] {
        let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
        let context = Bytes::from_static(context.as_bytes());
        let heartbeat = Body::Heartbeat { commit: Index(0), context: context.clone() };
        member.raft.step(message(1, heartbeat)).unwrap();
        let ready = member.raft.ready().unwrap();
        assert_eq!(ready.messages[0].body, Body::HeartbeatResponse { context });
    }
}

#[test]
fn forwarded_reads_and_proposals_are_dropped_without_a_leader() {
    let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
    let propose = Body::Propose { entries: vec![(EntryKind::Normal, Bytes::new())] };
    let dropped = StepError::ProposalDropped(ProposalDropped::NoLeader);
    assert_eq!(member.raft.step(message(0, propose)), Err(dropped));
    let read = Body::ReadIndex { context: Bytes::new() };
    assert!(matches!(member.raft.step(message(0, read)), Err(StepError::ReadDropped(_))));
}

fn single(config: Config) -> Raft {
    let conf = conf(&[1], &[]);
    let mut raft = Raft::new(config, Restored { conf, ..Restored::default() }).unwrap();
    raft.campaign();
    settle(&mut raft);
    assert_eq!(raft.role(), Role::Leader);
    raft
}

fn settle(raft: &mut Raft) {
    while let Some(ready) = raft.ready() {
        raft.persisted(ready.number);
        if let Some(last) = ready.committed.last() {
            raft.set_applied(last.index);
        }
    }
}

/// The end of an older write says nothing about a vote that was given later.
#[test]
fn a_vote_counts_when_its_own_write_is_durable() {
    let mut member = Member::new(config(1), conf(&[1], &[]));
    let raft = &mut member.raft;
    let heartbeat = Body::Heartbeat { commit: Index(0), context: Bytes::new() };
    raft.step(message(4, heartbeat)).unwrap();
    let older = raft.ready().unwrap();
    raft.campaign();
    let vote = raft.ready().unwrap();
    raft.persisted(older.number);
    assert_eq!(raft.role(), Role::Candidate);
    raft.persisted(vote.number);
    assert_eq!(raft.role(), Role::Leader);
}

/// A change that was handed out before a snapshot came is older than the members that the
/// snapshot names: applied on top of them, it could bring a removed node back. Yet whoever
/// stores the members as of the applied index must get those of that index.
#[test]
fn a_change_that_a_snapshot_has_overtaken_does_not_count() {
    let mut member = Member::new(config(1), conf(&[1, 2, 3], &[]));
    let meta = SnapshotMeta { index: Index(9), term: Term(1), conf: conf(&[1, 2], &[]) };
    let snapshot = Body::Snapshot(Snapshot { meta, data: Bytes::new() });
    member.raft.step(message(1, snapshot)).unwrap();
    let install = member.raft.ready().unwrap();
    let change = ConfChange { kind: ConfChangeKind::AddLearner, node: NodeId(4) };
    assert_eq!(member.raft.apply_conf_change(change), conf(&[1, 2, 3], &[4]));
    assert_eq!(*member.raft.conf(), conf(&[1, 2], &[]));
    member.raft.persisted(install.number);
    assert_eq!(member.raft.status().applied, Index(9));
    assert_eq!(member.raft.apply_conf_change(change), conf(&[1, 2], &[4]));
}

#[test]
fn the_last_voter_cannot_be_removed() {
    let mut raft = single(config(1));
    for kind in [ConfChangeKind::Remove, ConfChangeKind::AddLearner] {
        assert_eq!(raft.apply_conf_change(ConfChange { kind, node: NodeId(1) }), conf(&[1], &[]));
    }
    assert_eq!(raft.role(), Role::Leader);
}

#[test]
fn proposals_beyond_the_bound_are_dropped_until_others_are_committed() {
    let mut raft = single(Config { max_uncommitted_bytes: 10, ..config(1) });
    let payload = |length| vec![Bytes::from(vec![0; length])];
    raft.propose(payload(50)).unwrap();
    assert_eq!(raft.propose(payload(1)), Err(ProposalDropped::Full));
    raft.propose(payload(0)).unwrap();
    settle(&mut raft);
    raft.propose(payload(6)).unwrap();
    raft.propose(payload(4)).unwrap();
    assert_eq!(raft.propose(payload(1)), Err(ProposalDropped::Full));
}

/// A crash may leave a snapshot or entries without the hard state that was to follow them.
#[test]
fn a_hard_state_that_lags_behind_the_log_is_raised() {
    let entry = |index, term| Entry { index: Index(index), term: Term(term), ..Entry::default() };
    let restored = Restored {
        hard_state: HardState { term: Term(1), vote: NodeId(2), commit: Index(1) },
        conf: conf(&[1, 2, 3], &[]),
        first: quoin_raft::EntryId { index: Index(4), term: Term(2) },
        entries: vec![entry(5, 2), entry(6, 3)],
        applied: Index(4),
    };
    let mut raft = Raft::new(config(1), restored).unwrap();
    let raised = HardState { term: Term(3), vote: NodeId::NONE, commit: Index(4) };
    assert_eq!(raft.ready().unwrap().hard_state, Some(raised));
}
