//! The one member of the cluster that begins with a copy.
//!
//! etcd's `--force-new-cluster` keeps a member that has the ID of the log and removes all others. So the
//! copy has this one from the beginning, with the URL that etcd would give it.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb;
use quoin_raft::NodeId;
use quoin_store::{ConfState, Member};
use quoin_wal::Metadata;

/// Where etcd says that such a member is, until its operator says better.
const PEER_URL: &str = "http://localhost:2380";

/// Who the new member is, and of which cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewCluster {
    pub(super) node: u64,
    pub(super) cluster: u64,
}

impl NewCluster {
    /// IDs that nobody else has.
    pub(super) fn random() -> Self {
        // Zero means nobody.
        let number = || RandomState::new().build_hasher().finish().max(1);
        Self { node: number(), cluster: number() }
    }

    pub(super) fn metadata(&self) -> Metadata {
        Metadata { node: NodeId(self.node), cluster: self.cluster }
    }

    pub(super) fn member(&self) -> Member {
        Member { id: self.node, peer_urls: vec![PEER_URL.to_owned()], ..Member::default() }
    }

    pub(super) fn conf(&self) -> ConfState {
        ConfState { voters: vec![self.node], learners: Vec::new() }
    }

    /// The payload of the entry that adds the member.
    pub(super) fn addition(&self) -> Bytes {
        let change = raftpb::ConfChange {
            r#type: raftpb::ConfChangeType::ConfChangeAddNode.into(),
            node_id: self.node,
            context: Bytes::from(self.member().to_json(None)),
            id: 0,
        };
        Bytes::from(change.encode_to_vec())
    }
}
