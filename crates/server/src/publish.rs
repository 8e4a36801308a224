//! What a member says about itself and about the cluster's version, through the log.
//!
//! Every member publishes its name and client URLs once it runs. The leader keeps the cluster
//! version at the lowest version that any member runs, so that no member meets an entry that it
//! does not know. Both are written in a form that every member can apply (`programs`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{InternalRaftRequest, Request as V2Request};
use quoin_api::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use quoin_store::{Applied, ClusterVersion, Reply};
use serde::Serialize;
use tokio::time::Instant;

use crate::log::{self, Record};
use crate::member::Member;
use crate::programs::{self, Form, Others, UNDECIDED};
use crate::{record, version};

/// How often every member asks the others for their versions, as the leader of etcd does.
const VERSION_POLL: Duration = Duration::from_secs(4);
/// How often a member that starts looks for the first cluster version, and for how long. A leader
/// asks everybody first, who may take 2 s to be silent.
const DECISION_POLL: Duration = Duration::from_millis(10);
const DECISION_WAIT_MAX: Duration = Duration::from_secs(5);
/// The same while some member has never answered, or the cluster has no version yet.
const EARLY_POLL: Duration = Duration::from_millis(500);
/// How soon a member that has become leader notices that.
const LEADER_POLL: Duration = Duration::from_millis(100);
/// The pause after a failed attempt to publish.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What a member publishes of itself, as it stands in a v2 request.
#[derive(Serialize)]
struct V2Attributes<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

/// Publishes this member's name and client URLs; tries until it has succeeded.
/// `timeout` is how long an attempt may take, for the log.
pub(crate) async fn attributes(
    member: &Member,
    name: &str,
    client_urls: &[String],
    timeout: Duration,
) {
    let told = |record: Record| {
        record
            .with("local-member-id", format!("{:x}", member.id))
            .with("local-member-attributes", attributes_text(name, client_urls))
    };
    loop {
        let form = form(member).await;
        if let Some(form) = form {
            match propose_attributes(member, form, name, client_urls).await {
                Ok(_) => break,
                Err(error) => {
                    let text = "failed to publish local member to cluster through raft";
                    let failed = told(record!(Warn, text)).with("publish-timeout", timeout);
                    log::write(&failed.with("error", error.to_string()));
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    let published = told(record!(Info, "published local member to cluster through raft"));
    let published = published.with("cluster-id", format!("{:x}", member.cluster_id));
    log::write(&published.with("publish-timeout", timeout));
}

/// Returns the form in which every member can apply what this one publishes, as far as that can be
/// told now.
async fn form(member: &Member) -> Option<Form> {
    let version = || member.view().membership().version();
    if let Some(form) = programs::form_by_version(version()) {
        return Some(form);
    }
    let others = member.programs.ask(member, false).await;
    if programs::form(version(), &others).is_none() {
        // A cluster that is being founded while a member is silent gets its version soon, and what
        // the others said is as good then.
        decided_version(member).await;
    }
    programs::form(version(), &others)
}

/// Returns what a member says about itself, as Go prints it.
fn attributes_text(name: &str, client_urls: &[String]) -> String {
    format!("{{Name:{name} ClientURLs:[{}]}}", client_urls.join(" "))
}

async fn propose_attributes(
    member: &Member,
    form: Form,
    name: &str,
    client_urls: &[String],
) -> Result<Applied, Error> {
    match form {
        Form::V2Request => {
            let attributes = V2Attributes { name, client_urls };
            let json = serde_json::to_string(&attributes).expect("strings have a JSON form");
            let path = format!("/0/members/{:x}/attributes", member.id);
            member.propose_v2(v2_put(path, go_json(&json))).await
        }
        Form::RaftRequest => {
            let client_urls = client_urls.to_vec();
            let attributes = Some(Attributes { name: name.to_owned(), client_urls });
            let member_id = member.id;
            let request = ClusterMemberAttrSetRequest { member_id, member_attributes: attributes };
            let cluster_member_attr_set = Some(request);
            let request =
                InternalRaftRequest { cluster_member_attr_set, ..InternalRaftRequest::default() };
            member.propose(request).await
        }
    }
}

/// Waits until the cluster has a version, so that a client that comes when this member is ready finds
/// one. A new cluster has none for a moment; a cluster that cannot decide is served all the same.
pub(crate) async fn decided_version(member: &Member) {
    let decided = async {
        while member.view().membership().version().is_none() {
            tokio::time::sleep(DECISION_POLL).await;
        }
    };
    // A cluster that cannot decide must not keep clients waiting for ever.
    tokio::time::timeout(DECISION_WAIT_MAX, decided).await.ok();
}

/// Keeps what is known of the other members up to date and, while this member leads, the cluster
/// version. Never ends.
pub(crate) async fn cluster_version(member: Arc<Member>) {
    let mut led = false;
    let (mut next_poll, mut next_log) = (Instant::now(), Instant::now());
    loop {
        let leads = member.is_leader();
        // A new leader decides at once: a new cluster has no version before.
        if Instant::now() >= next_poll || (leads && !led) {
            let logs = leads && Instant::now() >= next_log;
            let others = member.programs.ask(&member, logs).await;
            if leads {
                raise_version(&member, &others).await;
            }
            if logs {
                next_log = Instant::now() + VERSION_POLL;
            }
            led = leads;
            next_poll = Instant::now() + poll_interval(&member);
        }
        led &= leads;
        tokio::time::sleep(LEADER_POLL).await;
    }
}

fn poll_interval(member: &Member) -> Duration {
    let all_known = member.programs.last_known(member).values().all(Option::is_some);
    let is_decided = member.view().membership().version().is_some();
    if all_known && is_decided { VERSION_POLL } else { EARLY_POLL }
}

async fn raise_version(member: &Member, others: &Others) {
    let current = member.view().membership().version();
    let lowest = lowest_version(others);
    let wanted = match (current, lowest) {
        (None, lowest) => lowest.unwrap_or(UNDECIDED),
        (Some(current), Some(lowest)) if lowest > current => lowest,
        (Some(_), _) => return,
    };
    // A new cluster whose members have not all come cannot wait for them.
    let form = programs::form(current.or(Some(wanted)), others).unwrap_or(Form::RaftRequest);
    let text = format!("{}.{}", wanted.major, wanted.minor);
    log_intent(form, current, &text);
    let proposed = propose_version(member, form, wanted).await;
    match proposed.map(|applied| applied.reply()) {
        Ok(Ok(Reply::None)) => log::info!("cluster version is updated", "cluster-version" => text),
        Ok(Ok(other)) => {
            log::warn!("cluster version was answered", "reply" => format!("{other:?}"))
        }
        Ok(Err(error)) | Err(error) => {
            log::warn!("failed to update cluster version", "error" => error.to_string());
        }
    }
}

fn log_intent(form: Form, current: Option<ClusterVersion>, wanted: &str) {
    let record = match (form, current) {
        (Form::V2Request, None) => record!(Info, "setting up initial cluster version using v2 API"),
        (Form::RaftRequest, None) => {
            record!(Info, "setting up initial cluster version using v3 API")
        }
        (Form::V2Request, Some(_)) => record!(Info, "updating cluster version using v2 API"),
        (Form::RaftRequest, Some(_)) => record!(Info, "updating cluster version using v3 API"),
    };
    log::write(&match current {
        None => record.with("cluster-version", wanted.to_owned()),
        Some(current) => {
            let from = format!("{}.{}", current.major, current.minor);
            record.with("from", from).with("to", wanted.to_owned())
        }
    });
}

async fn propose_version(
    member: &Member,
    form: Form,
    version: ClusterVersion,
) -> Result<Applied, Error> {
    let ver = version.to_string();
    match form {
        Form::V2Request => member.propose_v2(v2_put("/0/version".to_owned(), ver)).await,
        Form::RaftRequest => {
            let cluster_version_set = Some(ClusterVersionSetRequest { ver });
            let request =
                InternalRaftRequest { cluster_version_set, ..InternalRaftRequest::default() };
            member.propose(request).await
        }
    }
}

/// Returns the lowest version of all members, or nothing if one did not answer.
fn lowest_version(others: &Others) -> Option<ClusterVersion> {
    let mut lowest = programs::minor(version::ETCD_VERSION)?;
    for program in others.values() {
        lowest = lowest.min((*program)?.version);
    }
    Some(lowest)
}

/// A request that sets a file of the v2 store, whatever was there before.
fn v2_put(path: String, value: String) -> V2Request {
    V2Request {
        method: "PUT".to_owned(),
        path: Bytes::from(path),
        val: Bytes::from(value),
        ..V2Request::default()
    }
}

/// Returns JSON as Go writes it: some characters that HTML or JavaScript would misread are escaped.
fn go_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            // They stand in strings only.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_written_as_go_writes_them() {
        let urls = ["http://a:2379".to_owned(), "http://b:2379".to_owned()];
        let json = |name, client_urls| {
            let attributes = V2Attributes { name, client_urls };
            go_json(&serde_json::to_string(&attributes).expect("strings have a JSON form"))
        };
        assert_eq!(
            json("m1", &urls),
            r#"{"name":"m1","clientURLs":["http://a:2379","http://b:2379"]}"#
        );
        assert_eq!(
            json("<\"&\u{2028}\t\u{7f}", &[]),
            "{\"name\":\"\\u003c\\\"\\u0026\\u2028\\t\u{7f}\"}"
        );
        assert_eq!(json("", &[]), "{}");
    }
}
