//! Entries of the log, and apply.

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::raftpb::ConfChange;
use quoin_store::{Applied, EntryData, Fatal, LeaseChange, Reply, Store};

use crate::checkpoint::received;
use crate::input::Input;
use crate::state::State;

/// After how many entries one of the two members starts again from a checkpoint.
const ENTRIES_PER_RESTART: u64 = 8;
/// Records that are looked at in one step of collecting garbage.
const COLLECT_STEP: usize = 64;

/// Applies bytes as entries on two members, of which one collects garbage at once and starts
/// again from a checkpoint now and then. They give the same answers, stop at the same entry for
/// the same reason, and have the same state in the end.
///
/// An entry is a byte, a length and so many bytes; every fourth value of the byte makes it a change
/// of members.
pub fn apply(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut steady, mut restless) = (Store::new(), Store::new());
    while !input.is_empty() {
        let (kind, entry) = (input.u8(), Bytes::copy_from_slice(input.bytes()));
        let one = apply_next(&mut steady, kind, &entry);
        let other = apply_next(&mut restless, kind, &entry);
        assert_eq!(one, other);
        let (one, other) = (steady.take_compaction(), restless.take_compaction());
        let hash = |compaction: Option<quoin_store::CompactionHash>| {
            compaction.map(|compaction| compaction.compute().expect("it is in memory"))
        };
        assert_eq!(hash(one), hash(other));
        while restless.collect(COLLECT_STEP) {}
        if restless.applied().0 % ENTRIES_PER_RESTART == 0 {
            restless = restarted(&mut restless);
        }
    }
    let (one, other) = (steady.view(), restless.view());
    assert_eq!(State::of(&one).expect("in memory"), State::of(&other).expect("in memory"));
}

/// What an entry did, with its reply made.
#[derive(Debug, PartialEq)]
struct Did {
    /// What a member waits for is part of the answer.
    request_id: u64,
    reply: Result<Reply, Error>,
    conf_change: Option<ConfChange>,
    lease_change: Option<LeaseChange>,
}

/// Applies an entry as the next one.
fn apply_next(store: &mut Store, kind: u8, entry: &Bytes) -> Result<Did, Fatal> {
    let index = store.applied().0 + 1;
    let data = match kind % 4 {
        3 => EntryData::ConfChange(entry),
        _ => EntryData::Normal(entry),
    };
    let applied = store.apply_for(index, 1, data, |_| true)?;
    let reply = applied.reply();
    let Applied { request_id, conf_change, lease_change, .. } = applied;
    Ok(Did { request_id, reply, conf_change, lease_change })
}

fn restarted(store: &mut Store) -> Store {
    let conf = store.view().conf();
    let pieces = store.checkpoint(conf).stream();
    let sent: Vec<Bytes> = pieces.map(|piece| piece.expect("it is in memory")).collect();
    received(&sent.concat()).store
}
