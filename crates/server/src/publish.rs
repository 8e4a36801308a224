//! What a member says about itself and about the cluster's version, through the log.
//!
//! Every member publishes its name and client URLs once it runs. The leader keeps the cluster
//! version at the lowest version that any member runs, so that no member meets an entry that it
//! does not know.

use std::sync::Arc;
use std::time::Duration;

use quoin_api::etcdserverpb::InternalRaftRequest;
use quoin_api::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use quoin_store::{ClusterVersion, Member as StoredMember, Reply};

use serde::Deserialize;

use crate::ask;
use crate::log::{self, Record};
use crate::member::Member;
use crate::record;
use crate::version;

/// The version of a cluster whose members do not all answer yet, as in etcd.
const OLDEST: ClusterVersion = ClusterVersion { major: 3, minor: 0, patch: 0 };
/// The oldest etcd that understands what this release writes to the log.
const OLDEST_BESIDE: ClusterVersion = ClusterVersion { major: 3, minor: 5, patch: 0 };
/// How often the leader looks at the members' versions, as in etcd.
const VERSION_POLL: Duration = Duration::from_secs(4);
/// The pause after a failed attempt to publish.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Returns why this member must not write to the log: another one runs an etcd that would die of
/// it. A cluster whose version is later has no such member.
pub(crate) async fn endangered(member: &Member) -> Option<String> {
    let view = member.view();
    if view.membership().version().is_some_and(|version| version >= OLDEST_BESIDE) {
        return None;
    }
    for other in view.membership().members().filter(|other| other.id != member.id) {
        let version = version_of(other).await;
        if let Some(version) = version.filter(|version| *version < OLDEST_BESIDE) {
            return Some(format!(
                "member {:x} runs etcd {}.{}, which dies of what newer members write to the log; \
                 upgrade all members to etcd 3.5 first, or stop them all and move them together",
                other.id, version.major, version.minor
            ));
        }
    }
    None
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
    let attributes = Attributes { name: name.to_owned(), client_urls: client_urls.to_vec() };
    let request =
        ClusterMemberAttrSetRequest { member_id: member.id, member_attributes: Some(attributes) };
    loop {
        let request = InternalRaftRequest {
            cluster_member_attr_set: Some(request.clone()),
            ..InternalRaftRequest::default()
        };
        match member.propose(request).await {
            Ok(_) => break,
            Err(error) => {
                let failed =
                    told(record!(Warn, "failed to publish local member to cluster through raft"));
                let failed = failed.with("publish-timeout", timeout);
                log::write(&failed.with("error", error.to_string()));
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }
    let published = told(record!(Info, "published local member to cluster through raft"));
    let published = published.with("cluster-id", format!("{:x}", member.cluster_id));
    log::write(&published.with("publish-timeout", timeout));
}

/// Returns what a member says about itself, as Go prints it.
fn attributes_text(name: &str, client_urls: &[String]) -> String {
    format!("{{Name:{name} ClientURLs:[{}]}}", client_urls.join(" "))
}

/// Keeps the cluster version up to date while this member leads. Never ends.
pub(crate) async fn cluster_version(member: Arc<Member>) {
    let mut known_leader = false;
    loop {
        let leads = member.is_leader();
        if leads {
            raise_version(&member).await;
        }
        // A new leader decides at once: a new cluster has no version before.
        let pause = if leads && known_leader { VERSION_POLL } else { VERSION_POLL / 40 };
        known_leader = leads && member.view().membership().version().is_some();
        tokio::time::sleep(pause).await;
    }
}

async fn raise_version(member: &Member) {
    let current = member.view().membership().version();
    let lowest = lowest_version(member).await;
    let wanted = match (current, lowest) {
        (None, lowest) => lowest.unwrap_or(OLDEST),
        (Some(current), Some(lowest)) if lowest > current => lowest,
        (Some(_), _) => return,
    };
    let text = format!("{}.{}", wanted.major, wanted.minor);
    match current {
        None => log::info!("setting up initial cluster version using v3 API",
            "cluster-version" => &text),
        Some(current) => log::info!("updating cluster version using v3 API",
            "from" => format!("{}.{}", current.major, current.minor), "to" => &text),
    }
    let request = InternalRaftRequest {
        cluster_version_set: Some(ClusterVersionSetRequest { ver: wanted.to_string() }),
        ..InternalRaftRequest::default()
    };
    match member.propose(request).await.map(|applied| applied.result) {
        Ok(Ok(Reply::None)) => {
            log::info!("cluster version is updated", "cluster-version" => text);
        }
        Ok(Ok(other)) => {
            log::warn!("cluster version was answered", "reply" => format!("{other:?}"))
        }
        Ok(Err(error)) | Err(error) => {
            log::warn!("failed to update cluster version", "error" => error.to_string());
        }
    }
}

/// Returns the lowest version of all members, or nothing if one does not answer.
async fn lowest_version(member: &Member) -> Option<ClusterVersion> {
    let mut lowest = minor(version::ETCD_VERSION)?;
    for other in member.view().membership().members().filter(|other| other.id != member.id) {
        lowest = lowest.min(version_of(other).await?);
    }
    Some(lowest)
}

/// What a member says about its version.
#[derive(Deserialize)]
struct Versions {
    etcdserver: String,
}

/// Returns the version of the member that answers at one of these URLs.
async fn version_of(other: &StoredMember) -> Option<ClusterVersion> {
    let id = format!("{:x}", other.id);
    let mut last = None;
    for url in &other.peer_urls {
        match ask::try_get(url, "/version").await {
            Ok(body) => {
                let versions: Versions = serde_json::from_slice(&body).ok()?;
                return minor(&versions.etcdserver);
            }
            Err(error) => {
                log::warn!("failed to reach the peer URL", "address" => format!("{url}/version"),
                    "remote-member-id" => &id, "error" => &error);
                last = Some(error);
            }
        }
    }
    let error = last.unwrap_or_else(|| "the member has no peer URLs".to_owned());
    log::warn!("failed to get version", "remote-member-id" => id, "error" => error);
    None
}

/// Returns the cluster version that a server version allows: patch releases do not count.
fn minor(version: &str) -> Option<ClusterVersion> {
    let version: ClusterVersion = version.parse().ok()?;
    Some(ClusterVersion { patch: 0, ..version })
}
