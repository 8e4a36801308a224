//! The server's side of one connection: it is given what the socket received and what the
//! application answers, and says what to send.
//!
//! Invariants:
//! - Every request that was reported ends in exactly one of: its answer, a reset by us, an
//!   [`Event::Reset`].
//! - Bytes that the client sent and the application has not taken are at most the window of the
//!   connection; output that waits is at most [`Limits::output_bytes`], one frame, and the answers to
//!   the frames of one read. Data that waits for a window is the application's to bound
//!   ([`Connection::has_room`]).
//! - A connection error is the last thing a connection says.
//!
//! Not here: sockets, clocks (time is an argument), what a request means.

mod receive;
mod send;

use std::collections::VecDeque;
use std::sync::Arc;

use http::HeaderMap;

use crate::bounds::{Allowances, Limits};
use crate::error::{Code, ConnectionError};
use crate::frame::{self, ACK, DEFAULT_MAX_FRAME, DEFAULT_WINDOW, Kind};
use crate::head::Head;
use crate::hpack::{Decoder, Encoder};
use crate::keep_alive::{Due, KeepAlive, KeepAliveTimes};
use crate::streams::{Past, Streams};

/// Settings by their number on the wire (RFC 9113, section 6.5.2).
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// The content of our own PINGs, which are told from nothing else by it.
const PING: [u8; 8] = *b"are you?";

/// What came from the client. Bytes are those of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A request begins.
    Request {
        /// Its number, by which it is answered.
        stream: u32,
        /// What it says before its body.
        head: Arc<Head>,
        /// It has no body.
        is_end: bool,
    },
    /// The next part of a body. It counts against the windows until it is released.
    Data {
        /// The request.
        stream: u32,
        /// The bytes; may be empty at the end.
        bytes: &'a [u8],
        /// The body ends here.
        is_end: bool,
    },
    /// The request is over before it was answered: it needs no answer any more.
    Reset {
        /// The request.
        stream: u32,
        /// The reason on the wire, ours or the client's.
        code: u32,
    },
}

/// How far the opening of a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// The preface is not there yet.
    Preface,
    /// The first frame is not there yet.
    Settings,
    Done,
}

/// What the client said that it accepts.
#[derive(Clone, Copy, Debug)]
struct Peer {
    initial_window: u32,
    max_frame: u32,
}

/// A header block that continues in the next frame.
#[derive(Debug)]
struct OpenBlock {
    stream: u32,
    ends_stream: bool,
    depends_on_itself: bool,
    block: Vec<u8>,
    /// Frames it came in so far.
    frames: usize,
}

/// A header block of a response that was encoded once.
#[derive(Debug)]
struct Prepared {
    /// The table that it was encoded against.
    generation: u64,
    status: Option<u16>,
    fields: HeaderMap,
    block: Vec<u8>,
}

/// The server's side of a connection.
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    opening: Opening,
    decoder: Decoder,
    /// Blocks seen under the present state of the decoder's table, which they left as it was.
    known_heads: Vec<(Vec<u8>, Arc<Head>)>,
    encoder: Encoder,
    prepared: Vec<Prepared>,
    peer: Peer,
    streams: Streams,
    open_block: Option<OpenBlock>,
    /// Bytes we may send on the connection.
    send_window: i64,
    /// Bytes the client may send on the connection.
    receive_window: u32,
    /// Bytes taken by the application that the client was not told of.
    unreturned: u32,
    /// Streams with something to send, in the order in which they get their turn.
    line: VecDeque<u32>,
    output: Vec<u8>,
    sent: usize,
    allowances: Allowances,
    keep_alive: KeepAlive,
    /// When the client began something that is not whole yet.
    unfinished_ms: Option<u64>,
    /// The highest stream that is still served, once we take no more.
    last_stream: Option<u32>,
    /// Nothing is said any more after what is in the output.
    is_over: bool,
}

impl Connection {
    /// A new connection, whose first frame is ready to be sent.
    pub fn new(limits: Limits, times: KeepAliveTimes, now_ms: u64) -> Self {
        let mut output = Vec::new();
        let header_list = u32::try_from(limits.header_list_bytes).unwrap_or(u32::MAX);
        let mut settings =
            vec![(INITIAL_WINDOW_SIZE, limits.stream_window), (MAX_HEADER_LIST_SIZE, header_list)];
        // As in etcd, what has no bound is not mentioned.
        if limits.streams_max < u32::MAX {
            settings.push((MAX_CONCURRENT_STREAMS, limits.streams_max));
        }
        frame::write_settings(&mut output, &settings);
        // The window of the connection has a default that settings do not change.
        let more = limits.connection_window.saturating_sub(DEFAULT_WINDOW);
        if more > 0 {
            frame::write_window_update(&mut output, 0, more);
        }
        Self {
            limits,
            opening: Opening::Preface,
            decoder: Decoder::default(),
            known_heads: Vec::new(),
            encoder: Encoder::default(),
            prepared: Vec::new(),
            peer: Peer { initial_window: DEFAULT_WINDOW, max_frame: DEFAULT_MAX_FRAME },
            streams: Streams::default(),
            open_block: None,
            send_window: i64::from(DEFAULT_WINDOW),
            receive_window: limits.connection_window.max(DEFAULT_WINDOW),
            unreturned: 0,
            line: VecDeque::new(),
            output,
            sent: 0,
            allowances: Allowances::default(),
            keep_alive: KeepAlive::new(times, now_ms),
            unfinished_ms: Some(now_ms),
            last_stream: None,
            is_over: false,
        }
    }

    /// Whether the client's opening is complete.
    pub fn is_open(&self) -> bool {
        self.opening == Opening::Done
    }

    /// Whether nothing is left to do but to send the output and close.
    pub fn is_over(&self) -> bool {
        self.is_over || (self.last_stream.is_some() && self.streams.count() == 0)
    }

    /// Requests that are under way.
    pub fn open_streams(&self) -> usize {
        self.streams.count()
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Whether so much waits to be sent that nothing should be read before it has left.
    pub fn is_output_full(&self) -> bool {
        self.output.len() - self.sent >= self.limits.output_bytes
    }

    /// Tells that the first `count` bytes of the output were sent, and puts there what waited for
    /// room.
    pub fn advance_output(&mut self, count: usize) {
        self.sent += count;
        if self.sent >= self.output.len() {
            self.output.clear();
            self.sent = 0;
            // One large burst is no reason to keep its memory for the life of the connection.
            self.output.shrink_to(2 * self.limits.output_bytes);
        }
        self.pump();
    }

    /// Takes no further requests; those that came are still answered.
    pub fn shut_down(&mut self) {
        if self.last_stream.is_none() && !self.is_over {
            self.last_stream = Some(self.streams.highest());
            self.write_go_away(Code::NoError, b"");
        }
    }

    /// When [`Self::tick`] is to be called at the latest.
    pub fn deadline_ms(&self) -> Option<u64> {
        let rest = self.rest_deadline_ms();
        rest.into_iter().chain(self.keep_alive.deadline_ms()).min()
    }

    fn rest_deadline_ms(&self) -> Option<u64> {
        Some(self.unfinished_ms?.saturating_add(self.limits.rest_time_ms))
    }

    /// Does what is due at this time.
    ///
    /// # Errors
    /// The client gave no sign of life, or does not finish what it began. Nothing more is sent.
    pub fn tick(&mut self, now_ms: u64) -> Result<(), ConnectionError> {
        if self.rest_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            self.is_over = true;
            let reason = "the client did not finish what it began to send";
            return Err(ConnectionError::new(Code::NoError, reason));
        }
        match self.keep_alive.due(now_ms) {
            Due::Nothing => Ok(()),
            Due::Ask => {
                frame::write_frame(&mut self.output, Kind::Ping, 0, 0, &PING);
                Ok(())
            }
            Due::GiveUp => {
                self.is_over = true;
                Err(ConnectionError::new(Code::NoError, "the client gives no sign of life"))
            }
        }
    }

    /// Writes the last frame of the connection.
    fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        self.write_go_away(error.code, error.reason.as_bytes());
        self.is_over = true;
        error
    }

    fn write_go_away(&mut self, code: Code, reason: &[u8]) {
        let mut payload = Vec::with_capacity(8 + reason.len());
        payload.extend_from_slice(&self.streams.highest().to_be_bytes());
        payload.extend_from_slice(&code.number().to_be_bytes());
        payload.extend_from_slice(reason);
        frame::write_frame(&mut self.output, Kind::GoAway, 0, 0, &payload);
    }

    /// Ends a stream from our side. The window of what nobody will take is given back.
    fn drop_stream(&mut self, id: u32, past: Past) {
        if let Some(stream) = self.streams.close(id, past) {
            self.return_connection_window(stream.held);
        }
    }

    fn return_connection_window(&mut self, bytes: u32) {
        self.unreturned += bytes;
        if self.unreturned >= self.limits.connection_window / 2 {
            let increment = std::mem::take(&mut self.unreturned);
            self.receive_window += increment;
            frame::write_window_update(&mut self.output, 0, increment);
        }
    }

    fn acknowledge_settings(&mut self) {
        frame::write_frame(&mut self.output, Kind::Settings, ACK, 0, &[]);
    }
}

#[cfg(test)]
mod tests;
