//! What becomes of the entries of a log in a copy.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, Request};
use quoin_api::raftpb::{ConfChange, ConfChangeType};
use quoin_raft::{ConfState, Entry, EntryKind, NodeId};

use super::members::NewCluster;
use crate::log;

/// Leaves out of the log what the new cluster must not learn: changes of members, what members said of
/// themselves, and without `with_v3` all of the v3 API. What is left out becomes an entry that does
/// nothing. Says so as etcd does.
///
/// If the copy has no snapshot, nothing says who the members are; then the first change of members
/// becomes the addition of the new one.
pub(super) fn translate(
    entries: &mut [Entry],
    has_snapshot: bool,
    with_v3: bool,
    cluster: &NewCluster,
) -> Result<(), String> {
    let mut is_member_missing = !has_snapshot;
    for entry in entries {
        let ignored = match entry.kind {
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => {
                Some("ignoring EntryConfChange raft entry".to_owned())
            }
            EntryKind::Normal => ignored(&entry.data, with_v3)
                .map_err(|error| format!("entry {} is not readable: {error}", entry.index))?,
        };
        let Some(message) = ignored else { continue };
        log::plain(&message);
        if entry.kind != EntryKind::Normal && is_member_missing {
            is_member_missing = false;
            (entry.kind, entry.data) = (EntryKind::ConfChange, cluster.addition());
        } else {
            (entry.kind, entry.data) = (EntryKind::Normal, Bytes::new());
        }
    }
    Ok(())
}

/// Why an entry is left out, if it is.
fn ignored(data: &Bytes, with_v3: bool) -> Result<Option<String>, prost::DecodeError> {
    let (request, envelope) = match InternalRaftRequest::decode(data.clone()) {
        Ok(mut envelope) => (envelope.v2.take(), Some(envelope)),
        // What is no envelope is a request of the v2 API.
        Err(_) => (Some(Request::decode(data.clone())?), None),
    };
    if let Some(request) = request {
        let path = String::from_utf8_lossy(&request.path);
        let is_ignored = request.method == "PUT" && is_attributes(&path);
        return Ok(is_ignored.then(|| format!("ignoring member attribute update on {path}")));
    }
    let Some(envelope) = envelope else { return Ok(None) };
    if envelope.cluster_member_attr_set.is_some() {
        return Ok(Some("ignoring cluster_member_attr_set".to_owned()));
    }
    // An entry without a header is none of a client.
    let is_ignored = !with_v3 && envelope.header.is_some();
    Ok(is_ignored.then(|| "ignoring v3 raft entry".to_owned()))
}

/// Whether a path is that of what a member says of itself.
fn is_attributes(path: &str) -> bool {
    let id = path.strip_prefix("/0/members/").and_then(|rest| rest.strip_suffix("/attributes"));
    id.is_some_and(|id| {
        (1..=16).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Whether a member was the only voter after these entries: then all that is in its log is committed,
/// whether or not it has written so.
pub(super) fn is_alone(
    node: NodeId,
    conf: &ConfState,
    entries: &[Entry],
) -> Result<bool, prost::DecodeError> {
    let mut voters: BTreeSet<u64> = conf.voters.iter().map(|id| id.0).collect();
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::ConfChange) {
        let change = ConfChange::decode(entry.data.clone())?;
        match change.r#type() {
            ConfChangeType::ConfChangeAddNode => voters.insert(change.node_id),
            ConfChangeType::ConfChangeRemoveNode | ConfChangeType::ConfChangeAddLearnerNode => {
                voters.remove(&change.node_id)
            }
            ConfChangeType::ConfChangeUpdateNode => false,
        };
    }
    Ok(voters.len() == 1 && voters.contains(&node.0))
}
