//! How members stand in the v2 store.
//!
//! | path | value |
//! |---|---|
//! | `/0/members/<ID>/raftAttributes` | JSON: peer URLs, learner |
//! | `/0/members/<ID>/attributes` | JSON: name, client URLs |
//! | `/0/removed_members/<ID>` | |
//! | `/0/version` | the cluster version |
//!
//! IDs are in hexadecimal without leading zeros.

use serde::Serialize;

use crate::membership::{ClusterVersion, Member, Membership, read_attributes, read_member};
use crate::v2::{V2Node, V2Store, V2View};

/// Where the cluster version stands.
pub(crate) const CLUSTER_VERSION_PATH: &str = "/0/version";
const MEMBERS: &str = "/0/members";
const REMOVED: &str = "/0/removed_members";
const RAFT_ATTRIBUTES: &str = "raftAttributes";
const ATTRIBUTES: &str = "attributes";

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

/// The member whose name and client URLs stand at a path; none if it is another path.
pub(crate) fn member_of_attributes_path(path: &str) -> Option<u64> {
    let id = path.strip_prefix("/0/members/")?.strip_suffix("/attributes")?;
    // A sign would pass for a number.
    let is_hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(id, 16).ok().filter(|_| is_hex)
}

/// A v2 store that shows members and nothing else. Its index is the number of its files.
pub(super) fn tree_of(membership: &Membership) -> V2Store {
    let mut v2 = V2Store::new();
    for member in membership.members() {
        show_new_member(&mut v2, member);
        if !member.name.is_empty() || !member.client_urls.is_empty() {
            show_attributes(&mut v2, member);
        }
    }
    for id in membership.removed() {
        note(v2.create_file(&format!("{REMOVED}/{id:x}"), ""));
    }
    if let Some(version) = membership.version() {
        show_version(&mut v2, version);
    }
    drop(v2.take_notices());
    v2
}

pub(super) fn show_version(v2: &mut V2Store, version: ClusterVersion) {
    note(v2.set_file(CLUSTER_VERSION_PATH, &version.to_string()));
}

pub(super) fn show_new_member(v2: &mut V2Store, member: &Member) {
    let path = format!("{MEMBERS}/{:x}/{RAFT_ATTRIBUTES}", member.id);
    note(v2.create_file(&path, &raft_attributes(member)));
}

pub(super) fn show_changed_member(v2: &mut V2Store, member: &Member) {
    let path = format!("{MEMBERS}/{:x}/{RAFT_ATTRIBUTES}", member.id);
    note(v2.update_file(&path, &raft_attributes(member)));
}

pub(super) fn show_attributes(v2: &mut V2Store, member: &Member) {
    let Member { id, name, client_urls, .. } = member;
    note(v2.set_file(
        &format!("{MEMBERS}/{id:x}/{ATTRIBUTES}"),
        &json(&Attributes { name, client_urls }),
    ));
}

pub(super) fn show_removed(v2: &mut V2Store, id: u64) {
    note(v2.remove(&format!("{MEMBERS}/{id:x}")));
    note(v2.create_file(&format!("{REMOVED}/{id:x}"), ""));
}

/// Only the membership decides whether a change is valid. A v2 store that was taken over may show
/// something else below `/0`; then this change leaves it as it is, on every member.
fn note<E>(_outcome: Result<(), E>) {}

fn raft_attributes(member: &Member) -> String {
    json(&RaftAttributes { peer_urls: &member.peer_urls, is_learner: member.is_learner })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a member has only strings and lists")
}

/// Reads the members from a v2 store. The error says what is not readable.
pub(super) fn members_of(view: &V2View) -> Result<Membership, String> {
    let mut membership = Membership::default();
    let nodes = view.get(b"/0", true).map(|listing| listing.below).unwrap_or_default();
    let files = nodes.iter().filter(|node| !node.dir);
    for node in files {
        let path = String::from_utf8_lossy(&node.key);
        if path == CLUSTER_VERSION_PATH {
            let version = String::from_utf8_lossy(value(node));
            let parsed = version.parse();
            let bad = |()| format!("cluster version {version:?} is not readable");
            membership.version = Some(parsed.map_err(bad)?);
        } else if let Some(id) = below(&path, REMOVED) {
            let id = u64::from_str_radix(id, 16).map_err(|_| format!("{id:?} is not an ID"))?;
            membership.removed.insert(id);
        } else if let Some((id, name)) = below(&path, MEMBERS).and_then(|rest| rest.split_once('/'))
        {
            read_file(&mut membership, id, name, value(node))
                .ok_or_else(|| format!("member {id:?} is not readable"))?;
        }
    }
    if let Some(lost) = membership.members().find(|member| member.peer_urls.is_empty()) {
        return Err(format!("member \"{:x}\" is not readable", lost.id));
    }
    Ok(membership)
}

fn below<'a>(path: &'a str, directory: &str) -> Option<&'a str> {
    path.strip_prefix(directory)?.strip_prefix('/')
}

fn value(node: &V2Node) -> &[u8] {
    node.value.as_deref().unwrap_or_default()
}

/// Takes in one of the two files of a member.
fn read_file(membership: &mut Membership, id: &str, name: &str, json: &[u8]) -> Option<()> {
    let id = u64::from_str_radix(id, 16).ok()?;
    let member = membership.members.entry(id).or_default();
    member.id = id;
    match name {
        RAFT_ATTRIBUTES => {
            let (read, _) = read_member(json).ok()?;
            (member.peer_urls, member.is_learner) = (read.peer_urls, read.is_learner);
        }
        ATTRIBUTES => (member.name, member.client_urls) = read_attributes(json)?,
        // Nothing else of a member is known to us or to etcd.
        _ => {}
    }
    Some(())
}
