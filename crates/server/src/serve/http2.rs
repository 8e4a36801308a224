//! One connection of HTTP/2: a socket, the rules of the protocol (`quoin_front`), and the calls that
//! are under way.
//!
//! One task serves the connection. In a turn it reads once, lets every call go on that can, and writes
//! once: what many calls answer leaves together.
//!
//! Invariants:
//! - Nothing is read while the output is full, so a client that does not read sends nothing either.
//! - The body of an answer is asked for its next part only when that part would leave.
//! - A call of which the client wants nothing more is dropped.
//!
//! Not here: what a request means (`Front`), how frames look.

mod call;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quoin_front::{
    Connection, ConnectionError, Event, Head, KeepAliveTimes, Limits, TOO_MANY_PINGS,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::call::{Arrives, Running, Shared};
use super::Front;
use super::opened::Opened;
use crate::grpc::stats::Remote;
use crate::grpc::unfinished::OnConnection;

/// Bytes that a client may send on one stream before it must wait for the server.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// The same for a whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes of headers in one request.
const HEADER_LIST_BYTES: usize = 64 << 10;
/// Bytes of output that wait for the socket before calls wait for them.
const OUTPUT_BYTES: usize = 256 << 10;
/// Bytes that are read at once, by all connections of a thread in turn.
const READ_BYTES: usize = 64 << 10;
/// How long the rest of a preface, a frame or a header block may take to arrive.
const REST_TIME_MAX_MS: u64 = 30_000;
/// How far apart a client's pings must be if that is not configured, as in etcd's gRPC library.
const PING_TIME_MIN_DEFAULT: Duration = Duration::from_secs(5 * 60);
/// Turns that a connection has before the others of its thread.
const TURNS_MAX: usize = 8;
/// How long a client whose connection ended by an error may take to see why.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// Where the connections of this thread read. What is not a whole frame yet is kept by the
    /// connection, so an idle one has no buffer of its own.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(super) enum Ended {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ConnectionError),
}

/// A connection and its calls.
pub(super) struct Driver {
    socket: Opened,
    shared: Arc<Shared>,
    front: Arc<Front>,
    calls: FuturesUnordered<Running>,
    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
    /// Rings when the connection may have something to do although nothing arrives. It is moved only
    /// when it rings, because the time that it waits for moves with everything that arrives.
    alarm: Pin<Box<Sleep>>,
    alarm_ms: u64,
    /// What the requests of this connection hold while they are not whole.
    on_connection: Arc<OnConnection>,
    /// Where the client is, for the log.
    remote: Option<Remote>,
    began: Instant,
}

/// What came of one attempt to read.
enum Read {
    /// Something arrived.
    Some,
    /// Nothing is there, or nothing may be read now.
    Nothing,
    /// The client has closed the connection.
    End,
}

impl Driver {
    /// A driver for a connection whose client begins to speak HTTP/2.
    pub(super) fn new(socket: Opened, front: Arc<Front>) -> Self {
        let limits = Limits {
            streams_max: front.streams_max,
            stream_window: STREAM_WINDOW_BYTES,
            connection_window: CONNECTION_WINDOW_BYTES,
            header_block_bytes: HEADER_LIST_BYTES,
            header_list_bytes: HEADER_LIST_BYTES,
            output_bytes: OUTPUT_BYTES,
            rest_time_ms: REST_TIME_MAX_MS,
        };
        let began = Instant::now();
        let connection = Connection::new(limits, front.keep_alive, 0);
        let alarm = Box::pin(tokio::time::sleep_until(began));
        let on_connection = front.unfinished.connection();
        let remote = socket.remote().map(Remote);
        Self {
            socket,
            shared: Arc::new(Shared::new(connection)),
            front,
            calls: FuturesUnordered::new(),
            partial: Vec::new(),
            alarm,
            alarm_ms: 0,
            on_connection,
            remote,
            began,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self) -> Result<(), Ended> {
        let served = poll_fn(|context| self.poll(context)).await;
        if let Err(Ended::Protocol(error)) = &served {
            if error.reason == TOO_MANY_PINGS {
                self.front.member.metrics.fronts.too_many_pings.add(1);
            }
            self.linger().await;
        }
        served
    }

    /// Takes no more calls; those under way go on.
    pub(super) fn shut_down(&mut self) {
        self.shared.lock().connection.shut_down();
    }

    /// Says why the connection ends, and waits a little until the client has seen it. A socket that is
    /// closed while something is unread discards what was not sent yet.
    async fn linger(&mut self) {
        let drained = poll_fn(|context| {
            self.poll_write(context)?;
            if !self.shared.lock().connection.output().is_empty() {
                return Poll::Pending;
            }
            ready!(Pin::new(&mut self.socket).poll_shutdown(context))?;
            SCRATCH.with_borrow_mut(|scratch| {
                loop {
                    let mut buffer = ReadBuf::new(scratch);
                    ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer))?;
                    if buffer.filled().is_empty() {
                        return Poll::Ready(io::Result::Ok(()));
                    }
                }
            })
        });
        // The connection has ended whether or not the client waits for it.
        tokio::time::timeout(LINGER, drained).await.ok();
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.shared.begin_turn(context);
        let polled = self.poll_turns(context);
        self.shared.end_turn();
        polled
    }

    fn poll_turns(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        for _ in 0..TURNS_MAX {
            let read = self.poll_read(context)?;
            if matches!(read, Read::End) {
                return Poll::Ready(Ok(()));
            }
            // Each call that was woken goes on as far as it can.
            while let Poll::Ready(Some(())) = self.calls.poll_next_unpin(context) {}
            let wrote = self.poll_write(context)?;
            let (is_over, has_output) = {
                let state = self.shared.lock();
                (state.connection.is_over(), !state.connection.output().is_empty())
            };
            if is_over && !has_output {
                return Poll::Ready(Ok(()));
            }
            // What left made room, for which calls were woken; what arrived was all handled.
            if !wrote && matches!(read, Read::Nothing) {
                return self.poll_alarm(context);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Does what is due, and lets the alarm ring when something else is.
    fn poll_alarm(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut state = self.shared.lock();
        let Some(due_ms) = state.connection.deadline_ms() else { return Poll::Pending };
        // One that rings too early is moved then; one that would ring too late, now.
        if due_ms < self.alarm_ms || self.alarm_ms == 0 {
            self.alarm_ms = due_ms;
            self.alarm.as_mut().reset(at(self.began, due_ms));
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            state.connection.tick(now_ms(self.began))?;
            let Some(due_ms) = state.connection.deadline_ms() else { break };
            self.alarm_ms = due_ms;
            self.alarm.as_mut().reset(at(self.began, due_ms));
            if !state.connection.output().is_empty() {
                // The question for a sign of life leaves in another turn.
                context.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Result<Read, Ended> {
        if self.shared.lock().connection.is_output_full() {
            return Ok(Read::Nothing);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(context, &mut buffer)
            else {
                return Ok(Read::Nothing);
            };
            read?;
            if buffer.filled().is_empty() {
                return Ok(Read::End);
            }
            if self.partial.is_empty() {
                let left = self.take(buffer.filled())?;
                self.partial.extend_from_slice(left);
            } else {
                let mut input = std::mem::take(&mut self.partial);
                input.extend_from_slice(buffer.filled());
                self.partial = self.take(&input)?.to_vec();
            }
            Ok(Read::Some)
        })
    }

    /// Handles all whole frames in `input`; returns what is left.
    fn take<'a>(&mut self, input: &'a [u8]) -> Result<&'a [u8], ConnectionError> {
        let now_ms = now_ms(self.began);
        let mut rest = input;
        let mut state = self.shared.lock();
        loop {
            match state.connection.next(&mut rest, now_ms)? {
                None => return Ok(rest),
                Some(Event::Request { stream, head, is_end }) => {
                    state.arriving.insert(stream, call::Arriving::new(is_end));
                    drop(state);
                    self.calls.push(self.begin_call(stream, &head));
                    state = self.shared.lock();
                }
                Some(Event::Data { stream, bytes, is_end }) => {
                    state.arrived(stream, bytes, is_end);
                }
                Some(Event::Reset { stream, .. }) => state.gone(stream),
            }
        }
    }

    fn begin_call(&self, stream: u32, head: &Head) -> Running {
        let body = Arrives::new(&self.shared, stream);
        match self.front.unary(head, body, &self.on_connection, self.remote) {
            Ok(answer) => Running::unary(&self.shared, stream, answer),
            Err(body) => {
                let mut request = call::request(body, head);
                request.extensions_mut().insert(Arc::clone(&self.on_connection));
                if let Some(remote) = self.remote {
                    request.extensions_mut().insert(remote);
                }
                Running::new(&self.shared, stream, self.front.answer(request))
            }
        }
    }

    /// Writes what can be written. Returns whether something was.
    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        let mut state = self.shared.lock();
        while !state.connection.output().is_empty() {
            let output = state.connection.output();
            let Poll::Ready(count) = Pin::new(&mut self.socket).poll_write(context, output) else {
                break;
            };
            match count? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => state.connection.advance_output(count),
            }
            wrote = true;
        }
        if wrote {
            state.wake_waiting();
        }
        Ok(wrote)
    }
}

fn now_ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn at(began: Instant, at_ms: u64) -> Instant {
    // Beyond some decades, later is the same.
    began + Duration::from_millis(at_ms.min(1 << 40))
}

/// The times of etcd's settings. A zero turns the question off.
pub(super) fn times(config: &crate::config::Config) -> KeepAliveTimes {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let interval = config.grpc_keepalive_interval.std();
    let timeout = config.grpc_keepalive_timeout.std();
    let asks = !interval.is_zero() && !timeout.is_zero();
    let min_time = config.grpc_keepalive_min_time.std();
    let min_time = if min_time.is_zero() { PING_TIME_MIN_DEFAULT } else { min_time };
    KeepAliveTimes {
        interval_ms: asks.then(|| millis(interval)),
        timeout_ms: millis(timeout),
        min_time_ms: millis(min_time),
    }
}
