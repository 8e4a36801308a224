//! One connection of a load, in the protocol of its workload.

use crate::http1;
use crate::http2::connection::{self as http2, Answer};
use crate::workload::Mode;
use quoin_front::ProtocolError;

/// A connection as a value; see the two protocols.
#[derive(Debug)]
pub(crate) enum Connection {
    /// For the v2 API.
    Http1(http1::Connection),
    /// For gRPC.
    Http2(Box<http2::Connection>),
}

impl Connection {
    /// A new connection for one kind of requests.
    pub(crate) fn new(mode: Mode, authority: &str) -> Self {
        if mode.is_v2() {
            return Self::Http1(http1::Connection::default());
        }
        Self::Http2(Box::new(http2::Connection::new(authority, mode.path(), false)))
    }

    /// Whether it was agreed how to speak.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(connection) => connection.is_ready(),
        }
    }

    /// Whether a call may begin now.
    pub(crate) fn can_start(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.can_start(),
            Self::Http2(connection) => connection.can_start(),
        }
    }

    /// Calls that wait for their answer.
    pub(crate) fn open_streams(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.open_calls(),
            Self::Http2(connection) => connection.open_streams(),
        }
    }

    /// Whether the connection takes no new calls, ever.
    pub(crate) fn is_finished(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_finished(),
            Self::Http2(connection) => connection.is_finished(),
        }
    }

    /// What is to be sent.
    pub(crate) fn output(&self) -> &[u8] {
        match self {
            Self::Http1(connection) => connection.output(),
            Self::Http2(connection) => connection.output(),
        }
    }

    /// Tells that the first `count` bytes of the output were sent.
    pub(crate) fn advance_output(&mut self, count: usize) {
        match self {
            Self::Http1(connection) => connection.advance_output(count),
            Self::Http2(connection) => connection.advance_output(count),
        }
    }

    /// Begins a call with what the template of the workload made.
    pub(crate) fn start(&mut self, request: &[u8], now_ns: u64) {
        match self {
            Self::Http1(connection) => connection.start(request, now_ns),
            Self::Http2(connection) => connection.start(request, now_ns),
        }
    }

    /// Takes what the socket received and appends the answers that are complete.
    pub(crate) fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ProtocolError> {
        match self {
            Self::Http1(connection) => connection.receive(bytes, now_ns, answers),
            Self::Http2(connection) => connection.receive(bytes, now_ns, answers),
        }
    }

    /// Ends all calls that are still open, because the connection is gone.
    pub(crate) fn abandon(&mut self, now_ns: u64, answers: &mut Vec<Answer>) {
        match self {
            Self::Http1(connection) => connection.abandon(now_ns, answers),
            Self::Http2(connection) => connection.abandon(now_ns, answers),
        }
    }
}
