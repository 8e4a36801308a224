//! The headers with which members introduce themselves, and the checks made on them.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, InvalidHeaderValue};

use super::{Options, id_text};

pub(super) const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(super) const SERVER_VERSION: HeaderName = HeaderName::from_static("x-server-version");
pub(super) const MIN_CLUSTER_VERSION: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(super) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(super) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
pub(super) const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");

/// Body of the answer to a member whose version does not fit.
pub(super) const INCOMPATIBLE_VERSION: &str = "incompatible version";
/// Body of the answer to a member of another cluster.
pub(super) const CLUSTER_ID_MISMATCH: &str = "cluster ID mismatch";

/// The version that a member has which sends no version: the first with peers over HTTP.
const UNSTATED_VERSION: &str = "2.0.0";
/// The oldest version that has the streams which are spoken here.
const OLDEST_STREAMS: Version = Version { major: 2, minor: 1 };

/// The part of a version that decides what members can do together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    major: u64,
    minor: u64,
}

impl Version {
    /// Reads `x.y.z`, with or without a pre-release or build suffix.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+']).next()?;
        let mut parts = release.split('.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        });
        let (major, minor, _patch): (u64, u64, u64) =
            (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Self { major, minor })
    }
}

/// Who we are, as header values.
#[derive(Debug)]
pub(super) struct Identity {
    from: HeaderValue,
    version: HeaderValue,
    min_cluster_version: HeaderValue,
    cluster_id: HeaderValue,
    peer_urls: HeaderValue,
    server: Version,
    min_cluster: Version,
}

/// Why options cannot be put into headers.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A version is not `x.y.z`.
    #[error("version {0:?} is not of the form x.y.z")]
    Version(String),
    /// A URL contains bytes that no header may contain.
    #[error("peer URLs do not fit into a header")]
    PeerUrls(#[from] InvalidHeaderValue),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    Version,
    ClusterId,
}

impl Mismatch {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Version => INCOMPATIBLE_VERSION,
            Self::ClusterId => CLUSTER_ID_MISMATCH,
        }
    }
}

impl Identity {
    pub(super) fn new(options: &Options) -> Result<Self, IdentityError> {
        let parse = |text: &str| {
            Version::parse(text).ok_or_else(|| IdentityError::Version(text.to_owned()))
        };
        Ok(Self {
            from: HeaderValue::try_from(id_text(options.node_id))?,
            version: HeaderValue::try_from(&options.version)?,
            min_cluster_version: HeaderValue::try_from(&options.min_cluster_version)?,
            cluster_id: HeaderValue::try_from(id_text(options.cluster_id))?,
            peer_urls: HeaderValue::try_from(options.local_peer_urls.join(","))?,
            server: parse(&options.version)?,
            min_cluster: parse(&options.min_cluster_version)?,
        })
    }

    pub(super) fn version(&self) -> &HeaderValue {
        &self.version
    }

    pub(super) fn cluster_id(&self) -> &HeaderValue {
        &self.cluster_id
    }

    /// Adds what every request to a peer says about its sender.
    pub(super) fn introduce(&self, headers: &mut HeaderMap) {
        headers.insert(SERVER_FROM, self.from.clone());
        headers.insert(SERVER_VERSION, self.version.clone());
        headers.insert(MIN_CLUSTER_VERSION, self.min_cluster_version.clone());
        headers.insert(CLUSTER_ID, self.cluster_id.clone());
        if !self.peer_urls.is_empty() {
            headers.insert(PEER_URLS, self.peer_urls.clone());
        }
    }

    /// Checks that the sender of a request and this member can work together.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Mismatch> {
        let server = stated_version(headers, &SERVER_VERSION).ok_or(Mismatch::Version)?;
        let min_cluster = stated_version(headers, &MIN_CLUSTER_VERSION).ok_or(Mismatch::Version)?;
        if server < self.min_cluster || min_cluster > self.server {
            return Err(Mismatch::Version);
        }
        if headers.get(CLUSTER_ID) != Some(&self.cluster_id) {
            return Err(Mismatch::ClusterId);
        }
        Ok(())
    }
}

/// Reports whether a member has, by its answer, the streams spoken here.
pub(super) fn has_streams(answer: &HeaderMap) -> bool {
    stated_version(answer, &SERVER_VERSION).is_some_and(|remote| remote >= OLDEST_STREAMS)
}

/// Returns the text of a header, or nothing.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn stated_version(headers: &HeaderMap, name: &HeaderName) -> Option<Version> {
    let stated = headers.get(name).map_or(Ok(""), HeaderValue::to_str).ok()?;
    Version::parse(if stated.is_empty() { UNSTATED_VERSION } else { stated })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity::new(&Options::new(0xab, 0xc1, "3.7.1")).expect("the options are well formed")
    }

    fn check(version: &str, min_cluster: &str, cluster: &str) -> Result<(), Mismatch> {
        let mut headers = HeaderMap::new();
        let names = [(SERVER_VERSION, version), (MIN_CLUSTER_VERSION, min_cluster)];
        for (name, value) in names.into_iter().chain([(CLUSTER_ID, cluster)]) {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).expect("a plain text"));
            }
        }
        identity().check(&headers)
    }

    #[test]
    fn every_release_from_3_0_on_is_compatible() {
        for version in ["3.0.0", "3.4.23", "3.5.30", "3.7.1", "3.8.0-alpha.0", "4.0.0"] {
            assert_eq!(check(version, "3.0.0", "c1"), Ok(()), "{version}");
        }
    }

    #[test]
    fn version_is_checked_before_the_cluster_id() {
        assert_eq!(check("2.3.8", "2.1.0", "ff"), Err(Mismatch::Version));
        assert_eq!(check("3.9.0", "3.8.0", "c1"), Err(Mismatch::Version));
        assert_eq!(check("", "", "c1"), Err(Mismatch::Version));
        assert_eq!(check("3.7", "3.0.0", "c1"), Err(Mismatch::Version));
        assert_eq!(check("3.7.1", "3.0.0", "0c1"), Err(Mismatch::ClusterId));
        assert_eq!(check("3.7.1", "3.0.0", ""), Err(Mismatch::ClusterId));
        // A missing least cluster version counts as 2.0.0, which everyone is above.
        assert_eq!(check("3.7.1", "", "c1"), Ok(()));
    }

    #[test]
    fn versions_have_three_numbers() {
        for bad in ["", "3", "3.7", "3.7.1.2", "a.b.c", "3..1", "+3.7.1", "3.7.-1"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        assert_eq!(Version::parse("3.7.1+git-x.1"), Some(Version { major: 3, minor: 7 }));
    }
}
