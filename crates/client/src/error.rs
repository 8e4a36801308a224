//! What can go wrong with a call, and the text that etcd's users know for it.

use std::fmt;

use quoin_api::error::Error as Known;
use tonic::{Code, Status};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A server of etcd answered with a row of the error table.
    Server(Known),
    /// The call failed with a gRPC status that is not in the table.
    Status {
        /// The gRPC code.
        code: Code,
        /// The text beside the code.
        message: String,
    },
    /// The time allowed for the call has passed.
    Deadline {
        /// Why no connection was up meanwhile; absent if the request had been sent.
        unreachable: Option<String>,
    },
    /// A snapshot ended without the checksum that belongs behind it.
    ChecksumMissing {
        /// How much arrived, in bytes.
        bytes: u64,
    },
    /// A snapshot is not what the checksum behind it says.
    ChecksumMismatch,
    /// The options name no endpoint.
    NoEndpoints,
    /// An endpoint asks for TLS, which this client does not speak.
    TlsEndpoint(String),
    /// The limit for answers is smaller than the one for requests.
    Limits {
        /// The limit for requests, in bytes.
        send: usize,
        /// The limit for answers, in bytes.
        recv: usize,
    },
}

impl Error {
    /// Returns the gRPC code; none if no server was wrong: options or a
    /// checksum.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Server(known) => Some(known.code().into()),
            Self::Status { code, .. } => Some(*code),
            Self::Deadline { .. } => Some(Code::DeadlineExceeded),
            Self::ChecksumMissing { .. }
            | Self::ChecksumMismatch
            | Self::NoEndpoints
            | Self::TlsEndpoint(_)
            | Self::Limits { .. } => None,
        }
    }

    /// Returns the error as gRPC writes it down, code and text, for logs.
    pub fn wire_text(&self) -> String {
        let (code, message) = match self {
            Self::Server(known) => (known.code().into(), known.message()),
            Self::Status { code, message } => (*code, message.as_str()),
            Self::Deadline { unreachable } => {
                let message = match unreachable {
                    Some(reason) => reason.as_str(),
                    None => Known::ContextDeadlineExceeded.message(),
                };
                (Code::DeadlineExceeded, message)
            }
            Self::ChecksumMissing { .. }
            | Self::ChecksumMismatch
            | Self::NoEndpoints
            | Self::TlsEndpoint(_)
            | Self::Limits { .. } => {
                return self.to_string();
            }
        };
        format!("rpc error: code = {} desc = {message}", code_name(code))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        if let Some(known) = Known::from_message(status.message()) {
            return Self::Server(known);
        }
        if let Some(message) = oversize(&status) {
            return Self::Status { code: Code::ResourceExhausted, message };
        }
        Self::Status { code: status.code(), message: status.message().to_owned() }
    }
}

/// The text of etcd's client for an answer beyond the limit; tonic words and codes it otherwise.
fn oversize(status: &Status) -> Option<String> {
    if status.code() != Code::OutOfRange {
        return None;
    }
    let rest = status.message().strip_prefix("Error, decoded message length too large: found ")?;
    let (found, rest) = rest.split_once(" bytes, the limit is: ")?;
    let limit = rest.strip_suffix(" bytes")?;
    Some(format!("grpc: received message larger than max ({found} vs. {limit})"))
}

/// The text that a person sees, as etcd's own client words it.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(known) if is_familiar(*known) => f.write_str(known.message()),
            Self::Server(_) | Self::Status { .. } => f.write_str(&self.wire_text()),
            Self::Deadline { .. } => f.write_str(Known::ContextDeadlineExceeded.message()),
            Self::ChecksumMissing { bytes } => {
                write!(f, "sha256 checksum not found [bytes: {bytes}]")
            }
            Self::ChecksumMismatch => {
                f.write_str("sha256 checksum does not match the snapshot that was received")
            }
            Self::NoEndpoints => f.write_str("etcdclient: no available endpoints"),
            Self::TlsEndpoint(endpoint) => {
                write!(f, "endpoint {endpoint:?} needs TLS, which this client does not support")
            }
            Self::Limits { send, recv } => write!(
                f,
                "gRPC message recv limit ({recv} bytes) must be greater than send limit \
                 ({send} bytes)"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Returns whether etcd's own client knows the row. It shows other rows as it shows any status,
/// with the code.
fn is_familiar(known: Known) -> bool {
    !matches!(
        known,
        Known::InvalidClientApiVersion
            | Known::RangeStreamSort
            | Known::RangeStreamFilter
            | Known::NotPrimaryLessor
            | Known::WatchCanceled
            | Known::UnknownMethod
            | Known::NoPasswordUser
            | Known::PermissionNotGiven
            | Known::AuthVerifyOnly
            | Known::TimeoutAppliedIndex
            | Known::TimeoutLeaderTransfer
            | Known::ProposalDropped
            | Known::RequestCanceled
            | Known::RequestDeadlineExceeded
            | Known::ContextCanceled
            | Known::ContextDeadlineExceeded
            | Known::SessionExpired
            | Known::ElectionNotLeader
            | Known::ElectionNoLeader
            | Known::ElectionMissingLeader
    )
}

/// The names that gRPC for Go gives the codes, which logs of etcd show.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
