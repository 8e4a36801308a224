//! A member that records what happens to it, and a client that speaks HTTP by hand.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use quoin_api::etcdserverpb::LeaseTimeToLiveResponse;
use quoin_api::raftpb::{Entry, Message, MessageType, Snapshot, SnapshotMetadata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::log::{Record, Value};
use crate::peer::codec::{Decoder, Frame, StreamKind};
use crate::peer::{
    BoxFuture, Inbound, LeaseQuestion, LeaseRefusal, Options, Rejected, SnapshotBody, Transport,
    serve,
};

pub(super) const CLUSTER: u64 = 0xc1;
const HANG: Duration = Duration::from_secs(30);

/// What a member hears from its transport.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Message(Message),
    Snapshot(Message, Result<usize, String>),
    Unreachable(u64),
    SnapshotStatus(u64, bool),
    RemovedBy(u64),
    Stranger(u64),
    /// The text of a log line and the stream that it is about.
    Log(String, String),
}

/// The upper side of a transport under test.
pub(super) struct Recorder {
    events: UnboundedSender<Event>,
    pub(super) removed: Mutex<BTreeSet<u64>>,
    /// Senders that are no members; everybody else is one.
    pub(super) strangers: Mutex<BTreeSet<u64>>,
    pub(super) full: AtomicBool,
}

impl Recorder {
    fn record(&self, event: Event) {
        // Nobody listens any more when a test is over.
        self.events.send(event).ok();
    }
}

impl Inbound for Recorder {
    fn message(&self, message: Message) -> Result<(), Rejected> {
        if self.full.load(Ordering::Relaxed) {
            return Err(Rejected::QueueFull);
        }
        self.record(Event::Message(message));
        Ok(())
    }

    fn snapshot(&self, header: Message, mut body: SnapshotBody) -> BoxFuture<Result<(), String>> {
        let events = self.events.clone();
        let full = self.full.load(Ordering::Relaxed);
        Box::pin(async move {
            let mut bytes = 0;
            let received = loop {
                match body.next_chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) if full => break Err("failed to save KV snapshot (disk)".to_owned()),
                    Ok(None) => break Ok(bytes),
                    Err(error) => break Err(error.to_string()),
                }
            };
            events.send(Event::Snapshot(header, received.clone())).ok();
            received.map(|_| ())
        })
    }

    fn unreachable(&self, peer: u64) {
        self.record(Event::Unreachable(peer));
    }

    fn snapshot_status(&self, peer: u64, ok: bool) {
        self.record(Event::SnapshotStatus(peer, ok));
    }

    fn is_removed(&self, peer: u64) -> bool {
        self.removed.lock().expect("no test panics here").contains(&peer)
    }

    fn is_known(&self, peer: u64) -> bool {
        !self.strangers.lock().expect("no test panics here").contains(&peer)
    }

    fn stranger(&self, peer: u64) {
        self.record(Event::Stranger(peer));
    }

    fn removed_by(&self, peer: u64) {
        self.record(Event::RemovedBy(peer));
    }

    /// Lease 1 exists; the ID of another one names the status of its refusal.
    fn lease(
        &self,
        question: LeaseQuestion,
    ) -> BoxFuture<Result<Option<LeaseTimeToLiveResponse>, LeaseRefusal>> {
        let (id, keys) = match question {
            LeaseQuestion::Renew(id) => (id, Vec::new()),
            LeaseQuestion::Time { id, keys } => {
                (id, if keys { vec!["key".into()] } else { Vec::new() })
            }
        };
        let header = None;
        let answer = LeaseTimeToLiveResponse { header, id, ttl: 59, granted_ttl: 60, keys };
        Box::pin(async move {
            match id {
                1 => Ok(Some(answer)),
                400 => Err(LeaseRefusal::NotPrimary),
                408 => Err(LeaseRefusal::Timeout),
                _ => Ok(None),
            }
        })
    }

    fn members(&self) -> String {
        "[]".to_owned()
    }

    fn versions(&self) -> String {
        r#"{"etcdserver":"3.7.1","etcdcluster":"not_decided","storage":"unknown"}"#.to_owned()
    }
}

/// One member: a transport, its listener, and what it heard.
pub(super) struct Member {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) transport: Arc<Transport>,
    pub(super) recorder: Arc<Recorder>,
    events: UnboundedReceiver<Event>,
    server: JoinHandle<()>,
}

impl Member {
    pub(super) async fn start(id: u64) -> Self {
        Self::start_with(id, "127.0.0.1:0", |_| {}).await
    }

    pub(super) async fn start_with(
        id: u64,
        address: &str,
        adjust: impl FnOnce(&mut Options),
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (sender, events) = unbounded_channel();
        let mut options = Options::new(id, CLUSTER, "3.7.1");
        options.local_peer_urls = vec![format!("http://{address}")];
        let log = sender.clone();
        options.log = Arc::new(move |record: &Record| {
            log.send(Event::Log(record.message.to_string(), stream_of(record))).ok();
        });
        adjust(&mut options);
        let (removed, full) = (Mutex::default(), AtomicBool::default());
        let strangers = Mutex::default();
        let recorder = Arc::new(Recorder { events: sender, removed, strangers, full });
        let inbound: Arc<dyn Inbound> = Arc::clone(&recorder) as Arc<dyn Inbound>;
        let transport = Transport::new(options, inbound).expect("the options are well formed");
        let shutdown = std::future::pending();
        let server = tokio::spawn(serve(listener, Arc::clone(&transport), shutdown));
        Self { id, address, transport, recorder, events, server }
    }

    /// Gets to know another member.
    pub(super) fn knows(&self, other: &Self) {
        self.knows_at(other.id, &other.address);
    }

    pub(super) fn knows_at(&self, id: u64, address: &str) {
        self.transport.add_peer(id, &[format!("http://{address}")]).expect("a well-formed URL");
    }

    /// Waits for an event, skipping others.
    pub(super) async fn hears(&mut self, what: impl Fn(&Event) -> bool) -> Event {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the member holds a sender");
                if what(&event) {
                    return event;
                }
            }
        };
        tokio::time::timeout(HANG, wait).await.expect("it happens")
    }

    pub(super) async fn receives(&mut self, message: &Message) {
        self.hears(|event| matches!(event, Event::Message(got) if got == message)).await;
    }

    /// Waits for a log line about a stream.
    pub(super) async fn logs(&mut self, text: &str, stream: &str) {
        self.hears(|event| matches!(event, Event::Log(t, s) if t == text && s == stream)).await;
    }

    /// Waits until the peer has attached both streams.
    pub(super) async fn is_attached(&mut self) {
        self.logs_for_both_writers("established TCP streaming connection with remote peer").await;
    }

    /// Waits for a log line about each of the streams that this member writes.
    pub(super) async fn logs_for_both_writers(&mut self, text: &str) {
        let mut missing = BTreeSet::from(["writer stream Message", "writer stream MsgApp v2"]);
        while !missing.is_empty() {
            let event = self.hears(|event| matches!(event, Event::Log(t, _) if t == text)).await;
            if let Event::Log(_, stream) = event {
                missing.remove(stream.as_str());
            }
        }
    }

    /// Returns the events that have already happened.
    pub(super) fn heard(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Ends the member and returns the address that it had.
    pub(super) async fn stop(self) -> String {
        self.transport.stop();
        self.server.abort();
        self.server.await.expect_err("it was aborted");
        self.address
    }
}

fn stream_of(record: &Record) -> String {
    let field = |(key, value): &(&str, Value)| {
        let Value::Text(text) = value else { return None };
        key.strip_prefix("stream-")?.strip_suffix("-type").map(|end| format!("{end} {text}"))
    };
    record.fields.iter().find_map(field).unwrap_or_default()
}

pub(super) fn message(kind: MessageType, from: u64, to: u64, term: u64) -> Message {
    Message { r#type: kind.into(), from, to, term, ..Message::default() }
}

/// An append of one entry of `size` bytes behind `index`.
pub(super) fn append(from: u64, to: u64, index: u64, size: usize) -> Message {
    let data = vec![b'x'; size].into();
    let entry = Entry { term: 1, index: index + 1, data, ..Entry::default() };
    let entries = vec![entry];
    Message {
        log_term: 1,
        index,
        entries,
        commit: index,
        ..message(MessageType::MsgApp, from, to, 1)
    }
}

pub(super) fn snapshot(from: u64, to: u64, index: u64) -> Message {
    let metadata = Some(SnapshotMetadata { index, term: 1, conf_state: None });
    let snapshot = Some(Snapshot { metadata, ..Snapshot::default() });
    Message { snapshot, ..message(MessageType::MsgSnap, from, to, 1) }
}

/// The headers with which member `from` introduces itself.
pub(super) fn introduction(from: u64) -> String {
    format!(
        "X-Server-From: {from:x}\r\nX-Server-Version: 3.7.1\r\n\
         X-Min-Cluster-Version: 3.0.0\r\nX-Etcd-Cluster-ID: {CLUSTER:x}\r\n"
    )
}

/// Sends one request on a connection of its own; returns the status, the head and the body.
pub(super) async fn ask(
    address: &str,
    first_line: &str,
    headers: &str,
    body: &[u8],
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.expect("the member listens");
    let length = body.len();
    let head = format!(
        "{first_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head is sent");
    // A member that refuses early may close before it has read the body.
    stream.write_all(body).await.ok();
    let mut answer = Vec::new();
    tokio::time::timeout(HANG, stream.read_to_end(&mut answer)).await.expect("it answers").ok();
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

/// The receiving end of a stream, read by hand.
pub(super) struct RawStream {
    stream: TcpStream,
    chunked: BytesMut,
    decoder: Decoder,
}

impl RawStream {
    /// Attaches as `from` to the member `to`.
    pub(super) async fn attach(to: &Member, from: u64, kind: StreamKind) -> Self {
        let mut stream = TcpStream::connect(&to.address).await.expect("the member listens");
        let request = format!(
            "GET {}/{from:x} HTTP/1.1\r\nHost: x\r\nX-Raft-To: {:x}\r\n{}\r\n",
            kind.path(),
            to.id,
            introduction(from),
        );
        stream.write_all(request.as_bytes()).await.expect("the request is sent");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.put_u8(stream.read_u8().await.expect("the head is sent at once"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let chunked = BytesMut::new();
        Self { stream, chunked, decoder: Decoder::new(kind, from, to.id) }
    }

    /// Returns the next message, or none at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Message> {
        loop {
            match self.decoder.next_frame().expect("what a member sends is well formed") {
                Some(Frame::Message(message)) => return Some(message),
                Some(Frame::Heartbeat) => continue,
                None => {}
            }
            let chunk = tokio::time::timeout(HANG, self.chunk()).await.expect("it comes or ends");
            self.decoder.push(&chunk?);
        }
    }

    /// Returns the next chunk of the body.
    async fn chunk(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(end) = self.chunked.windows(2).position(|bytes| bytes == b"\r\n") {
                let digits = std::str::from_utf8(&self.chunked[..end]).expect("hex digits");
                let length = usize::from_str_radix(digits, 16).expect("hex digits");
                if self.chunked.len() >= end + 2 + length + 2 {
                    let mut chunk = self.chunked.split_to(end + 2 + length + 2).split_off(end + 2);
                    chunk.truncate(length);
                    return (length > 0).then_some(chunk);
                }
            }
            if self.stream.read_buf(&mut self.chunked).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}
