//! `/v2/keys`: what a request asks for, and its answer.
//!
//! A request is checked in etcd's order, so that of several faults the same one is named. What
//! changes something, and a quorum read, is proposed; other reads look at the view of this member.
//!
//! Not here: what a request does (`store::v2`), who may do it (`auth`), waiting (`watch`).

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quoin_api::etcdserverpb::Request;
use quoin_store::{V2Action, V2Event, V2WatchOptions};
use tonic::body::Body;

use super::answer;
use super::error::{Code, KeyError};
use super::form::Form;
use super::listing::Reading;
use super::{Done, KEYS_PREFIX, V2, now_ns, path, render};
use crate::config::parse_bool;

/// Where they are in URLs.
pub(super) const URL_PREFIX: &[u8] = b"/v2/keys";
const METHODS: &str = "HEAD,GET,PUT,POST,DELETE";
/// Bytes of the paths of all directories that one request may create. A path of 64 kB with a slash
/// at each second byte would otherwise make 32,000 directories, each with its path.
const CREATED_PATH_BYTES_MAX: usize = 4 << 20;
const NANOS_PER_S: u64 = 1_000_000_000;

/// A request for a key.
#[derive(Clone, Debug, PartialEq)]
struct KeyRequest {
    request: Request,
    /// Whether the nodes are left out of the answer to a write.
    no_value_on_success: bool,
}

/// Answers a request for a key. `path` is decoded.
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
    if !METHODS.split(',').any(|method| parts.method == method) {
        return answer::method_not_allowed(METHODS);
    }
    let answered = answer_request(v2, path, parts, body).await;
    let mut response = answered.unwrap_or_else(KeyError::into_response);
    answer::set_cluster(&mut response, v2.member.cluster_id);
    response
}

async fn answer_request<B>(
    v2: &Arc<V2>,
    path: &[u8],
    parts: &Parts,
    body: Pin<&mut B>,
) -> Result<Response<Body>, KeyError>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let form = v2.form(parts, body).await?;
    let key = path.get(URL_PREFIX.len()..).unwrap_or_default();
    let KeyRequest { request, no_value_on_success } = parse(&parts.method, key, &form, now_ns())?;
    let recursive = request.recursive;
    if !v2.may_access_key(parts, key, recursive).await {
        return Err(KeyError::request(Code::Unauthorized, "Insufficient credentials"));
    }
    check_created_paths(&request)?;
    let done = if matches!(request.method.as_str(), "GET" | "HEAD") {
        if request.wait {
            let Request { path, recursive, stream, since, .. } = request;
            return watch(v2, V2WatchOptions { path, recursive, stream, since });
        }
        v2.read_listed(&request.path, recursive).await.map(Done::Read)
    } else {
        v2.carry_out(request).await
    };
    match done.map_err(KeyError::without_prefix)? {
        Done::Event(event) => Ok(event_response(v2, &event, no_value_on_success)),
        Done::Read(reading) => listing_response(v2, reading).await,
    }
}

/// Reads a request for a key; none if it is refused.
pub(super) fn read(method: &Method, key: &[u8], form: &Form, now_ns: i64) -> Option<Request> {
    let parsed = parse(method, key, form, now_ns).ok()?;
    check_created_paths(&parsed.request).ok().map(|()| parsed.request)
}

/// Reads the fields of a request for a key.
fn parse(method: &Method, key: &[u8], form: &Form, now_ns: i64) -> Result<KeyRequest, KeyError> {
    let prev_index = number(form, "prevIndex")?;
    let since = number(form, "waitIndex")?;
    let recursive = flag(form, "recursive")?;
    let sorted = flag(form, "sorted")?;
    let wait = flag(form, "wait")?;
    let dir = flag(form, "dir")?;
    let quorum = flag(form, "quorum")?;
    let stream = flag(form, "stream")?;
    if wait && method != Method::GET {
        let cause = "\"wait\" can only be used with GET requests";
        return Err(KeyError::request(Code::InvalidField, cause));
    }
    let prev_value = form.first("prevValue");
    if prev_value.is_some_and(<[u8]>::is_empty) {
        let cause = "\"prevValue\" cannot be empty";
        return Err(KeyError::request(Code::PrevValueRequired, cause));
    }
    let no_value_on_success = flag(form, "noValueOnSuccess")?;
    let ttl_s = time_to_live(form)?;
    // These two are told apart from their absence, and are named without quotes.
    let nullable = |name: &str| {
        let invalid = || KeyError::request(Code::InvalidField, format!("invalid value for {name}"));
        form.first(name).map(|text| boolean(text).ok_or_else(invalid)).transpose()
    };
    let prev_exist = nullable("prevExist")?;
    let refresh = nullable("refresh")?;
    let value = form.first("value").unwrap_or_default();
    if refresh == Some(true) {
        if !value.is_empty() {
            let cause = "A value was provided on a refresh";
            return Err(KeyError::request(Code::RefreshValue, cause));
        }
        if ttl_s.is_none() {
            return Err(KeyError::request(Code::RefreshTtlRequired, "No TTL value set"));
        }
    }
    // A read through consensus has a method of its own.
    let method = if *method == Method::GET && quorum { "QGET" } else { method.as_str() };
    let request = Request {
        method: method.to_owned(),
        path: Bytes::from(path::join(KEYS_PREFIX, key)),
        val: Bytes::copy_from_slice(value),
        dir,
        prev_value: Bytes::copy_from_slice(prev_value.unwrap_or_default()),
        prev_index,
        prev_exist,
        expiration: ttl_s.map_or(0, |ttl_s| expiration_ns(ttl_s, now_ns)),
        wait,
        since,
        recursive,
        sorted,
        quorum,
        stream,
        refresh,
        ..Request::default()
    };
    Ok(KeyRequest { request, no_value_on_success })
}

/// Returns when a time to live ends. Far too long ones wrap around, as in etcd.
fn expiration_ns(ttl_s: u64, now_ns: i64) -> i64 {
    now_ns.wrapping_add(ttl_s.wrapping_mul(NANOS_PER_S).cast_signed())
}

fn time_to_live(form: &Form) -> Result<Option<u64>, KeyError> {
    let Some(text) = form.first("ttl").filter(|text| !text.is_empty()) else { return Ok(None) };
    let invalid = || KeyError::request(Code::TtlNotNumber, "invalid value for \"ttl\"");
    unsigned(text).map(Some).ok_or_else(invalid)
}

fn number(form: &Form, name: &str) -> Result<u64, KeyError> {
    let Some(text) = form.first(name) else { return Ok(0) };
    let cause = || format!("invalid value for \"{name}\"");
    unsigned(text).ok_or_else(|| KeyError::request(Code::IndexNotNumber, cause()))
}

fn flag(form: &Form, name: &str) -> Result<bool, KeyError> {
    let Some(text) = form.first(name) else { return Ok(false) };
    let cause = || format!("invalid value for \"{name}\"");
    boolean(text).ok_or_else(|| KeyError::request(Code::InvalidField, cause()))
}

/// Reads decimal digits and nothing else.
fn unsigned(text: &[u8]) -> Option<u64> {
    let is_digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if is_digits { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

fn boolean(text: &[u8]) -> Option<bool> {
    parse_bool(std::str::from_utf8(text).ok()?)
}

/// Refuses a write that would create too many directories.
fn check_created_paths(request: &Request) -> Result<(), KeyError> {
    if !matches!(request.method.as_str(), "PUT" | "POST") {
        return Ok(());
    }
    let slashes = request.path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let bytes: usize = slashes.map(|(at, _)| at).sum();
    if bytes > CREATED_PATH_BYTES_MAX {
        return Err(KeyError::raft(quoin_api::error::Error::RequestTooLarge));
    }
    Ok(())
}

fn event_response(v2: &V2, event: &V2Event, no_value_on_success: bool) -> Response<Body> {
    let is_write = match event.action {
        V2Action::Set | V2Action::Create | V2Action::Update | V2Action::CompareAndSwap => true,
        V2Action::Get | V2Action::Delete | V2Action::CompareAndDelete | V2Action::Expire => false,
    };
    let body = render::event(event, !(no_value_on_success && is_write), now_ns());
    let status = if event.is_created() { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = answer::json(status, body);
    set_indexes(v2, &mut response, event.index());
    response
}

async fn listing_response(v2: &V2, reading: Reading) -> Result<Response<Body>, KeyError> {
    let index = reading.index;
    let mut response = v2.render(reading).await?;
    answer::set_json(&mut response);
    set_indexes(v2, &mut response, index);
    Ok(response)
}

/// Lets a client wait. The answer begins at once.
fn watch(v2: &Arc<V2>, options: V2WatchOptions) -> Result<Response<Body>, KeyError> {
    let watching = v2.watchers.watch(options).map_err(KeyError::without_prefix)?;
    let index = watching.start_index;
    let mut response = watching.into_response();
    answer::set_json(&mut response);
    set_indexes(v2, &mut response, index);
    Ok(response)
}

/// Sets the headers that say where the store and the log are.
fn set_indexes(v2: &V2, response: &mut Response<Body>, index: u64) {
    let (commit, _) = v2.member.indexes();
    answer::set_number(response, answer::ETCD_INDEX, index);
    answer::set_number(response, answer::RAFT_INDEX, commit);
    answer::set_number(response, answer::RAFT_TERM, v2.member.term());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: Method, query: &str) -> Result<KeyRequest, KeyError> {
        let form = Form::parse(None, Some(query)).expect("the form is valid");
        parse(&method, b"/a//b/", &form, 5)
    }

    #[track_caller]
    fn check(method: Method, query: &str, expected: Request) {
        let expected = Request { path: Bytes::from_static(b"/1/a/b"), ..expected };
        assert_eq!(parsed(method, query).map(|parsed| parsed.request), Ok(expected), "{query}");
    }

    #[track_caller]
    fn refused(method: Method, query: &str, code: Code, cause: &str) {
        let error = KeyError::request(code, cause);
        assert_eq!(parsed(method, query), Err(error), "{query}");
    }

    #[test]
    fn a_request_becomes_what_a_leader_of_etcd_would_propose() {
        let put = || Request { method: "PUT".to_owned(), ..Request::default() };
        check(
            Method::PUT,
            "value=x&prevExist=f",
            Request { val: Bytes::from_static(b"x"), prev_exist: Some(false), ..put() },
        );
        check(
            Method::PUT,
            "ttl=2&refresh=1&value=",
            Request { expiration: 2_000_000_005, refresh: Some(true), ..put() },
        );
        check(
            Method::PUT,
            "ttl=&dir=true&prevIndex=7",
            Request { dir: true, prev_index: 7, ..put() },
        );
        check(
            Method::GET,
            "quorum=T&wait=true",
            Request { method: "QGET".to_owned(), quorum: true, wait: true, ..Request::default() },
        );
        check(
            Method::HEAD,
            "quorum=true",
            Request { method: "HEAD".to_owned(), quorum: true, ..Request::default() },
        );
    }

    #[test]
    fn a_time_to_live_wraps_around_as_in_etcd() {
        check(
            Method::PUT,
            "ttl=18446744073709551615",
            Request {
                method: "PUT".to_owned(),
                expiration: 5 - 1_000_000_000,
                ..Request::default()
            },
        );
    }

    #[test]
    fn what_is_malformed_is_named() {
        let index = Code::IndexNotNumber;
        refused(Method::PUT, "prevIndex=-1", index, "invalid value for \"prevIndex\"");
        refused(Method::PUT, "prevIndex=", index, "invalid value for \"prevIndex\"");
        refused(Method::GET, "waitIndex=0x1", index, "invalid value for \"waitIndex\"");
        let field = Code::InvalidField;
        refused(Method::GET, "recursive=yes", field, "invalid value for \"recursive\"");
        refused(Method::GET, "recursive", field, "invalid value for \"recursive\"");
        refused(Method::PUT, "prevExist=2", field, "invalid value for prevExist");
        refused(Method::PUT, "wait=1", field, "\"wait\" can only be used with GET requests");
        let empty = "\"prevValue\" cannot be empty";
        refused(Method::PUT, "prevValue=&ttl=x", Code::PrevValueRequired, empty);
        refused(Method::PUT, "ttl=+1", Code::TtlNotNumber, "invalid value for \"ttl\"");
        refused(Method::PUT, "refresh=true", Code::RefreshTtlRequired, "No TTL value set");
        let value = "A value was provided on a refresh";
        refused(Method::PUT, "refresh=true&value=1&ttl=1", Code::RefreshValue, value);
    }

    #[test]
    fn a_path_with_too_many_directories_is_refused() {
        let path = Bytes::from(b"/a".repeat(30_000));
        let request = Request { method: "PUT".to_owned(), path, ..Request::default() };
        let error = check_created_paths(&request).expect_err("it is too deep");
        assert_eq!(error.cause, b"etcdserver: request is too large");
        let read = Request { method: "QGET".to_owned(), ..request };
        assert_eq!(check_created_paths(&read), Ok(()));
    }
}
