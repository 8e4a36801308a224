//! The msgapp stream: entries that follow what the stream carried before travel without the rest
//! of their message.
//!
//! Both ends keep (term, index) of the last entry on the connection, starting at (0, 0). A message
//! that continues exactly there is sent as its entries and its commit index, and the receiver
//! rebuilds the rest. Everything else about such a message is lost, so only an append may take
//! that form.

use bytes::{Buf, BufMut, BytesMut};
use prost::Message as _;
use quoin_api::raftpb::{Entry, Message, MessageType};

use super::{
    Arrived, Frame, FrameError, Head, LENGTH_BYTES, check_length, decode_message, is_append,
    put_with_length,
};
use crate::peer::limits;

const LINK_HEARTBEAT: u8 = 0;
const APPEND_ENTRIES: u8 = 1;
const APPEND: u8 = 2;

/// Bytes of the kind of a frame and the integer behind it.
const HEAD_BYTES: usize = 1 + LENGTH_BYTES;

/// The last entry that one connection carried.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    term: u64,
    index: u64,
}

impl State {
    /// The state after a message was sent in full.
    fn after(message: &Message) -> Self {
        let index = message.entries.last().map_or(message.index, |entry| entry.index);
        Self { term: message.term, index }
    }
}

/// Encodes one connection's messages.
#[derive(Debug, Default)]
pub struct AppendEncoder {
    state: State,
}

impl AppendEncoder {
    /// Appends one message to `out`.
    pub fn message(&mut self, message: &Message, out: &mut BytesMut) {
        if self.continues(message) {
            self.state.index += message.entries.len() as u64;
            encode_entries(message, out);
        } else {
            self.state = State::after(message);
            out.put_u8(APPEND);
            put_with_length(message, out);
        }
    }

    /// Appends one link heartbeat to `out`.
    pub fn heartbeat(&self, out: &mut BytesMut) {
        out.put_u8(LINK_HEARTBEAT);
    }

    fn continues(&self, message: &Message) -> bool {
        is_append(message)
            && message.index == self.state.index
            && message.log_term == self.state.term
            && message.term == self.state.term
    }
}

fn encode_entries(message: &Message, out: &mut BytesMut) {
    out.put_u8(APPEND_ENTRIES);
    out.put_u64(message.entries.len() as u64);
    for entry in &message.entries {
        put_with_length(entry, out);
    }
    out.put_u64(message.commit);
}

/// Decodes one connection's frames.
#[derive(Debug)]
pub struct AppendDecoder {
    local: u64,
    remote: u64,
    state: State,
    arrived: Arrived,
    partial: Option<Partial>,
}

/// A run of entries of which the end has not arrived.
#[derive(Debug)]
struct Partial {
    entries: Vec<Entry>,
    missing: u64,
    bytes: u64,
}

impl AppendDecoder {
    /// Returns the decoder for a new connection on which `local` reads what `remote` sends.
    pub fn new(local: u64, remote: u64) -> Self {
        let (state, arrived) = (State::default(), Arrived::default());
        Self { local, remote, state, arrived, partial: None }
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.arrived.push(bytes);
    }

    /// Returns the next complete frame, if it has arrived.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(partial) = self.partial.take() {
            return self.next_entries(partial);
        }
        let Some(&kind) = self.arrived.0.first() else { return Ok(None) };
        match kind {
            LINK_HEARTBEAT => {
                self.arrived.0.advance(1);
                Ok(Some(Frame::Heartbeat))
            }
            APPEND_ENTRIES => {
                let Some(missing) = self.arrived.peek_u64(1) else { return Ok(None) };
                if missing > limits::MESSAGE_ENTRIES {
                    return Err(FrameError::TooManyEntries);
                }
                self.arrived.0.advance(HEAD_BYTES);
                self.next_entries(Partial { entries: Vec::new(), missing, bytes: 0 })
            }
            APPEND => self.next_append(),
            unknown => Err(FrameError::UnknownKind(unknown)),
        }
    }

    fn next_append(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(length) = self.arrived.peek_u64(1) else { return Ok(None) };
        check_length(length, limits::MESSAGE_BYTES)?;
        if let Some(first) = self.arrived.peek(HEAD_BYTES, length.min(super::HEAD_BYTES as u64)) {
            check_length(length, Head::of(first).limit())?;
        }
        let Some(payload) = self.arrived.peek(HEAD_BYTES, length) else { return Ok(None) };
        let message = decode_message(payload)?;
        self.arrived.consume(HEAD_BYTES, length);
        self.state = State::after(&message);
        Ok(Some(Frame::Message(message)))
    }

    fn next_entries(&mut self, mut partial: Partial) -> Result<Option<Frame>, FrameError> {
        while partial.missing > 0 {
            let Some(length) = self.arrived.peek_u64(0) else { break };
            partial.bytes = partial.bytes.saturating_add(length);
            check_length(partial.bytes, limits::MESSAGE_BYTES)?;
            let Some(payload) = self.arrived.peek(LENGTH_BYTES, length) else {
                partial.bytes -= length;
                break;
            };
            partial.entries.push(Entry::decode(payload)?);
            self.arrived.consume(LENGTH_BYTES, length);
            partial.missing -= 1;
        }
        match self.arrived.peek_u64(0) {
            Some(commit) if partial.missing == 0 => {
                self.arrived.0.advance(LENGTH_BYTES);
                self.rebuild(partial.entries, commit).map(Some)
            }
            Some(_) | None => {
                self.partial = Some(partial);
                Ok(None)
            }
        }
    }

    fn rebuild(&mut self, entries: Vec<Entry>, commit: u64) -> Result<Frame, FrameError> {
        let State { term, index } = self.state;
        let end = index.checked_add(entries.len() as u64);
        self.state.index = end.ok_or(FrameError::IndexOverflow)?;
        Ok(Frame::Message(Message {
            r#type: MessageType::MsgApp.into(),
            to: self.local,
            from: self.remote,
            term,
            log_term: term,
            index,
            entries,
            commit,
            ..Message::default()
        }))
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.arrived.0.capacity()
    }
}
