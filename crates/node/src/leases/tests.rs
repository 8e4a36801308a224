//! What a leader puts into the log about leases by itself.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::{InternalRaftRequest, LeaseGrantRequest};
use quoin_api::membershippb::ClusterVersionSetRequest;
use quoin_raft::NodeId;
use quoin_store::Member;
use quoin_vfs::{FileSystem, MemFs};
use quoin_wal::Metadata;

use crate::recover::{Bootstrap, recover};
use crate::{DataDir, Node, Options};

/// Returns how many entries a leader appends by itself while a lease lives for a while.
fn entries_of_its_own(lease_checkpoints: bool) -> u64 {
    let fs: Arc<dyn FileSystem> = Arc::new(MemFs::new());
    let member = Member { id: 1, peer_urls: vec!["http://m1".to_owned()], ..Member::default() };
    let metadata = Metadata { node: NodeId(1), cluster: 9 };
    let bootstrap = Bootstrap { metadata, members: vec![member] };
    let options = Options { lease_checkpoints, ..crate::tests::options() };
    let ticks = 5 * options.lease_checkpoint_ticks;
    let dir = DataDir::new(Path::new("/data"));
    let recovered = recover(&fs, &dir, &quoin_wal::Options::default(), options, &bootstrap);
    let mut node: Node<u32> = recovered.expect("an empty directory").node;
    let settle = |node: &mut Node<u32>| {
        loop {
            let turn = node.turn();
            if let Some(ready) = turn.log.ready {
                node.persisted(ready);
            }
            if turn.idle {
                return;
            }
        }
    };
    settle(&mut node);
    node.campaign();
    settle(&mut node);
    let ver = "3.7.0".to_owned();
    let cluster_version_set = Some(ClusterVersionSetRequest { ver });
    let version = InternalRaftRequest { cluster_version_set, ..InternalRaftRequest::default() };
    let lease_grant = Some(LeaseGrantRequest { id: 7, ttl: 600 });
    let grant = InternalRaftRequest { lease_grant, ..InternalRaftRequest::default() };
    for (id, request) in (1..).zip([version, grant]) {
        node.propose(id, Bytes::from(request.encode_to_vec()), 0);
        settle(&mut node);
    }
    let before = node.status().applied.0;
    for _ in 0..ticks {
        node.tick();
        settle(&mut node);
    }
    node.status().applied.0 - before
}

/// `--feature-gates=LeaseCheckpoint=false` was taken, and what is left of leases was put into the log
/// all the same.
#[test]
fn a_leader_that_shall_not_checkpoint_leases_proposes_none() {
    assert!(entries_of_its_own(true) > 0);
    assert_eq!(entries_of_its_own(false), 0);
}
