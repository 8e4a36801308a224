//! Reading requests: however they are cut up, and how a body may end.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{WatchCancelRequest, WatchRequest};
use tonic::{Code, Status};

use super::requests::Requests;
use crate::grpc::encoding::Encoding;

const LIMIT: usize = 100;

fn request(watch_id: i64) -> WatchRequest {
    let cancel = WatchCancelRequest { watch_id };
    WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) }
}

fn framed(flag: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(flag);
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// Reads all requests of a body that comes in these pieces.
fn read(pieces: Vec<Bytes>) -> (Vec<WatchRequest>, Result<(), Status>) {
    let frames = pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece)));
    let mut body = pin!(StreamBody::new(tokio_stream::iter(frames)));
    let mut requests = Requests::new(body.as_mut(), LIMIT, Encoding::Identity, None, None);
    let mut read = Vec::new();
    loop {
        match requests.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(request))) => read.push(request),
            Poll::Ready(Some(Err(status))) => return (read, Err(status)),
            Poll::Ready(None) => return (read, Ok(())),
            // The iterator pauses now and then.
            Poll::Pending => {}
        }
    }
}

#[tokio::test]
async fn requests_come_in_any_pieces() {
    let whole: Vec<u8> =
        (1..5).flat_map(|id| framed(0, &request(id).encode_to_vec()).to_vec()).collect();
    for length in 1..whole.len() {
        let pieces = whole.chunks(length).map(Bytes::copy_from_slice).collect();
        let (requests, end) = read(pieces);
        assert_eq!(requests, (1..5).map(request).collect::<Vec<_>>(), "pieces of {length}");
        assert!(end.is_ok());
    }
}

#[test]
fn a_client_may_close_its_side_without_a_word() {
    let (requests, end) = read(Vec::new());
    assert!(requests.is_empty() && end.is_ok());
}

#[tokio::test]
async fn what_is_no_request_ends_the_stream() {
    let cases = [
        (framed(0, &[0xff, 0xff]), Code::Internal),
        (framed(1, &[]), Code::Internal),
        (framed(2, &[]), Code::Internal),
        (framed(0, &[0; LIMIT + 1]), Code::ResourceExhausted),
        (framed(0, &[0; 9]).slice(..7), Code::Unknown),
    ];
    for (bytes, code) in cases {
        let (requests, end) = read(vec![framed(0, &request(1).encode_to_vec()), bytes.clone()]);
        assert_eq!(requests, [request(1)]);
        assert_eq!(end.map_err(|status| status.code()), Err(code), "{bytes:?}");
    }
}
