//! One connection against frames written by hand. The h2 crate as the other side: `tests/peer.rs`.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::frame::{END_HEADERS, END_STREAM, FrameHeader, HEADER_LEN, PADDED, PREFACE};
use crate::hpack;

const LIMITS: Limits = Limits {
    streams_max: 3,
    stream_window: 100_000,
    connection_window: 400_000,
    header_block_bytes: 32 << 10,
    header_list_bytes: 8 << 10,
    output_bytes: 64 << 10,
    rest_time_ms: 3_000,
};
const TIMES: KeepAliveTimes =
    KeepAliveTimes { interval_ms: Some(10_000), timeout_ms: 1_000, min_time_ms: 5_000 };

/// A frame as it is compared: kind, flags, stream, payload.
type Seen = (Kind, u8, u32, Vec<u8>);

struct Client {
    connection: Connection,
    now_ms: u64,
}

impl Client {
    /// A client whose opening was taken and answered.
    fn new() -> Self {
        let mut client = Self::silent();
        let mut opening = PREFACE.to_vec();
        frame::write_settings(&mut opening, &[]);
        assert!(client.send(&opening).unwrap().is_empty());
        client.seen();
        client
    }

    fn silent() -> Self {
        Self { connection: Connection::new(LIMITS, TIMES, 0), now_ms: 0 }
    }

    /// Gives bytes to the connection; returns the events, shown.
    fn send(&mut self, bytes: &[u8]) -> Result<Vec<String>, ConnectionError> {
        let mut rest = bytes;
        let mut events = Vec::new();
        while let Some(event) = self.connection.next(&mut rest, self.now_ms)? {
            events.push(show(&event));
        }
        assert!(rest.is_empty(), "{} bytes were left", rest.len());
        Ok(events)
    }

    fn frame(
        &mut self,
        kind: Kind,
        flags: u8,
        stream: u32,
        payload: &[u8],
    ) -> Result<Vec<String>, ConnectionError> {
        let mut bytes = Vec::new();
        frame::write_frame(&mut bytes, kind, flags, stream, payload);
        self.send(&bytes)
    }

    fn request(&mut self, stream: u32, flags: u8) -> Vec<String> {
        self.frame(Kind::Headers, END_HEADERS | flags, stream, &block(&[])).unwrap()
    }

    /// Takes the output and cuts it into frames.
    fn seen(&mut self) -> Vec<Seen> {
        let mut frames = Vec::new();
        while !self.connection.output().is_empty() {
            let bytes = self.connection.output().to_vec();
            self.connection.advance_output(bytes.len());
            let mut rest = &bytes[..];
            while let Some(header) = FrameHeader::parse(rest) {
                let (frame, after) = rest.split_at(HEADER_LEN + header.length as usize);
                rest = after;
                let payload = frame[HEADER_LEN..].to_vec();
                frames.push((header.kind, header.flags, header.stream, payload));
            }
            assert!(rest.is_empty());
        }
        frames
    }

    fn goes_away_with(&mut self, code: Code) {
        let seen = self.seen();
        let (kind, _, _, payload) = seen.last().expect("it says why");
        assert_eq!((*kind, &payload[4..8]), (Kind::GoAway, &code.number().to_be_bytes()[..]));
        assert!(self.connection.is_over());
    }
}

fn show(event: &Event<'_>) -> String {
    match event {
        Event::Request { stream, head, is_end } => {
            format!("{stream}: {} {} end={is_end}", head.method, head.path)
        }
        Event::Data { stream, bytes, is_end } => {
            format!("{stream}: {} bytes end={is_end}", bytes.len())
        }
        Event::Reset { stream, code } => format!("{stream}: reset {code}"),
    }
}

/// The header block of a call, with more fields.
fn block(more: &[(&str, &str)]) -> Vec<u8> {
    // `:method: POST`, `:scheme: http`.
    let mut block = vec![0x83, 0x86];
    hpack::write_literal(&mut block, false, 4, "", "/a/b");
    for (name, value) in more {
        hpack::write_literal(&mut block, false, 0, name, value);
    }
    block
}

fn reset(stream: u32, code: Code) -> Seen {
    (Kind::ResetStream, 0, stream, code.number().to_be_bytes().to_vec())
}

fn head() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers
}

fn trailers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static("0"));
    headers
}

#[test]
fn a_call_is_taken_and_answered() {
    let mut client = Client::new();
    for stream in [1, 3, 5] {
        assert_eq!(client.request(stream, 0), [format!("{stream}: POST /a/b end=false")]);
        let events = client.frame(Kind::Data, END_STREAM, stream, b"12345").unwrap();
        assert_eq!(events, [format!("{stream}: 5 bytes end=true")]);
        client.connection.send_head(stream, 200, &head(), false);
        client.connection.send_data(stream, Bytes::from_static(b"answer"));
        client.connection.send_end(stream, Some(&trailers()));
        let kinds: Vec<_> =
            client.seen().into_iter().map(|(kind, flags, ..)| (kind, flags)).collect();
        let ends = END_HEADERS | END_STREAM;
        assert_eq!(kinds, [(Kind::Headers, END_HEADERS), (Kind::Data, 0), (Kind::Headers, ends)]);
        assert_eq!(client.connection.open_streams(), 0);
    }
    // What repeats is neither encoded nor decoded again.
    assert_eq!((client.connection.prepared.len(), client.connection.known_heads.len()), (2, 1));
}

#[test]
fn the_opening_may_come_in_any_pieces() {
    let mut bytes = PREFACE.to_vec();
    frame::write_settings(&mut bytes, &[(INITIAL_WINDOW_SIZE, 7)]);
    frame::write_frame(&mut bytes, Kind::Headers, END_HEADERS | END_STREAM, 1, &block(&[]));
    let mut client = Client::silent();
    let mut buffer = Vec::new();
    let mut events = Vec::new();
    for byte in bytes {
        buffer.push(byte);
        let mut rest = &buffer[..];
        while let Some(event) = client.connection.next(&mut rest, 0).unwrap() {
            events.push(show(&event));
        }
        buffer = rest.to_vec();
    }
    assert_eq!(events, ["1: POST /a/b end=true"]);
    let mut client = Client::silent();
    assert!(client.send(b"GET / HTTP/1.1\r\n").is_err());
    client.goes_away_with(Code::Protocol);
    let mut client = Client::silent();
    client.send(PREFACE).unwrap();
    assert!(client.frame(Kind::Ping, 0, 0, &[0; 8]).is_err());
    client.goes_away_with(Code::Protocol);
}

#[test]
fn data_waits_for_the_windows_and_its_turn() {
    let mut client = Client::new();
    client.request(1, END_STREAM);
    client.request(3, END_STREAM);
    for stream in [1, 3] {
        client.connection.send_head(stream, 200, &head(), false);
        client.connection.send_data(stream, Bytes::from(vec![0; 100_000]));
        client.connection.send_end(stream, Some(&trailers()));
    }
    for stream in [1, 3] {
        client.frame(Kind::WindowUpdate, 0, stream, &1_000_000u32.to_be_bytes()).unwrap();
    }
    let data = |seen: Vec<Seen>| {
        let mut sums = [0; 2];
        for (kind, _, stream, payload) in seen {
            sums[stream as usize / 2] += if kind == Kind::Data { payload.len() } else { 0 };
        }
        sums
    };
    // The window of the connection is 65,535, and the first stream asked first.
    assert_eq!(data(client.seen()), [65_535, 0]);
    assert!(!client.connection.has_room(3));
    // From then on each gets a frame in turn.
    client.frame(Kind::WindowUpdate, 0, 0, &32_768u32.to_be_bytes()).unwrap();
    assert_eq!(data(client.seen()), [16_384, 16_384]);
    client.frame(Kind::WindowUpdate, 0, 0, &200_000u32.to_be_bytes()).unwrap();
    assert_eq!(data(client.seen()), [100_000 - 65_535 - 16_384, 100_000 - 16_384]);
    assert_eq!(client.connection.open_streams(), 0);
}

#[test]
fn a_stream_without_window_holds_up_no_other() {
    let mut client = Client::new();
    let mut settings = Vec::new();
    frame::write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.send(&settings).unwrap();
    client.request(1, END_STREAM);
    client.request(3, END_STREAM);
    client.frame(Kind::WindowUpdate, 0, 3, &10u32.to_be_bytes()).unwrap();
    for stream in [1, 3] {
        client.connection.send_head(stream, 200, &head(), false);
        client.connection.send_data(stream, Bytes::from_static(b"0123456789"));
        client.connection.send_end(stream, None);
    }
    assert_eq!(client.connection.open_streams(), 1);
    client.seen();
    // The windows of streams that are open follow the setting.
    settings.clear();
    frame::write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 3)]);
    client.send(&settings).unwrap();
    let seen = client.seen();
    assert_eq!(seen.last(), Some(&(Kind::Data, 0, 1, b"012".to_vec())));
    settings.clear();
    frame::write_settings(&mut settings, &[(INITIAL_WINDOW_SIZE, 100)]);
    client.send(&settings).unwrap();
    let seen = client.seen();
    assert_eq!(seen.last(), Some(&(Kind::Data, END_STREAM, 1, b"3456789".to_vec())));
}

#[test]
fn windows_are_given_back_when_the_application_takes() {
    let mut client = Client::new();
    client.request(1, 0);
    let mut sent = 0;
    while sent + 16_384 <= LIMITS.stream_window {
        client.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
        sent += 16_384;
    }
    assert!(client.seen().is_empty(), "nothing was taken");
    client.connection.release(1, sent);
    let updates = client.seen();
    assert_eq!(updates[0], (Kind::WindowUpdate, 0, 1, sent.to_be_bytes().to_vec()));
    // More than was held is not given back, whatever the application says.
    client.connection.release(1, u32::MAX);
    assert!(client.seen().is_empty());
    // Beyond the window the stream ends, and what it held is given back to the connection.
    for _ in 0..6 {
        client.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap();
    }
    assert_eq!(client.frame(Kind::Data, 0, 1, &[0; 16_384]).unwrap(), ["1: reset 3"]);
    assert!(client.seen().contains(&reset(1, Code::FlowControl)));
    let missing = LIMITS.connection_window - client.connection.receive_window;
    assert_eq!(missing, client.connection.unreturned);
}

#[test]
fn an_answer_before_the_end_of_its_request_stops_it() {
    let mut client = Client::new();
    client.request(1, 0);
    client.connection.send_head(1, 200, &trailers(), true);
    assert_eq!(client.seen().last(), Some(&reset(1, Code::NoError)));
    // What was on its way is dropped without a word.
    assert!(client.frame(Kind::Data, END_STREAM, 1, b"late").unwrap().is_empty());
    assert!(client.seen().is_empty());
}

#[test]
fn streams_beyond_the_bound_are_refused() {
    let mut client = Client::new();
    for stream in [1, 3, 5] {
        client.request(stream, END_STREAM);
    }
    assert!(client.request(7, END_STREAM).is_empty());
    assert_eq!(client.seen(), [reset(7, Code::RefusedStream)]);
    client.connection.reset(3, Code::Cancel);
    assert_eq!(client.request(9, END_STREAM).len(), 1);
}

#[test]
fn malformed_requests_end_alone() {
    let mut client = Client::new();
    for (number, more) in
        [("te", "gzip"), ("content-length", "1"), ("Upper", "1")].iter().enumerate()
    {
        let stream = 1 + 2 * u32::try_from(number).unwrap();
        let flags = END_HEADERS | END_STREAM;
        assert!(client.frame(Kind::Headers, flags, stream, &block(&[*more])).unwrap().is_empty());
        assert_eq!(client.seen(), [reset(stream, Code::Protocol)]);
    }
    // A body of another length than was announced.
    for (stream, body) in [(11, &b"123"[..]), (13, b"12345")] {
        let block = block(&[("content-length", "4")]);
        client.frame(Kind::Headers, END_HEADERS, stream, &block).unwrap();
        let events = client.frame(Kind::Data, END_STREAM, stream, body).unwrap();
        assert_eq!(events, [format!("{stream}: reset 1")]);
        assert_eq!(client.seen(), [reset(stream, Code::Protocol)]);
    }
    let long = "x".repeat(9 << 10);
    assert!(
        client.frame(Kind::Headers, END_HEADERS, 15, &block(&[("a", &long)])).unwrap().is_empty()
    );
    assert_eq!(client.seen(), [reset(15, Code::EnhanceYourCalm)]);
    assert_eq!(client.request(17, END_STREAM).len(), 1);
}

#[test]
fn a_small_block_does_not_grow_into_a_large_one() {
    // An entry of 4,000 bytes in the table costs one byte each time it is named: 16 kB of input
    // would become 64 MB of fields.
    let mut client = Client::new();
    let mut bomb = block(&[]);
    hpack::write_literal(&mut bomb, true, 0, "a", &"x".repeat(4_000));
    bomb.extend_from_slice(&[0xbe; 10_000]);
    let events = client.frame(Kind::Headers, END_HEADERS | END_STREAM, 1, &bomb).unwrap();
    assert!(events.is_empty());
    assert_eq!(client.seen(), [reset(1, Code::EnhanceYourCalm)]);
}

/// What ends a connection, and with which code.
#[test]
fn broken_rules_end_the_connection() {
    use Code::{EnhanceYourCalm, FlowControl, FrameSize, Protocol, StreamClosed};
    let large = [0; 16_385];
    let cases: &[(Kind, u8, u32, &[u8], Code)] = &[
        (Kind::Data, 0, 0, b"", Protocol),
        (Kind::Data, 0, 9, b"idle", Protocol),
        (Kind::Data, PADDED, 1, &[9, 0], Protocol),
        (Kind::Data, 0, 1, &large, FrameSize),
        (Kind::Headers, END_HEADERS, 2, &[0x82], Protocol),
        (Kind::Headers, END_HEADERS, 0, &[0x82], Protocol),
        (Kind::Headers, END_HEADERS, 9, &[0xbe], Code::Compression),
        (Kind::Headers, END_HEADERS, 9, &[0x82, 0x20], Code::Compression),
        (Kind::Headers, END_HEADERS, 3, &[0x82], StreamClosed),
        (Kind::Priority, 0, 0, &[0; 5], Protocol),
        (Kind::ResetStream, 0, 0, &[0; 4], Protocol),
        (Kind::ResetStream, 0, 9, &[0; 4], Protocol),
        (Kind::ResetStream, 0, 1, &[0; 3], FrameSize),
        (Kind::Settings, 0, 1, &[], Protocol),
        (Kind::Settings, 0, 0, &[0; 5], FrameSize),
        (Kind::Settings, ACK, 0, &[0; 6], FrameSize),
        (Kind::Settings, 0, 0, &[0, 2, 0, 0, 0, 2], Protocol),
        (Kind::Settings, 0, 0, &[0, 4, 0x80, 0, 0, 0], FlowControl),
        (Kind::Settings, 0, 0, &[0, 5, 0, 0, 0, 1], Protocol),
        (Kind::PushPromise, END_HEADERS, 1, &[0; 8], Protocol),
        (Kind::Ping, 0, 0, &[0; 7], FrameSize),
        (Kind::Ping, 0, 1, &[0; 8], Protocol),
        (Kind::GoAway, 0, 1, &[0; 8], Protocol),
        (Kind::WindowUpdate, 0, 0, &[0; 4], Protocol),
        (Kind::WindowUpdate, 0, 0, &[0x7f, 0xff, 0xff, 0xff], FlowControl),
        (Kind::WindowUpdate, 0, 0, &[0; 3], FrameSize),
        (Kind::WindowUpdate, 0, 9, &[0, 0, 0, 1], Protocol),
        (Kind::Continuation, END_HEADERS, 1, &[], Protocol),
        (Kind::Headers, END_HEADERS, 1, &[], Protocol),
    ];
    for (kind, flags, stream, payload, code) in cases {
        let mut client = Client::new();
        client.request(1, 0);
        client.request(3, END_STREAM);
        client.connection.send_head(3, 200, &head(), true);
        client.seen();
        let what = format!("{kind:?} {flags} {stream} {payload:?}");
        match client.frame(*kind, *flags, *stream, payload) {
            Err(error) => assert_eq!(error.code, *code, "{what}: {error}"),
            // Trailers without the end of the stream end only that.
            Ok(events) => assert_eq!(events, ["1: reset 1"], "{what}"),
        }
        if !client.connection.is_over() {
            continue;
        }
        client.goes_away_with(*code);
        // Nothing is read after it.
        let mut later = &[0; 9][..];
        assert_eq!(client.connection.next(&mut later, 0), Ok(None), "{what}");
        assert!(later.len() == 9 && client.connection.output().is_empty(), "{what}");
    }
    let mut client = Client::new();
    client.frame(Kind::Headers, 0, 1, &block(&[])).unwrap();
    assert!(client.frame(Kind::Ping, 0, 0, &[0; 8]).is_err());
    client.goes_away_with(Protocol);
    let mut client = Client::new();
    client.frame(Kind::Headers, 0, 1, &block(&[])).unwrap();
    let flood = (0..100).find_map(|_| client.frame(Kind::Continuation, 0, 1, &[0x82]).err());
    assert_eq!(flood.map(|error| error.code), Some(EnhanceYourCalm));
}

#[test]
fn floods_are_asked_to_calm_down() {
    let open_and_reset = |client: &mut Client, number: u32| {
        client.request(1 + 2 * number, END_STREAM);
        client.frame(Kind::ResetStream, 0, 1 + 2 * number, &[0, 0, 0, 8])
    };
    // Each is given a thing to do again and again.
    type Flood = fn(&mut Client, u32) -> Result<Vec<String>, ConnectionError>;
    let floods: [(&str, Flood); 4] = [
        ("empty frames", |client, number| {
            if number == 0 {
                client.request(1, 0);
            }
            client.frame(Kind::Data, 0, 1, b"")
        }),
        ("settings", |client, _| client.frame(Kind::Settings, 0, 0, &[])),
        ("our resets", |client, number| {
            let stream = 1 + 2 * number;
            client.frame(Kind::Headers, END_HEADERS | END_STREAM, stream, &[0x82])
        }),
        ("priorities", |client, _| client.frame(Kind::Priority, 0, 7, &[0; 5])),
    ];
    for (name, flood) in floods {
        let mut client = Client::new();
        let ended = (0..30_000).find_map(|number| {
            let error = flood(&mut client, number).err();
            if error.is_none() {
                client.seen();
            }
            error
        });
        let ended = ended.unwrap_or_else(|| panic!("{name}: goes on for ever"));
        assert_eq!(ended.code, Code::EnhanceYourCalm, "{name}");
    }
    let mut client = Client::new();
    let ended = (0..30_000).find(|number| open_and_reset(&mut client, *number).is_err());
    assert_eq!(ended, Some(20_000));
    // The same over a minute is work, and no flood.
    let mut client = Client::new();
    for number in 0..60_000 {
        client.now_ms = u64::from(number);
        open_and_reset(&mut client, number).unwrap();
    }
}

#[test]
fn signs_of_life_go_both_ways() {
    let mut client = Client::new();
    client.now_ms = 10_000;
    client.connection.tick(10_000).unwrap();
    assert_eq!(client.seen()[0].0, Kind::Ping);
    client.frame(Kind::Ping, ACK, 0, &PING).unwrap();
    assert_eq!(client.connection.deadline_ms(), Some(20_000));
    client.connection.tick(20_000).unwrap();
    assert!(client.connection.tick(21_000).is_err() && client.connection.is_over());
    let mut client = Client::new();
    client.frame(Kind::Ping, 0, 0, b"12345678").unwrap();
    assert_eq!(client.seen(), [(Kind::Ping, ACK, 0, b"12345678".to_vec())]);
    let ended = (0..5).find_map(|_| client.frame(Kind::Ping, 0, 0, &[0; 8]).err());
    assert_eq!(ended.map(|error| error.reason), Some("too_many_pings"));
}

#[test]
fn what_begins_must_be_finished() {
    // Silent connections, half a preface and half a header block used to stay for ever.
    let mut client = Client::silent();
    assert_eq!(client.connection.deadline_ms(), Some(3_000));
    let mut half = &PREFACE[..7];
    assert_eq!(client.connection.next(&mut half, 2_000), Ok(None));
    client.connection.tick(2_999).unwrap();
    assert!(client.connection.tick(3_000).is_err() && client.connection.is_over());
    let mut client = Client::new();
    assert_eq!(client.connection.deadline_ms(), Some(10_000));
    client.now_ms = 5_000;
    client.frame(Kind::Headers, 0, 1, &block(&[])).unwrap();
    assert_eq!(client.connection.deadline_ms(), Some(8_000));
    client.frame(Kind::Continuation, END_HEADERS, 1, &[]).unwrap();
    assert_eq!(client.connection.deadline_ms(), Some(15_000));
    // A part of a frame counts from when it began, however slowly the rest comes.
    for now_ms in [6_000, 8_000] {
        let mut part = &[0, 0, 9][..];
        assert_eq!(client.connection.next(&mut part, now_ms), Ok(None));
    }
    assert_eq!(client.connection.deadline_ms(), Some(9_000));
    assert!(client.connection.tick(9_000).is_err());
}

#[test]
fn a_stop_lets_calls_end() {
    let mut client = Client::new();
    client.request(1, END_STREAM);
    client.connection.shut_down();
    assert_eq!(client.seen()[0].0, Kind::GoAway);
    assert!(!client.connection.is_over());
    assert!(client.request(3, END_STREAM).is_empty());
    client.connection.send_head(1, 200, &head(), true);
    assert!(client.connection.is_over());
}

#[test]
fn output_that_nobody_reads_is_bounded() {
    let mut client = Client::new();
    client.frame(Kind::WindowUpdate, 0, 0, &0x7fff_0000_u32.to_be_bytes()).unwrap();
    client.request(1, END_STREAM);
    client.frame(Kind::WindowUpdate, 0, 1, &0x7fff_0000_u32.to_be_bytes()).unwrap();
    client.seen();
    client.connection.send_head(1, 200, &head(), false);
    client.connection.send_data(1, Bytes::from(vec![0; 10 << 20]));
    let frame = DEFAULT_MAX_FRAME as usize + HEADER_LEN;
    assert!(client.connection.is_output_full());
    assert!(client.connection.output().len() < LIMITS.output_bytes + frame);
    let sent: usize = client.seen().iter().map(|(.., payload)| payload.len()).sum();
    assert!(sent >= 10 << 20);
}
