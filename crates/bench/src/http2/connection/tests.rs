//! A connection against a server that is played by hand, frame by frame.

use super::*;
use quoin_front::hpack;

const MESSAGE: &[u8] = b"\0\0\0\0\x03put";
const REPLY: &[u8] = b"\0\0\0\0\x02ok";

fn server(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_frame(&mut bytes, kind, flags, stream, payload);
    bytes
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_settings(&mut bytes, pairs);
    bytes
}

fn trailers(stream: u32, status: &str) -> Vec<u8> {
    let mut block = Vec::new();
    hpack::write_literal(&mut block, false, 0, "grpc-status", status);
    server(Kind::Headers, END_HEADERS | END_STREAM, stream, &block)
}

/// A whole response: headers, one message, trailers.
fn response(stream: u32, status: &str) -> Vec<u8> {
    let head = server(Kind::Headers, END_HEADERS, stream, &[0x88]);
    [head, server(Kind::Data, 0, stream, REPLY), trailers(stream, status)].concat()
}

fn receive(connection: &mut Connection, bytes: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    connection.receive(bytes, 100, &mut answers).unwrap();
    answers
}

fn outcomes(connection: &mut Connection, bytes: &[u8]) -> Vec<Outcome> {
    receive(connection, bytes).into_iter().map(|answer| answer.outcome).collect()
}

fn ready(pairs: &[(u16, u32)]) -> Connection {
    let mut connection = Connection::new("127.0.0.1:2379", "/etcdserverpb.KV/Put", false);
    assert!(!connection.can_start());
    assert_eq!(outcomes(&mut connection, &settings(pairs)), []);
    assert!(connection.can_start());
    sent(&mut connection);
    connection
}

/// What the connection wants to send, as frames.
fn sent(connection: &mut Connection) -> Vec<(Kind, u8, u32, Vec<u8>)> {
    let output = connection.output().to_vec();
    connection.advance_output(output.len());
    let mut rest = output.strip_prefix(frame::PREFACE).unwrap_or(&output);
    let mut frames = Vec::new();
    while let Some(header) = FrameHeader::parse(rest) {
        let end = HEADER_LEN + header.length as usize;
        let payload = rest[HEADER_LEN..end].to_vec();
        frames.push((header.kind, header.flags, header.stream, payload));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    frames
}

fn data_sent(connection: &mut Connection) -> Vec<(u32, usize, bool)> {
    let frames = sent(connection).into_iter().filter(|(kind, ..)| *kind == Kind::Data);
    frames.map(|(_, flags, stream, data)| (stream, data.len(), flags == END_STREAM)).collect()
}

#[test]
fn a_call_and_its_answer() {
    let mut connection = ready(&[]);
    connection.start(MESSAGE, 40);
    let frames = sent(&mut connection);
    let kinds: Vec<Kind> = frames.iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [Kind::Headers, Kind::Data]);
    assert_eq!(frames[1], (Kind::Data, END_STREAM, 1, MESSAGE.to_vec()));
    let answers = receive(&mut connection, &response(1, "0"));
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].outcome, Outcome::Ok);
    assert_eq!((answers[0].latency_ns, answers[0].bytes), (60, REPLY.len() as u64));
    assert!(answers[0].body.is_empty());
    assert_eq!(connection.open_streams(), 0);
}

#[test]
fn any_split_of_the_input_means_the_same() {
    let bytes = [response(1, "0"), response(3, "14"), response(5, "0")].concat();
    for size in [1, 2, 3, 7, 10, bytes.len()] {
        let mut connection = ready(&[]);
        (0..3).for_each(|_| connection.start(MESSAGE, 0));
        let pieces = bytes.chunks(size).flat_map(|piece| outcomes(&mut connection, piece));
        let all: Vec<Outcome> = pieces.collect();
        assert_eq!(all, [Outcome::Ok, Outcome::Status(14), Outcome::Ok], "pieces of {size}");
        assert!(connection.partial.is_empty());
    }
}

#[test]
fn every_way_to_fail_has_its_outcome() {
    let mut connection = ready(&[]);
    (0..6).for_each(|_| connection.start(MESSAGE, 0));
    let check = |connection: &mut Connection, bytes: &[u8], expected| {
        assert_eq!(outcomes(connection, bytes), [expected]);
    };
    check(&mut connection, &trailers(1, "8"), Outcome::Status(8));
    check(&mut connection, &trailers(3, "0"), Outcome::Incomplete);
    check(&mut connection, &trailers(5, "what"), Outcome::Incomplete);
    let reset = server(Kind::ResetStream, 0, 7, &[0, 0, 0, 11]);
    check(&mut connection, &reset, Outcome::Reset(11));
    let no_trailers = server(Kind::Data, END_STREAM, 9, REPLY);
    check(&mut connection, &no_trailers, Outcome::Incomplete);
    let mut answers = Vec::new();
    connection.abandon(0, &mut answers);
    assert_eq!((answers.len(), answers[0].outcome), (1, Outcome::Lost));
    assert_eq!(connection.open_streams(), 0);
}

#[test]
fn going_away_refuses_the_later_streams_only() {
    let mut connection = ready(&[]);
    (0..3).for_each(|_| connection.start(MESSAGE, 0));
    let go_away = server(Kind::GoAway, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]);
    assert_eq!(outcomes(&mut connection, &go_away), [Outcome::Lost]);
    assert!(!connection.can_start() && connection.is_finished());
    let rest = [response(3, "0"), response(1, "0"), response(5, "0")].concat();
    assert_eq!(outcomes(&mut connection, &rest), [Outcome::Ok, Outcome::Ok]);
}

#[test]
fn the_server_limits_the_streams() {
    let mut connection = ready(&[(MAX_CONCURRENT_STREAMS, 2)]);
    connection.start(MESSAGE, 0);
    connection.start(MESSAGE, 0);
    assert!(!connection.can_start());
    receive(&mut connection, &response(1, "0"));
    assert!(connection.can_start());
}

#[test]
fn large_requests_wait_for_their_windows() {
    let mut connection = ready(&[(INITIAL_WINDOW_SIZE, 10_000)]);
    connection.start(&[7; 70_000], 0);
    connection.start(MESSAGE, 0);
    // The second request overtakes the first, which waits for the window of its own stream.
    assert_eq!(data_sent(&mut connection), [(1, 10_000, false), (3, MESSAGE.len(), true)]);
    let more = server(Kind::WindowUpdate, 0, 1, &40_000u32.to_be_bytes());
    receive(&mut connection, &more);
    let frames = [(1, 16_384, false), (1, 16_384, false), (1, 7_232, false)];
    assert_eq!(data_sent(&mut connection), frames);
    // A larger initial window counts for streams that are open. Now the connection is the limit.
    receive(&mut connection, &settings(&[(INITIAL_WINDOW_SIZE, 50_000)]));
    let left = 65_535 - 50_000 - MESSAGE.len();
    assert_eq!(data_sent(&mut connection), [(1, left, false)]);
    let more = server(Kind::WindowUpdate, 0, 0, &1_000_000u32.to_be_bytes());
    receive(&mut connection, &more);
    assert_eq!(data_sent(&mut connection), [(1, 20_000 - left, true)]);
    assert!(connection.blocked.is_empty());
}

#[test]
fn an_answer_before_the_end_of_the_request_cancels_the_rest() {
    let mut connection = ready(&[(INITIAL_WINDOW_SIZE, 10)]);
    connection.start(&[7; 100], 0);
    sent(&mut connection);
    assert_eq!(outcomes(&mut connection, &trailers(1, "8")), [Outcome::Status(8)]);
    let frames = sent(&mut connection);
    assert_eq!(frames, [(Kind::ResetStream, 0, 1, CANCEL.to_be_bytes().to_vec())]);
    assert!(connection.blocked.is_empty());
}

#[test]
fn windows_are_given_back() {
    let mut connection = ready(&[]);
    connection.start(MESSAGE, 0);
    sent(&mut connection);
    let frames = CONNECTION_WINDOW / 2 / DEFAULT_MAX_FRAME;
    let chunk = server(Kind::Data, 0, 1, &[0; DEFAULT_MAX_FRAME as usize]);
    let mut returned = [0u32; 2];
    for _ in 0..frames {
        receive(&mut connection, &chunk);
        for (kind, _, stream, payload) in sent(&mut connection) {
            assert_eq!(kind, Kind::WindowUpdate);
            returned[stream as usize] += frame::number(&payload).unwrap();
        }
    }
    assert_eq!(returned, [CONNECTION_WINDOW / 2; 2]);
}

#[test]
fn housekeeping_is_answered() {
    let mut connection = ready(&[]);
    receive(&mut connection, &server(Kind::Ping, 0, 0, b"12345678"));
    receive(&mut connection, &server(Kind::Ping, ACK, 0, b"12345678"));
    receive(&mut connection, &server(Kind::Unknown(77), 0, 0, b"?"));
    receive(&mut connection, &server(Kind::Settings, ACK, 0, &[]));
    receive(&mut connection, &settings(&[]));
    let expected =
        [(Kind::Ping, ACK, 0, b"12345678".to_vec()), (Kind::Settings, ACK, 0, Vec::new())];
    assert_eq!(sent(&mut connection), expected);
}

#[test]
fn header_blocks_may_continue() {
    let mut connection = ready(&[]);
    connection.start(MESSAGE, 0);
    receive(&mut connection, &server(Kind::Data, 0, 1, REPLY));
    let mut block = Vec::new();
    hpack::write_literal(&mut block, true, 0, "grpc-status", "0");
    let (one, two) = block.split_at(4);
    assert_eq!(outcomes(&mut connection, &server(Kind::Headers, END_STREAM, 1, one)), []);
    let rest = server(Kind::Continuation, END_HEADERS, 1, two);
    assert_eq!(outcomes(&mut connection, &rest), [Outcome::Ok]);
}

#[test]
fn bodies_are_kept_on_request() {
    let mut connection = Connection::new("a", "/b", true);
    receive(&mut connection, &settings(&[]));
    connection.start(MESSAGE, 0);
    let answers = receive(&mut connection, &response(1, "0"));
    assert_eq!(answers[0].body, REPLY);
}

#[test]
fn a_broken_server_is_an_error() {
    let huge = FrameHeader { length: 16_385, kind: Kind::Data, flags: 0, stream: 1 };
    let mut too_large = Vec::new();
    huge.write(&mut too_large);
    let window = server(Kind::WindowUpdate, 0, 0, &MAX_31_BIT.to_be_bytes());
    let interrupted = [server(Kind::Headers, 0, 1, &[0x88]), server(Kind::Data, 0, 1, REPLY)];
    let cases = [
        too_large,
        window,
        interrupted.concat(),
        server(Kind::Continuation, END_HEADERS, 1, &[0x88]),
        server(Kind::PushPromise, END_HEADERS, 1, &[0, 0, 0, 2]),
        server(Kind::Headers, END_HEADERS, 1, &[0x80]),
        server(Kind::GoAway, 0, 0, &[0]),
        server(Kind::Settings, 0, 0, &[0]),
        server(Kind::ResetStream, 0, 1, &[0]),
        settings(&[(INITIAL_WINDOW_SIZE, MAX_31_BIT + 1)]),
        settings(&[(MAX_FRAME_SIZE, 1)]),
    ];
    for bytes in cases {
        let mut connection = ready(&[]);
        connection.start(MESSAGE, 0);
        let mut answers = Vec::new();
        assert!(connection.receive(&bytes, 0, &mut answers).is_err(), "{bytes:?}");
    }
}
