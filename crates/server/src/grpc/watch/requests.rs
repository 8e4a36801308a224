//! The requests of a stream, read from the body of its call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::Body as HttpBody;
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::WatchRequest;
use tonic::Status;

use crate::grpc::call::{Messages, PREFIX_BYTES};
use crate::grpc::encoding::{Encoding, Inflated};
use crate::grpc::unfinished::OnConnection;
use crate::metrics::Received;

/// Reads one request after the other.
pub(super) struct Requests<B> {
    messages: Inflated<Messages<B>>,
    /// The present message, as far as it was handed over.
    held: BytesMut,
}

impl<B> Requests<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(
        body: B,
        limit: usize,
        encoding: Encoding,
        received: Option<Received>,
        connection: Option<Arc<OnConnection>>,
    ) -> Self {
        let messages = Messages::new(body, limit).encoded(encoding).counted_by(received.clone());
        let messages = messages.charged_to(connection);
        let messages = Inflated::new(messages, encoding, limit, received);
        Self { messages, held: BytesMut::new() }
    }

    /// Returns the next request; nothing when the client has closed its side.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchRequest, Status>>> {
        loop {
            if let Some(request) = self.next() {
                return Poll::Ready(Some(request));
            }
            match ready!(Pin::new(&mut self.messages).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.held.extend_from_slice(&bytes);
                    }
                }
                Some(Err(error)) => return Poll::Ready(end(error)),
                None => return Poll::Ready(None),
            }
        }
    }

    /// Decodes the first message, if it is here as a whole.
    fn next(&mut self) -> Option<Result<WatchRequest, Status>> {
        let prefix = self.held.first_chunk::<PREFIX_BYTES>()?;
        let [_, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).ok()?;
        if self.held.len() - PREFIX_BYTES < length {
            return None;
        }
        self.held.advance(PREFIX_BYTES);
        let message = self.held.split_to(length);
        Some(WatchRequest::decode(message).map_err(|error| {
            Status::internal(format!("grpc: error unmarshalling request: {error}"))
        }))
    }
}

/// Returns how the stream ends after its body has failed.
fn end(error: Box<dyn std::error::Error + Send + Sync>) -> Option<Result<WatchRequest, Status>> {
    match error.downcast::<Status>() {
        // A client that asks nothing and closes its side goes on listening, as in etcd.
        Ok(status) if status.message() == "EOF" => None,
        Ok(status) => Some(Err(*status)),
        // The client has gone.
        Err(_) => Some(Err(Error::WatchCanceled.into())),
    }
}
