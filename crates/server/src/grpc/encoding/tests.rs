use std::io::Write as _;

use http_body_util::{BodyExt as _, StreamBody};
use tonic::Code;

use super::*;
use crate::grpc::call::Messages;

const LIMIT: usize = 300_000;

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, bytes].concat()
}

/// Bytes that do not shrink to nothing, so that a message takes many slices.
fn noise(bytes: usize) -> Vec<u8> {
    let step = |state: &u32| Some(state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    std::iter::successors(Some(7), step).map(|it| (it >> 24) as u8).take(bytes).collect()
}

/// Sends `body` in pieces of this many bytes; returns the messages that come out, or the refusal.
async fn receive(body: &[u8], piece: usize, encoding: Encoding) -> Result<Vec<u8>, Status> {
    let pieces: Vec<_> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|data| Ok::<_, Status>(Frame::data(data)));
    let messages = Messages::new(StreamBody::new(tokio_stream::iter(frames)), LIMIT);
    let mut body = Inflated::new(messages.encoded(encoding), encoding, LIMIT, None);
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| *error.downcast::<Status>().unwrap())?;
        out.extend_from_slice(&frame.into_data().unwrap());
    }
    Ok(out)
}

#[tokio::test]
async fn messages_come_out_plain_however_they_came() {
    let large = noise(LIMIT - 1000);
    let plain = [message(0, b""), message(0, &large), message(0, b"b"), message(0, b"c")].concat();
    let mixed = [
        message(1, &gzip(b"")),
        message(1, &gzip(&large)),
        message(0, b"b"),
        message(1, &[gzip(b""), gzip(b"c")].concat()),
    ];
    for piece in [1, 7, 1000, LIMIT * 2] {
        let out = receive(&mixed.concat(), piece, Encoding::Gzip).await.unwrap();
        assert!(out == plain, "in pieces of {piece} bytes");
    }
}

/// A few kilobytes of gzip may stand for gigabytes. The limit of a message counts what it becomes,
/// and not much more than the limit may be in memory on the way there.
#[tokio::test]
async fn a_message_that_grows_beyond_the_limit_is_refused_before_it_has_grown() {
    let bomb = message(1, &gzip(&vec![0; 64 << 20]));
    assert!(bomb.len() < LIMIT, "it is let in: {} bytes", bomb.len());
    let refused = receive(&bomb, bomb.len(), Encoding::Gzip).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let text = "grpc: received message after decompression larger than max 300000";
    assert_eq!(refused.message(), text);

    let exact = message(1, &gzip(&vec![0; LIMIT]));
    assert!(receive(&exact, exact.len(), Encoding::Gzip).await.is_ok());
    let longer = message(1, &gzip(&vec![0; LIMIT + 1]));
    assert!(receive(&longer, longer.len(), Encoding::Gzip).await.is_err());
}

#[tokio::test]
async fn damaged_messages_have_the_texts_of_etcd() {
    let refused = async |compressed: &[u8]| {
        let sent = message(1, compressed);
        let status = receive(&sent, sent.len(), Encoding::Gzip).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        status.message().to_owned()
    };
    let begin = "grpc: failed to decompress the message: ";
    assert_eq!(refused(b"").await, format!("{begin}EOF"));
    assert_eq!(refused(b"garbage").await, format!("{begin}unexpected EOF"));
    assert_eq!(refused(b"much more garbage").await, format!("{begin}gzip: invalid header"));
    let read = "grpc: failed to read decompressed data: ";
    let whole = gzip(b"abc");
    assert_eq!(refused(&whole[..15]).await, format!("{read}unexpected EOF"));
    let junk = [&whole[..], b"junk"].concat();
    assert_eq!(refused(&junk).await, format!("{read}unexpected EOF"));
    let mut changed = whole.clone();
    changed[whole.len() - 6] ^= 1;
    assert_eq!(refused(&changed).await, format!("{read}gzip: invalid checksum"));
}

#[tokio::test]
async fn a_compressed_message_needs_an_encoding_that_is_known() {
    let sent = message(1, &gzip(b"a"));
    let refused = receive(&sent, sent.len(), Encoding::Identity).await.unwrap_err();
    assert_eq!(refused.message(), "grpc: compressed flag set with identity or empty encoding");
    let of = |name: &'static str| {
        let headers = HeaderMap::from_iter([(ENCODING, HeaderValue::from_static(name))]);
        Encoding::of(&headers).map_err(|status| status.message().to_owned())
    };
    assert_eq!(Encoding::of(&HeaderMap::new()).unwrap(), Encoding::Identity);
    assert_eq!(of("identity"), Ok(Encoding::Identity));
    assert_eq!(of("gzip"), Ok(Encoding::Gzip));
    let unknown = "grpc: Decompressor is not installed for grpc-encoding \"GZIP\"";
    assert_eq!(of("GZIP"), Err(unknown.to_owned()));
}

#[tokio::test]
async fn responses_are_compressed_message_by_message() {
    let plain = [message(0, b""), message(0, b"b"), message(0, &noise(LIMIT - 1000))].concat();
    for piece in [1, 6, 100_000] {
        let pieces: Vec<_> = plain.chunks(piece).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|data| Ok::<_, Status>(Frame::data(data)));
        let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
        let response = deflate(Encoding::Gzip, Response::new(body));
        assert_eq!(response.headers()[&ENCODING], "gzip");
        let sent = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(sent[0], COMPRESSED);
        let out = receive(&sent, sent.len(), Encoding::Gzip).await.unwrap();
        assert!(out == plain, "in pieces of {piece} bytes");
    }
    let refused = deflate(Encoding::Gzip, Status::not_found("no").into_http());
    assert!(!refused.headers().contains_key(&ENCODING));
}

/// Each of ten thousand streams may send a few kilobytes that grow to just below the limit. While they
/// were decompressed slice by slice, all of them grew at once.
#[tokio::test]
async fn a_message_is_whole_when_it_was_polled_once() {
    let sent = Bytes::from(message(1, &gzip(&vec![0; LIMIT])));
    let arrived = tokio_stream::iter([Ok::<_, Status>(Frame::data(sent))]);
    let messages = Messages::new(StreamBody::new(arrived), LIMIT).encoded(Encoding::Gzip);
    let mut body = Inflated::new(messages, Encoding::Gzip, LIMIT, None);
    let mut context = Context::from_waker(std::task::Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
        panic!("it grew a little, and waits for the next poll");
    };
    assert_eq!(frame.into_data().unwrap().len(), PREFIX_BYTES + LIMIT);
    assert!(body.held.is_empty());
}
