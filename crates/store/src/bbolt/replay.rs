//! The members at one entry, where the database does not have them.
//!
//! etcd before 3.5 keeps its members in the store of the v2 API, which is written to a snapshot
//! file now and then; what changed since is in the log. The members at an entry are those of the
//! last snapshot file before it and the changes between the two.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb::ConfChange;
use serde::Deserialize;

use super::import::hex_id;
use crate::membership::{Member, Membership, read_attributes, read_member};
use crate::store::{DEFAULT_MAX_LEARNERS, EntryData, Fatal, Store};

/// Members, to be changed by entries in order and by nothing else in them.
#[derive(Clone, Debug, Default)]
pub struct MembershipReplay {
    membership: Membership,
}

/// A file of the v2 store. Of its fields only the tree matters.
#[derive(Deserialize)]
struct V2Store {
    #[serde(rename = "Root")]
    root: V2Node,
}

#[derive(Deserialize)]
struct V2Node {
    #[serde(rename = "Value", default)]
    value: String,
    #[serde(rename = "Children", default)]
    children: Option<BTreeMap<String, Self>>,
}

impl V2Node {
    fn child(&self, name: &str) -> Option<&Self> {
        self.children.as_ref()?.get(name)
    }

    fn children(&self) -> impl Iterator<Item = (&String, &Self)> {
        self.children.iter().flatten()
    }
}

impl MembershipReplay {
    /// The members in a snapshot of the v2 store. The error says why it cannot be taken over.
    pub fn from_v2_store(json: &[u8]) -> Result<Self, String> {
        let store: V2Store = serde_json::from_slice(json)
            .map_err(|error| format!("the v2 store cannot be read: {error}"))?;
        if store.root.child("1").is_some_and(|keys| keys.children().next().is_some()) {
            return Err("it has keys of the v2 API, which this release does not keep".to_owned());
        }
        let mut membership = Membership::default();
        let cluster = store.root.child("0");
        let below = |name| cluster.and_then(|cluster| cluster.child(name));
        for (id, node) in below("members").into_iter().flat_map(V2Node::children) {
            let member =
                member(id, node).ok_or_else(|| format!("member {id:?} is not readable"))?;
            membership.members.insert(member.id, member);
        }
        for (id, _) in below("removed_members").into_iter().flat_map(V2Node::children) {
            let removed = hex_id(id.as_bytes());
            membership.removed.insert(removed.ok_or_else(|| format!("{id:?} is not an ID"))?);
        }
        if let Some(version) = below("version") {
            let parsed = version.value.parse();
            let bad = |()| format!("cluster version {:?} is not readable", version.value);
            membership.version = Some(parsed.map_err(bad)?);
        }
        Ok(Self { membership })
    }

    /// Applies what an entry does to the members.
    pub fn apply(&mut self, index: u64, entry: EntryData<'_>) -> Result<(), Fatal> {
        match entry {
            EntryData::Normal(entry) if entry.is_empty() => Ok(()),
            EntryData::Normal(entry) => {
                Store::apply_to_membership(&mut self.membership, index, entry)
            }
            EntryData::ConfChange(entry) => self.apply_conf_change(index, entry),
        }
    }

    fn apply_conf_change(&mut self, index: u64, entry: &Bytes) -> Result<(), Fatal> {
        let change = ConfChange::decode(entry.clone())
            .map_err(|error| Fatal::Undecodable { index, reason: error.to_string() })?;
        let outcome = self.membership.apply(&change, DEFAULT_MAX_LEARNERS);
        // A change that was refused then is refused now.
        outcome.map(drop).map_err(|reason| Fatal::ConfChange { index, reason })
    }

    /// The members after the last entry applied.
    pub fn finish(self) -> Membership {
        self.membership
    }
}

fn member(id: &str, node: &V2Node) -> Option<Member> {
    let id = hex_id(id.as_bytes())?;
    let (mut member, _) = read_member(node.child("raftAttributes")?.value.as_bytes()).ok()?;
    member.id = id;
    if let Some(attributes) = node.child("attributes") {
        (member.name, member.client_urls) = read_attributes(attributes.value.as_bytes())?;
    }
    Some(member)
}
