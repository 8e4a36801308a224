//! A member that is sent a state, and is cut off at every operation on its disk.

use std::sync::Arc;

use bytes::Bytes;
use quoin_raft::{Body, ConfState, Index, Message, NodeId, Snapshot, Term};
use quoin_store::{ReceivedDatabase, Store};
use quoin_vfs::{CrashMode, MemFs};

use super::*;
use crate::recover::tests::{
    METADATA, OPTIONS, TERM, check_same, dir, entries, store_at, write_log,
};
use crate::recover::{Bootstrap, Recovered, recover};

/// Index of the member's last entry.
const OWN: u64 = 12;
/// Index of the state that it is sent.
const SENT: u64 = 22;

/// A member with a checkpoint of its own and a log behind it.
fn prepared() -> (MemFs, Store) {
    let fs = MemFs::new();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    shared.create_dir_all(&dir().store()).unwrap();
    dir().store().ancestors().for_each(|path| shared.sync_dir(path).unwrap());
    let own = &entries(Some("3.7.0"), 30)[..usize::try_from(OWN).unwrap()];
    write_log(&shared, own, OWN);
    let conf = quoin_store::ConfState { voters: vec![1, 2], learners: vec![] };
    store_at(own, 8).checkpoint(conf).write(&fs, &dir().store()).unwrap();
    (fs, store_at(own, OWN))
}

/// What another member sends: a state, and the message that announces it.
fn sent(term: Term) -> (Store, Vec<u8>, Message) {
    let mut entries = entries(Some("3.7.0"), 30);
    entries.iter_mut().for_each(|entry| entry.term = term);
    let mut store = store_at(&entries, SENT);
    let conf = quoin_store::ConfState { voters: vec![1, 2], learners: vec![] };
    let export = store.checkpoint(conf).export().unwrap();
    let bytes = export.map(Result::unwrap).collect::<Vec<_>>().concat();
    let voters = vec![NodeId(1), NodeId(2)];
    let conf = ConfState { voters, learners: vec![] };
    let meta = SnapshotMeta { index: Index(SENT), term, conf };
    let body = Body::Snapshot(Snapshot { meta, data: Bytes::new() });
    (store, bytes, Message { from: NodeId(2), to: NodeId(1), term, body })
}

fn start(fs: &MemFs) -> Result<Recovered<u32>, String> {
    let bootstrap = Bootstrap { metadata: METADATA, members: Vec::new() };
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let recovered = recover(&fs, &dir(), &OPTIONS, crate::tests::options(), &bootstrap);
    let mut recovered = recovered.map_err(|error| error.to_string())?;
    while !recovered.node.turn().idle {}
    Ok(recovered)
}

/// Starts the member, sends it a state, and does what it asks for.
fn receive(fs: &MemFs, bytes: &[u8], message: Message) -> Result<(), String> {
    let Recovered { mut node, mut wal, .. } = start(fs)?;
    let text = |error: &dyn ToString| error.to_string();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let received = ReceivedDatabase::begin(shared, &dir().store());
    let mut received = received.map_err(|error| text(&error))?;
    received.push(bytes).map_err(|error| text(&error))?;
    let Body::Snapshot(snapshot) = &message.body else { panic!("it announces a state") };
    let announced = crate::wire::announced(snapshot);
    let loaded = received.finish(&announced).map_err(|error| text(&error))?;
    // What is wrong with the message is no reason to stop.
    node.step_snapshot(message, loaded.store).ok();
    loop {
        let turn = node.turn();
        turn.log.append_to(&mut wal).map_err(|error| text(&error))?;
        wal.sync().map_err(|error| text(&error))?;
        turn.log.settle(fs, &dir().store()).map_err(|error| text(&error))?;
        if let Some(ready) = turn.log.ready {
            node.persisted(ready);
        }
        if turn.idle {
            return Ok(());
        }
    }
}

fn modes(seed: u64) -> [CrashMode; 4] {
    let subset = |add| CrashMode::Subset { seed: 2 * seed + add };
    [CrashMode::KeepSynced, CrashMode::KeepAll, subset(0), subset(1)]
}

/// `POST /raft/snapshot` with a term that was over, from a member that did not exist, was answered
/// 204. Consensus refused the state, but it lay in the directory as the newest checkpoint, and the
/// member's own was gone: after a restart the member had the stranger's data and none of its own.
#[test]
fn a_state_that_consensus_refuses_is_never_started_from() {
    let (_, bytes, stale) = sent(Term(TERM.0 - 1));
    // Nor may one whose message makes no sense.
    let (_, malformed_bytes, malformed) = sent(TERM);
    check_refused(&malformed_bytes, &Message { term: stale.term, ..malformed });
    check_refused(&bytes, &stale);
}

fn check_refused(bytes: &[u8], message: &Message) {
    for stop in 0.. {
        let (fs, own) = prepared();
        fs.stop_after(fs.ops() + stop);
        let outcome = receive(&fs, bytes, message.clone());
        assert!(outcome.is_ok() || fs.stopped(), "{outcome:?}");
        let done = outcome.is_ok();
        for mode in modes(stop) {
            let after = fs.crash(mode);
            let found = start(&after).unwrap_or_else(|error| panic!("{stop} {mode:?}: {error}"));
            check_same(&found.node.store().view(), &own.view());
            assert_eq!(found.received.adopted, None);
            assert_eq!(found.node.raft().last_entry().index, Index(OWN), "{stop} {mode:?}");
            let left = ReceivedId::list(&after, &dir().store()).unwrap();
            assert_eq!(left, [], "{stop} {mode:?}: it takes up no space for ever");
        }
        if done {
            assert!(stop > 20, "it takes {stop} operations");
            return;
        }
    }
}

/// A state that consensus takes is there after every crash or not at all, with the log to match.
#[test]
fn a_state_that_consensus_takes_is_whole_or_not_there() {
    let (expected, bytes, message) = sent(TERM);
    let (mut finished, mut removed) = (0, 0);
    for stop in 0.. {
        let (fs, own) = prepared();
        fs.stop_after(fs.ops() + stop);
        let outcome = receive(&fs, &bytes, message.clone());
        assert!(outcome.is_ok() || fs.stopped(), "{outcome:?}");
        let done = outcome.is_ok();
        for mode in modes(stop) {
            let what = format!("{stop} {mode:?}");
            let after = fs.crash(mode);
            let exported = crate::recover::newest_state(
                &(Arc::new(after.clone()) as Arc<dyn FileSystem>),
                &dir(),
            );
            let found = start(&after).unwrap_or_else(|error| panic!("{what}: {error}"));
            let is_new = found.node.store().applied().0 == SENT;
            assert!(is_new || !done, "{what}");
            let expected = if is_new { expected.view() } else { own.view() };
            check_same(&found.node.store().view(), &expected);
            let last = if is_new { SENT } else { OWN };
            assert_eq!(found.node.raft().last_entry().index, Index(last), "{what}");
            finished += u32::from(found.received.adopted.is_some());
            removed += found.received.discarded.len();
            // Whoever only reads the directory finds the same.
            let (state, _) = exported.unwrap().expect("there is a checkpoint");
            assert_eq!(state.applied().0 == SENT, is_new, "{what}");
        }
        if done {
            assert!(stop > 20 && finished > 0 && removed > 0, "{stop} {finished} {removed}");
            return;
        }
    }
}

/// The member wrote a checkpoint of the same entry by itself. The log names that entry, but not the
/// state of a stranger that claims to be of it.
#[test]
fn an_own_checkpoint_is_not_replaced_by_a_state_of_the_same_name() {
    let (fs, own) = prepared();
    {
        let Recovered { node, mut wal, .. } = start(&fs).unwrap();
        let conf = quoin_store::ConfState { voters: vec![1, 2], learners: vec![] };
        let mut store = store_at(&entries(Some("3.7.0"), 30), OWN);
        store.checkpoint(conf).write(&fs, &dir().store()).unwrap();
        let conf = node.raft().conf().clone();
        let meta = SnapshotMeta { index: Index(OWN), term: TERM, conf };
        wal.append_snapshot(&meta).unwrap();
        wal.sync().unwrap();
    }
    // A stranger's state of that entry, as a crash leaves it before it is refused.
    let mut foreign = Store::new();
    for entry in entries(None, 30).iter().take(usize::try_from(OWN).unwrap()) {
        let data = crate::recover::data_of(entry).unwrap();
        foreign.apply(entry.index.0, entry.term.0, data).unwrap();
    }
    let conf = quoin_store::ConfState::default();
    let bytes = foreign.checkpoint(conf).export().unwrap();
    let bytes = bytes.map(Result::unwrap).collect::<Vec<_>>().concat();
    let shared: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let mut received = ReceivedDatabase::begin(shared, &dir().store()).unwrap();
    received.push(&bytes).unwrap();
    let announced = quoin_store::Announced { index: OWN, term: TERM.0, ..Default::default() };
    received.finish(&announced).unwrap();
    let found = start(&fs).unwrap();
    assert_eq!(found.received.discarded.len(), 1);
    check_same(&found.node.store().view(), &own.view());
}
