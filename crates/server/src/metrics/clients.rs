//! Requests by the API version that clients say they speak.
//!
//! Versions are seldom new, so counting looks through a short list that is replaced when one is.
//! After [`VERSIONS_MAX`] of them, others are counted together: a client must not be able to add
//! lines to the page without end.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;

use super::text::{Kind, Page};
use super::value::Counter;

/// The header with the version.
const VERSION_HEADER: &str = "client-api-version";
/// A client that says none.
const UNKNOWN: &str = "unknown";
/// All versions for which there is no room.
const OTHERS: &str = "others";
/// Versions that are counted by name.
const VERSIONS_MAX: usize = 32;
/// Bytes of a version that is counted by name.
const VERSION_BYTES_MAX: usize = 32;

/// Requests by version.
#[derive(Debug)]
pub(crate) struct Clients {
    known: ArcSwap<Vec<Arc<Version>>>,
    others: Version,
}

#[derive(Debug)]
struct Version {
    name: String,
    unary: Counter,
    stream: Counter,
}

impl Default for Clients {
    fn default() -> Self {
        Self { known: ArcSwap::default(), others: Version::new(OTHERS) }
    }
}

impl Version {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), unary: Counter::default(), stream: Counter::default() }
    }

    fn count(&self, is_stream: bool) {
        if is_stream { &self.stream } else { &self.unary }.add(1);
    }
}

impl Clients {
    /// Counts a request.
    pub(crate) fn count(&self, headers: &HeaderMap, is_stream: bool) {
        let named = headers.get(VERSION_HEADER).map_or(Ok(UNKNOWN), |value| value.to_str());
        let Some(name) = named.ok().filter(|name| name.len() <= VERSION_BYTES_MAX) else {
            return self.others.count(is_stream);
        };
        if let Some(version) = self.known.load().iter().find(|version| version.name == name) {
            return version.count(is_stream);
        }
        let new = Arc::new(Version::new(name));
        self.known.rcu(|known| {
            let has_room = known.len() < VERSIONS_MAX;
            let is_new = known.iter().all(|version| version.name != name);
            let added = (has_room && is_new).then(|| Arc::clone(&new));
            known.iter().cloned().chain(added).collect::<Vec<_>>()
        });
        let known = self.known.load();
        let version = known.iter().find(|version| version.name == name);
        version.map_or(&self.others, |version| version).count(is_stream);
    }

    /// Writes the family.
    pub(super) fn write(&self, page: &mut Page) {
        let help = "Requests by the API version of the client.";
        let mut family = page.family(Kind::Counter, "etcd_server_client_requests_total", help);
        let known = self.known.load();
        let versions = known.iter().map(|version| &**version).chain([&self.others]);
        for version in versions {
            for (flow, count) in [("stream", &version.stream), ("unary", &version.unary)] {
                if count.load() > 0 {
                    let labels = [("client_api_version", version.name.as_str()), ("type", flow)];
                    family.sample(&labels, count.load() as f64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(clients: &Clients, version: Option<&str>) {
        let mut headers = HeaderMap::new();
        if let Some(version) = version {
            headers.insert(VERSION_HEADER, version.parse().unwrap());
        }
        clients.count(&headers, false);
    }

    fn page(clients: &Clients) -> String {
        let mut page = Page::default();
        clients.write(&mut page);
        page.finish()
    }

    #[test]
    fn versions_are_counted_by_name() {
        let clients = Clients::default();
        for version in [Some("3.7"), None, Some("3.7"), Some("3.5")] {
            count(&clients, version);
        }
        let page = page(&clients);
        for (version, requests) in [("3.7", 2), ("unknown", 1), ("3.5", 1)] {
            let line = format!("{{client_api_version=\"{version}\",type=\"unary\"}} {requests}\n");
            assert!(page.contains(&line), "{version}: {page}");
        }
    }

    #[test]
    fn clients_cannot_add_lines_without_end() {
        let clients = Clients::default();
        for number in 0..10 * VERSIONS_MAX {
            count(&clients, Some(&number.to_string()));
        }
        count(&clients, Some(&"9".repeat(10 * VERSION_BYTES_MAX)));
        let page = page(&clients);
        let lines = page.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, VERSIONS_MAX + 1);
        assert!(page.contains("\"others\",type=\"unary\"} 289\n"), "{page}");
    }
}
