//! The codecs against their byte tables, against each other, and against hostile bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use quoin_api::raftpb::{Entry, EntryType, Snapshot, SnapshotMetadata};

use super::*;

const LOCAL: u64 = 0xa;
const REMOTE: u64 = 0xb;
const KINDS: [StreamKind; 2] = [StreamKind::Message, StreamKind::Append];

fn entry(term: u64, index: u64, data: &'static str) -> Entry {
    let r#type = EntryType::EntryNormal.into();
    Entry { r#type, term, index, data: Bytes::from_static(data.as_bytes()) }
}

/// An append as a leader sends it: from `REMOTE` to `LOCAL`.
fn append(term: u64, log_term: u64, index: u64, entries: Vec<Entry>, commit: u64) -> Message {
    Message {
        r#type: MessageType::MsgApp.into(),
        to: LOCAL,
        from: REMOTE,
        term,
        log_term,
        index,
        entries,
        commit,
        ..Message::default()
    }
}

fn encode(kind: StreamKind, messages: &[Message]) -> Vec<u8> {
    let mut encoder = Encoder::new(kind);
    let mut out = BytesMut::new();
    for message in messages {
        encoder.message(message, &mut out);
    }
    out.to_vec()
}

/// Decodes bytes that arrive in pieces of `piece` bytes.
fn decode(kind: StreamKind, bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

fn capacity(decoder: &Decoder) -> usize {
    match decoder {
        Decoder::Message(decoder) => decoder.capacity(),
        Decoder::Append(decoder) => decoder.capacity(),
    }
}

#[test]
fn message_stream_bytes_are_etcds() {
    let vote = Message {
        r#type: MessageType::MsgVote.into(),
        to: 2,
        from: 1,
        term: 5,
        ..Message::default()
    };
    let bytes = encode(StreamKind::Message, std::slice::from_ref(&vote));
    assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 8, 8, 5, 16, 2, 24, 1, 32, 5]);
    let mut heartbeat = BytesMut::new();
    Encoder::new(StreamKind::Message).heartbeat(&mut heartbeat);
    assert_eq!(heartbeat[..], [0, 0, 0, 0, 0, 0, 0, 2, 8, 8]);
    let frames = decode(StreamKind::Message, &heartbeat, 1).expect("our own heartbeat");
    assert_eq!(frames, [Frame::Heartbeat]);
}

/// etcd 3.5 and 3.6 write every scalar, and 3.5 an empty snapshot.
#[test]
fn a_heartbeat_with_zero_fields_is_a_heartbeat() {
    let payload = [8, 8, 16, 0, 24, 0, 32, 0, 40, 0, 48, 0, 64, 0, 74, 0, 80, 0, 88, 0];
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, payload.len() as u8];
    bytes.extend(payload);
    let frames = decode(StreamKind::Message, &bytes, 7).expect("what etcd sends");
    assert_eq!(frames, [Frame::Heartbeat]);
}

#[test]
fn entries_that_continue_travel_bare() {
    let first = append(3, 2, 7, vec![entry(3, 8, "a")], 6);
    let second = append(3, 3, 8, vec![entry(3, 9, "b"), entry(3, 10, "")], 8);
    let third = append(3, 3, 10, vec![], 10);
    let full = encode(StreamKind::Append, std::slice::from_ref(&first));
    assert_eq!(full[0], 2);
    let all = encode(StreamKind::Append, &[first.clone(), second.clone(), third.clone()]);
    let bare = &all[full.len()..];
    let nine = [0, 0, 0, 0, 0, 0, 0, 7, 16, 3, 24, 9, 34, 1, b'b'];
    let ten = [0, 0, 0, 0, 0, 0, 0, 4, 16, 3, 24, 10];
    let expected = [
        &[1][..],
        &[0, 0, 0, 0, 0, 0, 0, 2],
        &nine,
        &ten,
        &[0, 0, 0, 0, 0, 0, 0, 8],
        &[1],
        &[0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 10],
    ];
    assert_eq!(bare, expected.concat());
    let frames = decode(StreamKind::Append, &all, 5).expect("our own bytes");
    assert_eq!(frames, [first, second, third].map(Frame::Message));
}

#[test]
fn a_gap_a_new_term_and_other_types_travel_in_full() {
    let start = append(3, 3, 7, vec![entry(3, 8, "a")], 6);
    let kinds = |next: Message| {
        let length = encode(StreamKind::Append, std::slice::from_ref(&start)).len();
        encode(StreamKind::Append, &[start.clone(), next])[length]
    };
    assert_eq!(kinds(append(3, 3, 8, vec![], 7)), 1);
    assert_eq!(kinds(append(3, 3, 9, vec![], 7)), 2);
    assert_eq!(kinds(append(4, 3, 8, vec![], 7)), 2);
    assert_eq!(kinds(append(4, 4, 8, vec![], 7)), 2);
    let mut other = append(3, 3, 8, vec![], 7);
    other.r#type = MessageType::MsgHeartbeat.into();
    assert_eq!(kinds(other), 2);
}

/// A connection starts at (0, 0): the first append of a new cluster's log is no continuation,
/// because its term is not 0.
#[test]
fn the_state_starts_empty() {
    let bytes = encode(StreamKind::Append, &[append(1, 0, 0, vec![entry(1, 1, "x")], 0)]);
    assert_eq!(bytes[0], 2);
    let mut decoder = AppendDecoder::new(LOCAL, REMOTE);
    decoder.push(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    let frame = decoder.next_frame().expect("no entries, commit 9");
    assert_eq!(frame, Some(Frame::Message(append(0, 0, 0, vec![], 9))));
}

#[test]
fn announced_lengths_are_checked_and_not_allocated() {
    let announce = |kind: &[u8], length: u64| [kind, &length.to_be_bytes()].concat();
    let check = |kind: StreamKind, bytes: &[u8]| {
        let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
        decoder.push(bytes);
        let frame = decoder.next_frame();
        assert!(capacity(&decoder) <= 64, "allocated {}", capacity(&decoder));
        frame
    };
    let limit = limits::MESSAGE_BYTES;
    assert!(matches!(check(StreamKind::Message, &announce(&[], limit)), Ok(None)));
    assert!(matches!(check(StreamKind::Append, &announce(&[2], limit)), Ok(None)));
    for length in [limit + 1, u64::MAX, u64::MAX - 7] {
        let too_long = |frame| matches!(frame, Err(FrameError::TooLong { .. }));
        assert!(too_long(check(StreamKind::Message, &announce(&[], length))));
        assert!(too_long(check(StreamKind::Append, &announce(&[2], length))));
        let one_entry = [announce(&[1], 1), length.to_be_bytes().to_vec()].concat();
        assert!(too_long(check(StreamKind::Append, &one_entry)));
        let entries = check(StreamKind::Append, &announce(&[1], length));
        assert!(matches!(entries, Err(FrameError::TooManyEntries)));
    }
    let unknown = check(StreamKind::Append, &[3]);
    assert!(matches!(unknown, Err(FrameError::UnknownKind(3))));
}

/// Many entries of no bytes would need thirty times their size in memory.
#[test]
fn a_large_message_is_counted_before_it_is_decoded() {
    let empty_entry = [7 << 3 | 2, 0];
    let count = usize::try_from(limits::MESSAGE_ENTRIES).expect("it fits") + 1;
    let kind = [1 << 3, 3];
    let body = [&kind[..], &empty_entry.repeat(count)].concat();
    assert!(matches!(decode_body(&body), Err(FrameError::TooManyEntries)));
    let nested = [14 << 3 | 2, 0].repeat(limits::COUNTED_MESSAGE_BYTES);
    let nested = [&kind[..], &nested].concat();
    assert!(matches!(decode_body(&nested), Err(FrameError::LocalField)));
    let large =
        append(1, 1, 1, vec![Entry { data: vec![7; 2 << 20].into(), ..entry(1, 2, "") }], 1);
    assert_eq!(decode_body(&large.encode_to_vec()).expect("a large entry is fine"), large);
}

#[test]
fn an_index_that_overflows_is_an_error() {
    let last = append(1, 1, u64::MAX - 1, vec![], 0);
    let mut bytes = encode(StreamKind::Append, std::slice::from_ref(&last));
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 2]);
    bytes.extend([0; 8 + 8 + 8]);
    let error = decode(StreamKind::Append, &bytes, 3).expect_err("index 2^64 does not exist");
    assert!(matches!(error, FrameError::IndexOverflow));
}

/// After a large message the buffer goes back to what small messages need.
#[test]
fn a_large_buffer_is_not_kept() {
    let large =
        append(1, 1, 1, vec![Entry { data: vec![7; 4 << 20].into(), ..entry(1, 2, "") }], 1);
    for kind in KINDS {
        let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
        decoder.push(&encode(kind, std::slice::from_ref(&large)));
        assert_eq!(decoder.next_frame().expect("whole"), Some(Frame::Message(large.clone())));
        decoder.push(&[0]);
        assert!(capacity(&decoder) <= 64);
    }
}

fn any_entry() -> impl Strategy<Value = Entry> {
    (0_u64..4, any::<u64>(), 0_i32..3, vec(any::<u8>(), 0..40))
        .prop_map(|(term, index, r#type, data)| Entry { term, index, r#type, data: data.into() })
}

fn any_message() -> impl Strategy<Value = Message> {
    let numbers = (any::<u64>(), any::<u64>(), 0_u64..4, 0_u64..4, 0_u64..4, any::<u64>());
    let parts = (0_i32..19, any::<bool>(), any::<u64>(), vec(any::<u8>(), 0..12));
    let snapshot = proptest::option::of((1_u64..9, 1_u64..9, vec(any::<u8>(), 0..12)));
    (numbers, parts, snapshot, vec(any_entry(), 0..4)).prop_map(
        |((to, from, term, log_term, index, commit), parts, snapshot, entries)| {
            let (r#type, reject, reject_hint, context) = parts;
            let snapshot = snapshot.map(|(index, term, data)| {
                let metadata = Some(SnapshotMetadata { index, term, conf_state: None });
                Snapshot { data: data.into(), metadata }
            });
            let context = context.into();
            let vote = 0;
            let responses = Vec::new();
            Message {
                r#type,
                to,
                from,
                term,
                log_term,
                index,
                entries,
                commit,
                vote,
                snapshot,
                reject,
                reject_hint,
                context,
                responses,
            }
        },
    )
}

/// What a leader would send on one connection: runs of appends, with jumps between them.
fn leader_messages() -> impl Strategy<Value = Vec<Message>> {
    let step = (1_u64..4, 0_u64..3, 0_usize..4, any::<u64>(), any::<bool>());
    vec(step, 0..12).prop_map(|steps| {
        let (mut last_term, mut last_index) = (0, 0);
        let append_after =
            |(term, jump, count, commit, continues): (u64, u64, usize, u64, bool)| {
                let (term, index) = if continues { (last_term, last_index) } else { (term, jump) };
                let entries = (1..=count as u64).map(|n| entry(term, index + n, "v")).collect();
                (last_term, last_index) = (term, index + count as u64);
                append(term, if continues { term } else { jump }, index, entries, commit)
            };
        steps.into_iter().map(append_after).collect()
    })
}

proptest! {
    #[test]
    fn any_message_survives_the_message_stream(
        messages in vec(any_message(), 0..8), piece in 1_usize..64,
    ) {
        let frames = decode(StreamKind::Message, &encode(StreamKind::Message, &messages), piece);
        let expected: Vec<Frame> = messages.into_iter().map(|message| {
            if is_link_heartbeat(&message) { Frame::Heartbeat } else { Frame::Message(message) }
        }).collect();
        prop_assert_eq!(frames.expect("our own bytes"), expected);
    }

    #[test]
    fn a_leaders_messages_survive_the_msgapp_stream(
        messages in leader_messages(), other in any_message(), piece in 1_usize..64,
    ) {
        let mut messages = messages;
        let middle = messages.len() / 2;
        if other.r#type != i32::from(MessageType::MsgApp) {
            messages.insert(middle, other);
        }
        let frames = decode(StreamKind::Append, &encode(StreamKind::Append, &messages), piece);
        let expected: Vec<Frame> = messages.into_iter().map(Frame::Message).collect();
        prop_assert_eq!(frames.expect("our own bytes"), expected);
    }

    #[test]
    fn hostile_bytes_are_an_error_or_wait_for_more(
        mut bytes in vec(any::<u8>(), 0..400), start in 0_u8..4, zeros in 0_usize..16,
        piece in 1_usize..64,
    ) {
        // Lengths of random bytes are all too large; zeros make some of them plausible.
        for (at, byte) in bytes.iter_mut().enumerate() {
            if at % 16 < zeros { *byte = 0; }
        }
        if let Some(first) = bytes.first_mut() { *first = start; }
        for kind in KINDS {
            let mut decoder = Decoder::new(kind, LOCAL, REMOTE);
            for piece in bytes.chunks(piece) {
                decoder.push(piece);
                while let Ok(Some(_)) = decoder.next_frame() {}
                prop_assert!(capacity(&decoder) <= 2 * bytes.len() + 64);
            }
        }
        if let Ok(message) = decode_body(&bytes) {
            prop_assert!(message.entries.len() <= bytes.len());
        }
    }

    #[test]
    fn damaged_streams_never_panic(
        messages in leader_messages(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        for kind in KINDS {
            let mut bytes = encode(kind, &messages);
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if let Ok(frames) = decode(kind, &bytes, 32) {
                prop_assert!(frames.len() <= bytes.len());
            }
        }
    }
}
