//! The message stream: a length and a message, again and again.
//!
//! The same framing opens the body of a snapshot upload, with a smaller limit.

use bytes::{Bytes, BytesMut};
use quoin_api::raftpb::Message;

use super::{
    Arrived, Frame, FrameError, HEAD_BYTES, Head, LENGTH_BYTES, check_length, decode_message,
    is_link_heartbeat, put_with_length,
};
use crate::peer::limits;

/// Appends a message, preceded by its length, to `out`.
pub fn encode_message(message: &Message, out: &mut BytesMut) {
    put_with_length(message, out);
}

/// Decodes the body of a POST, which is one bare message.
pub fn decode_body(body: &[u8]) -> Result<Message, FrameError> {
    check_length(body.len() as u64, Head::of(&body[..body.len().min(HEAD_BYTES)]).limit())?;
    decode_message(body)
}

/// Decodes messages that are preceded by their length.
#[derive(Debug, Default)]
pub struct MessageDecoder {
    arrived: Arrived,
    /// Bytes of a message, whatever its kind; none if each kind has its own.
    limit: Option<u64>,
}

impl MessageDecoder {
    /// Returns a decoder that refuses messages above `limit` bytes, whatever their kind.
    pub fn with_limit(limit: u64) -> Self {
        Self { arrived: Arrived::default(), limit: Some(limit) }
    }

    /// Returns what the next message says of itself, as soon as that has arrived.
    pub fn head(&self) -> Option<Head> {
        let length = self.arrived.peek_u64(0)?.min(HEAD_BYTES as u64);
        self.arrived.peek(LENGTH_BYTES, length).map(Head::of)
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.push(bytes);
    }

    /// Returns the next complete message, if it has arrived.
    pub fn next_message(&mut self) -> Result<Option<Message>, FrameError> {
        let Some(length) = self.arrived.peek_u64(0) else { return Ok(None) };
        check_length(length, self.limit.unwrap_or(limits::MESSAGE_BYTES))?;
        if let Some(head) = self.head().filter(|_| self.limit.is_none()) {
            check_length(length, head.limit())?;
        }
        let Some(payload) = self.arrived.peek(LENGTH_BYTES, length) else { return Ok(None) };
        let message = decode_message(payload)?;
        self.arrived.consume(LENGTH_BYTES, length);
        Ok(Some(message))
    }

    /// Returns the next complete frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let message = self.next_message()?;
        Ok(message.map(|message| match is_link_heartbeat(&message) {
            true => Frame::Heartbeat,
            false => Frame::Message(message),
        }))
    }

    /// Returns the bytes that arrived behind the last message.
    pub fn into_rest(self) -> Bytes {
        self.arrived.0.freeze()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.arrived.0.capacity()
    }
}
