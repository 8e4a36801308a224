//! The messages that wait for one way to a peer.
//!
//! Appends, proposals and snapshots may be long, and everything else is short and urgent: a
//! heartbeat that waits behind proposals of many MiB is late, and an election follows. So there are
//! two lanes, and the urgent one goes first. Consensus takes messages in any order.
//!
//! Invariants:
//! - Long messages keep their order, and so do urgent ones.
//! - What waits is bounded in number, for each lane, and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use quoin_api::raftpb::{Entry, Message, MessageType};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::codec;

/// The end that messages are put into.
#[derive(Debug)]
pub(super) struct Sender {
    urgent: mpsc::Sender<Message>,
    bulk: mpsc::Sender<(Message, usize)>,
    waiting_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The end that messages are taken from.
#[derive(Debug)]
pub(super) struct Receiver {
    urgent: mpsc::Receiver<Message>,
    bulk: mpsc::Receiver<(Message, usize)>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// What became of a message offered to a queue.
#[expect(clippy::large_enum_variant, reason = "it lives for one call")]
#[derive(Debug)]
pub(super) enum Offered {
    Queued,
    Full,
    /// Nobody takes messages any more.
    NotAttached(Message),
}

/// A queue of at most so many messages in each lane, with at most so many bytes of entries. A
/// message that has more bytes goes alone.
pub(super) fn bounded(messages: usize, bytes_max: usize) -> (Sender, Receiver) {
    let (urgent, urgent_end) = mpsc::channel(messages);
    let (bulk, bulk_end) = mpsc::channel(messages);
    let waiting_bytes = Arc::<AtomicUsize>::default();
    let receiver =
        Receiver { urgent: urgent_end, bulk: bulk_end, waiting_bytes: Arc::clone(&waiting_bytes) };
    (Sender { urgent, bulk, waiting_bytes, bytes_max }, receiver)
}

impl Sender {
    /// Queues a message, if there is room.
    pub(super) fn offer(&self, message: Message) -> Offered {
        if !is_bulk(&message) {
            return match self.urgent.try_send(message) {
                Ok(()) => Offered::Queued,
                Err(TrySendError::Full(_)) => Offered::Full,
                Err(TrySendError::Closed(message)) => Offered::NotAttached(message),
            };
        }
        let bytes = entry_bytes(&message);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let offered = if before > 0 && before + bytes > self.bytes_max {
            Offered::Full
        } else {
            match self.bulk.try_send((message, bytes)) {
                Ok(()) => return Offered::Queued,
                Err(TrySendError::Full(_)) => Offered::Full,
                Err(TrySendError::Closed((message, _))) => Offered::NotAttached(message),
            }
        };
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        offered
    }
}

impl Receiver {
    /// Returns the next message, or none when all that was queued has been taken and nothing more
    /// comes.
    pub(super) fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        let urgent = self.urgent.poll_recv(context);
        if let Poll::Ready(Some(message)) = urgent {
            return Poll::Ready(Some(message));
        }
        match self.bulk.poll_recv(context) {
            Poll::Ready(Some((message, bytes))) => {
                self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                Poll::Ready(Some(message))
            }
            // Both senders go together.
            Poll::Ready(None) => urgent,
            Poll::Pending => Poll::Pending,
        }
    }

    /// The same, waiting.
    pub(super) async fn recv(&mut self) -> Option<Message> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Returns the next message, if one is there.
    pub(super) fn try_recv(&mut self) -> Option<Message> {
        if let Ok(message) = self.urgent.try_recv() {
            return Some(message);
        }
        let (message, bytes) = self.bulk.try_recv().ok()?;
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(message)
    }

    /// Whether nothing more comes, whatever is still queued.
    pub(super) fn is_closed(&self) -> bool {
        self.urgent.is_closed()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.bulk.is_empty()
    }
}

fn is_bulk(message: &Message) -> bool {
    let is_proposal = message.r#type() == MessageType::MsgProp;
    is_proposal || codec::is_append(message) || codec::is_snapshot(message)
}

/// Bytes that the entries of a message, or the snapshot in it, have in memory.
pub(crate) fn entry_bytes(message: &Message) -> usize {
    let entry = size_of::<Entry>();
    let entries: usize = message.entries.iter().map(|it| entry + it.data.len()).sum();
    entries + message.snapshot.as_ref().map_or(0, |snapshot| snapshot.data.len())
}
