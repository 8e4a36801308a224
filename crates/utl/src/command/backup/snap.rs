//! A snapshot file of etcd with other members in it.
//!
//! It holds the v2 store as JSON, where `/0` has the members and the cluster version, `/1` the keys of
//! clients, and `/2` users and roles.
//!
//! Only the three objects around `/0` are taken apart. The rest stays byte for byte as it was, however
//! deep it is.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bytes::Bytes;
use quoin_raft::{ConfState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::SnapFile;
use quoin_vfs::{FileSystem, OpenMode};
use serde_json::value::RawValue;

use super::members::NewCluster;
use crate::files::failed;

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Go's time before all others, for nodes that do not end.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An object whose fields are not looked into.
type Object = BTreeMap<String, Box<RawValue>>;

/// Reads a file. None if there is no such file.
pub(super) fn read(fs: &dyn FileSystem, path: &Path) -> Result<Option<SnapFile>, String> {
    let file = match fs.open(path, OpenMode::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed("open", path, &error))?,
    };
    let length = file.len().map_err(|error| failed("read", path, &error))?;
    if length > FILE_BYTES_MAX {
        return Err("it is too large".to_owned());
    }
    let mut bytes = vec![0; usize::try_from(length).expect("the length was checked")];
    file.read_exact_at(&mut bytes, 0).map_err(|error| failed("read", path, &error))?;
    SnapFile::read(&bytes).map(Some)
}

/// The entry and the members of a snapshot, as a log has them.
pub(super) fn meta(snap: &SnapFile) -> SnapshotMeta {
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let conf = ConfState { voters: ids(&snap.conf.voters), learners: ids(&snap.conf.learners) };
    SnapshotMeta { index: Index(snap.index), term: Term(snap.term), conf }
}

/// The same snapshot with the members of a new cluster, which has no version yet.
pub(super) fn given_to(snap: SnapFile, cluster: &NewCluster) -> Result<SnapFile, String> {
    let v2_store = with_members(&snap.v2_store, cluster)
        .map_err(|error| format!("the v2 store in the snapshot cannot be read: {error}"))?;
    Ok(SnapFile { conf: cluster.conf(), v2_store: Bytes::from(v2_store), ..snap })
}

fn with_members(json: &[u8], cluster: &NewCluster) -> serde_json::Result<Vec<u8>> {
    let mut store: Object = serde_json::from_slice(json)?;
    let mut root: Object = inner(&store, "Root")?;
    // No nodes at all are null.
    let children: Option<Object> = inner(&root, "Children")?;
    let mut children = children.unwrap_or_default();
    children.insert("0".to_owned(), serde_json::value::to_raw_value(&cluster_node(cluster))?);
    root.insert("Children".to_owned(), serde_json::value::to_raw_value(&children)?);
    store.insert("Root".to_owned(), serde_json::value::to_raw_value(&root)?);
    serde_json::to_vec(&store)
}

fn inner<'a, T: serde::Deserialize<'a>>(object: &'a Object, name: &str) -> serde_json::Result<T> {
    serde_json::from_str(object.get(name).map_or("null", |value| value.get()))
}

/// The directory `/0` with one member.
fn cluster_node(cluster: &NewCluster) -> serde_json::Value {
    let member = cluster.member();
    let id = format!("{:x}", member.id);
    let path = format!("/0/members/{id}");
    let attributes = serde_json::json!({"peerURLs": member.peer_urls}).to_string();
    let file = node(&format!("{path}/raftAttributes"), &attributes, None);
    let member = node(&path, "", Some(("raftAttributes", file)));
    node("/0", "", Some(("members", node("/0/members", "", Some((&id, member))))))
}

/// A file, or a directory with one node in it.
fn node(path: &str, value: &str, child: Option<(&str, serde_json::Value)>) -> serde_json::Value {
    serde_json::json!({
        "Path": path,
        "CreatedIndex": 1,
        "ModifiedIndex": 1,
        "ExpireTime": NEVER,
        "Value": value,
        "Children": child.map(|(name, node)| BTreeMap::from([(name, node)])),
    })
}
