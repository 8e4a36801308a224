//! The cluster that a restored member belongs to, as flags describe it.
//!
//! Invariants:
//! - All members that are restored with the same cluster and token find the same IDs, those that
//!   etcd computes.

use std::collections::BTreeMap;

use quoin_cli::text::quote;
use quoin_store::{Member, cluster_id, member_id};

/// A new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    pub(crate) id: u64,
    /// The ID of the member that is restored.
    pub(crate) local: u64,
    /// All members, by their IDs.
    pub(crate) members: Vec<Member>,
}

impl Cluster {
    /// Reads `name=url,name=url`, of which `name` is restored and advertises `peer_urls`.
    pub(crate) fn read(
        text: &str,
        token: &str,
        name: &str,
        peer_urls: &str,
    ) -> Result<Self, String> {
        let mut advertised = urls(peer_urls.split(','))?;
        advertised.sort();
        let map = url_map(text)?;
        let Some(own) = map.get(name) else {
            let name = quote(name.as_bytes());
            return Err(format!(
                "couldn't find local name {name} in the initial cluster configuration"
            ));
        };
        check_advertised(name, own, &advertised)?;
        check_duplicates(&map)?;
        let member = |(name, urls): (&String, &Vec<String>)| Member {
            id: member_id(urls, token, None),
            peer_urls: urls.clone(),
            name: name.clone(),
            ..Member::default()
        };
        let mut members: Vec<Member> = map.iter().map(member).collect();
        members.sort_by_key(|member| member.id);
        let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
        let local = member_id(own, token, None);
        Ok(Self { id: cluster_id(&ids), local, members })
    }
}

/// Names with their sorted URLs. A name that comes again adds a URL.
fn url_map(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        // A name without a URL is refused for the URL that it does not have.
        let (name, url) = part.split_once('=').unwrap_or((part, ""));
        map.entry(name.trim().to_owned()).or_default().extend(urls([url].into_iter())?);
    }
    map.values_mut().for_each(|urls| urls.sort());
    Ok(map)
}

fn urls<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    texts.map(url).collect()
}

/// Checks a URL and returns it without the blanks around it.
fn url(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "http" | "https" => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            let has_port = authority
                .rsplit_once(':')
                .is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
            if !has_port {
                return Err(format!("URL address does not have the form \"host:port\": {text}"));
            }
            if !path.is_empty() {
                return Err(format!("URL must not contain a path: {text}"));
            }
        }
        "unix" | "unixs" => {}
        _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
    }
    Ok(text.to_owned())
}

fn check_duplicates(map: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let mut all: Vec<&String> = map.values().flatten().collect();
    let count = all.len();
    all.sort();
    all.dedup();
    if all.len() == count {
        return Ok(());
    }
    let pair = |(name, urls): (&String, &Vec<String>)| -> Vec<String> {
        urls.iter().map(|url| format!("{name}={url}")).collect()
    };
    let pairs: Vec<String> = map.iter().flat_map(pair).collect();
    Err(format!("initial cluster {} has duplicate url", pairs.join(",")))
}

/// The member must advertise what the cluster knows of it. Names of hosts are not looked up: the
/// texts themselves are what IDs are made of.
fn check_advertised(name: &str, own: &[String], advertised: &[String]) -> Result<(), String> {
    if own == advertised {
        return Ok(());
    }
    let list: Vec<String> = own.iter().map(|url| format!("{name}={url}")).collect();
    let (list, advertised) = (list.join(","), advertised.join(","));
    Err(format!(
        "--initial-cluster has {list} but missing from --initial-advertise-peer-urls={advertised}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cluster: &str, name: &str, peer_urls: &str) -> Result<Cluster, String> {
        Cluster::read(cluster, "etcd-cluster", name, peer_urls)
    }

    #[track_caller]
    fn refused(cluster: &str, name: &str, peer_urls: &str, expected: &str) {
        assert_eq!(read(cluster, name, peer_urls), Err(expected.to_owned()));
    }

    #[test]
    fn ids_are_those_of_etcd() {
        // The default cluster of etcd, whose IDs every user has seen.
        let alone = "default=http://localhost:2380";
        let cluster = read(alone, "default", "http://localhost:2380").unwrap();
        assert_eq!((cluster.local, cluster.id), (0x8e9e_05c5_2164_694d, 0xcdf8_1819_4e3a_8c32));
        let [member] = cluster.members.as_slice() else { panic!("{cluster:?}") };
        assert_eq!((member.id, member.name.as_str()), (cluster.local, "default"));
    }

    #[test]
    fn every_member_finds_the_same_cluster() {
        let text = "b=http://h:2,a=http://h:1,b=http://g:2";
        let one = read(text, "a", "http://h:1").unwrap();
        let two = read(text, "b", "http://h:2,http://g:2").unwrap();
        assert_eq!((one.id, &one.members), (two.id, &two.members));
        assert_ne!(one.local, two.local);
        let urls = &one.members.iter().find(|member| member.name == "b").unwrap().peer_urls;
        assert_eq!(urls, &["http://g:2", "http://h:2"]);
    }

    #[test]
    fn errors_are_in_the_words_of_etcdutl() {
        let local = "http://localhost:2380";
        let missing = "couldn't find local name \"m1\" in the initial cluster configuration";
        refused("default=http://localhost:2380", "m1", local, missing);
        refused("", "m1", local, missing);
        let scheme = "URL scheme must be http, https, unix, or unixs:";
        refused("a=b", "a", local, &format!("{scheme} b"));
        refused("a=ftp://h:1", "a", local, &format!("{scheme} ftp://h:1"));
        refused("a", "a", local, &format!("{scheme} "));
        refused("a=http://h:1", "a", "x", &format!("{scheme} x"));
        refused("a=http://h:1/x", "a", local, "URL must not contain a path: http://h:1/x");
        let form = "URL address does not have the form \"host:port\": http://h";
        refused("a=http://h", "a", local, form);
        refused(
            "default=http://h:1,b=http://h:1",
            "b",
            "http://h:1",
            "initial cluster b=http://h:1,default=http://h:1 has duplicate url",
        );
        refused(
            "m1=http://10.0.0.1:2380",
            "m1",
            local,
            "--initial-cluster has m1=http://10.0.0.1:2380 but missing from \
             --initial-advertise-peer-urls=http://localhost:2380",
        );
    }
}
