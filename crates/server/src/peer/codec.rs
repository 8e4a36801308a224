//! Frames of the two peer streams, as bytes.
//!
//! Encoders append to a buffer; decoders take bytes as they arrive and give frames back. No
//! socket, clock or task is known here, so hostile input is tested as plain data.
//!
//! All integers are big endian.
//!
//! | stream | bytes | frame |
//! |---|---|---|
//! | message | u64 length, Message | a message; a heartbeat from 0 to 0 is the link's |
//! | msgapp | 0 | link heartbeat |
//! | msgapp | 1, u64 n, n x (u64 length, Entry), u64 commit | entries that follow the state |
//! | msgapp | 2, u64 length, Message | any message; sets the state |
//!
//! Invariants:
//! - A buffer grows with the bytes that arrived, never with a length that was announced.
//! - A length above its limit is an error before anything is read for it, and so is one above the limit
//!   of the kind of message, as soon as that is known.

mod append;
mod head;
mod message;
#[cfg(test)]
mod tests;

use bytes::{Buf, BufMut, BytesMut};
use prost::Message as _;
use quoin_api::raftpb::{Message, MessageType};

use super::limits;
pub use append::{AppendDecoder, AppendEncoder};
pub use head::{HEAD_BYTES, Head};
pub use message::{MessageDecoder, decode_body, encode_message};

/// Which of the two streams of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// Everything but appends and snapshots.
    Message,
    /// Appends, which a codec with state keeps small.
    Append,
}

impl StreamKind {
    /// Returns the path of the stream, without the dialer's ID.
    pub fn path(self) -> &'static str {
        match self {
            Self::Message => "/raft/stream/message",
            Self::Append => "/raft/stream/msgapp",
        }
    }

    /// Returns the name that log lines give to the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "stream Message",
            Self::Append => "stream MsgApp v2",
        }
    }
}

/// What a stream carries.
#[expect(clippy::large_enum_variant, reason = "nearly every frame is a message")]
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// The link is alive; consensus does not care.
    Heartbeat,
    /// A message for consensus.
    Message(Message),
}

/// Why bytes from a peer are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length exceeds what is accepted.
    #[error("length {length} exceeds the limit of {limit} bytes")]
    TooLong {
        /// The announced length.
        length: u64,
        /// The bound that it exceeds.
        limit: u64,
    },
    /// A message announces or contains more entries than are accepted.
    #[error("more than {} entries in a message", limits::MESSAGE_ENTRIES)]
    TooManyEntries,
    /// A message contains a field that never travels.
    #[error("a message for local storage arrived from a peer")]
    LocalField,
    /// The index of an entry would not fit.
    #[error("entry index overflows")]
    IndexOverflow,
    /// The first byte of a frame is none of the known kinds.
    #[error("failed to parse type {0} in msgappv2 stream")]
    UnknownKind(u8),
    /// The payload is not the protobuf message that it must be.
    #[error("malformed message: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Turns messages into the bytes of one stream.
#[derive(Debug)]
pub enum Encoder {
    /// For the message stream.
    Message,
    /// For the msgapp stream.
    Append(AppendEncoder),
}

impl Encoder {
    /// Returns the encoder for a stream that has just been attached.
    pub fn new(kind: StreamKind) -> Self {
        match kind {
            StreamKind::Message => Self::Message,
            StreamKind::Append => Self::Append(AppendEncoder::default()),
        }
    }

    /// Appends one message to `out`.
    pub fn message(&mut self, message: &Message, out: &mut BytesMut) {
        match self {
            Self::Message => encode_message(message, out),
            Self::Append(encoder) => encoder.message(message, out),
        }
    }

    /// Appends one link heartbeat to `out`.
    pub fn heartbeat(&self, out: &mut BytesMut) {
        match self {
            Self::Message => encode_message(&link_heartbeat(), out),
            Self::Append(encoder) => encoder.heartbeat(out),
        }
    }
}

/// Turns the bytes of one stream into frames.
#[derive(Debug)]
pub enum Decoder {
    /// For the message stream.
    Message(MessageDecoder),
    /// For the msgapp stream.
    Append(AppendDecoder),
}

impl Decoder {
    /// Returns the decoder for a new stream that `local` reads from `remote`.
    pub fn new(kind: StreamKind, local: u64, remote: u64) -> Self {
        match kind {
            StreamKind::Message => Self::Message(MessageDecoder::default()),
            StreamKind::Append => Self::Append(AppendDecoder::new(local, remote)),
        }
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Message(decoder) => decoder.push(bytes),
            Self::Append(decoder) => decoder.push(bytes),
        }
    }

    /// Returns the next complete frame, or none until more bytes arrive. After an error the
    /// stream is of no further use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        match self {
            Self::Message(decoder) => decoder.next_frame(),
            Self::Append(decoder) => decoder.next_frame(),
        }
    }
}

/// Returns the message that keeps an idle message stream alive.
fn link_heartbeat() -> Message {
    Message { r#type: MessageType::MsgHeartbeat.into(), ..Message::default() }
}

/// Reports whether a message only keeps the link alive.
fn is_link_heartbeat(message: &Message) -> bool {
    message.r#type == i32::from(MessageType::MsgHeartbeat) && message.from == 0 && message.to == 0
}

/// Reports whether a message is an append.
pub(crate) fn is_append(message: &Message) -> bool {
    message.r#type == i32::from(MessageType::MsgApp)
}

/// Reports whether a message is a snapshot.
pub(super) fn is_snapshot(message: &Message) -> bool {
    message.r#type == i32::from(MessageType::MsgSnap)
}

/// Returns the name of a message's type as etcd logs it.
pub(super) fn type_name(message: &Message) -> &'static str {
    MessageType::try_from(message.r#type).map_or("unknown", |kind| kind.as_str_name())
}

/// Bytes that arrived and are not decoded yet.
#[derive(Debug, Default)]
struct Arrived(BytesMut);

/// Bytes of every length and count on the wire.
const LENGTH_BYTES: usize = 8;

/// Size of a payload from which on its buffer is not kept for the next one.
const KEPT_BYTES: usize = 1024 * 1024;

impl Arrived {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Returns the integer that starts `at` bytes into the buffer, if it is complete.
    fn peek_u64(&self, at: usize) -> Option<u64> {
        self.0.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// Returns the payload of `length` bytes that starts `at` bytes into the buffer, if it is
    /// complete.
    fn peek(&self, at: usize, length: u64) -> Option<&[u8]> {
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        self.0.get(at..end)
    }

    fn consume(&mut self, at: usize, length: u64) {
        let length = usize::try_from(length).expect("a payload in memory has a length in memory");
        self.0.advance(at + length);
        if self.0.is_empty() && length > KEPT_BYTES {
            self.0 = BytesMut::new();
        }
    }
}

/// Appends a message, preceded by its length, to `out`.
fn put_with_length(message: &impl prost::Message, out: &mut BytesMut) {
    let start = out.len();
    out.put_u64(0);
    message.encode(out).expect("the buffer grows");
    let length = (out.len() - start - LENGTH_BYTES) as u64;
    out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Refuses a length above `limit`.
fn check_length(length: u64, limit: u64) -> Result<(), FrameError> {
    if length > limit { Err(FrameError::TooLong { length, limit }) } else { Ok(()) }
}

/// Decodes one message, counting what a large one contains first.
fn decode_message(payload: &[u8]) -> Result<Message, FrameError> {
    if payload.len() > limits::COUNTED_MESSAGE_BYTES {
        check_contents(payload)?;
    }
    Ok(Message::decode(payload)?)
}

/// Bounds what the repeated fields of a message become in memory.
fn check_contents(mut payload: &[u8]) -> Result<(), FrameError> {
    const ENTRIES: u32 = 7;
    const SNAPSHOT: u32 = 9;
    const RESPONSES: u32 = 14;
    let mut entries = 0_u64;
    let mut snapshot_bytes = 0_u64;
    let context = prost::encoding::DecodeContext::default();
    while payload.has_remaining() {
        let (tag, wire_type) = prost::encoding::decode_key(&mut payload)?;
        let before = payload.len();
        prost::encoding::skip_field(wire_type, tag, &mut payload, context.clone())?;
        match tag {
            ENTRIES => entries += 1,
            SNAPSHOT => snapshot_bytes += (before - payload.len()) as u64,
            RESPONSES => return Err(FrameError::LocalField),
            _ => {}
        }
    }
    if entries > limits::MESSAGE_ENTRIES {
        return Err(FrameError::TooManyEntries);
    }
    check_length(snapshot_bytes, limits::SNAPSHOT_MESSAGE_BYTES)
}
