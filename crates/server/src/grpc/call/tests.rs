use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tonic::{Code, Status};

use super::{Messages, deadline, is_grpc};
use crate::grpc::unfinished::Unfinished;

const LIMIT: usize = 300;

fn message(bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).unwrap().to_be_bytes();
    [&[0][..], &length, &vec![7; bytes]].concat()
}

/// Sends `body` in pieces of this many bytes; returns the frames that come out, or the refusal.
async fn pass(body: &[u8], piece: usize) -> Result<Vec<Bytes>, Status> {
    let pieces: Vec<_> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
    let frames = pieces.into_iter().map(|data| Ok::<_, Status>(Frame::data(data)));
    let mut messages = Messages::new(StreamBody::new(tokio_stream::iter(frames)), LIMIT);
    let mut out = Vec::new();
    while let Some(frame) = messages.frame().await {
        let frame = frame.map_err(|error| *error.downcast::<Status>().unwrap())?;
        out.push(frame.into_data().unwrap());
    }
    Ok(out)
}

#[tokio::test]
async fn messages_come_out_as_they_went_in_however_they_were_cut() {
    let body = [message(0), message(1), message(LIMIT), message(20)].concat();
    for piece in 1..=body.len() {
        let out = pass(&body, piece).await.unwrap();
        assert_eq!(out.concat(), body, "in pieces of {piece} bytes");
    }
}

/// A length of 2 MB made the decoder allocate 2 MB at once, so that a few thousand calls that
/// sent little more than a prefix took all memory.
#[tokio::test]
async fn nothing_of_a_message_is_handed_on_before_its_end() {
    let whole = message(LIMIT);
    let cut = &[&message(3)[..], &whole[..LIMIT]].concat();
    let pieces = [Bytes::copy_from_slice(&cut[..100]), Bytes::copy_from_slice(&cut[100..])];
    let arrived = pieces.into_iter().map(|data| Ok::<_, Status>(Frame::data(data)));
    let stalled = tokio_stream::StreamExt::chain(
        tokio_stream::iter(arrived),
        tokio_stream::pending::<Result<Frame<Bytes>, Status>>(),
    );
    let mut messages = Messages::new(StreamBody::new(stalled), LIMIT);
    let first = messages.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, message(3));
    let mut next = poll(&mut messages);
    assert!(next.is_pending(), "{next:?}");
    next = poll(&mut messages);
    assert!(next.is_pending(), "{next:?}");
}

/// What was held of unfinished messages was bounded by no more than the size of each, and a client
/// that sent a message whole but did not end its call held it for ever.
#[tokio::test(start_paused = true)]
async fn what_is_not_finished_is_counted_and_given_up() {
    let all = Arc::new(Unfinished::new(LIMIT));
    let part = message(LIMIT)[..100].to_vec();
    // Of a stream's messages those count that are not whole, of other calls all until their end.
    for (is_unary, body, held) in [
        (true, part.clone(), 100),
        (true, message(95), 100),
        (true, Vec::new(), 0),
        (false, [message(50), part].concat(), 100),
    ] {
        let arrived = tokio_stream::iter([Ok::<_, Status>(Frame::data(Bytes::from(body)))]);
        let stalled = tokio_stream::StreamExt::chain(
            arrived,
            tokio_stream::pending::<Result<Frame<Bytes>, Status>>(),
        );
        let messages = Messages::new(StreamBody::new(stalled), LIMIT);
        let messages = messages.charged_to(Some(all.connection()));
        let mut messages = if is_unary { messages.unary() } else { messages };
        let mut polled = poll(&mut messages);
        while let std::task::Poll::Ready(Some(Ok(_))) = polled {
            polled = poll(&mut messages);
        }
        assert!(polled.is_pending());
        assert_eq!(all.bytes(), held + (4 << 10), "the call itself takes something");
        let late = messages.frame().await.unwrap().unwrap_err().downcast::<Status>().unwrap();
        assert_eq!(late.code(), Code::Cancelled);
        drop(messages);
        assert_eq!(all.bytes(), 0);
    }
    // Between two messages a stream may be silent, and an end that comes frees everything.
    let whole = tokio_stream::iter([Ok::<_, Status>(Frame::data(Bytes::from(message(9))))]);
    let silent = tokio_stream::StreamExt::chain(whole, tokio_stream::pending());
    let messages = Messages::new(StreamBody::new(silent), LIMIT);
    let mut messages = messages.charged_to(Some(all.connection()));
    messages.frame().await.unwrap().unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(10_000), messages.frame()).await;
    assert!(waited.is_err() && all.bytes() == 0);
}

type Polled<E> = std::task::Poll<Option<Result<Frame<Bytes>, E>>>;

fn poll<B: hyper::body::Body<Data = Bytes> + Unpin>(body: &mut B) -> Polled<B::Error> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(body).poll_frame(&mut context)
}

#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_etcd() {
    let refused = async |body: &[u8]| {
        let status = pass(body, 4).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let larger = "grpc: received message larger than max (301 vs. 300)".to_owned();
    assert_eq!(refused(&message(LIMIT + 1)).await, (Code::ResourceExhausted, larger));
    let format = "grpc: received unexpected payload format 7".to_owned();
    assert_eq!(refused(&[7, 0, 0, 0, 1, 1]).await, (Code::Internal, format));
    assert_eq!(refused(&[]).await, (Code::Unknown, "EOF".to_owned()));
    let cut = (Code::Unknown, "unexpected EOF".to_owned());
    assert_eq!(refused(&message(9)[..13]).await, cut);
    assert_eq!(refused(&message(9)[..3]).await, cut);
}

#[test]
fn a_deadline_has_a_number_and_a_unit() {
    let check = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        deadline(&headers)
    };
    assert_eq!(deadline(&HeaderMap::new()), Ok(None));
    assert_eq!(check("99999999H"), Ok(Some(Duration::from_secs(99_999_999 * 3600))));
    assert_eq!(check("2M"), Ok(Some(Duration::from_secs(120))));
    assert_eq!(check("3S"), Ok(Some(Duration::from_secs(3))));
    assert_eq!(check("5000m"), Ok(Some(Duration::from_secs(5))));
    assert_eq!(check("7u"), Ok(Some(Duration::from_micros(7))));
    assert_eq!(check("1n"), Ok(Some(Duration::from_nanos(1))));
    assert_eq!(check("1x"), Err("timeout unit is not recognized: \"1x\"".to_owned()));
    assert_eq!(check("S"), Err("timeout string is too short: \"S\"".to_owned()));
    let long = Err("timeout string is too long: \"999999999S\"".to_owned());
    assert_eq!(check("999999999S"), long);
    for bad in ["-1S", "+1S", "1.5S", " 1S"] {
        assert!(check(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn grpc_is_told_from_plain_http() {
    let check = |version, kind: &str| {
        let request = Request::post("/").version(version).header("content-type", kind);
        is_grpc(&request.body(Full::<Bytes>::default()).unwrap())
    };
    for kind in ["application/grpc", "application/grpc+proto", "application/grpc;v=1"] {
        assert!(check(Version::HTTP_2, kind), "{kind}");
        assert!(!check(Version::HTTP_11, kind), "{kind}");
    }
    for kind in ["application/grpc-web", "application/json", ""] {
        assert!(!check(Version::HTTP_2, kind), "{kind}");
    }
}
