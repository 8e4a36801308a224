//! Bytes of a client on a connection of HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use quoin_front::frame::{self, END_HEADERS, END_STREAM, FrameHeader, HEADER_LEN, Kind, PREFACE};
use quoin_front::{Connection, Event, KeepAliveTimes, Limits, hpack};

use crate::input::Input;

const LIMITS: Limits = Limits {
    streams_max: 8,
    stream_window: 1 << 16,
    connection_window: 1 << 17,
    header_block_bytes: 1 << 14,
    header_list_bytes: 1 << 14,
    output_bytes: 1 << 14,
    rest_time_ms: 30_000,
};
const TIMES: KeepAliveTimes =
    KeepAliveTimes { interval_ms: Some(10_000), timeout_ms: 1_000, min_time_ms: 10 };
/// The client said that it opens the connection as it must.
const OPENS_WELL: u8 = 1;

/// Gives bytes to a connection. What happens does not depend on how they are cut, what the application
/// is shown fits into the windows, and what is sent are whole frames of a bounded number of bytes.
///
/// The first byte chooses the opening, the second the length of a piece; the rest is what the client
/// sends.
pub fn http2(data: &[u8]) {
    let mut input = Input::new(data);
    let opens_well = input.u8() & OPENS_WELL != 0;
    let piece = usize::from(input.u8()).max(1);
    let mut bytes = Vec::new();
    if opens_well {
        bytes.extend_from_slice(PREFACE);
        frame::write_settings(&mut bytes, &[]);
    }
    bytes.extend_from_slice(input.rest());
    let whole = listen(&bytes, bytes.len().max(1));
    assert_eq!(whole, listen(&bytes, piece), "it matters how the bytes are cut");
    answer(&bytes, piece);
}

/// Returns what a connection says of bytes to an application that never answers.
fn listen(bytes: &[u8], piece: usize) -> Vec<String> {
    let mut connection = Connection::new(LIMITS, TIMES, 0);
    let mut buffer = Vec::new();
    let mut said = Vec::new();
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        let mut rest = &buffer[..];
        loop {
            match connection.next(&mut rest, 0) {
                Ok(Some(event)) => push(&mut said, &event),
                Ok(None) => break,
                Err(error) => {
                    said.push(error.to_string());
                    assert!(connection.is_over());
                    return said;
                }
            }
        }
        buffer = rest.to_vec();
    }
    said
}

fn push(said: &mut Vec<String>, event: &Event<'_>) {
    said.push(match event {
        Event::Request { stream, head, is_end } => format!("{stream} {:?} {is_end}", head.path),
        Event::Data { stream, bytes, is_end } => format!("{stream} {bytes:?} {is_end}"),
        Event::Reset { stream, code } => format!("{stream} reset {code}"),
    });
}

/// Answers what is asked, and reads what the connection sends now and then.
fn answer(bytes: &[u8], piece: usize) {
    let mut connection = Connection::new(LIMITS, TIMES, 0);
    let mut buffer = Vec::new();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    for (now_ms, piece) in (0u64..).zip(bytes.chunks(piece)) {
        buffer.extend_from_slice(piece);
        let mut rest = &buffer[..];
        while let Ok(Some(event)) = connection.next(&mut rest, now_ms) {
            match event {
                Event::Request { stream, .. } => connection.send_head(stream, 200, &headers, false),
                Event::Data { stream, bytes, is_end } => {
                    assert!(bytes.len() <= LIMITS.stream_window as usize);
                    let length = u32::try_from(bytes.len()).expect("a frame");
                    connection.release(stream, length);
                    if connection.has_room(stream) {
                        connection.send_data(stream, Bytes::copy_from_slice(bytes));
                    }
                    if is_end {
                        connection.send_end(stream, Some(&headers));
                    }
                }
                Event::Reset { .. } => {}
            }
            assert!(connection.open_streams() <= LIMITS.streams_max as usize);
        }
        buffer = rest.to_vec();
        connection.tick(now_ms).ok();
        check_frames(connection.output());
        if now_ms % 3 == 0 || connection.is_output_full() {
            let length = connection.output().len();
            connection.advance_output(length);
        }
        if connection.is_over() {
            return;
        }
    }
    connection.shut_down();
}

fn check_frames(mut output: &[u8]) {
    while !output.is_empty() {
        let header = FrameHeader::parse(output).expect("frames are sent whole");
        let end = HEADER_LEN + header.length as usize;
        output = output.get(end..).expect("frames are sent whole");
    }
}

/// Where fuzzing begins.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut block = vec![0x83, 0x86];
    hpack::write_literal(&mut block, true, 4, "", "/etcdserverpb.KV/Put");
    hpack::write_literal(&mut block, true, 1, "", "http://127.0.0.1:2379");
    hpack::write_literal(&mut block, true, 0, "te", "trailers");
    let again = [0x83, 0x86, 0xc0, 0xbf, 0xbe];
    let mut call = Vec::new();
    let both = END_HEADERS | END_STREAM;
    frame::write_frame(&mut call, Kind::Headers, END_HEADERS, 1, &block);
    frame::write_frame(&mut call, Kind::Data, END_STREAM, 1, b"\0\0\0\0\x03abc");
    frame::write_frame(&mut call, Kind::Headers, both, 3, &again);
    frame::write_frame(&mut call, Kind::Headers, 0, 5, &again[..3]);
    frame::write_frame(&mut call, Kind::Continuation, END_HEADERS, 5, &again[3..]);
    frame::write_frame(&mut call, Kind::Data, frame::PADDED, 5, b"\x02data\0\0");
    frame::write_window_update(&mut call, 5, 1000);
    frame::write_frame(&mut call, Kind::Headers, both, 5, &[0, 1, b'a', 1, b'b']);
    frame::write_frame(&mut call, Kind::ResetStream, 0, 3, &[0, 0, 0, 8]);
    frame::write_frame(&mut call, Kind::Ping, 0, 0, &[7; 8]);
    frame::write_settings(&mut call, &[(1, 0), (4, 10), (5, 20_000)]);
    frame::write_frame(&mut call, Kind::GoAway, 0, 0, &[0; 8]);
    let mut plain = vec![0, 7];
    plain.extend_from_slice(b"GET /version HTTP/1.1\r\n\r\n");
    vec![[&[1, 3], &call[..]].concat(), [&[1, 255], &call[..]].concat(), plain]
}
