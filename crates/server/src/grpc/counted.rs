//! Counting what a call sends and how it ends.
//!
//! A response whose head already has the status, which is how calls are refused, is counted at
//! once. The body of any other is looked through as it leaves: messages by the prefixes between
//! them, the status in the trailers. A body that is dropped before them belongs to a client that
//! went away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::call::PREFIX_BYTES;
use crate::metrics::Call;

/// The header, or trailer, with the code of a call's end.
const STATUS: &str = "grpc-status";

/// Lets a call end with its response.
pub(crate) fn count(call: Option<Call>, response: Response<Body>) -> Response<Body> {
    let Some(call) = call else { return response };
    if let Some(code) = response.headers().get(STATUS) {
        call.end(Some(code.as_bytes()));
        return response;
    }
    response.map(|body| Body::new(Counted { body, call: Some(call), messages: Walk::default() }))
}

struct Counted {
    body: Body,
    /// None when the call has ended.
    call: Option<Call>,
    messages: Walk,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let next = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &next {
            Some(Ok(frame)) => {
                if let (Some(data), Some(call)) = (frame.data_ref(), &this.call) {
                    let (messages, bytes) = this.messages.pass(data);
                    call.sent(messages, bytes);
                }
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(call) = this.call.take()
                {
                    call.end(trailers.get(STATUS).map(|code| code.as_bytes()));
                }
            }
            Some(Err(_)) | None => {
                if let Some(call) = this.call.take() {
                    call.end(None);
                }
            }
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A walk over messages, each behind its prefix, in pieces that were cut anywhere.
#[derive(Debug, Default)]
struct Walk {
    prefix: [u8; PREFIX_BYTES],
    prefix_bytes: usize,
    /// Bytes of the present message that have not passed.
    missing: usize,
}

impl Walk {
    /// Returns how many messages begin in these bytes, and how long they are.
    fn pass(&mut self, mut data: &[u8]) -> (u64, u64) {
        let (mut messages, mut bytes) = (0, 0);
        while !data.is_empty() {
            let skipped = self.missing.min(data.len());
            self.missing -= skipped;
            data = &data[skipped..];
            let wanted = (PREFIX_BYTES - self.prefix_bytes).min(data.len());
            let (part, rest) = data.split_at(wanted);
            self.prefix[self.prefix_bytes..self.prefix_bytes + wanted].copy_from_slice(part);
            self.prefix_bytes += wanted;
            data = rest;
            if self.prefix_bytes == PREFIX_BYTES {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length);
                (self.prefix_bytes, self.missing) = (0, length as usize);
                messages += 1;
                bytes += u64::from(length);
            }
        }
        (messages, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::BodyExt as _;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let message = |bytes: u8| [&[0, 0, 0, 0, bytes][..], &vec![7; usize::from(bytes)]].concat();
        let all = [message(0), message(3), message(200), message(0)].concat();
        for piece in 1..=all.len() {
            let mut walk = Walk::default();
            let passed = all.chunks(piece).map(|data| walk.pass(data));
            let sum = passed.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            assert_eq!(sum, (4, 203), "in pieces of {piece} bytes");
        }
    }

    /// The codes that puts have ended with after a response was sent, or dropped.
    async fn handled(response: Response<Body>, is_read: bool) -> String {
        let metrics = Arc::new(Metrics::new(false));
        let counted = count(Call::begin(&metrics, "/etcdserverpb.KV/Put"), response);
        if is_read {
            drop(counted.into_body().collect().await);
        } else {
            drop(counted);
        }
        let codes = metrics.rpcs.codes("/etcdserverpb.KV/Put");
        codes.join(" ")
    }

    #[tokio::test]
    async fn a_call_ends_with_its_status_wherever_that_is() {
        let refused = || Status::resource_exhausted("full").into_http();
        assert_eq!(handled(refused(), true).await, "ResourceExhausted=1");
        assert_eq!(handled(refused(), false).await, "ResourceExhausted=1");
        let mut trailers = http::HeaderMap::new();
        trailers.insert(STATUS, http::HeaderValue::from_static("0"));
        let body = || {
            let body = http_body_util::Full::new(Bytes::from_static(&[0; PREFIX_BYTES]));
            let trailers = trailers.clone();
            Body::new(body.with_trailers(async move { Some(Ok(trailers)) }))
        };
        assert_eq!(handled(Response::new(body()), true).await, "OK=1");
        assert_eq!(handled(Response::new(body()), false).await, "Canceled=1");
    }
}
