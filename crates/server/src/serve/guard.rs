//! What the client of an HTTP/2 connection may take its time for, and how often it may ping.
//!
//! The HTTP library waits for ever for the rest of a preface, a frame or a header block, and answers
//! every ping. This adapter stands between it and the socket, and looks at the heads of the frames in
//! both directions. The rules for pings are those of etcd's gRPC library, and so is their end: GOAWAY
//! with `ENHANCE_YOUR_CALM` and the words `too_many_pings`, by which clients know to ping less often.
//!
//! Invariants:
//! - Bytes leave as they came, in both directions; the one frame that is added comes between two
//!   others, and is the last.
//! - What a frame says is believed only as far as that costs nothing: the library judges it.
//!
//! Not here: what a request may hold (`grpc::unfinished`); it goes when the HTTP/2 front is our own.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::metrics::Metrics;

/// How long the rest of a preface, a frame or a header block may take to arrive.
const FRAME_TIME_MAX: Duration = Duration::from_secs(30);
/// Pings in a row that may come too early. One more ends the connection.
const PING_STRIKES_MAX: u32 = 2;
/// How far apart pings must be while no call is under way.
const IDLE_PING_TIME_MIN: Duration = Duration::from_secs(2 * 60 * 60);
/// What an HTTP/2 client sends before its first frame.
const PREFACE_BYTES: usize = 24;

const FRAME_HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const TOO_MANY_PINGS: &[u8] = b"too_many_pings";

/// How far apart pings must be while calls are under way, and who counts those who do not obey.
#[derive(Clone, Debug)]
pub(super) struct PingRule {
    pub(super) time_min: Duration,
    pub(super) metrics: Arc<Metrics>,
}

/// A connection whose frames are looked at.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    stream: T,
    read: Walk,
    written: Walk,
    /// A header block has begun and not ended.
    is_in_headers: bool,
    /// When what is not whole began.
    unfinished_since: Option<Instant>,
    /// Kept from one wait to the next and moved only when it fires.
    alarm: Option<Pin<Box<Sleep>>>,
    pings: Pings,
}

impl<T> Guarded<T> {
    /// A connection of which nothing was read yet.
    pub(super) fn new(stream: T, rule: PingRule) -> Self {
        Self {
            stream,
            read: Walk { skip: PREFACE_BYTES, ..Walk::default() },
            written: Walk::default(),
            is_in_headers: false,
            unfinished_since: Some(Instant::now()),
            alarm: None,
            pings: Pings::new(rule),
        }
    }

    /// Looks at bytes that arrived. False if the client pings too often.
    fn arrived(&mut self, bytes: &[u8]) -> bool {
        let Self { read, pings, is_in_headers, .. } = self;
        let mut is_calm = true;
        read.pass(bytes, |frame| {
            match frame.kind {
                HEADERS | CONTINUATION => *is_in_headers = !frame.has(END_HEADERS),
                _ => {}
            }
            is_calm &= pings.frame_read(frame, Instant::now());
        });
        if self.read.is_between_frames() && !self.is_in_headers {
            self.unfinished_since = None;
        } else if self.unfinished_since.is_none() {
            self.unfinished_since = Some(Instant::now());
        }
        is_calm
    }

    /// Returns an error when something that is not whole has taken too long.
    fn check_time(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(since) = self.unfinished_since else { return Ok(()) };
        let due = since + FRAME_TIME_MAX;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        while alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= due {
                let text = "the client did not finish what it began to send";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            alarm.as_mut().reset(due);
        }
        Ok(())
    }
}

impl<T: AsyncWrite + Unpin> Guarded<T> {
    /// Says why the connection ends, if nothing else is being said.
    fn say_too_many_pings(&mut self, context: &mut Context<'_>) -> io::Error {
        if self.written.is_between_frames() {
            let frame = goaway(self.pings.newest_stream);
            // A client that does not read is not told.
            drop(Pin::new(&mut self.stream).poll_write(context, &frame));
            drop(Pin::new(&mut self.stream).poll_shutdown(context));
        }
        self.pings.rule.metrics.fronts.too_many_pings.add(1);
        io::Error::other("got too many pings from the client")
    }
}

fn goaway(newest_stream: u32) -> Vec<u8> {
    let length = u8::try_from(8 + TOO_MANY_PINGS.len()).expect("the words are short");
    let mut frame = vec![0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
    frame.extend_from_slice(&newest_stream.to_be_bytes());
    frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frame.extend_from_slice(TOO_MANY_PINGS);
    frame
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if polled.is_pending() {
            return this
                .check_time(context)
                .map_or_else(|error| Poll::Ready(Err(error)), |()| polled);
        }
        ready!(polled)?;
        if this.arrived(&buffer.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(Err(this.say_too_many_pings(context)))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, slices))?;
        let Self { written, pings, .. } = this;
        let mut left = taken;
        for slice in slices {
            let part = left.min(slice.len());
            written.pass(&slice[..part], |frame| pings.frame_written(frame));
            left -= part;
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// A walk over frames, in pieces that were cut anywhere.
#[derive(Debug, Default)]
struct Walk {
    head: [u8; FRAME_HEAD_BYTES],
    head_bytes: usize,
    /// Bytes to pass before the next head.
    skip: usize,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Head {
    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Walk {
    /// Passes bytes, and calls `found` for each head that ends among them.
    fn pass(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (FRAME_HEAD_BYTES - self.head_bytes).min(bytes.len());
            let (part, rest) = bytes.split_at(wanted);
            self.head[self.head_bytes..self.head_bytes + wanted].copy_from_slice(part);
            self.head_bytes += wanted;
            bytes = rest;
            if self.head_bytes == FRAME_HEAD_BYTES {
                let [high, middle, low, kind, flags, stream @ ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                (self.head_bytes, self.skip) = (0, length as usize);
                found(Head { kind, flags, stream: u32::from_be_bytes(stream) & (u32::MAX >> 1) });
            }
        }
    }

    fn is_between_frames(&self) -> bool {
        self.head_bytes == 0 && self.skip == 0
    }
}

/// The pings of a client, as etcd's gRPC library judges them.
#[derive(Debug)]
struct Pings {
    rule: PingRule,
    last_at: Option<Instant>,
    strikes: u32,
    /// Something was sent since the last ping that a client may answer with one.
    is_forgiven: bool,
    newest_stream: u32,
    /// The calls under way. The library bounds how many there are.
    calls: BTreeSet<u32>,
}

impl Pings {
    fn new(rule: PingRule) -> Self {
        Self {
            rule,
            last_at: None,
            strikes: 0,
            is_forgiven: false,
            newest_stream: 0,
            calls: BTreeSet::new(),
        }
    }

    /// Takes note of a frame of the client. False if it is one ping too many.
    fn frame_read(&mut self, frame: Head, now: Instant) -> bool {
        match frame.kind {
            HEADERS if frame.stream > self.newest_stream => {
                self.newest_stream = frame.stream;
                self.calls.insert(frame.stream);
            }
            RST_STREAM => drop(self.calls.remove(&frame.stream)),
            PING if !frame.has(ACK) => return self.ping(now),
            _ => {}
        }
        true
    }

    /// Takes note of a frame of the server.
    fn frame_written(&mut self, frame: Head) {
        match frame.kind {
            DATA | HEADERS => {
                self.is_forgiven = true;
                if frame.has(END_STREAM) {
                    self.calls.remove(&frame.stream);
                }
            }
            RST_STREAM => drop(self.calls.remove(&frame.stream)),
            _ => {}
        }
    }

    fn ping(&mut self, now: Instant) -> bool {
        let last_at = self.last_at.replace(now);
        if std::mem::take(&mut self.is_forgiven) {
            self.strikes = 0;
            return true;
        }
        let time_min = if self.calls.is_empty() { IDLE_PING_TIME_MIN } else { self.rule.time_min };
        let is_early = last_at.is_some_and(|last_at| now < last_at + time_min);
        self.strikes += u32::from(is_early);
        self.strikes <= PING_STRIKES_MAX
    }
}

#[cfg(test)]
mod tests;
