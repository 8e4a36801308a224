//! From the bytes of an entry to the one request in it.
//!
//! Entries of today are an `InternalRaftRequest` with one of its fields set. Requests of the v2 API
//! stand on their own, or inside the other. Members of etcd up to 3.5 publish themselves and the
//! cluster version as such a request.

use bytes::Bytes;
use prost::Message;
use quoin_api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, InternalRaftRequest,
    LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest,
    Request as V2Request, TxnRequest,
};
use quoin_api::membershippb::{
    Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};

use super::Fatal;
use crate::cluster::{CLUSTER_VERSION_PATH, member_of_attributes_path};
use crate::membership::{ClusterVersion, read_attributes};

/// What an entry asks for.
pub(super) enum Request {
    ClusterVersion(ClusterVersionSetRequest),
    MemberAttributes(ClusterMemberAttrSetRequest),
    Downgrade(DowngradeInfoSetRequest),
    Nothing,
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compaction(CompactionRequest),
    LeaseGrant(LeaseGrantRequest),
    LeaseRevoke(LeaseRevokeRequest),
    LeaseCheckpoint(LeaseCheckpointRequest),
    Alarm(AlarmRequest),
    V2(V2Request),
}

/// Why an entry has no request for us.
pub(super) enum Problem {
    Undecodable(String),
    NotUnderstood(String),
}

/// Reads an entry that is not empty: the ID of its request, and the request.
pub(super) fn read(entry: &Bytes) -> Result<(u64, Request), Problem> {
    match InternalRaftRequest::decode(entry.clone()) {
        Ok(envelope) => read_envelope(envelope),
        Err(error) => match V2Request::decode(entry.clone()) {
            Ok(request) => read_v2(request),
            Err(_) => Err(Problem::Undecodable(error.to_string())),
        },
    }
}

/// Reads the request of an entry that is not empty if it changes what the cluster has agreed on:
/// its members, or the store of the v2 API.
pub(super) fn read_of_cluster(entry: &Bytes) -> Result<Option<Request>, Problem> {
    let is_of_cluster = InternalRaftRequest::decode(entry.clone()).map(|envelope| {
        envelope.v2.is_some()
            || envelope.cluster_version_set.is_some()
            || envelope.cluster_member_attr_set.is_some()
            || envelope.downgrade_info_set.is_some()
    });
    // What is no envelope is a request of the v2 API.
    if is_of_cluster.unwrap_or(true) { read(entry).map(|(_, r)| Some(r)) } else { Ok(None) }
}

/// Whether an etcd of this version can apply an entry that is not empty, and may run in the cluster
/// after it.
pub(super) fn is_known_to(entry: &Bytes, version: ClusterVersion) -> bool {
    let since = |minor| version >= ClusterVersion { major: 3, minor, patch: 0 };
    if let Ok(envelope) = InternalRaftRequest::decode(entry.clone()) {
        let about_members = envelope.cluster_version_set.is_some()
            || envelope.cluster_member_attr_set.is_some()
            || envelope.downgrade_info_set.is_some();
        if about_members && !since(5) || envelope.downgrade_version_test.is_some() && !since(6) {
            return false;
        }
    } else if since(7) {
        return false;
    }
    match read(entry) {
        Ok((_, Request::ClusterVersion(request))) => {
            request.ver.parse().is_ok_and(|wanted: ClusterVersion| wanted <= version)
        }
        Ok((_, Request::V2(_))) => !since(6),
        Ok(_) => true,
        Err(_) => false,
    }
}

impl Problem {
    /// The problem as one with the entry at `index`.
    pub(super) fn at(self, index: u64) -> Fatal {
        match self {
            Self::Undecodable(reason) => Fatal::Undecodable { index, reason },
            Self::NotUnderstood(what) => Fatal::NotUnderstood { index, what },
        }
    }
}

/// If several fields are set, the first one in etcd's order counts.
fn read_envelope(envelope: InternalRaftRequest) -> Result<(u64, Request), Problem> {
    if let Some(request) = envelope.v2 {
        return read_v2(request);
    }
    let header_id = envelope.header.as_ref().map_or(0, |header| header.id);
    let id = if envelope.id != 0 { envelope.id } else { header_id };
    let request = if let Some(request) = envelope.cluster_version_set {
        Request::ClusterVersion(request)
    } else if let Some(request) = envelope.cluster_member_attr_set {
        Request::MemberAttributes(request)
    } else if let Some(request) = envelope.downgrade_info_set {
        Request::Downgrade(request)
    } else if envelope.downgrade_version_test.is_some() {
        Request::Nothing
    } else if let Some(request) = envelope.range {
        Request::Range(request)
    } else if let Some(request) = envelope.put {
        Request::Put(request)
    } else if let Some(request) = envelope.delete_range {
        Request::DeleteRange(request)
    } else if let Some(request) = envelope.txn {
        Request::Txn(request)
    } else if let Some(request) = envelope.compaction {
        Request::Compaction(request)
    } else if let Some(request) = envelope.lease_grant {
        Request::LeaseGrant(request)
    } else if let Some(request) = envelope.lease_revoke {
        Request::LeaseRevoke(request)
    } else if let Some(request) = envelope.lease_checkpoint {
        Request::LeaseCheckpoint(request)
    } else if let Some(request) = envelope.alarm {
        Request::Alarm(request)
    } else {
        let what = "it is about users and roles, or newer than this release";
        return Err(Problem::NotUnderstood(what.to_owned()));
    };
    Ok((id, request))
}

/// As in etcd, a condition in the request makes it one of the tree, whatever its path is.
fn read_v2(request: V2Request) -> Result<(u64, Request), Problem> {
    let is_condition =
        request.prev_exist.is_some() || request.prev_index > 0 || !request.prev_value.is_empty();
    if request.method != "PUT" || is_condition {
        return Ok((request.id, Request::V2(request)));
    }
    let path = String::from_utf8_lossy(&request.path);
    let refused = || Problem::NotUnderstood(format!("v2 {} {path}", request.method));
    if path == CLUSTER_VERSION_PATH {
        let ver = String::from_utf8(request.val.to_vec()).map_err(|_| refused())?;
        let version = ClusterVersionSetRequest { ver };
        return Ok((request.id, Request::ClusterVersion(version)));
    }
    let Some(member_id) = member_of_attributes_path(&path) else {
        return Ok((request.id, Request::V2(request)));
    };
    let (name, client_urls) = read_attributes(&request.val).ok_or_else(refused)?;
    let member_attributes = Some(Attributes { name, client_urls });
    let attributes = ClusterMemberAttrSetRequest { member_id, member_attributes };
    Ok((request.id, Request::MemberAttributes(attributes)))
}
