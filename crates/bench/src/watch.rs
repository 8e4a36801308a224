//! Watchers beside a load: how many events reach them, and what they cost the writers.
//!
//! Each connection has one stream with many watchers of all keys, and a thread that reads it and
//! counts events. The writers are a [`load`] of their own.
//!
//! Not here: whether the events are right.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::decode_varint;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{WatchCreateRequest, WatchRequest};

use crate::http2::connection::{Connection, MESSAGE_PREFIX};
use crate::report::Report;
use crate::{Error, load};

const METHOD: &str = "/etcdserverpb.Watch/Watch";
/// How often a thread that reads nothing looks whether it shall end.
const PAUSE: Duration = Duration::from_millis(50);
/// Field `events` of a response, with its wire type.
const EVENTS: u64 = 11 << 3 | 2;
const READ_BYTES: usize = 1 << 18;

/// The watchers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Streams, each on a connection of its own.
    pub streams: usize,
    /// Watchers on each.
    pub watchers: usize,
    /// Where they begin; 0 is now.
    pub from_revision: i64,
    /// How long they may take for the last events after the writers have ended.
    pub drain: Duration,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What the writers saw.
    pub writes: Report,
    /// Events that reached a watcher until the last write was answered.
    pub during: u64,
    /// All events.
    pub events: u64,
    /// From the start to the last event.
    pub elapsed: Duration,
}

/// Watches while a load writes. Watchers that begin in the past have their events counted from
/// the beginning, too.
pub fn run(options: &Options, load: &load::Options) -> Result<Outcome, Error> {
    let endpoint = *load.endpoints.first().ok_or(Error::Usage("no endpoint".into()))?;
    let (events, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let opened = (0..options.streams).map(|_| Watching::open(endpoint, options));
    let opened: Result<Vec<Watching>, Error> = opened.collect();
    let opened = opened?;
    thread::scope(|scope| {
        let start = Instant::now();
        let (events, stop) = (&events, &stop);
        let threads: Vec<_> = opened
            .into_iter()
            .map(|mut watching| scope.spawn(move || watching.count(events, stop)))
            .collect();
        let writes = load::run(load);
        let during = events.load(Ordering::Relaxed);
        let (mut seen, mut last, mut ended) = (during, start.elapsed(), Instant::now());
        while writes.is_ok() && ended.elapsed() < options.drain {
            thread::sleep(PAUSE / 10);
            let now = events.load(Ordering::Relaxed);
            if now > seen {
                (seen, last, ended) = (now, start.elapsed(), Instant::now());
            }
        }
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| Error::Server("a reader panicked".to_owned()))??;
        }
        Ok(Outcome { writes: writes?, during, events: seen, elapsed: last })
    })
}

/// One stream.
struct Watching {
    endpoint: SocketAddr,
    socket: TcpStream,
    connection: Connection,
    /// Events that came while the watchers were created.
    early: u64,
}

impl Watching {
    fn open(endpoint: SocketAddr, options: &Options) -> Result<Self, Error> {
        let connect = || {
            let socket = TcpStream::connect(endpoint)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PAUSE))?;
            Ok(socket)
        };
        let socket = connect().map_err(|cause| Error::io(format!("{endpoint}"), cause))?;
        let connection = Connection::new(&endpoint.to_string(), METHOD, true);
        let mut watching = Self { endpoint, socket, connection, early: 0 };
        let mut buffer = vec![0; READ_BYTES];
        while !watching.connection.can_start() {
            watching.exchange(&mut buffer)?;
        }
        watching.connection.start(&requests(options), 0);
        // One response for each watcher says that it was created.
        let mut responses = 0;
        while responses < options.watchers {
            watching.exchange(&mut buffer)?;
            watching.connection.take_bodies(|body| {
                let (count, events) = messages(body);
                responses += count;
                watching.early += events as u64;
            });
        }
        Ok(watching)
    }

    fn count(&mut self, events: &AtomicU64, stop: &AtomicBool) -> Result<(), Error> {
        events.fetch_add(self.early, Ordering::Relaxed);
        let mut buffer = vec![0; READ_BYTES];
        while !stop.load(Ordering::Relaxed) {
            self.exchange(&mut buffer)?;
            self.connection.take_bodies(|body| {
                events.fetch_add(messages(body).1 as u64, Ordering::Relaxed);
            });
        }
        Ok(())
    }

    /// Sends what is to be sent, and reads once or for a while.
    fn exchange(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let endpoint = self.endpoint;
        let failed = |cause| Error::io(format!("{endpoint}{METHOD}"), cause);
        self.socket.write_all(self.connection.output()).map_err(failed)?;
        self.connection.advance_output(self.connection.output().len());
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err(failed(ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(error) => return Err(failed(error)),
        };
        let mut answers = Vec::new();
        let received = self.connection.receive(&buffer[..count], 0, &mut answers);
        received.map_err(|error| failed(std::io::Error::other(error)))?;
        match answers.pop() {
            Some(answer) => Err(Error::Server(format!("{METHOD}: {:?}", answer.outcome))),
            None => Ok(()),
        }
    }
}

/// The requests that create the watchers of a stream, one behind the other.
fn requests(options: &Options) -> Vec<u8> {
    let all = Bytes::from_static(b"\0");
    let create = WatchCreateRequest {
        key: all.clone(),
        range_end: all,
        start_revision: options.from_revision,
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("it is a few bytes");
    let mut out = Vec::new();
    for _ in 0..options.watchers {
        out.push(0);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&message);
    }
    out
}

/// Takes whole messages off the front; returns how many there were, and the events in them.
fn messages(body: &mut Vec<u8>) -> (usize, usize) {
    let (mut at, mut count, mut events) = (0, 0, 0);
    while let Some(prefix) = body[at..].first_chunk::<MESSAGE_PREFIX>() {
        let [_, length @ ..] = *prefix;
        let end = at + MESSAGE_PREFIX + u32::from_be_bytes(length) as usize;
        let Some(message) = body.get(at + MESSAGE_PREFIX..end) else { break };
        events += events_in(message);
        count += 1;
        at = end;
    }
    body.drain(..at);
    (count, events)
}

/// Counts the events of a response without reading them.
fn events_in(mut message: &[u8]) -> usize {
    let mut events = 0;
    while let Ok(tag) = decode_varint(&mut message) {
        let Ok(value) = decode_varint(&mut message) else { break };
        if tag & 7 == 2 {
            let length = usize::try_from(value).unwrap_or(usize::MAX);
            message.advance(length.min(message.len()));
        }
        events += usize::from(tag == EVENTS);
    }
    events
}

#[cfg(test)]
mod tests {
    use quoin_api::etcdserverpb::{ResponseHeader, WatchResponse};
    use quoin_api::mvccpb::{Event, KeyValue};

    use super::*;

    #[test]
    fn events_are_counted_in_any_pieces() {
        let kv = Some(KeyValue { value: Bytes::from(vec![b'v'; 300]), ..KeyValue::default() });
        let event = Event { kv, ..Event::default() };
        let header = Some(ResponseHeader { revision: 1 << 40, ..ResponseHeader::default() });
        let response =
            WatchResponse { header, watch_id: 7, events: vec![event; 3], ..Default::default() };
        let mut whole = Vec::new();
        for _ in 0..4 {
            let message = response.encode_to_vec();
            whole.push(0);
            whole.extend_from_slice(&(message.len() as u32).to_be_bytes());
            whole.extend_from_slice(&message);
        }
        for length in [1, 7, 100, 1000, whole.len()] {
            let (mut body, mut seen) = (Vec::new(), (0, 0));
            for piece in whole.chunks(length) {
                body.extend_from_slice(piece);
                let (count, events) = messages(&mut body);
                seen = (seen.0 + count, seen.1 + events);
            }
            assert_eq!((seen, body.len()), ((4, 12), 0), "pieces of {length}");
        }
    }
}
