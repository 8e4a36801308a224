//! Equal logs make equal states: what the members' views show after an entry.

use std::collections::BTreeMap;

use quoin_api::etcdserverpb::AlarmType;
use quoin_raft::NodeId;
use quoin_store::{CompactionHash, HashKv, View};

use super::{Checked, Violation, ensure};
use crate::model::Model;

/// The members' hashes are compared at revisions that are multiples of this.
const HASH_EVERY: i64 = 32;

/// What every state looked like when it was seen first.
#[derive(Debug, Default)]
pub(crate) struct States {
    by_index: BTreeMap<u64, Glance>,
    hashes: BTreeMap<(i64, i64), u32>,
    /// The hashes that compactions left behind, by their revision.
    compactions: BTreeMap<i64, HashKv>,
}

/// What can be seen of a state at little cost.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glance {
    revision: i64,
    compacted: i64,
    keys: usize,
    leases: usize,
    members: Vec<u64>,
}

impl States {
    /// A member shows a view after another one of the same life, if there was one.
    pub(crate) fn shown(
        &mut self,
        member: NodeId,
        view: &View,
        before: Option<&View>,
        model: &Model,
    ) -> Checked {
        let (index, _) = view.applied();
        if let Some(before) = before {
            let old = (before.applied().0, before.revision());
            ensure(old.0 <= index && old.1 <= view.revision(), || {
                let new = (index, view.revision());
                format!("{member} goes back from entry and revision {old:?} to {new:?}")
            })?;
        }
        let glance = Glance::of(view);
        let told = before.map_or(1, View::revision);
        check_events(member, view, told, model)?;
        let position = usize::try_from(index).expect("a log fits in memory");
        let moment = model.moment(position);
        let seen = (glance.revision, glance.compacted, glance.leases, glance.keys);
        let keys = model.live_keys(position);
        let expected = (moment.revision, moment.compacted, moment.leases, keys);
        ensure(seen == expected, || {
            format!(
                "{member} has (revision, compacted, leases, keys) {seen:?} after entry {index}, \
                 expected {expected:?}"
            )
        })?;
        check_v2(member, view, position, model)?;
        let known = self.by_index.entry(index).or_insert_with(|| glance.clone());
        ensure(*known == glance, || {
            format!("{member} shows {glance:?} after entry {index}, another life {known:?}")
        })?;
        let due = view.revision() / HASH_EVERY * HASH_EVERY;
        let passed = before.is_none_or(|before| before.revision() < due);
        if passed && due > 0 { self.hashed(member, view, due) } else { Ok(()) }
    }

    /// A member compacted: all members leave the same hash behind.
    pub(crate) fn compacted(&mut self, member: NodeId, hash: &CompactionHash) -> Checked {
        let hash = hash.compute().map_err(|error| error.message().to_owned())?;
        let known = *self.compactions.entry(hash.hash_revision).or_insert(hash);
        ensure(known == hash, || {
            format!("the compaction of {member} left {hash:?}, that of another member {known:?}")
        })
    }

    fn hashed(&mut self, member: NodeId, view: &View, revision: i64) -> Checked {
        if revision < view.compact_revision() {
            return Ok(());
        }
        let hash = view.hash_kv(revision).map_err(|error| error.message().to_owned())?;
        let key = (hash.hash_revision, hash.compact_revision);
        let known = *self.hashes.entry(key).or_insert(hash.hash);
        ensure(known == hash.hash, || {
            format!("{member} hashes {hash:?} where another member hashed {known:x}")
        })
    }
}

impl Glance {
    fn of(view: &View) -> Self {
        Self {
            revision: view.revision(),
            compacted: view.compact_revision(),
            keys: view.keys(),
            leases: view.lease_count(),
            members: view.membership().members().map(|member| member.id).collect(),
        }
    }
}

/// Checks that a view has the tree of the v2 API that an entry leaves behind.
fn check_v2(member: NodeId, view: &View, entry: usize, model: &Model) -> Checked {
    let (index, tree) = model.v2().after(entry);
    let listing = view.v2().get(b"/1", true);
    let nodes = listing.map(|listing| listing.below).unwrap_or_default();
    let same = view.v2().index() == index && nodes.iter().eq(tree.values());
    ensure(same, || {
        let found = view.v2().index();
        format!(
            "{member} has after entry {entry} at the v2 index {found} {nodes:?}, expected at {index} \
             {tree:?}"
        )
    })
}

/// Checks that a view tells of the changes after a revision as a watcher must hear of them: each
/// once, in their order.
fn check_events(member: NodeId, view: &View, after: i64, model: &Model) -> Checked {
    // What compaction has reached may be gone already or not.
    let after = after.max(view.compact_revision());
    let events = view.events_from(after + 1).map_err(|error| error.message().to_owned())?;
    let mut expected = model.changes(after, view.revision());
    for event in events {
        let event = event.map_err(|error| error.message().to_owned())?;
        let told = (event.pair.key.clone(), (!event.is_delete).then(|| event.pair.clone()));
        let due = expected.next();
        ensure(due == Some((event.revision.main, &told)), || {
            format!("{member} tells of {event:?}, expected {due:?}")
        })?;
    }
    let missed = expected.next();
    ensure(missed.is_none(), || format!("{member} does not tell of {missed:?}"))
}

/// Returns all of a state in words, except for the key space, which is hashed.
pub(crate) fn describe(view: &View) -> Result<String, Violation> {
    let hash = view.hash_kv(0).map_err(|error| error.message().to_owned())?;
    let leases: Vec<_> = view
        .leases()
        .map(|lease| {
            (lease.id, lease.ttl_s, lease.remaining_ttl_s, lease.keys().collect::<Vec<_>>())
        })
        .collect();
    let (applied, alarms) = (view.applied(), view.alarms(AlarmType::None));
    let v2 = String::from_utf8(view.v2().to_json()).map_err(|error| error.to_string())?;
    Ok(format!("{applied:?} {hash:?} {leases:?} {alarms:?} {:?} {v2}", view.membership()))
}
