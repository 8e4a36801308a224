//! Who founds a new cluster, and whether this member may.

use std::io;
use std::net::TcpListener;

use futures_util::future::join_all;
use quoin_node::raft::NodeId;
use quoin_node::recover::Bootstrap;
use quoin_node::wal::Metadata;
use quoin_store::{Member, cluster_id, member_id};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::BootError;
use crate::ask;
use crate::config::{ClusterState, Config, InitialCluster, Url, resolve_host, texts};
use crate::{log, peer};

/// Returns what a member without a log begins with. One that has a log needs nothing: whatever
/// the flags say about the initial cluster, the log decides. Only if a crash cut the first start
/// off before the log had begun, it still needs the founders.
pub(super) fn bootstrap(
    config: &Config,
    initialized: bool,
    peer_listeners: &[TcpListener],
    runtime: &Runtime,
) -> Result<Bootstrap, BootError> {
    if initialized {
        let metadata = Metadata { node: NodeId::NONE, cluster: 0 };
        let founds = config.initial_cluster_state == ClusterState::New;
        let founders = config.initial_cluster().ok().filter(|_| founds).unwrap_or_default();
        let members = members(&founders, &config.initial_cluster_token);
        return Ok(Bootstrap { metadata, members });
    }
    if config.initial_cluster_state == ClusterState::Existing {
        let what = "--initial-cluster-state=existing for a member without data".to_owned();
        return Err(BootError::Unsupported(what));
    }
    let founders = config.check_bootstrap(resolve_host).map_err(|reason| {
        for hint in config.bootstrap_hints() {
            log::write(&hint);
        }
        BootError::Bootstrap(reason)
    })?;
    let members = members(&founders, &config.initial_cluster_token);
    let own = founders.0.get(&config.name).map(Vec::as_slice).unwrap_or_default();
    let id = member_id(&texts(own), &config.initial_cluster_token, None);
    let others = members.iter().filter(|member| member.id != id);
    let urls: Vec<&String> = others.flat_map(|member| &member.peer_urls).collect();
    if runtime.block_on(is_known_at(&urls, id, peer_listeners))? {
        let reason = format!("member {id:x} has already been bootstrapped");
        return Err(BootError::Bootstrap(reason));
    }
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let metadata = Metadata { node: NodeId(id), cluster: cluster_id(&ids) };
    Ok(Bootstrap { metadata, members })
}

fn members(founders: &InitialCluster, token: &str) -> Vec<Member> {
    let member = |(name, urls): (&String, &Vec<Url>)| {
        let peer_urls = texts(urls);
        Member {
            id: member_id(&peer_urls, token, None),
            peer_urls,
            name: name.clone(),
            ..Member::default()
        }
    };
    founders.0.iter().map(member).collect()
}

/// A member as a peer lists it.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    #[serde(rename = "clientURLs", default)]
    client_urls: Vec<String>,
}

/// Returns true if a cluster behind one of these URLs knows this member as one that has run before.
/// All are asked at once; meanwhile those who ask this member get an answer, because members that
/// start together would otherwise wait for each other.
async fn is_known_at(
    urls: &[&String],
    id: u64,
    peer_listeners: &[TcpListener],
) -> io::Result<bool> {
    let listener =
        |listener: &TcpListener| tokio::net::TcpListener::from_std(listener.try_clone()?);
    let listeners = peer_listeners.iter().map(listener).collect::<io::Result<_>>()?;
    let asked = join_all(urls.iter().map(|url| is_bootstrapped(url, id)));
    tokio::select! {
        known = asked => Ok(known.contains(&true)),
        never = peer::answer_early(listeners) => match never {},
    }
}

/// Returns true if the cluster behind a peer knows this member as one that has run before. Its
/// data must have been lost then, and with it the votes that it gave.
async fn is_bootstrapped(peer_url: &str, id: u64) -> bool {
    let Some(answer) = ask::get(peer_url, "/members").await else { return false };
    let listed: Vec<Listed> = serde_json::from_slice(&answer.body).unwrap_or_default();
    listed.iter().any(|member| member.id == id && !member.client_urls.is_empty())
}
