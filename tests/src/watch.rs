//! One watch stream, as a client has it: requests out, responses in, nothing in between.

use std::time::Duration;

use quoin_api::etcdserverpb::watch_client::WatchClient;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// Largest response that these tests take.
const MAX_RESPONSE_BYTES: usize = 256 << 20;
/// Requests that may wait to be sent.
const REQUESTS_MAX: usize = 1024;

/// An open stream.
#[derive(Debug)]
pub struct WatchStream {
    requests: Option<mpsc::Sender<WatchRequest>>,
    responses: Streaming<WatchResponse>,
}

impl WatchStream {
    /// Opens a stream with its first request; a server may be silent until it has one.
    ///
    /// # Errors
    /// If the server refuses the stream.
    pub async fn open(channel: Channel, first: WatchCreateRequest) -> Result<Self, Status> {
        Self::open_with(channel, first, &[]).await
    }

    /// The same with headers.
    ///
    /// # Errors
    /// If the server refuses the stream.
    ///
    /// # Panics
    /// If a value cannot be one of a header.
    pub async fn open_with(
        channel: Channel,
        first: WatchCreateRequest,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, Status> {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        let first = WatchRequest { request_union: Some(RequestUnion::CreateRequest(first)) };
        sender.try_send(first).expect("an empty channel has room");
        let mut request = Request::new(ReceiverStream::new(receiver));
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().expect("a header value"));
        }
        let mut client = WatchClient::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        let responses = client.watch(request).await?.into_inner();
        Ok(Self { requests: Some(sender), responses })
    }

    /// Asks for a watcher.
    pub async fn create(&self, request: WatchCreateRequest) {
        self.send(RequestUnion::CreateRequest(request)).await;
    }

    /// Cancels a watcher.
    pub async fn cancel(&self, watch_id: i64) {
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id })).await;
    }

    /// Asks for the progress.
    pub async fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {})).await;
    }

    /// Says that no more requests come.
    pub fn close_requests(&mut self) {
        self.requests = None;
    }

    async fn send(&self, union: RequestUnion) {
        let requests = self.requests.as_ref().expect("the requests are not closed");
        let request = WatchRequest { request_union: Some(union) };
        // If the stream has ended, the next response says how.
        drop(requests.send(request).await);
    }

    /// Returns the next response, if one comes in time.
    ///
    /// # Errors
    /// The status that ends the stream; code `Ok` for an end without one.
    pub async fn next(&mut self, within: Duration) -> Result<Option<WatchResponse>, Status> {
        match tokio::time::timeout(within, self.responses.message()).await {
            Ok(Ok(Some(response))) => Ok(Some(response)),
            Ok(Ok(None)) => Err(Status::ok("the stream has ended")),
            Ok(Err(status)) => Err(status),
            Err(_) => Ok(None),
        }
    }
}
