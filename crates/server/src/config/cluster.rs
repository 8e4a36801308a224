//! Who the members are when a cluster is founded, and what follows from the name alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::go::{GoDuration, quote};
use super::settings::Config;
use super::url::{Scheme, Url};
use super::validate::texts;
use crate::log::Record;
use crate::record;

/// How much history automatic compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// There is no automatic compaction.
    Off,
    /// What is younger than this.
    Periodic(Duration),
    /// This many revisions.
    Revisions(i64),
}

/// The members that found a cluster: names and peer URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster(pub BTreeMap<String, Vec<Url>>);

impl InitialCluster {
    /// Reads `name=url,name=url`; a name that occurs more than once has several URLs.
    ///
    /// # Errors
    ///
    /// Returns the text of the first URL that is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, url) = pair.split_once('=').unwrap_or((pair, ""));
            members.entry(name.to_owned()).or_default().push(Url::parse(url)?);
        }
        for urls in members.values_mut() {
            urls.sort();
        }
        Ok(Self(members))
    }

    fn has_duplicate(&self) -> bool {
        let mut urls: Vec<&Url> = self.0.values().flatten().collect();
        urls.sort();
        urls.windows(2).any(|pair| pair[0] == pair[1])
    }
}

impl std::fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let member = |(name, urls): (&String, &Vec<Url>)| -> Vec<String> {
            urls.iter().map(|url| format!("{name}={url}")).collect()
        };
        let mut pairs: Vec<String> = self.0.iter().flat_map(member).collect();
        pairs.sort();
        f.write_str(&pairs.join(","))
    }
}

impl Config {
    /// Returns the members that found the cluster.
    ///
    /// # Errors
    ///
    /// Returns etcd's text if `--initial-cluster` is malformed.
    pub fn initial_cluster(&self) -> Result<InitialCluster, String> {
        InitialCluster::parse(&self.initial_cluster)
            .map_err(|reason| format!("error setting up initial cluster: {reason}"))
    }

    /// Checks that this member can found the cluster: it is among the members, with the URLs that
    /// it advertises, and no URL occurs twice. `resolve` turns the URL's host into an address; it
    /// is asked only if the URLs differ as texts.
    ///
    /// # Errors
    ///
    /// Returns etcd's text for what is wrong.
    pub fn check_bootstrap(
        &self,
        resolve: impl FnMut(&Url) -> Result<String, String>,
    ) -> Result<InitialCluster, String> {
        let cluster = self.initial_cluster()?;
        let own = self.own_urls(&cluster)?;
        self.check_advertised(own, resolve)?;
        self.check_duplicates(cluster)
    }

    /// Checks that this member can join the cluster that has added it.
    ///
    /// # Errors
    ///
    /// Returns etcd's text for what is wrong.
    pub fn check_join(&self) -> Result<InitialCluster, String> {
        let cluster = self.initial_cluster()?;
        self.own_urls(&cluster)?;
        self.check_duplicates(cluster)
    }

    fn own_urls<'a>(&self, cluster: &'a InitialCluster) -> Result<&'a [Url], String> {
        let own = cluster.0.get(&self.name).map(Vec::as_slice);
        own.ok_or_else(|| {
            let name = quote(&self.name);
            format!("couldn't find local name {name} in the initial cluster configuration")
        })
    }

    fn check_duplicates(&self, cluster: InitialCluster) -> Result<InitialCluster, String> {
        if cluster.has_duplicate() {
            return Err(format!("initial cluster {cluster} has duplicate url"));
        }
        Ok(cluster)
    }

    fn check_advertised(
        &self,
        own: &[Url],
        resolve: impl FnMut(&Url) -> Result<String, String>,
    ) -> Result<(), String> {
        let mut advertised = self.initial_advertise_peer_urls.clone();
        advertised.sort();
        let Err(reason) = same_places(&advertised, own, resolve) else { return Ok(()) };
        let listed = texts(&advertised).join(",");
        let missing = own.iter().filter(|url| !advertised.contains(url));
        let missing: Vec<String> = missing.map(|url| format!("{}={url}", self.name)).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            return Err(format!(
                "--initial-cluster has {missing} but missing from \
                 --initial-advertise-peer-urls={listed} ({reason})"
            ));
        }
        let pairs: Vec<String> =
            advertised.iter().map(|url| format!("{}={url}", self.name)).collect();
        let pairs = pairs.join(",");
        let missing = advertised.iter().filter(|url| !own.contains(url));
        let missing: Vec<String> = missing.map(Url::to_string).collect();
        if !missing.is_empty() {
            let missing = missing.join(",");
            return Err(format!(
                "--initial-advertise-peer-urls has {missing} but missing from \
                 --initial-cluster={pairs}"
            ));
        }
        Err(format!("failed to resolve {listed} to match --initial-cluster={pairs} ({reason})"))
    }

    /// Returns what an operator may have forgotten when a bootstrap fails. etcd 3.7 keeps these
    /// lines to itself; older releases printed them.
    pub fn bootstrap_hints(&self) -> Vec<Record> {
        let mut hints = Vec::new();
        if self.initial_cluster == self.cluster_of(&self.name) {
            hints.push(record!(Warn, "forgot to set --initial-cluster?"));
        }
        let default = Self::default().initial_advertise_peer_urls;
        if self.initial_advertise_peer_urls == default {
            hints.push(record!(Warn, "forgot to set --initial-advertise-peer-urls?"));
        }
        hints
    }

    /// Returns the cluster of this member alone, under a name.
    fn cluster_of(&self, name: &str) -> String {
        let urls = self.initial_advertise_peer_urls.iter();
        let pairs: Vec<String> = urls.map(|url| format!("{name}={url}")).collect();
        pairs.join(",")
    }

    /// Fills in what follows from the rest: the address of the machine where a listener is open
    /// to all and nothing else is advertised, the cluster of a member that gave only its name, the
    /// data directory. Returns what is to be logged.
    pub fn settle(&mut self, default_host: Result<String, String>) -> Vec<Record> {
        let mut notes = Vec::new();
        let default = Self::default();
        let is_alone = self.name != default.name && self.initial_cluster == default.initial_cluster;
        let host = default_host.as_deref().ok().filter(|host| !host.is_empty());
        let mut used = false;
        if let Some(host) = host
            && self.initial_advertise_peer_urls == default.initial_advertise_peer_urls
        {
            used |= adopt(&mut self.initial_advertise_peer_urls, &self.listen_peer_urls, host);
        }
        if is_alone {
            let name = self.name.clone();
            self.initial_cluster = self.cluster_of(&name);
        }
        if let Some(host) = host
            && self.advertise_client_urls == default.advertise_client_urls
        {
            used |= adopt(&mut self.advertise_client_urls, &self.listen_client_urls, host);
        }
        if let Some(host) = host.filter(|_| used) {
            let host = host.to_owned();
            notes.push(record!(Info, "detected default host for advertise", "host" => host));
        }
        if let Err(reason) = default_host {
            notes.push(record!(Info, "failed to detect default host", "error" => reason));
        }
        if self.data_dir.is_empty() {
            self.data_dir = format!("{}.etcd", self.name);
            let message = "'data-dir' was empty; using default";
            notes.push(record!(Warn, message, "data-dir" => &self.data_dir));
        }
        notes
    }

    /// Returns the time between heartbeats, which is also the time of a tick.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_interval as u64)
    }

    /// Returns the election timeout in ticks.
    pub fn election_ticks(&self) -> usize {
        self.election_timeout / self.heartbeat_interval.max(1)
    }

    /// Returns the directory of the member's files.
    pub fn member_dir(&self) -> PathBuf {
        Path::new(&self.data_dir).join("member")
    }

    /// Returns the directory of the write-ahead log.
    pub fn wal_path(&self) -> PathBuf {
        if self.wal_dir.is_empty() {
            return self.member_dir().join("wal");
        }
        PathBuf::from(&self.wal_dir)
    }

    /// Returns how much history automatic compaction keeps.
    ///
    /// # Errors
    ///
    /// Returns etcd's text if the retention is neither a number nor a duration.
    pub fn auto_compaction(&self) -> Result<AutoCompaction, String> {
        let nanos = self.auto_compaction_nanos()?;
        Ok(match nanos {
            ..=0 => AutoCompaction::Off,
            _ if self.auto_compaction_mode == "revision" => AutoCompaction::Revisions(nanos),
            _ => AutoCompaction::Periodic(GoDuration::from_nanos(nanos).std()),
        })
    }

    /// Returns the retention in nanoseconds, or in revisions, which share etcd's field.
    pub(super) fn auto_compaction_nanos(&self) -> Result<i64, String> {
        const HOUR_NANOS: i64 = 3_600_000_000_000;
        let text = match self.auto_compaction_retention.as_str() {
            "" => "0",
            text => text,
        };
        let wrong = |reason: String| format!("error parsing CompactionRetention: {reason}");
        match text.parse::<i64>() {
            Ok(number) if number >= 0 && self.auto_compaction_mode == "revision" => Ok(number),
            Ok(hours) if hours >= 0 => {
                let overflow = || wrong(format!("time: invalid duration {}", quote(text)));
                hours.checked_mul(HOUR_NANOS).ok_or_else(overflow)
            }
            _ => GoDuration::parse(text).map(GoDuration::nanos).map_err(wrong),
        }
    }
}

/// Puts `host` and the port of the first listener into the first URL if that listener is open to
/// all. Returns whether it did.
fn adopt(advertised: &mut [Url], listening: &[Url], host: &str) -> bool {
    match (advertised.first_mut(), listening.first()) {
        (Some(first), Some(listener)) if listener.host() == "0.0.0.0" => {
            *first = first.with_authority(format!("{host}:{}", listener.port_text()));
            true
        }
        _ => false,
    }
}

/// Checks that two sorted lists of URLs lead to the same places.
fn same_places(
    left: &[Url],
    right: &[Url],
    mut resolve: impl FnMut(&Url) -> Result<String, String>,
) -> Result<(), String> {
    if left.len() != right.len() {
        let quoted = |urls: &[Url]| {
            let urls: Vec<String> = urls.iter().map(|url| quote(url.as_str())).collect();
            urls.join(" ")
        };
        return Err(format!("len([{}]) != len([{}])", quoted(left), quoted(right)));
    }
    let differs = |(a, b): &(&Url, &Url)| place(a) != place(b);
    if !left.iter().zip(right).any(|pair| differs(&pair)) {
        return Ok(());
    }
    let mut resolved = |urls: &[Url]| -> Result<Vec<Url>, String> {
        let resolved: Result<Vec<Url>, String> = urls
            .iter()
            .map(|url| {
                if url.is_unix() || url.host() == "localhost" {
                    return Ok(url.clone());
                }
                let address = resolve(url).map_err(|reason| {
                    let url = quote(url.as_str());
                    format!("failed to resolve {url} ({reason})")
                })?;
                Ok(url.with_authority(address))
            })
            .collect();
        let mut resolved = resolved?;
        resolved.sort();
        Ok(resolved)
    };
    let (left, right) = (resolved(left)?, resolved(right)?);
    match left.iter().zip(&right).find(differs) {
        Some((a, b)) => {
            let (a, b) = (quote(a.as_str()), quote(b.as_str()));
            Err(format!("resolved urls: {a} != {b}"))
        }
        None => Ok(()),
    }
}

/// What a URL leads to, with the address in its one canonical form.
fn place(url: &Url) -> (Scheme, String, String) {
    let host = match url.host().parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => url.host().to_owned(),
    };
    let path = if url.is_unix() { url.socket_path() } else { String::new() };
    (url.scheme(), format!("{host} {}", url.port_text()), path)
}

/// Returns the first address of a URL's host and port, as `address:port`.
///
/// # Errors
///
/// Returns the reason if the system cannot resolve the name.
pub fn resolve_host(url: &Url) -> Result<String, String> {
    let port = url.port().unwrap_or(0);
    let resolved = (url.host(), port).to_socket_addrs();
    let mut addresses = resolved.map_err(|error| super::go_io_error(&error))?;
    let first = addresses.next().map(|address| address.to_string());
    first.ok_or_else(|| format!("lookup {}: no such host", url.host()))
}

/// Returns the address this machine uses towards the rest of the world. Nothing is sent: the
/// system is asked which address a packet would carry.
///
/// # Errors
///
/// Returns etcd's text if there is no way to the rest of the world.
pub fn default_host() -> Result<String, String> {
    // Addresses set aside for documentation: never local, so they take the default route.
    let routes = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    for (local, remote) in routes {
        let socket = UdpSocket::bind(local).and_then(|socket| {
            socket.connect(remote)?;
            socket.local_addr()
        });
        if let Ok(address) = socket {
            return Ok(address.ip().to_string());
        }
    }
    Err("could not find default route".to_owned())
}
