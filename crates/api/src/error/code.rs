//! Status codes of gRPC, for crates that do not know gRPC.

use std::fmt;

/// The names of the statuses of gRPC by their number, as clients in Go print them. The first says
/// that a call did not fail; the others are those of [`Code`].
pub const STATUS_NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The kind of a failure, numbered as in gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The client gave up.
    Canceled = 1,
    /// The failure has no other code.
    Unknown = 2,
    /// The request is wrong whatever the state of the system.
    InvalidArgument = 3,
    /// The time allowed for the request has passed.
    DeadlineExceeded = 4,
    /// What was asked for does not exist.
    NotFound = 5,
    /// What was to be created exists.
    AlreadyExists = 6,
    /// The caller is known but may not do this.
    PermissionDenied = 7,
    /// A quota is used up.
    ResourceExhausted = 8,
    /// The state of the system does not allow the request.
    FailedPrecondition = 9,
    /// A conflict with another request ended this one.
    Aborted = 10,
    /// The request reaches past what exists.
    OutOfRange = 11,
    /// The server does not offer the operation.
    Unimplemented = 12,
    /// Something that must hold does not.
    Internal = 13,
    /// The server cannot answer now; a retry may succeed.
    Unavailable = 14,
    /// Stored state is lost or damaged.
    DataLoss = 15,
    /// The caller is not known.
    Unauthenticated = 16,
}

impl Code {
    /// Every code, ascending.
    pub const ALL: &[Self] = &[
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Returns the number on the wire.
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// Prints the name as clients in Go print it.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STATUS_NAMES[*self as usize])
    }
}

#[cfg(feature = "grpc")]
impl From<Code> for tonic::Code {
    fn from(code: Code) -> Self {
        Self::from_i32(code.number())
    }
}
