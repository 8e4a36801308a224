//! Client of etcd's v2 API: HTTP and JSON, one request after the other.
//!
//! A call goes to the endpoint that worked last; if it fails there, to the others in turn. When all
//! have failed, the error holds the reason of each. What the server may have done although no
//! answer came is repeated at the next endpoint only if doing it twice does no harm.
//!
//! Invariants:
//! - Errors read as those of etcd's v2 client, because scripts look for their texts.
//! - Every call but a watch ends at its deadline.
//!
//! Not here: TLS, DNS discovery, and how an error is shown to a person.

mod auth;
mod error;
mod keys;
mod members;
mod transport;
mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use base64::Engine;
use tokio::time::Instant;

use transport::{Limits, Request, Response, round_trip};

pub use auth::{Access, Role, User};
pub use error::Error;
pub use keys::{Change, Event, Node, Removal, Waiting};
pub use members::{Member, health, peer_urls};
pub use url::{Url, canonical_path};

use url::clean_path;

/// How often a server may send a call to another place.
const MAX_REDIRECTS: usize = 10;

/// What a client is made of.
pub struct Options {
    /// The servers, as URLs.
    pub endpoints: Vec<String>,
    /// A user and a password to send with every request.
    pub credentials: Option<(String, String)>,
    /// Longest time for connecting.
    pub dial_timeout: Duration,
    /// Longest time until the head of an answer is there; none for no limit.
    pub header_timeout: Option<Duration>,
    /// Whether the endpoints are tried in the order given; otherwise the order is random, so that
    /// many clients spread over the servers.
    pub in_order: bool,
    /// Is shown every request as a command of curl before it is sent.
    pub trace: Option<fn(&str)>,
}

/// A handle on a cluster. It keeps no connection between two calls.
pub struct Client {
    endpoints: Vec<Url>,
    /// The endpoint that worked last, an index into `endpoints`.
    pinned: usize,
    authorization: Option<String>,
    dial_timeout: Duration,
    header_timeout: Option<Duration>,
    trace: Option<fn(&str)>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password stays out of logs.
        f.debug_struct("Client").field("endpoints", &self.endpoints()).finish_non_exhaustive()
    }
}

/// When a call ends; none for never.
pub type Deadline = Option<Instant>;

/// Whether a call is tried at the next endpoint when one fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tries {
    /// At every endpoint.
    All,
    /// At one alone, because the failed one may have done it.
    One,
}

/// A request before it is known to which server it goes.
#[derive(Clone, Debug)]
struct Call {
    method: &'static str,
    /// The path behind that of the endpoint, not escaped.
    path: Vec<u8>,
    /// Whether a slash at the end of the path means something.
    keeps_slash: bool,
    /// Escaped.
    query: String,
    body: Option<(&'static str, String)>,
    waits: bool,
}

impl Call {
    fn new(method: &'static str, path: impl Into<Vec<u8>>) -> Self {
        let (query, body) = (String::new(), None);
        Self { method, path: path.into(), keeps_slash: false, query, body, waits: false }
    }

    fn json(mut self, body: String) -> Self {
        self.body = Some(("application/json", body));
        self
    }

    fn url(&self, endpoint: &Url) -> Url {
        let path = [endpoint.path.as_slice(), &self.path].concat();
        let clean = if self.keeps_slash { canonical_path } else { clean_path };
        let query = match (endpoint.query.as_str(), self.query.as_str()) {
            (only, "") | ("", only) => only.to_owned(),
            (first, second) => format!("{first}&{second}"),
        };
        Url { path: clean(&path), query, ..endpoint.clone() }
    }
}

impl Client {
    /// A client of these endpoints. Nothing is sent yet.
    ///
    /// # Errors
    /// If there is no endpoint, or one is no URL.
    pub fn new(options: Options) -> Result<Self, Error> {
        let mut endpoints = parse_all(&options.endpoints)?;
        if !options.in_order {
            shuffle(&mut endpoints);
        }
        let authorization = options.credentials.map(|(user, password)| {
            let pair = format!("{user}:{password}");
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        let (dial_timeout, header_timeout) = (options.dial_timeout, options.header_timeout);
        let trace = options.trace;
        Ok(Self { endpoints, pinned: 0, authorization, dial_timeout, header_timeout, trace })
    }

    /// The endpoints in the order in which they are tried.
    pub fn endpoints(&self) -> Vec<String> {
        self.endpoints.iter().map(ToString::to_string).collect()
    }

    /// Asks the cluster for its members and talks to those from now on.
    ///
    /// # Errors
    /// If nobody answers, or the members tell no client URLs ([`Error::NoEndpoints`]).
    pub async fn sync(&mut self, deadline: Deadline) -> Result<(), Error> {
        let members = self.members(deadline).await?;
        let urls: Vec<String> = members.into_iter().flat_map(|member| member.client_urls).collect();
        let mut endpoints = parse_all(&urls)?;
        if sorted(&endpoints) != sorted(&self.endpoints) {
            shuffle(&mut endpoints);
            self.endpoints = endpoints;
            self.pinned = 0;
        }
        Ok(())
    }

    /// Sends a call to the endpoints in turn until one answers.
    async fn call(
        &mut self,
        call: &Call,
        tries: Tries,
        deadline: Deadline,
    ) -> Result<Response, Error> {
        let count = self.endpoints.len();
        if count == 0 {
            return Err(Error::NoEndpoints);
        }
        let mut errors = Vec::new();
        for step in 0..count {
            let index = (self.pinned + step) % count;
            let error = match self.call_one(&self.endpoints[index], call, deadline).await {
                Ok(response) if response.status / 100 != 5 => {
                    self.pinned = index;
                    return Ok(response);
                }
                Ok(response) => failed(&self.endpoints[index], response.status),
                Err(Error::Deadline) => return Err(Error::Deadline),
                Err(error) => error,
            };
            if tries == Tries::One {
                self.pinned = (index + 1) % count;
                return Err(error);
            }
            errors.push(error);
        }
        Err(Error::Cluster(errors))
    }

    /// Sends a call to one endpoint and follows where it sends the client.
    async fn call_one(
        &self,
        endpoint: &Url,
        call: &Call,
        deadline: Deadline,
    ) -> Result<Response, Error> {
        let limits = Limits { dial: self.dial_timeout, header: self.header_timeout, deadline };
        let name = endpoint.to_string();
        let mut url = call.url(endpoint);
        for _ in 0..=MAX_REDIRECTS {
            let request = Request {
                method: call.method,
                url,
                body: call.body.clone(),
                authorization: self.authorization.clone(),
                waits: call.waits,
            };
            self.show(&request);
            let response = round_trip(request, &name, limits).await?;
            if response.status / 100 != 3 {
                return Ok(response);
            }
            let location = response.header("location");
            if location.is_empty() {
                return Err(Error::Text("location header not set".to_owned()));
            }
            let wrong = |_| Error::Text(format!("location header not valid URL: {location}"));
            url = Url::parse(location).map_err(wrong)?;
        }
        Err(Error::TooManyRedirects)
    }

    fn show(&self, request: &Request) {
        if let Some(trace) = self.trace {
            let body = request.body.as_ref().map(|(_, body)| format!(" -d {body:?}"));
            let body = body.unwrap_or_default();
            trace(&format!("cURL Command: curl -X {} {}{body}", request.method, request.url));
        }
    }
}

/// Fetches `url` as it is, without a user and at no server but the one it names, and returns the
/// body whatever the status is.
async fn fetch(url: &str, dial_timeout: Duration, deadline: Deadline) -> Result<Vec<u8>, Error> {
    let request = Request {
        method: "GET",
        url: Url::parse(url)?,
        body: None,
        authorization: None,
        waits: false,
    };
    let limits = Limits { dial: dial_timeout, header: None, deadline };
    Ok(round_trip(request, url, limits).await?.body.to_vec())
}

/// What a status of the server's own failure means.
fn failed(endpoint: &Url, status: u16) -> Error {
    const INTERNAL: u16 = 500;
    const UNAVAILABLE: u16 = 503;
    if matches!(status, INTERNAL | UNAVAILABLE) {
        return Error::NoLeader(endpoint.to_string());
    }
    let words = http::StatusCode::from_u16(status).ok();
    let words = words.and_then(|status| status.canonical_reason()).unwrap_or_default();
    Error::Server(endpoint.to_string(), words.to_owned())
}

fn parse_all(texts: &[String]) -> Result<Vec<Url>, Error> {
    if texts.is_empty() {
        return Err(Error::NoEndpoints);
    }
    texts.iter().map(|text| Url::parse(text)).collect()
}

fn sorted(urls: &[Url]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(ToString::to_string).collect();
    texts.sort();
    texts
}

/// Brings the endpoints into a random order; how random matters little.
fn shuffle(urls: &mut [Url]) {
    let random = RandomState::new();
    urls.sort_by_cached_key(|url| random.hash_one(url.to_string()));
}
