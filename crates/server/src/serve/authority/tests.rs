use std::collections::VecDeque;
use std::convert::Infallible;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// The first HEADERS frame of `etcdctl endpoint status` 3.4 (grpc-go 1.26) for the endpoint
/// `http://127.0.0.1:46379`. Seven fields enter the dynamic table: path, authority, content type,
/// user agent, te, timeout, and the version of the client.
const ETCDCTL_3_4: &str = "0000770104000000018386459760a924882d9dcb6571afa066a925a87510ac6e48d36\
    a3f41909d29aee30c044eae05c0b86e34e32ebf5f8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2caecff4\
    0027465864d833505b11f40899acac8b24d494f6a7f8613efbc175bb7408d25062d495875996ee5b1063d5f03332\
    e34";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A request for the same path and authority by their indexes: path 68, authority 67, content
/// type 66, user agent 65, te 64.
const BY_INDEX: [u8; 16] = [0, 0, 7, 1, 5, 0, 0, 0, 3, 0x83, 0x86, 0xc4, 0xc3, 0xc2, 0xc1, 0xc0];

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn connection(frames: &[&[u8]]) -> Vec<u8> {
    [&[PREFACE], frames].concat().concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let mut frame = length.to_vec();
    frame.extend([kind, flags, 0, 0, 0, stream]);
    frame.extend_from_slice(payload);
    frame
}

/// A stream that gives one piece for each read, and then ends.
struct Pieces(VecDeque<Vec<u8>>);

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buffer.remaining()));
            buffer.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What comes out of the adapter when the bytes arrive in pieces of these sizes, in turn, and are
/// read into small and large buffers.
fn through(bytes: &[u8], sizes: &[usize]) -> Vec<u8> {
    let mut pieces = VecDeque::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*size).clamp(1, rest.len()));
        pieces.push_back(piece.to_vec());
        rest = after;
    }
    let mut stream = LenientAuthority::new(Pieces(pieces));
    let mut out = Vec::new();
    for size in sizes.iter().cycle() {
        let mut space = vec![0; (*size).max(1)];
        let count = stream.read(&mut space).now_or_never().expect("always ready").unwrap();
        if count == 0 {
            break;
        }
        out.extend_from_slice(&space[..count]);
    }
    assert!(stream.opening.is_none(), "the adapter keeps looking after the end");
    out
}

/// The payload parts of a header block, put together.
fn block(bytes: &[u8], start: usize) -> Vec<u8> {
    let Found::Whole(parts) = header_block(bytes, &Frame::at(bytes, start).unwrap()) else {
        panic!("not a whole header block")
    };
    parts.iter().flat_map(|part| bytes[part.fragment.clone()].to_vec()).collect()
}

fn check_block(before: &[u8], expected: Option<&[u8]>) {
    let connection = |block| connection(&[&SETTINGS, &frame(HEADERS, END_HEADERS, 1, block)]);
    let out = through(&connection(before), &[1 << 12]);
    assert_eq!(out, connection(expected.unwrap_or(before)), "block {before:02x?}");
}

#[test]
fn etcdctl_3_4_keeps_all_but_the_scheme() {
    // `etcdctl endpoint status` 3.4 was answered with RST_STREAM, as its authority is a URL.
    let request = unhex(ETCDCTL_3_4);
    let huffman = unhex("909d29aee30c044eae05c0b86e34e32ebf");
    let at = request.windows(huffman.len()).position(|window| *window == huffman).unwrap();
    let mut expected = request.clone();
    expected.splice(at..at + huffman.len(), *b"\x0f127.0.0.1:46379");
    expected[2] -= 1;

    for size in 1..=200 {
        let before = connection(&[&SETTINGS, &request, &BY_INDEX, &request]);
        let after = connection(&[&SETTINGS, &expected, &BY_INDEX, &request]);
        assert_eq!(through(&before, &[size]), after, "pieces of {size}");
    }
}

/// Serves a connection with the HTTP library until it has asked for two authorities.
async fn two_authorities_of(sent: &[u8]) -> Vec<String> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let (seen, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let authority = request.uri().authority().map(ToString::to_string);
        seen.send(authority.expect("HTTP/2")).expect("the other end is kept");
        async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) }
    });
    client.write_all(sent).await.unwrap();
    let builder = auto::Builder::new(TokioExecutor::new());
    let stream = TokioIo::new(LenientAuthority::new(server));
    let two = async { [asked.recv().await, asked.recv().await] };
    tokio::select! {
        ended = builder.serve_connection(stream, service) => panic!("ended early: {ended:?}"),
        two = two => two.into_iter().flatten().collect(),
    }
}

#[tokio::test]
async fn the_library_takes_later_requests_by_index() {
    let sent = connection(&[&SETTINGS, &unhex(ETCDCTL_3_4), &BY_INDEX]);
    assert_eq!(two_authorities_of(&sent).await, ["127.0.0.1:46379"; 2]);
}

#[test]
fn what_is_ready_is_not_held_back() {
    let request = unhex(ETCDCTL_3_4);
    let mut opening = Opening::default();
    let ping = frame(6, 0, 0, b"12345678");
    // A client may wait for an answer to any of these before it goes on.
    for (arrived, ready) in [
        (&PREFACE[..3], 3),
        (&PREFACE[3..], 24),
        (&SETTINGS, 33),
        (&ping[..4], 33),
        (&ping[4..11], 44),
        (&ping[11..], 50),
        (&request[..60], 50),
        (&request[60..], 50 + request.len() - 1),
    ] {
        opening.arrived(arrived);
        assert_eq!(opening.ready, ready);
    }
    assert!(opening.is_over);

    let mut opening = Opening::default();
    opening.arrived(b"P");
    assert!(!opening.is_over);
    opening.arrived(b"OST");
    assert!(opening.is_over, "HTTP/1 is known by its second byte");
    assert_eq!(opening.ready, 4);
}

#[test]
fn authorities_in_all_their_forms() {
    // By index, indexed, not indexed, never indexed, with the name spelled out, after others.
    check_block(b"\x41\x0ahttp://a:1", Some(b"\x41\x03a:1"));
    check_block(b"\x01\x0ahttp://a:1", Some(b"\x01\x03a:1"));
    check_block(b"\x11\x0ahttp://a:1\x83", Some(b"\x11\x03a:1\x83"));
    check_block(b"\x40\x0a:authority\x0ahttp://a:1", Some(b"\x40\x0a:authority\x03a:1"));
    check_block(b"\x3f\xe1\x1f\x83\x41\x0bhttps://a:1", Some(b"\x3f\xe1\x1f\x83\x41\x03a:1"));
    check_block(b"\x0f\x2f\x01x\x41\x0ahttp://[::1]:2/x"[..15].as_ref(), None);
    check_block(b"\x0f\x2f\x01x\x41\x10http://[::1]:2/x", Some(b"\x0f\x2f\x01x\x41\x07[::1]:2"));
    // Huffman: the name, and a value from the standard (C.6.1), https://www.example.com.
    let name = [b"\x40\x88".to_vec(), unhex("b83b5339ec327d7f")].concat();
    let value = [b"\x91".to_vec(), unhex("9d29ad171863c78f0b97c8e9ae82ae43d3")].concat();
    let expected = [&name, &b"\x0fwww.example.com"[..]].concat();
    check_block(&[name, value].concat(), Some(&expected));
    // Hosts whose length takes more bytes.
    for length in [126, 127, 128, 254, 255, 300] {
        let host = vec![b'a'; length];
        let before = [b"\x41".to_vec(), plain(&[b"http://", &host[..]].concat())].concat();
        check_block(&before, Some(&[b"\x41".to_vec(), plain(&host)].concat()));
    }
    // Nothing to take out, or nothing left.
    for value in ["a:1", "", "http://", "http:///a", "unix://a", "http:/a", "ahttp://a"] {
        check_block(&[b"\x41".to_vec(), plain(value.as_bytes())].concat(), None);
    }
    // Another field with such a value.
    check_block(b"\x45\x0ahttp://a:1\x41\x03a:1", None);
}

#[test]
fn numbers_end() {
    let integer = |block| Fields { block, at: 0 }.integer(5);
    // RFC 7541, C.1.
    assert_eq!(integer(&[0x0a]), Some(10));
    assert_eq!(integer(&[0x1f, 0x9a, 0x0a]), Some(1337));
    assert_eq!(integer(&[0x1f]), None);
    assert_eq!(integer(&[0x1f, 0xff, 0xff, 0xff, 0x01]), None);
    assert_eq!(plain(&[b'a'; 1464])[..3], [0x7f, 0xb9, 0x0a]);
}

#[test]
fn huffman_strings() {
    // RFC 7541, C.4 and C.6.
    for (coded, text) in [
        ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
        ("a8eb10649cbf", "no-cache"),
        ("25a849e95bb8e8b4bf", "custom-value"),
        ("6402", "302"),
        ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("", ""),
    ] {
        assert_eq!(huffman_text(&unhex(coded)).as_deref(), Some(text.as_bytes()));
    }
    // Eight bits of padding, padding of zeros, the end-of-string symbol.
    for coded in ["6402ff", "00", "ffffffff"] {
        assert_eq!(huffman_text(&unhex(coded)), None);
    }
    // The longest codes of the table are three of its last 15 bits: 0x7ffc, 0x7ffd, 0x7ffe.
    assert_eq!(huffman_text(&[0xff, 0xf9]).as_deref(), Some(&b"<"[..]));
    assert_eq!(huffman_text(&[0xff, 0xfd]).as_deref(), Some(&b"{"[..]));
}

#[test]
fn padding_priority_and_continuations() {
    let headers = |flags, payload: &[u8]| frame(HEADERS, flags, 1, payload);
    let padded = PADDED | PRIORITY | END_HEADERS;
    let before = headers(padded, b"\x03\0\0\0\0\x10\x41\x0ahttp://a:1\0\0\0");
    let after = headers(padded, b"\x03\0\0\0\0\x10\x41\x03a:1\0\0\0");
    assert_eq!(through(&connection(&[&before]), &[7]), connection(&[&after]));

    // The value in two frames: what is left of it is in the first.
    let rest = frame(CONTINUATION, END_HEADERS, 1, b"tp://a:1\x83");
    let before = connection(&[&headers(0, b"\x82\x41\x0aht"), &rest]);
    let rest = frame(CONTINUATION, END_HEADERS, 1, b"\x83");
    let after = connection(&[&headers(0, b"\x82\x41\x03a:1"), &rest]);
    assert_eq!(through(&before, &[7]), after);
}

#[test]
fn the_unexpected_is_for_the_library() {
    let headers = |flags, payload: &[u8]| frame(HEADERS, flags, 1, payload);
    let block = b"\x41\x0ahttp://a:1";
    let empty = frame(CONTINUATION, 0, 1, b"");
    let last = frame(CONTINUATION, END_HEADERS, 1, block);
    let many = vec![empty; CONTINUATIONS_MAX].concat();
    let ping = frame(6, 0, 0, b"12345678");
    for frames in [
        // More padding than payload, no room for the priority, no length of the padding.
        headers(PADDED | END_HEADERS, b"\x20\x41\x0ahttp://a:1"),
        headers(PRIORITY | END_HEADERS, b"\x41\x01a"),
        headers(PADDED | END_HEADERS, b""),
        // Not one block: another frame in between, another stream, too many frames.
        [headers(0, b""), ping.clone(), last.clone()].concat(),
        [headers(0, b""), frame(CONTINUATION, END_HEADERS, 3, block)].concat(),
        [headers(0, b""), many, last.clone()].concat(),
        // Too large a frame, too late a frame, a frame that does not end.
        headers(END_HEADERS, &[&block[..], &[0x83; PAYLOAD_BYTES_MAX]].concat()),
        [vec![ping; OPENING_BYTES_MAX / 17 + 1].concat(), headers(END_HEADERS, block)].concat(),
        headers(END_HEADERS, block)[..20].to_vec(),
        [vec![0xff, 0xff, 0xff, 4, 0, 0, 0, 0, 0], vec![0; 1 << 17]].concat(),
        // The second header block.
        [headers(END_HEADERS, b"\x82"), headers(END_HEADERS, block)].concat(),
    ] {
        let bytes = connection(&[&SETTINGS, &frames]);
        assert!(through(&bytes, &[1000]) == bytes, "{:02x?}", &bytes[..bytes.len().min(100)]);
    }

    // Spelled out, this host needs more bytes than its code with the scheme, and the frame is full.
    let mut url = [unhex("9d29ad171860"), unhex("6318c6318c").repeat(8)].concat();
    url[45] = 0x8f;
    assert_eq!(huffman_text(&url).unwrap(), format!("https://{}", "a".repeat(64)).into_bytes());
    let block = [&[0x41, HUFFMAN | url.len() as u8][..], &url].concat();
    for (fields, changes) in [(PAYLOAD_BYTES_MAX - block.len(), false), (1000, true)] {
        let full = [&b"\x83".repeat(fields), &block[..]].concat();
        let bytes = connection(&[&headers(END_HEADERS, &full)]);
        let out = through(&bytes, &[1000]);
        assert_eq!(out.len() > bytes.len(), changes);
        assert_eq!(out != bytes, changes);
    }
}

/// One field of a header block that is not an authority.
fn other_field() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (0x81u8..=0xff).prop_filter("ends in one byte", |byte| *byte != 0xff).prop_map(|b| vec![b]),
        (prop::sample::select(vec![0x42u8, 0x45, 0x7e, 0x02, 0x0e, 0x12, 0x1e]), text.clone())
            .prop_map(|(index, value)| [vec![index], plain(&value)].concat()),
        (prop::sample::select(vec![0x40u8, 0x00, 0x10]), "[a-z]{1,150}", text).prop_map(
            |(kind, name, value)| [vec![kind], plain(name.as_bytes()), plain(&value)].concat()
        ),
    ]
}

fn fields() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(other_field(), 0..8).prop_map(|fields| fields.concat())
}

/// A header block in frames, cut at these places.
fn framed(block: &[u8], cuts: &[prop::sample::Index]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(block.len() + 1)).collect();
    cuts.extend([0, block.len()]);
    cuts.sort_unstable();
    let mut out = Vec::new();
    for (number, ends) in cuts.windows(2).enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let flags = if number + 2 == cuts.len() { END_HEADERS } else { 0 };
        out.extend(frame(kind, flags, 1, &block[ends[0]..ends[1]]));
    }
    out
}

fn frames_before() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![0u8, 2, 3, 4, 6, 7, 8, 9, 10, 200]);
    let payload = prop::collection::vec(any::<u8>(), 0..60);
    let one = (kinds, any::<u8>(), any::<u8>(), payload);
    prop::collection::vec(
        one.prop_map(|(kind, flags, id, data)| frame(kind, flags, id, &data)),
        0..5,
    )
    .prop_map(|frames| frames.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..80, 1..5)
}

proptest! {
    #[test]
    fn without_such_an_authority_nothing_changes(
        before in frames_before(),
        block in fields(),
        host in "[a-z0-9.:/]{0,40}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        after in prop::collection::vec(any::<u8>(), 0..200),
        sizes in sizes(),
    ) {
        prop_assume!(!host.starts_with("http"));
        let block = [block, vec![0x41], plain(host.as_bytes())].concat();
        let bytes = connection(&[&before, &framed(&block, &cuts), &after]);
        prop_assert_eq!(through(&bytes, &sizes), bytes);
    }

    #[test]
    fn with_it_only_the_value_changes(
        before in frames_before(),
        fields in (fields(), fields()),
        url in ("https?://", "[a-z0-9.:]{1,140}", "(/[a-z]*)?"),
        kind in prop::sample::select(vec![0x41u8, 0x01, 0x11]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        after in prop::collection::vec(any::<u8>(), 0..200),
        sizes in sizes(),
    ) {
        let (scheme, host, path) = url;
        let block_with = |value: &str| {
            [&fields.0[..], &[kind], &plain(value.as_bytes()), &fields.1].concat()
        };
        let sent = block_with(&format!("{scheme}{host}{path}"));
        let start = PREFACE.len() + before.len();
        let bytes = connection(&[&before, &framed(&sent, &cuts), &after]);
        let out = through(&bytes, &sizes);

        prop_assert_eq!(&out[..start], &bytes[..start]);
        let expected = block_with(&host);
        prop_assert_eq!(block(&out, start), &expected[..]);
        prop_assert_eq!(out.len(), bytes.len() - sent.len() + expected.len());
        prop_assert!(out.ends_with(&after));
        // The frames are as many as they were, with the same flags.
        let heads = |bytes: &[u8]| {
            let Found::Whole(parts) = header_block(bytes, &Frame::at(bytes, start).unwrap()) else {
                panic!("not a whole header block")
            };
            let head = |part: &Part| (part.frame.kind, part.frame.flags, part.frame.stream);
            parts.iter().map(head).collect::<Vec<_>>()
        };
        prop_assert_eq!(heads(&out), heads(&bytes));
    }

    #[test]
    fn other_protocols_pass(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        known in 0..PREFACE.len(),
        sizes in sizes(),
    ) {
        let bytes = [&PREFACE[..known], &bytes].concat();
        prop_assume!(!bytes.starts_with(PREFACE));
        prop_assert_eq!(through(&bytes, &sizes), bytes);
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        noise in prop::collection::vec(any::<u8>(), 0..300),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        flags in any::<u8>(),
        sizes in sizes(),
    ) {
        through(&connection(&[&noise]), &sizes);
        through(&connection(&[&frame(HEADERS, flags, 1, &noise)]), &sizes);
        let mut request = unhex(ETCDCTL_3_4);
        for (at, byte) in changes {
            let at = at.index(request.len());
            request[at] = byte;
        }
        let bytes = connection(&[&SETTINGS, &request, &noise]);
        let out = through(&bytes, &sizes);
        // Huffman codes of five bits become bytes of eight, and a length byte may be added.
        prop_assert!(out.len() <= bytes.len() * 8 / 5 + 2);
    }
}
