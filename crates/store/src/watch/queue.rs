//! What waits to be sent on one stream: messages, in chunks.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A chunk of own bytes is handed out when it has this many; its last message may go beyond.
const CHUNK_BYTES: usize = 64 << 10;
/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;
/// Enough for a prefix and what a message has before its events, so that small writes do not grow
/// the buffer again and again.
const HEAD_BYTES: usize = 64;

/// The output of a stream. Each message comes behind the five bytes that gRPC puts before one, so
/// that nobody has to copy it again. A chunk may end in the midst of a message, where bytes that
/// streams share begin or end.
#[derive(Debug, Default)]
pub(super) struct Queue {
    parts: Parts,
    events: usize,
}

/// Bytes in chunks: own ones, and ones that other streams have, too.
#[derive(Debug, Default)]
pub(super) struct Parts {
    chunks: VecDeque<Chunk>,
    tail: BytesMut,
    /// Events in the tail.
    tail_events: usize,
    /// All bytes, own and shared.
    bytes: usize,
    /// Those that no other stream has.
    own_bytes: usize,
}

/// Some bytes of a stream.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    /// Bytes among them that no other stream has.
    pub(super) own_bytes: usize,
    /// Events of the messages that begin here.
    pub(super) events: usize,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.parts.bytes
    }

    /// Bytes that wait on this stream alone.
    pub(super) fn own_bytes(&self) -> usize {
        self.parts.own_bytes
    }

    /// Events in what waits.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Appends a message of `length` bytes with some events, which `write` writes. Returns the
    /// bytes that it takes on this stream alone.
    pub(super) fn push(
        &mut self,
        (length, events): (usize, usize),
        write: impl FnOnce(&mut Parts),
    ) -> usize {
        let announced = u32::try_from(length).expect("a revision is smaller than 4 GiB");
        let parts = &mut self.parts;
        let (before, own_before) = (parts.bytes, parts.own_bytes);
        parts.tail.reserve(HEAD_BYTES);
        parts.copy(&[0]);
        parts.copy(&announced.to_be_bytes());
        // Wherever the message goes on, its events are counted where it begins.
        parts.tail_events += events;
        write(parts);
        let written = parts.bytes - before;
        assert_eq!(written, PREFIX_BYTES + length, "a message has the length it announces");
        self.events += events;
        if parts.tail.len() >= CHUNK_BYTES {
            parts.end_tail();
        }
        parts.own_bytes - own_before
    }

    /// Takes the oldest chunk.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        if self.parts.chunks.is_empty() {
            self.parts.end_tail();
        }
        let chunk = self.parts.chunks.pop_front()?;
        self.parts.bytes -= chunk.bytes.len();
        self.parts.own_bytes -= chunk.own_bytes;
        self.events -= chunk.events;
        Some(chunk)
    }
}

impl Parts {
    /// Appends a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.write(|out| out.extend_from_slice(bytes));
    }

    /// Appends what `write` writes.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let before = self.tail.len();
        write(&mut self.tail);
        let written = self.tail.len() - before;
        self.bytes += written;
        self.own_bytes += written;
    }

    /// Appends bytes that other streams have, too.
    pub(super) fn share(&mut self, bytes: Bytes) {
        self.end_tail();
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk { bytes, own_bytes: 0, events: 0 });
    }

    fn end_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.tail).freeze();
        let (own_bytes, events) = (bytes.len(), std::mem::take(&mut self.tail_events));
        self.chunks.push_back(Chunk { bytes, own_bytes, events });
    }
}
