//! The store of the v2 API as JSON, in which etcd keeps its members beside the database, and the
//! snapshot file around it.
//!
//! A snapshot file is called `<term>-<index>.snap`, with 16 hexadecimal digits each, and is a
//! `snappb.Snapshot`: the CRC-32C of its data, and the data, which is a `raftpb.Snapshot` with
//! the store as its data.
//!
//! | path in the store | value |
//! |---|---|
//! | `/0/members/<ID>/raftAttributes` | JSON: peer URLs, learner |
//! | `/0/members/<ID>/attributes` | JSON: name, client URLs |
//! | `/0/removed_members/<ID>` | |
//! | `/0/version` | the cluster version |
//! | `/1/...` | keys of users |

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::{raftpb, snappb};
use serde::{Deserialize, Serialize};

use super::import::hex_id;
use crate::checkpoint::ConfState;
use crate::membership::{Member, Membership, read_attributes, read_member};

/// Slots of the ring of past events. etcd 3.5 counts on every one of them being there.
const EVENT_SLOTS: usize = 1000;
/// What stands where etcd has the number of the last change.
const CHANGE_INDEX: u64 = 1;

/// A snapshot file of etcd: the members at one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapFile {
    /// Index of the entry.
    pub index: u64,
    /// Term of the entry.
    pub term: u64,
    /// Who voted and who learned then.
    pub conf: ConfState,
    /// The members then. A downgrade does not stand here.
    pub membership: Membership,
}

impl SnapFile {
    /// The name of the file.
    pub fn name(index: u64, term: u64) -> String {
        format!("{term:016x}-{index:016x}.snap")
    }

    /// Reads a file. The error says why it cannot be taken over.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let bad = |_| "it is no snapshot file".to_owned();
        let snappb::Snapshot { crc, data } = snappb::Snapshot::decode(file).map_err(bad)?;
        if data.is_empty() || crc32c::crc32c(&data) != crc {
            return Err("its checksum is wrong".to_owned());
        }
        let raftpb::Snapshot { data, metadata } = raftpb::Snapshot::decode(data).map_err(bad)?;
        let metadata = metadata.ok_or("it does not say of which entry it is")?;
        let conf = metadata.conf_state.unwrap_or_default();
        Ok(Self {
            index: metadata.index,
            term: metadata.term,
            conf: ConfState { voters: conf.voters, learners: conf.learners },
            membership: read(&data)?,
        })
    }

    /// Writes a file.
    pub fn encode(&self) -> Vec<u8> {
        let ConfState { voters, learners } = self.conf.clone();
        let conf_state = Some(raftpb::ConfState { voters, learners, ..Default::default() });
        let (index, term) = (self.index, self.term);
        let snapshot = raftpb::Snapshot {
            data: Bytes::from(self.membership.to_v2_store()),
            metadata: Some(raftpb::SnapshotMetadata { conf_state, index, term }),
        };
        let data = Bytes::from(snapshot.encode_to_vec());
        snappb::Snapshot { crc: crc32c::crc32c(&data), data }.encode_to_vec()
    }
}

/// A store that is read. Of its fields only the tree matters.
#[derive(Deserialize)]
struct Store {
    #[serde(rename = "Root")]
    root: Node,
}

#[derive(Deserialize)]
struct Node {
    #[serde(rename = "Value", default)]
    value: String,
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Self>>,
}

impl Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.as_ref()?.get(name)
    }

    fn children(&self) -> impl Iterator<Item = (&String, &Self)> {
        self.children.iter().flatten()
    }
}

/// Reads the members. The error says why the store cannot be taken over.
pub(super) fn read(json: &[u8]) -> Result<Membership, String> {
    let store: Store = serde_json::from_slice(json)
        .map_err(|error| format!("the v2 store cannot be read: {error}"))?;
    if store.root.child("1").is_some_and(|keys| keys.children().next().is_some()) {
        return Err("it has keys of the v2 API, which this release does not keep".to_owned());
    }
    let mut membership = Membership::default();
    let cluster = store.root.child("0");
    let below = |name| cluster.and_then(|cluster| cluster.child(name));
    for (id, node) in below("members").into_iter().flat_map(Node::children) {
        let member = member(id, node).ok_or_else(|| format!("member {id:?} is not readable"))?;
        membership.members.insert(member.id, member);
    }
    for (id, _) in below("removed_members").into_iter().flat_map(Node::children) {
        let removed = hex_id(id.as_bytes());
        membership.removed.insert(removed.ok_or_else(|| format!("{id:?} is not an ID"))?);
    }
    if let Some(version) = below("version") {
        let parsed = version.value.parse();
        let bad = |()| format!("cluster version {:?} is not readable", version.value);
        membership.version = Some(parsed.map_err(bad)?);
    }
    Ok(membership)
}

fn member(id: &str, node: &Node) -> Option<Member> {
    let id = hex_id(id.as_bytes())?;
    let (mut member, _) = read_member(node.child("raftAttributes")?.value.as_bytes()).ok()?;
    member.id = id;
    if let Some(attributes) = node.child("attributes") {
        (member.name, member.client_urls) = read_attributes(attributes.value.as_bytes())?;
    }
    Some(member)
}

/// A node that is written.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewNode {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    children: Option<BTreeMap<String, Self>>,
}

impl NewNode {
    fn directory(path: &str) -> Self {
        Self { children: Some(BTreeMap::new()), ..Self::leaf(path, String::new()) }
    }

    fn leaf(path: &str, value: String) -> Self {
        Self {
            path: path.to_owned(),
            created_index: CHANGE_INDEX,
            modified_index: CHANGE_INDEX,
            expire_time: "0001-01-01T00:00:00Z",
            value,
            children: None,
        }
    }

    /// The same with a child, whose path says its name.
    fn with(mut self, child: Self) -> Self {
        let name = child.path.rsplit('/').next().unwrap_or_default().to_owned();
        self.children.get_or_insert_default().insert(name, child);
        self
    }
}

#[derive(Serialize)]
struct RaftAttributes<'a> {
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
}

#[derive(Serialize)]
struct Attributes<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

impl Membership {
    /// The members as JSON of a v2 store, as etcd sends them with a snapshot and keeps them beside
    /// its database.
    pub fn to_v2_store(&self) -> String {
        let mut members = NewNode::directory("/0/members");
        for member in self.members() {
            members = members.with(member_node(member));
        }
        let mut removed = NewNode::directory("/0/removed_members");
        for id in self.removed() {
            let path = format!("/0/removed_members/{id:x}");
            removed = removed.with(NewNode::leaf(&path, String::new()));
        }
        let mut cluster = NewNode::directory("/0").with(members).with(removed);
        if let Some(version) = self.version() {
            cluster = cluster.with(NewNode::leaf("/0/version", version.to_string()));
        }
        let root = NewNode::directory("/").with(cluster).with(NewNode::directory("/1"));
        let events = vec![(); EVENT_SLOTS];
        let store = serde_json::json!({
            "Root": root,
            "WatcherHub": {"EventHistory": {
                "Queue": {
                    "Events": events, "Size": 0, "Front": 0, "Back": 0, "Capacity": EVENT_SLOTS,
                },
                "StartIndex": 0,
                "LastIndex": 0,
            }},
            "CurrentIndex": CHANGE_INDEX,
            "Stats": {},
            "CurrentVersion": 2,
        });
        store.to_string()
    }
}

fn member_node(member: &Member) -> NewNode {
    let Member { id, peer_urls, is_learner, name, client_urls } = member;
    let path = format!("/0/members/{id:x}");
    let raft = json(&RaftAttributes { peer_urls, is_learner: *is_learner });
    let node =
        NewNode::directory(&path).with(NewNode::leaf(&format!("{path}/raftAttributes"), raft));
    if name.is_empty() && client_urls.is_empty() {
        return node;
    }
    let attributes = json(&Attributes { name, client_urls });
    node.with(NewNode::leaf(&format!("{path}/attributes"), attributes))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a member has only strings, numbers and lists")
}
