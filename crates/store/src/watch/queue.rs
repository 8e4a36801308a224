//! What waits to be sent on one stream: whole messages, in chunks.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A chunk is handed out when it has this many bytes; its last message may go beyond.
const CHUNK_BYTES: usize = 64 << 10;

/// The output of a stream. Each message comes behind the five bytes that gRPC puts before one, so
/// that nobody has to copy it again.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Queue {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a message of `length` bytes, which `write` writes. Returns the bytes it takes here.
    pub(super) fn push(&mut self, length: usize, write: impl FnOnce(&mut BytesMut)) -> usize {
        let announced = u32::try_from(length).expect("a revision is smaller than 4 GiB");
        let whole = PREFIX_BYTES + length;
        self.tail.reserve(whole);
        let before = self.tail.len();
        self.tail.extend_from_slice(&[0]);
        self.tail.extend_from_slice(&announced.to_be_bytes());
        write(&mut self.tail);
        assert_eq!(self.tail.len() - before, whole, "a message has the length it announces");
        self.bytes += whole;
        if self.tail.len() >= CHUNK_BYTES {
            self.chunks.push_back(std::mem::take(&mut self.tail).freeze());
        }
        whole
    }

    /// Takes the oldest chunk.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        let chunk = match self.chunks.pop_front() {
            Some(chunk) => chunk,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.bytes -= chunk.len();
        Some(chunk)
    }
}

/// The flag and the length before a message.
const PREFIX_BYTES: usize = 5;
