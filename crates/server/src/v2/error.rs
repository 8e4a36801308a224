//! Errors of the v2 API: their numbers, texts and statuses.

use http::{Response, StatusCode};
use quoin_api::error::Error;
use quoin_store::{V2Error, V2ErrorCode, push_json_string};
use tonic::body::Body;

use super::KEYS_PREFIX;
use super::answer;

/// Rules that a request breaks before the store sees it, and failures to reach the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// A rule of the store was broken.
    Store(V2ErrorCode),
    /// Who asks may not do this.
    Unauthorized,
    /// `prevValue` is empty.
    PrevValueRequired,
    /// `ttl` is no number.
    TtlNotNumber,
    /// An index is no number.
    IndexNotNumber,
    /// A field is not what it must be.
    InvalidField,
    /// The form is malformed.
    InvalidForm,
    /// A refresh has a value.
    RefreshValue,
    /// A refresh has no time to live.
    RefreshTtlRequired,
    /// The request was not replicated.
    RaftInternal,
}

/// An error about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyError {
    pub(super) code: Code,
    pub(super) cause: Vec<u8>,
    /// The v2 index when the store refused it, else 0.
    pub(super) index: u64,
}

impl Code {
    fn row(self) -> (u16, StatusCode, &'static str) {
        use StatusCode as Status;
        match self {
            Self::Store(code) => {
                let (status, message) = match code {
                    V2ErrorCode::KeyNotFound => (Status::NOT_FOUND, "Key not found"),
                    V2ErrorCode::TestFailed => (Status::PRECONDITION_FAILED, "Compare failed"),
                    V2ErrorCode::NotFile => (Status::FORBIDDEN, "Not a file"),
                    V2ErrorCode::NotDir => (Status::BAD_REQUEST, "Not a directory"),
                    V2ErrorCode::NodeExists => (Status::PRECONDITION_FAILED, "Key already exists"),
                    V2ErrorCode::RootReadOnly => (Status::BAD_REQUEST, "Root is read only"),
                    V2ErrorCode::DirNotEmpty => (Status::FORBIDDEN, "Directory not empty"),
                    V2ErrorCode::InvalidField => (Status::BAD_REQUEST, "Invalid field"),
                    V2ErrorCode::EventIndexCleared => {
                        let text = "The event in requested index is outdated and cleared";
                        (Status::BAD_REQUEST, text)
                    }
                };
                (code as u16, status, message)
            }
            Self::Unauthorized => {
                (110, Status::UNAUTHORIZED, "The request requires user authentication")
            }
            Self::PrevValueRequired => {
                (201, Status::BAD_REQUEST, "PrevValue is Required in POST form")
            }
            Self::TtlNotNumber => {
                (202, Status::BAD_REQUEST, "The given TTL in POST form is not a number")
            }
            Self::IndexNotNumber => {
                (203, Status::BAD_REQUEST, "The given index in POST form is not a number")
            }
            Self::InvalidField => (209, Status::BAD_REQUEST, "Invalid field"),
            Self::InvalidForm => (210, Status::BAD_REQUEST, "Invalid POST form"),
            Self::RefreshValue => (211, Status::BAD_REQUEST, "Value provided on refresh"),
            Self::RefreshTtlRequired => {
                (212, Status::BAD_REQUEST, "A TTL must be provided on refresh")
            }
            Self::RaftInternal => (300, Status::INTERNAL_SERVER_ERROR, "Raft Internal Error"),
        }
    }
}

impl KeyError {
    /// A request that breaks a rule of the form.
    pub(super) fn request(code: Code, cause: impl Into<Vec<u8>>) -> Self {
        Self { code, cause: cause.into(), index: 0 }
    }

    /// A request that did not reach the store.
    pub(super) fn raft(error: Error) -> Self {
        // A leader that was never found is a timeout to etcd as well.
        let error = match error {
            Error::ContextDeadlineExceeded => Error::Timeout,
            other => other,
        };
        Self::request(Code::RaftInternal, error.message())
    }

    /// The same error without the prefix that clients of keys do not know.
    pub(super) fn without_prefix(mut self) -> Self {
        if self.cause.starts_with(KEYS_PREFIX.as_bytes()) {
            self.cause.drain(..KEYS_PREFIX.len());
        }
        self
    }

    /// Whether the store refused with this code.
    pub(super) fn is(&self, code: V2ErrorCode) -> bool {
        self.code == Code::Store(code)
    }

    /// Whether the store refused, whatever the reason.
    pub(super) fn is_of_store(&self) -> bool {
        matches!(self.code, Code::Store(_))
    }

    /// Returns the answer, which lacks the cluster's ID.
    pub(super) fn into_response(self) -> Response<Body> {
        let (number, status, message) = self.code.row();
        let mut body = format!("{{\"errorCode\":{number},\"message\":\"{message}\"").into_bytes();
        if !self.cause.is_empty() {
            body.extend_from_slice(b",\"cause\":");
            push_json_string(&mut body, &self.cause);
        }
        body.extend_from_slice(format!(",\"index\":{}}}\n", self.index).as_bytes());
        let mut response = answer::json(status, body);
        answer::set_number(&mut response, answer::ETCD_INDEX, self.index);
        response
    }
}

impl From<V2Error> for KeyError {
    fn from(error: V2Error) -> Self {
        let V2Error { code, cause, index } = error;
        Self { code: Code::Store(code), cause: cause.to_vec(), index }
    }
}
