//! What arrives from another member.

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use quoin_api::raftpb::{Entry, Message, MessageType};
use quoin_server::peer::codec::{Decoder, Encoder, Frame, StreamKind, decode_body};

use crate::input::Input;

const LOCAL: u64 = 1;
const REMOTE: u64 = 2;

/// Reads bytes as a stream of frames, or as the body of a POST. It does not matter in which pieces
/// they arrive, and the frames that they are can be sent on and mean the same.
///
/// The first byte chooses the stream, the second how long the pieces are.
pub fn peer_codec(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = match input.u8() % 3 {
        0 => StreamKind::Message,
        1 => StreamKind::Append,
        _ => {
            drop(decode_body(input.rest()));
            return;
        }
    };
    let piece = usize::from(input.u8()) + 1;
    let bytes = input.rest();
    let (frames, _) = decode(kind, bytes, usize::MAX);
    let (again, _) = decode(kind, bytes, piece);
    assert_eq!(frames, again);
    if !frames.iter().all(can_be_sent) {
        return;
    }
    let (mut encoder, mut out) = (Encoder::new(kind), BytesMut::new());
    for frame in &frames {
        match frame {
            Frame::Heartbeat => encoder.heartbeat(&mut out),
            Frame::Message(message) => encoder.message(message, &mut out),
        }
    }
    let (sent, failed) = decode(kind, &out, usize::MAX);
    assert!(!failed);
    assert_eq!(frames, sent);
}

/// The frames in bytes that arrive in pieces, and whether an error ended them.
fn decode(kind: StreamKind, bytes: &[u8], piece: usize) -> (Vec<Frame>, bool) {
    let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

/// Whether a frame is one that a member sends. What the short form of an append leaves out must be
/// what the receiver puts there: anything else in an append comes from nobody.
fn can_be_sent(frame: &Frame) -> bool {
    let Frame::Message(message) = frame else { return true };
    if message.r#type != i32::from(MessageType::MsgApp) {
        return true;
    }
    let follows = |(index, entry): (usize, &Entry)| {
        message.index.checked_add(1 + index as u64) == Some(entry.index)
    };
    let plain = Message {
        r#type: message.r#type,
        from: REMOTE,
        to: LOCAL,
        term: message.term,
        log_term: message.log_term,
        index: message.index,
        commit: message.commit,
        entries: message.entries.clone(),
        ..Message::default()
    };
    *message == plain && message.entries.iter().enumerate().all(follows)
}

/// Streams of messages and of appends, and a message alone.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let message = |kind: MessageType, index, entries| Message {
        r#type: kind.into(),
        from: 2,
        to: 1,
        term: 3,
        log_term: 3,
        index,
        commit: index,
        entries,
        ..Message::default()
    };
    let entry =
        |index| Entry { term: 3, index, data: Bytes::from_static(b"data"), ..Entry::default() };
    let appends = [
        message(MessageType::MsgApp, 4, vec![entry(5)]),
        message(MessageType::MsgApp, 5, vec![entry(6), entry(7)]),
        message(MessageType::MsgApp, 7, vec![]),
    ];
    let others = [
        message(MessageType::MsgHeartbeat, 0, vec![]),
        message(MessageType::MsgAppResp, 9, vec![]),
        message(MessageType::MsgProp, 0, vec![entry(0)]),
    ];
    let stream = |kind, messages: &[Message]| {
        let (mut encoder, mut out) = (Encoder::new(kind), BytesMut::new());
        encoder.heartbeat(&mut out);
        messages.iter().for_each(|message| encoder.message(message, &mut out));
        out
    };
    vec![
        [&[0, 3], &stream(StreamKind::Message, &others)[..]].concat(),
        [&[1, 3], &stream(StreamKind::Append, &appends)[..]].concat(),
        [&[2], &appends[1].encode_to_vec()[..]].concat(),
    ]
}
