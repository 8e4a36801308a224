//! Encoded events, which the queues of many streams share.
//!
//! The bytes are in chunks. A chunk that is finished is shared by reference: a stream that is sent a
//! long run of it keeps the chunk, and copies nothing. Short runs are copied, because a reference to
//! few bytes would keep a whole chunk.
//!
//! Invariants:
//! - The bytes of an event are in one chunk.
//! - A shared chunk is counted from when it is finished until the last reference to it is dropped,
//!   once, however many streams share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::queue::Parts;

/// A chunk is finished when it has this many bytes; its last event may go beyond.
const CHUNK_BYTES: usize = 64 << 10;

/// The bytes of all shared chunks of a hub that are in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedBytes(Arc<AtomicUsize>);

impl SharedBytes {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The bytes of events, one after the other.
#[derive(Debug)]
pub(super) struct Encoded {
    finished: Vec<Bytes>,
    last: Vec<u8>,
    shared: SharedBytes,
    shared_min_bytes: usize,
}

/// Neighbouring events in one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    chunk: usize,
    start: usize,
    end: usize,
}

impl Run {
    pub(super) fn length(self) -> usize {
        self.end - self.start
    }

    /// Makes this one longer if `next` follows it without a gap.
    pub(super) fn join(&mut self, next: Self) -> bool {
        let follows = self.chunk == next.chunk && self.end == next.start;
        if follows {
            self.end = next.end;
        }
        follows
    }
}

impl Encoded {
    pub(super) fn new(shared: SharedBytes, shared_min_bytes: usize) -> Self {
        Self { finished: Vec::new(), last: Vec::new(), shared, shared_min_bytes }
    }

    /// Appends an event, which `write` writes.
    pub(super) fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Run {
        if self.last.len() >= CHUNK_BYTES {
            self.finish();
        }
        let start = self.last.len();
        write(&mut self.last);
        Run { chunk: self.finished.len(), start, end: self.last.len() }
    }

    /// Finishes the last chunk, if it is worth to be shared.
    pub(super) fn seal(&mut self) {
        if self.last.len() >= self.shared_min_bytes {
            self.finish();
        }
    }

    /// Writes a run: a reference if that is long enough and its chunk is finished, or else a copy.
    pub(super) fn write(&self, run: Run, out: &mut Parts) {
        match self.finished.get(run.chunk) {
            Some(chunk) if run.length() >= self.shared_min_bytes => {
                out.share(chunk.slice(run.start..run.end));
            }
            Some(chunk) => out.copy(&chunk[run.start..run.end]),
            None => out.copy(&self.last[run.start..run.end]),
        }
    }

    fn finish(&mut self) {
        let bytes = std::mem::take(&mut self.last);
        self.shared.0.fetch_add(bytes.len(), Ordering::Relaxed);
        let chunk = SharedChunk { bytes, shared: self.shared.clone() };
        self.finished.push(Bytes::from_owner(chunk));
    }
}

/// A finished chunk, which uncounts itself.
struct SharedChunk {
    bytes: Vec<u8>,
    shared: SharedBytes,
}

impl AsRef<[u8]> for SharedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SharedChunk {
    fn drop(&mut self) {
        self.shared.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}
