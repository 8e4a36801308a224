//! The plain endpoints of the client port: `/version`, `/health`, `/livez`, `/readyz`, `/metrics` and
//! `/debug/vars`. The listeners of metrics have neither the first nor the last.
//!
//! Not here: gRPC, `/v2/...` (`v2`), the peers' endpoints, the JSON gateway.

pub(crate) mod checks;
mod vars;

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use quoin_api::etcdserverpb::AlarmType;
use quoin_store::{ClusterVersion, View};
use serde::Serialize;
use tonic::body::Body;

use crate::log;
use crate::member::Member;
use crate::metrics::{CONTENT_TYPE as METRICS_TYPE, Exporter};
use crate::programs::QUOIN_VERSION;
use crate::v2::{self, V2};
use crate::version;

/// What `/version` says.
#[derive(Serialize)]
struct Versions {
    etcdserver: String,
    etcdcluster: String,
    storage: String,
}

/// What `/health` says.
#[derive(Serialize)]
struct Health {
    health: String,
    reason: String,
}

/// Returns the body of `/version`.
pub(crate) fn versions(member: &Member) -> String {
    let cluster = member.view().membership().version();
    let versions = Versions {
        etcdserver: version::ETCD_VERSION.to_owned(),
        etcdcluster: cluster.map_or_else(|| "not_decided".to_owned(), |it| it.to_string()),
        storage: storage_version(&member.view()).unwrap_or_else(|| "unknown".to_owned()),
    };
    serde_json::to_string(&versions).expect("three strings have a JSON form")
}

/// Returns the version of the stored form as etcd finds it: from 3.6 on it follows the cluster's and
/// is written down; below, a store that has applied an entry is taken for one of 3.5.
pub(crate) fn storage_version(view: &View) -> Option<String> {
    const WRITTEN_SINCE: ClusterVersion = ClusterVersion { major: 3, minor: 6, patch: 0 };
    match view.membership().version() {
        Some(version) if version >= WRITTEN_SINCE => {
            Some(format!("{}.{}.0", version.major, version.minor))
        }
        Some(_) | None => (view.applied() != (0, 0)).then(|| "3.5.0".to_owned()),
    }
}

/// Answers a request that is not gRPC, as etcd's router does: a path that is not clean is sent to the
/// clean one.
pub(crate) async fn handle<B>(
    exporter: Arc<Exporter>,
    v2: Arc<V2>,
    request: Request<B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let config = Arc::clone(&exporter.config);
    let host = host(&request);
    if !config.host_whitelist.admits(host) {
        return refuse_host(host).map(Body::new);
    }
    let origin = request.headers().get(ORIGIN).cloned();
    let Some(path) = v2::decode_path(request.uri().path()) else { return v2::bad_request() };
    let mut response = if request.method() == Method::OPTIONS {
        v2::options()
    } else if let Some(location) = v2::clean_location(&path, request.uri().query()) {
        // The status of etcd 3.4, which the v2 API is held against, and of 3.7.
        let is_v2 = path.starts_with(b"/v2/");
        let status =
            if is_v2 { StatusCode::MOVED_PERMANENTLY } else { StatusCode::TEMPORARY_REDIRECT };
        v2::redirect(status, request.method(), &location)
    } else {
        match path.as_slice() {
            b"/version" => version(&exporter.member, request.method()).map(Body::new),
            b"/debug/vars" => vars::handle(&exporter.member, request.method()).map(Body::new),
            b"/health" | b"/metrics" => handle_metrics(exporter, request).await.map(Body::new),
            _ => match checks::handle(&exporter.member, &request).await {
                Some(answer) => answer.map(Body::new),
                None => v2.handle(&path, request).await,
            },
        }
    };
    v2::allow_origins(&config, origin.as_ref(), response.headers_mut());
    response
}

/// Answers a request on a listener of metrics.
pub(crate) async fn handle_metrics<B>(
    exporter: Arc<Exporter>,
    request: Request<B>,
) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/health" => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            health(&exporter.member, request.method(), &query).await
        }
        "/metrics" => {
            let takes_gzip = takes_gzip(request.headers());
            metrics(exporter, takes_gzip).await
        }
        _ => {
            let answer = checks::handle(&exporter.member, &request).await;
            answer.unwrap_or_else(|| failure(StatusCode::NOT_FOUND, "404 page not found\n"))
        }
    }
}

/// Returns the name that the client used for this member, without its port.
fn host<B>(request: &Request<B>) -> &str {
    // A request of HTTP/2 has it in its target.
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let header = || request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let whole = authority.or_else(header).unwrap_or_default();
    let Some((host, _)) = whole.rsplit_once(':') else { return whole };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address;
    }
    if host.contains([':', '[', ']']) { whole } else { host }
}

/// Refuses a request for another host: a page of a foreign site that has its name resolved to this
/// member's address must not read from it.
fn refuse_host(host: &str) -> Response<Full<Bytes>> {
    let host = host.to_owned();
    let body = format!("etcd: the Host {host:?} of this request is not in --host-whitelist\n");
    log::warn!("rejecting HTTP request to prevent DNS rebinding attacks", "host" => host);
    failure(StatusCode::MISDIRECTED_REQUEST, &body)
}

/// Whether a client takes a body that is compressed with gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused = matches!(quality.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

/// Any method gets the page, as in etcd.
async fn metrics(exporter: Arc<Exporter>, takes_gzip: bool) -> Response<Full<Bytes>> {
    let page = tokio::task::spawn_blocking(move || {
        let page = exporter.page().into_bytes();
        if takes_gzip { gzip(&page) } else { Ok(page) }
    });
    let page = match page.await {
        Ok(Ok(page)) => page,
        Ok(Err(error)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        Err(error) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    };
    let mut response = Response::new(Full::new(Bytes::from(page)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    if takes_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gzip(page: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(page)?;
    encoder.finish()
}

fn version(member: &Member, method: &Method) -> Response<Full<Bytes>> {
    if method != Method::GET {
        return method_not_allowed();
    }
    let mut response = json(StatusCode::OK, versions(member));
    let version = HeaderValue::from_static(version::QUOIN_VERSION);
    response.headers_mut().insert(QUOIN_VERSION, version);
    response
}

async fn health(member: &Member, method: &Method, query: &str) -> Response<Full<Bytes>> {
    if method != Method::GET {
        log::warn!("/health error", "status-code" => 405);
        return method_not_allowed();
    }
    let serializable = parameters(query, "serializable").first().is_some_and(|it| it == "true");
    let reason = unhealthy(member, &parameters(query, "exclude"), serializable).await;
    let health = if reason.is_empty() { "true" } else { "false" }.to_owned();
    let body = serde_json::to_string(&Health { health, reason: reason.clone() })
        .expect("two strings have a JSON form");
    // etcd does not say that this is JSON.
    if reason.is_empty() {
        member.metrics.http.healthy.add(1);
        return text(StatusCode::OK, &body);
    }
    member.metrics.http.unhealthy.add(1);
    log::warn!("/health error", "output" => body.clone(), "status-code" => 503);
    failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{body}\n"))
}

/// Returns the values that a query gives a name.
fn parameters(query: &str, name: &str) -> Vec<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
}

/// Returns why this member is not healthy, or nothing.
async fn unhealthy(member: &Member, excluded: &[String], serializable: bool) -> String {
    for alarm in member.view().alarms(AlarmType::None) {
        let (name, reason) = match alarm.alarm() {
            AlarmType::Nospace => ("NOSPACE", "ALARM NOSPACE"),
            AlarmType::Corrupt => ("CORRUPT", "ALARM CORRUPT"),
            AlarmType::None => ("NONE", "ALARM UNKNOWN"),
        };
        if !excluded.iter().any(|alarm| alarm == name) {
            return reason.to_owned();
        }
    }
    if serializable {
        let read = checks::own_read(member);
        return read.err().map(|error| format!("RANGE ERROR:{error}")).unwrap_or_default();
    }
    if member.leader() == 0 {
        return "RAFT NO LEADER".to_owned();
    }
    let read = member.linearize().await;
    read.err().map(|error| format!("RANGE ERROR:{error}")).unwrap_or_default()
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Answers with an error, which browsers must not take for a page.
fn failure(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = text(status, body);
    response.headers_mut().insert(checks::OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn method_not_allowed() -> Response<Full<Bytes>> {
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_says_whether_it_takes_gzip() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip") && takes("deflate, GZIP;q=0.5") && takes("br,gzip"));
        assert!(!takes("gzip;q=0") && !takes("identity") && !takes("x-gzip") && !takes(""));
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn the_host_of_a_request_has_no_port() {
        let host_of = |value: &'static str| {
            let request = Request::get("/").header(HOST, value).body(()).expect("a request");
            host(&request).to_owned()
        };
        for (value, expected) in [
            ("h", "h"),
            ("h:1", "h"),
            ("[::1]:1", "::1"),
            ("[::1]", "[::1]"),
            ("::1", "::1"),
            ("h:1:2", "h:1:2"),
            ("", ""),
        ] {
            assert_eq!(host_of(value), expected, "{value:?}");
        }
    }
}
