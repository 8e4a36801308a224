//! `/v2/members` and `/v2/machines`.
//!
//! Not here: changing the members. A change is checked as etcd checks it and then refused, because
//! this release cannot carry it out.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quoin_store::{Member as Listed, push_json_string};
use tonic::body::Body;

use super::json::Json;
use super::{V2, answer};
use crate::config::Url;

const URL_PREFIX: &[u8] = b"/v2/members";
/// What a change that would be valid is answered.
const NOT_BUILT: &str = "etcdserver: membership changes are not supported by this release";

/// Why a change is refused.
enum Refused {
    /// With this status and text.
    Message(StatusCode, Vec<u8>),
    /// It names no member.
    WithoutId,
}

fn refused(status: StatusCode, text: impl Into<Vec<u8>>) -> Refused {
    Refused::Message(status, text.into())
}

impl Refused {
    fn into_response(self) -> Response<Body> {
        match self {
            Self::Message(status, text) => answer::message(status, &text),
            Self::WithoutId => answer::method_not_allowed(""),
        }
    }
}

/// Answers `/v2/machines`.
pub(super) fn machines(v2: &V2, parts: &Parts) -> Response<Body> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return answer::method_not_allowed("GET,HEAD");
    }
    let view = v2.member.view();
    let members = view.membership().members();
    let mut urls: Vec<&str> =
        members.flat_map(|member| member.client_urls.iter().map(String::as_str)).collect();
    urls.sort_unstable();
    let body = urls.join(", ");
    // etcd lets its library guess the type, and nothing has none.
    if body.is_empty() {
        answer::plain(StatusCode::OK, Vec::new())
    } else {
        answer::text(StatusCode::OK, &body)
    }
}

/// Answers `/v2/members` and what is below it.
pub(super) async fn handle<B>(
    v2: &Arc<V2>,
    path: &[u8],
    parts: &Parts,
    body: Pin<&mut B>,
) -> Response<Body>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let write = match parts.method {
        Method::GET => false,
        Method::POST | Method::DELETE | Method::PUT => true,
        _ => return answer::method_not_allowed("GET,POST,DELETE,PUT"),
    };
    if write && !v2.has_root_access(parts).await {
        return super::auth_http::no_access();
    }
    let path = path.get(URL_PREFIX.len()..).unwrap_or_default();
    let name = path.strip_prefix(b"/").unwrap_or(path);
    let mut response = match parts.method {
        Method::GET => list(v2, name),
        Method::POST => add(v2, parts, body).await.unwrap_or_else(Refused::into_response),
        Method::DELETE => remove(v2, name).unwrap_or_else(Refused::into_response),
        _ => update(v2, name, parts, body).await.unwrap_or_else(Refused::into_response),
    };
    answer::set_cluster(&mut response, v2.member.cluster_id);
    response
}

fn list(v2: &V2, name: &[u8]) -> Response<Body> {
    let view = v2.member.view();
    let mut body = Vec::new();
    match name {
        b"" => {
            body.extend_from_slice(b"{\"members\":[");
            for (position, member) in view.membership().members().enumerate() {
                if position > 0 {
                    body.push(b',');
                }
                push_member(&mut body, member);
            }
            body.extend_from_slice(b"]}");
        }
        b"leader" => {
            let leader = view.membership().member(v2.member.leader());
            let Some(leader) = leader else {
                return answer::message(StatusCode::SERVICE_UNAVAILABLE, b"During election");
            };
            push_member(&mut body, leader);
        }
        _ => return answer::message(StatusCode::NOT_FOUND, b"Not found"),
    }
    body.push(b'\n');
    answer::json(StatusCode::OK, body)
}

fn push_member(out: &mut Vec<u8>, member: &Listed) {
    out.extend_from_slice(format!("{{\"id\":\"{:x}\",\"name\":", member.id).as_bytes());
    push_json_string(out, member.name.as_bytes());
    for (name, urls) in [("peerURLs", &member.peer_urls), ("clientURLs", &member.client_urls)] {
        out.extend_from_slice(format!(",\"{name}\":[").as_bytes());
        for (position, url) in urls.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push_json_string(out, url.as_bytes());
        }
        out.push(b']');
    }
    out.push(b'}');
}

async fn add<B>(v2: &V2, parts: &Parts, body: Pin<&mut B>) -> Result<Response<Body>, Refused>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let urls = peer_urls(v2, parts, body).await?;
    check_unused(v2, 0, &urls)?;
    Ok(not_built())
}

async fn update<B>(
    v2: &V2,
    name: &[u8],
    parts: &Parts,
    body: Pin<&mut B>,
) -> Result<Response<Body>, Refused>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let id = member_id(name)?;
    let urls = peer_urls(v2, parts, body).await?;
    let view = v2.member.view();
    if view.membership().is_removed(id) {
        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"));
    }
    if view.membership().member(id).is_none() {
        return Err(no_such(&format!("{id:x}")));
    }
    check_unused(v2, id, &urls)?;
    Ok(not_built())
}

fn remove(v2: &V2, name: &[u8]) -> Result<Response<Body>, Refused> {
    let id = member_id(name)?;
    let view = v2.member.view();
    if view.membership().is_removed(id) {
        let gone = format!("Member permanently removed: {id:x}");
        return Err(refused(StatusCode::GONE, gone));
    }
    if view.membership().member(id).is_none() {
        return Err(no_such(&format!("{id:x}")));
    }
    Ok(not_built())
}

fn not_built() -> Response<Body> {
    answer::message(StatusCode::INTERNAL_SERVER_ERROR, NOT_BUILT.as_bytes())
}

fn no_such(name: &str) -> Refused {
    refused(StatusCode::NOT_FOUND, format!("No such member: {name}"))
}

fn member_id(name: &[u8]) -> Result<u64, Refused> {
    if name.is_empty() {
        return Err(Refused::WithoutId);
    }
    let digits = std::str::from_utf8(name).ok().filter(|text| !text.starts_with('+'));
    let id = digits.and_then(|text| u64::from_str_radix(text, 16).ok());
    id.ok_or_else(|| {
        let mut text = b"No such member: ".to_vec();
        text.extend_from_slice(name);
        refused(StatusCode::NOT_FOUND, text)
    })
}

/// Refuses URLs that another member has.
fn check_unused(v2: &V2, id: u64, urls: &[String]) -> Result<(), Refused> {
    let view = v2.member.view();
    let others = view.membership().members().filter(|member| member.id != id);
    let is_used = others.flat_map(|member| &member.peer_urls).any(|url| urls.contains(url));
    if is_used {
        return Err(refused(StatusCode::CONFLICT, "membership: peerURL exists"));
    }
    Ok(())
}

async fn peer_urls<B>(v2: &V2, parts: &Parts, body: Pin<&mut B>) -> Result<Vec<String>, Refused>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let header = parts.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let header = String::from_utf8_lossy(header.unwrap_or_default());
    let kind = match header.split_once(';') {
        Some((kind, _)) => kind.to_lowercase().trim().to_owned(),
        None => header.into_owned(),
    };
    if kind != "application/json" {
        let text = format!("Bad Content-Type {kind}, accept application/json");
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let bad = |text: Vec<u8>| refused(StatusCode::BAD_REQUEST, text);
    let body = v2.body(body).await.map_err(|error| bad(error.cause))?;
    read_peer_urls(&body).map_err(|text| bad(text.into_bytes()))
}

/// Reads `{"peerURLs":[...]}`. Errors are those of Go's JSON and of etcd's URLs.
fn read_peer_urls(text: &[u8]) -> Result<Vec<String>, String> {
    let json = Json::parse(text)?;
    let wrong = |value: &Json, place: &str| {
        Err(format!("json: cannot unmarshal {} into Go {place}", value.kind()))
    };
    let listed = match &json {
        Json::Null => None,
        Json::Object(_) => json.field("peerURLs"),
        other => {
            return wrong(
                other,
                "value of type struct { PeerURLs []string \"json:\\\"peerURLs\\\"\" }",
            );
        }
    };
    let mut urls = Vec::new();
    match listed {
        None => {}
        Some(Json::Array(values)) => {
            for value in values {
                match value {
                    Json::Text(text) => urls.push(text.as_str()),
                    Json::Null => urls.push(""),
                    other => return wrong(other, "struct field .peerURLs of type string"),
                }
            }
        }
        Some(other) => return wrong(other, "struct field .peerURLs of type []string"),
    }
    if urls.is_empty() {
        return Err("no valid URLs given".to_owned());
    }
    let urls: Result<Vec<Url>, String> = urls.into_iter().map(Url::parse).collect();
    let mut urls = urls?;
    // A socket in the file system is an address for flags, but not in this API.
    if let Some(url) = urls.iter().find(|url| url.is_unix() && url.port_text().is_empty()) {
        return Err(format!("URL address does not have the form \"host:port\": {url}"));
    }
    urls.sort();
    Ok(urls.iter().map(Url::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls_are_sorted() {
        let text = br#"{"peerurls":["http://b:1"," http://a:1"]}"#;
        let urls = ["http://a:1".to_owned(), "http://b:1".to_owned()];
        assert_eq!(read_peer_urls(text), Ok(urls.to_vec()));
    }

    #[test]
    fn what_is_malformed_is_named() {
        let check = |text: &str, reason: &str| {
            assert_eq!(read_peer_urls(text.as_bytes()), Err(reason.to_owned()), "{text}");
        };
        check("", "unexpected end of JSON input");
        check("{}", "no valid URLs given");
        check("null", "no valid URLs given");
        check(
            "[]",
            "json: cannot unmarshal array into Go value of type struct { PeerURLs []string \
             \"json:\\\"peerURLs\\\"\" }",
        );
        let string =
            "json: cannot unmarshal string into Go struct field .peerURLs of type []string";
        check(r#"{"peerURLs":"x"}"#, string);
        let number = "json: cannot unmarshal number into Go struct field .peerURLs of type string";
        check(r#"{"peerURLs":[1]}"#, number);
        check(r#"{"peerURLs":["."]}"#, "URL scheme must be http, https, unix, or unixs: .");
    }
}
