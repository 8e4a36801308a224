//! The streams of one connection: which are open, what each may send, what it waits to send.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use http::HeaderMap;

/// Streams that ended and are remembered as such.
const CLOSED_REMEMBERED: usize = 128;

/// What comes behind the body of a response.
#[derive(Debug)]
pub(crate) enum Tail {
    /// Nothing: the last frame of the body ends the stream.
    Empty,
    /// These fields. They are encoded when they are sent, because header blocks build on each other
    /// in the order in which they are on the wire.
    Trailers(HeaderMap),
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Bytes that we may send; below zero if the client shrank its windows.
    pub(crate) send_window: i64,
    /// Bytes that the client may send.
    pub(crate) receive_window: u32,
    /// Bytes received that the application has not taken.
    pub(crate) held: u32,
    /// Bytes taken by the application that the client was not told of.
    pub(crate) unreturned: u32,
    /// Bytes that are missing to the length that the client announced.
    pub(crate) missing: Option<u64>,
    /// The client has sent its last frame.
    pub(crate) is_request_whole: bool,
    /// The head of the response was sent.
    pub(crate) has_head: bool,
    /// Data that waits for a window or for room in the output.
    pub(crate) waiting: VecDeque<Bytes>,
    /// The end of the response, which waits for the data.
    pub(crate) tail: Option<Tail>,
    /// The stream is in the line of those that wait.
    pub(crate) is_in_line: bool,
}

impl Stream {
    pub(crate) fn new(send_window: i64, receive_window: u32, missing: Option<u64>) -> Self {
        Self {
            send_window,
            receive_window,
            held: 0,
            unreturned: 0,
            missing,
            is_request_whole: false,
            has_head: false,
            waiting: VecDeque::new(),
            tail: None,
            is_in_line: false,
        }
    }
}

/// Whether a stream that is not open ever was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// It never began.
    Idle,
    /// It ended for both sides.
    Ended,
    /// We reset it: frames for it may still be on their way.
    Reset,
    /// It was left out, or ended long ago.
    Forgotten,
}

/// All streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: BTreeMap<u32, Stream>,
    /// The highest stream that the client began.
    highest: u32,
    closed: VecDeque<(u32, Past)>,
}

impl Streams {
    pub(crate) fn highest(&self) -> u32 {
        self.highest
    }

    pub(crate) fn count(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn get(&mut self, id: u32) -> Option<&mut Stream> {
        self.open.get_mut(&id)
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.open.contains_key(&id)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        self.open.iter_mut().map(|(id, stream)| (*id, stream))
    }

    /// Opens the next stream, whose number is above all before it.
    pub(crate) fn open(&mut self, id: u32, stream: Stream) {
        self.highest = id;
        self.open.insert(id, stream);
    }

    /// Notes a stream that was refused at its beginning.
    pub(crate) fn refuse(&mut self, id: u32) {
        self.highest = id;
        self.remember(id, Past::Reset);
    }

    /// Takes out a stream that ended.
    pub(crate) fn close(&mut self, id: u32, past: Past) -> Option<Stream> {
        let stream = self.open.remove(&id)?;
        self.remember(id, past);
        Some(stream)
    }

    /// What is known of a stream that is not open.
    pub(crate) fn past(&self, id: u32) -> Past {
        if id > self.highest {
            return Past::Idle;
        }
        let known = self.closed.iter().rev().find(|(closed, _)| *closed == id);
        known.map_or(Past::Forgotten, |(_, past)| *past)
    }

    fn remember(&mut self, id: u32, past: Past) {
        if self.closed.len() == CLOSED_REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back((id, past));
    }
}
