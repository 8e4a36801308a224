//! How connections and streams end early (RFC 9113, section 7).

use std::fmt;

/// The reason in a RST_STREAM or a GOAWAY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing is wrong.
    NoError = 0,
    /// The other side broke a rule that has no code of its own.
    Protocol = 1,
    /// We cannot go on.
    Internal = 2,
    /// More bytes came than the window let through, or a window grew beyond its bound.
    FlowControl = 3,
    /// The settings were not acknowledged in time.
    SettingsTimeout = 4,
    /// A frame came for a stream that had ended.
    StreamClosed = 5,
    /// A frame has a length that it must not have.
    FrameSize = 6,
    /// Nothing was done for the stream: it may be tried again.
    RefusedStream = 7,
    /// The stream is no longer wanted.
    Cancel = 8,
    /// A header block cannot be decoded, and so none after it.
    Compression = 9,
    /// A tunnel failed.
    Connect = 10,
    /// The other side asks for too much work.
    EnhanceYourCalm = 11,
    /// The encryption is too weak.
    InadequateSecurity = 12,
    /// The request needs HTTP/1.1.
    Http11Required = 13,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// Why a connection cannot go on. Its last frame, a GOAWAY, says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionError {
    /// What kind of error it is.
    pub code: Code,
    /// What happened, for a log and for the other side.
    pub reason: &'static str,
}

impl ConnectionError {
    pub(crate) fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason }
    }

    pub(crate) fn protocol(reason: &'static str) -> Self {
        Self::new(Code::Protocol, reason)
    }

    pub(crate) fn frame_size(reason: &'static str) -> Self {
        Self::new(Code::FrameSize, reason)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.reason, self.code)
    }
}

impl std::error::Error for ConnectionError {}
