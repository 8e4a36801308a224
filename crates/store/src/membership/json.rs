//! Members as JSON, in the field order of Go and with its habits: empty fields are left out, but
//! for the peer URLs, where nothing is `null`.

use serde::{Deserialize, Deserializer, Serialize};

use super::{BadChange, Member};

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Row {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", skip_serializing_if = "is_false")]
    is_learner: bool,
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "or_null")]
    name: String,
    #[serde(
        rename = "clientURLs",
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "or_null"
    )]
    client_urls: Vec<String>,
    #[serde(rename = "isPromote", skip_serializing_if = "Option::is_none")]
    is_promote: Option<bool>,
}

/// What a member publishes of itself in the old form.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Attributes {
    #[serde(deserialize_with = "or_null")]
    name: String,
    #[serde(rename = "clientURLs", deserialize_with = "or_null")]
    client_urls: Vec<String>,
}

/// Reads a member, and whether the change promotes it.
pub(crate) fn read_member(json: &[u8]) -> Result<(Member, bool), BadChange> {
    let row: Row =
        serde_json::from_slice(json).map_err(|error| BadChange::Context(error.to_string()))?;
    let Row { id, peer_urls, is_learner, name, client_urls, is_promote } = row;
    let peer_urls = peer_urls.unwrap_or_default();
    let member = Member { id, peer_urls, is_learner, name, client_urls };
    Ok((member, is_promote.unwrap_or(false)))
}

/// Writes a member.
pub(super) fn write_member(member: &Member, is_promote: Option<bool>) -> String {
    let Member { id, peer_urls, is_learner, name, client_urls } = member.clone();
    let peer_urls = Some(peer_urls).filter(|urls| !urls.is_empty());
    let row = Row { id, peer_urls, is_learner, name, client_urls, is_promote };
    serde_json::to_string(&row).expect("a member has only strings, numbers and lists")
}

/// Reads a name and client URLs.
pub(crate) fn read_attributes(json: &[u8]) -> Option<(String, Vec<String>)> {
    let attributes: Attributes = serde_json::from_slice(json).ok()?;
    Some((attributes.name, attributes.client_urls))
}

fn or_null<'de, D, T>(source: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Option::deserialize(source).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_false(value: &bool) -> bool {
    !value
}
