//! The open streams of a connection.
//!
//! A client numbers its streams 1, 3, 5 and so on, and they end in nearly that order, so they live
//! in a queue from the oldest that is still open and are found by arithmetic.

use std::collections::VecDeque;

use quoin_front::frame::MAX_31_BIT;

/// One call that waits for its answer.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// When the call began.
    pub(super) started_ns: u64,
    /// Bytes of the response, with the five of its prefix.
    pub(super) received: u64,
    /// Bytes received for which no window was given back.
    pub(super) unreturned: u32,
    /// The status, once a header block told it.
    pub(super) status: Option<u32>,
    /// The response, if somebody wants it.
    pub(super) body: Vec<u8>,
}

/// All streams from the oldest open one; those that ended are none.
#[derive(Debug)]
pub(super) struct Streams {
    oldest: u32,
    queue: VecDeque<Option<Stream>>,
    open: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Self { oldest: 1, queue: VecDeque::new(), open: 0 }
    }
}

impl Streams {
    /// How many streams are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The number of the next stream; none when the connection has no numbers left.
    pub(super) fn next_id(&self) -> Option<u32> {
        let length = u32::try_from(self.queue.len()).ok()?;
        let id = length.checked_mul(2)?.checked_add(self.oldest)?;
        (id <= MAX_31_BIT).then_some(id)
    }

    /// Opens the next stream.
    pub(super) fn push(&mut self, started_ns: u64) {
        self.queue.push_back(Some(Stream { started_ns, ..Stream::default() }));
        self.open += 1;
    }

    /// The stream with this number, if it is open.
    pub(super) fn find(&mut self, id: u32) -> Option<&mut Stream> {
        let index = self.index(id)?;
        self.queue.get_mut(index)?.as_mut()
    }

    /// Takes the stream with this number out, if it is open.
    pub(super) fn close(&mut self, id: u32) -> Option<Stream> {
        let index = self.index(id)?;
        let stream = self.queue.get_mut(index)?.take()?;
        self.open -= 1;
        while self.queue.front().is_some_and(Option::is_none) {
            self.queue.pop_front();
            self.oldest += 2;
        }
        Some(stream)
    }

    /// The numbers of all open streams above `id`.
    pub(super) fn open_above(&self, id: u32) -> Vec<u32> {
        let numbers = (self.oldest..).step_by(2);
        let open = numbers.zip(&self.queue).filter(|(_, stream)| stream.is_some());
        open.map(|(number, _)| number).filter(|number| *number > id).collect()
    }

    fn index(&self, id: u32) -> Option<usize> {
        let distance = id.checked_sub(self.oldest)?;
        (distance % 2 == 0).then_some(distance as usize / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_by_their_number() {
        let mut streams = Streams::default();
        for (id, now) in [(1, 10), (3, 30), (5, 50)] {
            assert_eq!(streams.next_id(), Some(id));
            streams.push(now);
        }
        assert_eq!(streams.find(3).unwrap().started_ns, 30);
        for absent in [0, 2, 7, MAX_31_BIT] {
            assert!(streams.find(absent).is_none(), "{absent}");
        }
        assert_eq!(streams.open_above(1), [3, 5]);
    }

    #[test]
    fn streams_end_in_any_order() {
        let mut streams = Streams::default();
        (0..3).for_each(|now| streams.push(now));
        assert_eq!(streams.close(3).unwrap().started_ns, 1);
        assert!(streams.close(3).is_none());
        assert_eq!((streams.open(), streams.queue.len()), (2, 3));
        assert_eq!(streams.close(1).unwrap().started_ns, 0);
        assert_eq!((streams.open(), streams.queue.len()), (1, 1));
        assert_eq!(streams.next_id(), Some(7));
        assert_eq!(streams.close(5).unwrap().started_ns, 2);
        assert_eq!((streams.open(), streams.next_id()), (0, Some(7)));
    }

    #[test]
    fn numbers_run_out() {
        let mut streams = Streams { oldest: MAX_31_BIT, ..Streams::default() };
        assert_eq!(streams.next_id(), Some(MAX_31_BIT));
        streams.push(0);
        assert_eq!(streams.next_id(), None);
    }
}
