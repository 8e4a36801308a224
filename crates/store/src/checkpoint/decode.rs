//! From a checkpoint back to a store.

use std::path::Path;

use bytes::Bytes;
use quoin_api::etcdserverpb::AlarmMember;
use quoin_vfs::FileSystem;

use super::blocks::Content;
use super::{
    CheckpointError, ConfState, DELETE, END, INDEX, INDEX_BEFORE_V2, LEASE, Loaded, MAGIC, PUT,
    WHOLE, WHOLE_BEFORE_V2, decode_rows, v2,
};
use crate::alarm::Alarms;
use crate::cluster::Cluster;
use crate::history::History;
use crate::index::{Change, Index, KeyState};
use crate::kv::{FIRST_REVISION, Kv, NEVER_COMPACTED};
use crate::lease::Leases;
use crate::membership::{ClusterVersion, Downgrade, Member, Membership};
use crate::record;
use crate::revision::Revision;
use crate::store::Store;
use crate::tree::{Builder, Entry};

/// Reads a file. It is refused as a whole if any part of it is wrong.
pub(super) fn load(fs: &dyn FileSystem, path: &Path) -> Result<Loaded, CheckpointError> {
    let mut content = Content::open(fs, path)?;
    if content.array()? != *MAGIC {
        return Err(content.damaged("not a checkpoint"));
    }
    let version = content.u32()?;
    if ![WHOLE, INDEX, WHOLE_BEFORE_V2, INDEX_BEFORE_V2].contains(&version) {
        return Err(CheckpointError::Version { path: content.path().to_owned(), version });
    }
    let (index, term) = (content.u64()?, content.u64()?);
    let conf =
        ConfState { voters: content.list(Content::u64)?, learners: content.list(Content::u64)? };
    let (revision, compacted) = (content.i64()?, content.i64()?);
    if revision < FIRST_REVISION || !(NEVER_COMPACTED..=revision).contains(&compacted) {
        return Err(content.damaged("revisions that cannot be"));
    }
    let membership = membership(&mut content)?;
    let mut alarms = Alarms::default();
    for alarm in content.list(alarm)? {
        alarms.raise(alarm);
    }
    let mut leases = leases(&mut content)?;
    let cluster = if version == WHOLE || version == INDEX {
        Cluster::of_both(membership, v2::read(&mut content)?)
    } else {
        Cluster::of_members(membership)
    };
    let (index_of_keys, history) = if version == INDEX || version == INDEX_BEFORE_V2 {
        let dir = path.parent().unwrap_or(Path::new(""));
        decode_rows::read(fs, dir, &mut content, revision, &mut leases)?
    } else {
        let (history, rows) = records(&mut content, revision)?;
        (build_index(rows, &mut leases), history)
    };
    content.finish()?;
    let kv = Kv::restored(index_of_keys, history, revision, compacted);
    let store = Store::restored(kv, leases, alarms, cluster, (index, term));
    Ok(Loaded { store, index, term, conf })
}

fn membership(content: &mut Content) -> Result<Membership, CheckpointError> {
    let mut membership = Membership::default();
    for member in content.list(member)? {
        membership.members.insert(member.id, member);
    }
    membership.removed = content.list(Content::u64)?.into_iter().collect();
    if content.bool()? {
        let (major, minor, patch) = (content.u64()?, content.u64()?, content.u64()?);
        membership.version = Some(ClusterVersion { major, minor, patch });
    }
    if content.bool()? {
        membership.downgrade = Downgrade { target_version: Some(content.text()?) };
    }
    Ok(membership)
}

fn member(content: &mut Content) -> Result<Member, CheckpointError> {
    Ok(Member {
        id: content.u64()?,
        is_learner: content.bool()?,
        name: content.text()?,
        peer_urls: content.list(Content::text)?,
        client_urls: content.list(Content::text)?,
    })
}

fn alarm(content: &mut Content) -> Result<AlarmMember, CheckpointError> {
    Ok(AlarmMember { alarm: content.i32()?, member_id: content.u64()? })
}

fn leases(content: &mut Content) -> Result<Leases, CheckpointError> {
    let mut leases = Leases::default();
    loop {
        match content.u8()? {
            END => return Ok(leases),
            LEASE => leases.restore(content.i64()?, content.i64()?, content.i64()?),
            _ => return Err(content.damaged("neither a lease nor the end of leases")),
        }
    }
}

/// What the index must know of a record.
struct Row {
    key: Bytes,
    change: Change,
    created: i64,
    version: i64,
    lease: i64,
}

fn records(content: &mut Content, newest: i64) -> Result<(History, Vec<Row>), CheckpointError> {
    let mut history = History::default();
    let mut rows = Vec::new();
    let mut last = Revision::default();
    loop {
        let tombstone = match content.u8()? {
            END => return Ok((history, rows)),
            PUT => false,
            DELETE => true,
            _ => return Err(content.damaged("neither a record nor the end of records")),
        };
        let revision = Revision { main: content.i64()?, sub: content.u32()? };
        if revision <= last || revision.main > newest {
            return Err(content.damaged("a record out of order"));
        }
        last = revision;
        let bytes = content.bytes()?;
        let Some(pair) = record::decode(&bytes) else {
            return Err(content.damaged("a record that is not canonical"));
        };
        if !record::is_of(&bytes, &pair, revision.main, tombstone) {
            return Err(content.damaged("a record of another revision"));
        }
        let (created, version, lease) = (pair.create_revision, pair.version, pair.lease);
        let change = Change { revision, tombstone };
        rows.push(Row { key: pair.key, change, created, version, lease });
        history.append(revision, tombstone, bytes);
    }
}

/// Builds the index from the records in the order of the history.
fn build_index(mut rows: Vec<Row>, leases: &mut Leases) -> Index {
    rows.sort_by(|left, right| left.key.cmp(&right.key));
    let mut builder = Builder::new();
    for changes in rows.chunk_by(|left, right| left.key == right.key) {
        let mut state = KeyState::default();
        for Row { change, created, version, lease, .. } in changes {
            state.restore(*change, *created, *version, *lease);
        }
        let key = &changes[0].key;
        if state.is_live() && state.latest.lease != 0 {
            leases.attach(state.latest.lease, key);
        }
        builder.push(key.to_vec(), state);
    }
    builder.finish()
}
