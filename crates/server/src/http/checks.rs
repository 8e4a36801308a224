//! `/livez` and `/readyz`: a member that lives answers reads from its own data, one that is ready has
//! a quorum, sound data and a vote. Each check also has a path of its own.
//!
//! Not here: `/health`, the older question, which looks at alarms and answers in JSON.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use quoin_api::etcdserverpb::{AlarmType, RangeRequest};

use super::{failure, method_not_allowed, parameters, text};
use crate::log;
use crate::member::Member;

/// Tells browsers not to guess what a body is.
pub(super) const OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// What is asked of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

/// A question: the checks that it is made of, in the order of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Livez,
    Readyz,
}

impl Question {
    /// Every question.
    pub(crate) const ALL: [Self; 2] = [Self::Livez, Self::Readyz];

    /// Returns the name in paths and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Livez => "livez",
            Self::Readyz => "readyz",
        }
    }

    /// Returns its checks.
    pub(crate) fn checks(self) -> &'static [Check] {
        match self {
            Self::Livez => &[Check::SerializableRead],
            Self::Readyz => &[
                Check::DataCorruption,
                Check::SerializableRead,
                Check::LinearizableRead,
                Check::NonLearner,
            ],
        }
    }
}

impl Check {
    /// Returns the name in paths, answers and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DataCorruption => "data_corruption",
            Self::SerializableRead => "serializable_read",
            Self::LinearizableRead => "linearizable_read",
            Self::NonLearner => "non_learner",
        }
    }

    /// Returns why the check fails, if it does.
    async fn run(self, member: &Member) -> Result<(), String> {
        match self {
            Self::DataCorruption => {
                let is_corrupt = !member.view().alarms(AlarmType::Corrupt).is_empty();
                if is_corrupt { Err("alarm activated: CORRUPT".to_owned()) } else { Ok(()) }
            }
            Self::SerializableRead => own_read(member),
            Self::LinearizableRead => member.linearize().await.map_err(|error| error.to_string()),
            Self::NonLearner if member.is_learner() => Err("not supported for learner".to_owned()),
            Self::NonLearner => Ok(()),
        }
    }
}

/// Reads a key from this member's own data, if there is one.
pub(super) fn own_read(member: &Member) -> Result<(), String> {
    let key = Bytes::from_static(b"\0");
    let range = RangeRequest {
        range_end: key.clone(),
        key,
        limit: 1,
        keys_only: true,
        ..Default::default()
    };
    member.view().range(&range).map(drop).map_err(|error| error.to_string())
}

/// Answers a path of a question or of one of its checks; nothing for any other path.
pub(super) async fn handle<B>(
    member: &Member,
    request: &Request<B>,
) -> Option<Response<Full<Bytes>>> {
    let path = request.uri().path();
    let (name, check) = match path.strip_prefix('/')?.split_once('/') {
        Some((name, check)) => (name, Some(check)),
        None => (path.strip_prefix('/')?, None),
    };
    let question = Question::ALL.into_iter().find(|question| question.name() == name)?;
    let mut checks = question.checks().to_vec();
    if let Some(wanted) = check {
        checks.retain(|check| check.name() == wanted);
        if checks.is_empty() {
            return None;
        }
    }
    if request.method() != Method::GET {
        log::warn!("Health request error", "path" => path.to_owned(), "status-code" => 405);
        return Some(method_not_allowed());
    }
    let query = request.uri().query().unwrap_or_default();
    if check.is_none() {
        leave_out(&mut checks, parameters(query, "exclude"));
    }
    Some(answer(member, question, &checks, path, query).await)
}

/// Leaves out what the client does not want to know. A check of another release is no error.
fn leave_out(checks: &mut Vec<Check>, mut excluded: Vec<String>) {
    checks.retain(|check| !excluded.iter().any(|name| name == check.name()));
    let names = Question::Readyz.checks().iter().map(|check| check.name());
    let known: Vec<&str> = names.collect();
    excluded.retain(|name| !name.is_empty() && !known.contains(&name.as_str()));
    if !excluded.is_empty() {
        let missing = excluded.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(",");
        log::warn!("some health checks cannot be excluded", "missing-health-checks" => missing);
    }
}

async fn answer(
    member: &Member,
    question: Question,
    checks: &[Check],
    path: &str,
    query: &str,
) -> Response<Full<Bytes>> {
    let mut reason = String::new();
    let mut is_well = true;
    for check in checks {
        let run = check.run(member).await;
        member.metrics.http.checked(question, *check, run.is_ok());
        match run {
            Ok(()) => reason.push_str(&format!("[+]{} ok\n", check.name())),
            Err(error) => {
                is_well = false;
                reason.push_str(&format!("[-]{} failed: {error}\n", check.name()));
            }
        }
    }
    if !is_well {
        log::error!("Health check error",
            "path" => path.to_owned(), "reason" => reason.clone(), "status-code" => 503);
        return failure(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n"));
    }
    let is_verbose = query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="));
    let mut response =
        text(StatusCode::OK, &if is_verbose { reason + "ok\n" } else { "ok\n".into() });
    response.headers_mut().insert(OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
