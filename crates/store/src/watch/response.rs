//! Writing responses: the head of each by hand, its events as the batch has them.

use bytes::{BufMut, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use quoin_api::etcdserverpb::{ResponseHeader, WatchResponse};

use super::queue::{Parts, Queue};

const HEADER: u8 = 0x0a;
const CLUSTER_ID: u8 = 0x08;
const MEMBER_ID: u8 = 0x10;
const REVISION: u8 = 0x18;
const TERM: u8 = 0x20;
const WATCH_ID: u8 = 0x10;
const FRAGMENT: u8 = 0x38;

/// The largest message that gRPC libraries send.
pub(super) const MESSAGE_BYTES_MAX: usize = i32::MAX as usize;

/// What all headers share.
#[derive(Debug)]
pub(super) struct Sender {
    cluster_id: u64,
    member_id: u64,
    term: u64,
}

/// A response with events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The revision in the header.
    pub(super) revision: i64,
    pub(super) watch_id: i64,
    /// More of the revision follows in the next response.
    pub(super) fragment: bool,
}

impl Sender {
    pub(super) fn new(cluster_id: u64, member_id: u64) -> Self {
        Self { cluster_id, member_id, term: 0 }
    }

    pub(super) fn set_term(&mut self, term: u64) {
        self.term = term;
    }

    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        let &Self { cluster_id, member_id, term } = self;
        ResponseHeader { cluster_id, member_id, revision, raft_term: term }
    }

    /// The length of a response with this head and so many bytes of events.
    pub(super) fn length(&self, head: Head, events: usize) -> usize {
        let header = self.header_len(head.revision);
        let fragment = if head.fragment { 2 } else { 0 };
        1 + encoded_len_varint(header as u64)
            + header
            + number_len(head.watch_id as u64)
            + fragment
            + events
    }

    /// Queues a response with so many bytes of so many events, which `write` writes. Returns the
    /// bytes that it takes on this stream alone.
    pub(super) fn events(
        &self,
        queue: &mut Queue,
        head: Head,
        (bytes, events): (usize, usize),
        write: impl FnOnce(&mut Parts),
    ) -> usize {
        queue.push((self.length(head, bytes), events), |out| {
            out.write(|out| self.put_head(head, out));
            write(out);
        })
    }

    /// Queues a response without events. Returns the bytes it takes there.
    pub(super) fn control(&self, queue: &mut Queue, revision: i64, body: WatchResponse) -> usize {
        let message = WatchResponse { header: Some(self.header(revision)), ..body };
        queue.push((message.encoded_len(), 0), |out| {
            out.write(|out| message.encode(out).expect("the buffer grows"));
        })
    }

    /// Writes what comes before the events.
    fn put_head(&self, head: Head, out: &mut BytesMut) {
        out.put_u8(HEADER);
        encode_varint(self.header_len(head.revision) as u64, out);
        put_number(out, CLUSTER_ID, self.cluster_id);
        put_number(out, MEMBER_ID, self.member_id);
        put_number(out, REVISION, head.revision as u64);
        put_number(out, TERM, self.term);
        put_number(out, WATCH_ID, head.watch_id as u64);
        if head.fragment {
            out.put_slice(&[FRAGMENT, 1]);
        }
    }

    fn header_len(&self, revision: i64) -> usize {
        number_len(self.cluster_id)
            + number_len(self.member_id)
            + number_len(revision as u64)
            + number_len(self.term)
    }
}

fn number_len(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number) }
}

fn put_number(out: &mut impl BufMut, tag: u8, number: u64) {
    if number != 0 {
        out.put_u8(tag);
        encode_varint(number, out);
    }
}
