//! What waits to be sent on one stream: whole messages, in chunks.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A chunk is handed out when it has this many bytes; its last message may go beyond.
const CHUNK_BYTES: usize = 64 << 10;

/// The output of a stream. Each message comes behind the five bytes that gRPC puts before one, so
/// that nobody has to copy it again.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Chunk>,
    tail: BytesMut,
    /// Events in the tail.
    tail_events: usize,
    bytes: usize,
    events: usize,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Events in what waits.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// Appends a message of `length` bytes with some events, which `write` writes. Returns the
    /// bytes it takes here.
    pub(super) fn push(
        &mut self,
        (length, events): (usize, usize),
        write: impl FnOnce(&mut BytesMut),
    ) -> usize {
        let announced = u32::try_from(length).expect("a revision is smaller than 4 GiB");
        let whole = PREFIX_BYTES + length;
        self.tail.reserve(whole);
        let before = self.tail.len();
        self.tail.extend_from_slice(&[0]);
        self.tail.extend_from_slice(&announced.to_be_bytes());
        write(&mut self.tail);
        assert_eq!(self.tail.len() - before, whole, "a message has the length it announces");
        self.bytes += whole;
        self.events += events;
        self.tail_events += events;
        if self.tail.len() >= CHUNK_BYTES {
            let chunk = self.take_tail();
            self.chunks.push_back(chunk);
        }
        whole
    }

    /// Takes the oldest chunk.
    pub(super) fn take(&mut self) -> Option<Chunk> {
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => self.take_tail(),
        };
        self.bytes -= chunk.bytes.len();
        self.events -= chunk.events;
        Some(chunk)
    }

    fn take_tail(&mut self) -> Chunk {
        let bytes = std::mem::take(&mut self.tail).freeze();
        Chunk { bytes, events: std::mem::take(&mut self.tail_events) }
    }
}

/// Whole messages, and how many events they have.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) events: usize,
}

/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;
