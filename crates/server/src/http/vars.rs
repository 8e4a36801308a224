//! `/debug/vars`: what Go's programs publish about themselves, as far as it means something here.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::{method_not_allowed, text};
use crate::member::Member;

/// Answers with one JSON object.
pub(super) fn handle(member: &Member, method: &Method) -> Response<Full<Bytes>> {
    if method != Method::GET {
        return method_not_allowed();
    }
    let arguments: Vec<String> =
        std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let (commit, applied) = member.indexes();
    let state = if member.is_leader() { "StateLeader" } else { "StateFollower" };
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let vars = json!({
        "cmdline": arguments,
        "file_descriptor_limit": files.unwrap_or(u64::MAX),
        "raft.status": {
            "id": format!("{:x}", member.id),
            "term": member.term(),
            "commit": commit,
            "applied": applied,
            "lead": format!("{:x}", member.leader()),
            "raftState": state,
        },
    });
    let mut response = text(StatusCode::OK, &format!("{vars}\n"));
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
