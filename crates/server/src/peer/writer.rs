//! The sending end of a stream: the body of a response that another member asked for.
//!
//! Whoever sends puts a message into the stream's queue, which wakes the task of the connection;
//! that task takes what has gathered, encodes it into one buffer and writes it. There is no task
//! between, and nothing is flushed while more is waiting.
//!
//! Invariants:
//! - A slot has at most one body that it feeds; attaching another ends the one before.
//! - What carries no entries never waits behind what does (`queue`).
//! - When a body ends and messages may be lost with it, the peer is reported unreachable.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use quoin_api::raftpb::Message;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::codec::{Encoder, StreamKind};
use super::link::Link;
use super::queue::{self, Offered, Receiver, Sender};
use super::{codec, limits, locked};
use crate::log::Record;
use crate::record;

/// The place where a peer attaches one of its streams.
pub(super) struct StreamSlot {
    kind: StreamKind,
    link: Arc<Link>,
    queue: usize,
    queue_bytes: usize,
    attached: Mutex<Attached>,
}

/// The stream that is attached now.
#[derive(Default)]
struct Attached {
    sender: Option<Sender>,
    /// Counts attachments, so that a stream that ends late does not detach its successor.
    generation: u64,
}

impl StreamSlot {
    /// A place whose queue has so many messages in each lane, and so many bytes.
    pub(super) fn new(kind: StreamKind, link: Arc<Link>, queue: usize, queue_bytes: usize) -> Self {
        Self { kind, link, queue, queue_bytes, attached: Mutex::default() }
    }

    /// Queues a message if the stream is attached.
    pub(super) fn offer(&self, message: Message) -> Offered {
        let attached = locked(&self.attached);
        let Some(sender) = &attached.sender else { return Offered::NotAttached(message) };
        sender.offer(message)
    }

    /// Attaches a new stream in place of the one before.
    pub(super) fn attach(self: &Arc<Self>) -> StreamBody {
        let (sender, queue) = queue::bounded(self.queue, self.queue_bytes);
        let mut attached = locked(&self.attached);
        attached.generation += 1;
        let generation = attached.generation;
        let replaced = attached.sender.replace(sender).is_some();
        drop(attached);

        self.link.activate();
        if replaced {
            self.log(record!(Warn, "closed TCP streaming connection with remote peer"));
        }
        self.log(record!(Info, "established TCP streaming connection with remote peer"));
        StreamBody::new(Arc::clone(self), generation, queue)
    }

    /// Ends the attached stream.
    pub(super) fn close(&self) {
        let stopped = |record: Record| {
            self.link.log_peer(record.with("stream-writer-type", self.kind.name()));
        };
        if locked(&self.attached).sender.take().is_some() {
            stopped(record!(Warn, "closed TCP streaming connection with remote peer"));
        }
        stopped(record!(Info, "stopped TCP streaming connection with remote peer"));
    }

    /// Notes that the connection of a stream is gone.
    fn detach(&self, generation: u64, messages_lost: bool) {
        let mut attached = locked(&self.attached);
        let newest = attached.generation == generation;
        let died = newest && attached.sender.take().is_some();
        drop(attached);

        if died {
            self.link.deactivate(self.kind.name(), "write", &"the connection was lost");
            self.log(record!(Warn, "lost TCP streaming connection with remote peer"));
        }
        // Nobody wants to hear about a peer that was closed on purpose.
        if messages_lost && (died || !newest) {
            self.link.lost(false);
        }
    }

    fn log(&self, record: Record) {
        self.link.log(record.with("stream-writer-type", self.kind.name()));
    }
}

/// An endless response: what is put into a slot while it is attached.
pub struct StreamBody {
    slot: Arc<StreamSlot>,
    generation: u64,
    queue: Receiver,
    encoder: Encoder,
    buffer: BytesMut,
    heartbeat: Interval,
    /// Messages were handed to the connection since the last heartbeat, so they may be lost if
    /// the connection breaks now.
    carried: bool,
}

impl StreamBody {
    fn new(slot: Arc<StreamSlot>, generation: u64, queue: Receiver) -> Self {
        let first = tokio::time::Instant::now() + limits::HEARTBEAT_INTERVAL;
        let mut heartbeat = interval_at(first, limits::HEARTBEAT_INTERVAL);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let encoder = Encoder::new(slot.kind);
        let buffer = BytesMut::new();
        Self { slot, generation, queue, encoder, buffer, heartbeat, carried: false }
    }

    /// Encodes a message and those that wait behind it.
    fn encode_batch(&mut self, first: &Message) {
        self.encode(first);
        while self.buffer.len() < limits::BATCH_BYTES {
            let Some(message) = self.queue.try_recv() else { break };
            self.encode(&message);
        }
        self.carried = true;
    }

    fn encode(&mut self, message: &Message) {
        let began = Instant::now();
        self.encoder.message(message, &mut self.buffer);
        // etcd counts the appends of their stream only.
        if self.slot.kind == StreamKind::Append && codec::is_append(message) {
            self.slot.link.append_sent(Some(began.elapsed()));
        }
    }

    fn take_frame(&mut self) -> Frame<Bytes> {
        let bytes = self.buffer.split().freeze();
        self.slot.link.sent(bytes.len() as u64);
        Frame::data(bytes)
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        // A replaced stream ends at once: its connection is the one that went wrong.
        if this.queue.is_closed() {
            return Poll::Ready(None);
        }
        match this.queue.poll_recv(context) {
            Poll::Ready(Some(first)) => this.encode_batch(&first),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if this.heartbeat.poll_tick(context).is_ready() => {
                this.encoder.heartbeat(&mut this.buffer);
                this.carried = false;
            }
            Poll::Pending => return Poll::Pending,
        }
        Poll::Ready(Some(Ok(this.take_frame())))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let messages_lost = self.carried || !self.queue.is_empty();
        self.slot.detach(self.generation, messages_lost);
    }
}
