//! Calls of one message each way, without what streams and compression need: the hot path.
//!
//! Invariant: such a call is answered as the general way (`call`) would answer it.
//!
//! Not here: what is refused before a handler.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderValue, Response};
use hyper::body::Body as HttpBody;
use quoin_api::etcdserverpb::kv_server::Kv as _;
use tonic::body::Body;
use tonic::{Request, Status};

use super::call::{Messages, PREFIX_BYTES, message_bytes, within};
use super::large::Held;
use super::stats::Remote;
use super::{Reply, Services, counted, large, ready_made};
use crate::metrics::Call;

/// The methods that are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Range,
    Put,
    DeleteRange,
    Txn,
}

impl Method {
    /// The method at a path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path.strip_prefix("/etcdserverpb.KV/")? {
            "Range" => Some(Self::Range),
            "Put" => Some(Self::Put),
            "DeleteRange" => Some(Self::DeleteRange),
            "Txn" => Some(Self::Txn),
            _ => None,
        }
    }
}

/// The answer to a call.
pub(crate) enum Answered {
    /// A message, and success.
    Message(Message),
    /// Anything else.
    Response(Response<Body>),
}

/// A response message that is whole.
pub(crate) struct Message {
    /// With its prefix.
    bytes: Bytes,
    rpc: Option<Call>,
}

impl Message {
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Counts it. The connection sends it, or ends.
    pub(crate) fn sent(self) {
        if let Some(rpc) = self.rpc {
            rpc.sent(1, (self.bytes.len() - PREFIX_BYTES) as u64);
            rpc.end(Some(b"0"));
        }
    }
}

/// A call that was admitted.
pub(crate) struct UnaryCall<B> {
    pub(crate) services: Arc<Services>,
    pub(crate) method: Method,
    /// The first of them is the request.
    pub(crate) messages: Messages<B>,
    /// The time that the client gives it.
    pub(crate) deadline: Option<Duration>,
    /// What counts it.
    pub(crate) rpc: Option<Call>,
    /// Where the client is, for the log.
    pub(crate) remote: Option<Remote>,
}

impl<B> UnaryCall<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Answers it. It ends at the deadline; what was proposed may still be applied.
    pub(crate) async fn answer(self) -> Answered {
        let Self { services, method, messages, deadline, rpc, remote } = self;
        let handled = handle(&services, method, messages, remote);
        match within(deadline, handled).await.flatten() {
            Ok(Encoded::Small(bytes)) => Answered::Message(Message { bytes, rpc }),
            // It was encoded already, and leaves in pieces that are counted.
            Ok(Encoded::Large(extensions)) => {
                let mut response = Response::new(Body::empty());
                let content_type = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(CONTENT_TYPE, content_type);
                *response.extensions_mut() = extensions;
                let response = ready_made::replace_body(response);
                Answered::Response(large::pace(counted::count(rpc, response)))
            }
            Err(status) => Answered::Response(counted::count(rpc, status.into_http())),
        }
    }
}

/// A response on its way to the client.
enum Encoded {
    /// A message with its prefix.
    Small(Bytes),
    /// One that has a part of the room for large answers, which travels with its bytes.
    Large(Extensions),
}

async fn handle<B>(
    services: &Services,
    method: Method,
    mut messages: Messages<B>,
    remote: Option<Remote>,
) -> Result<Encoded, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let message = only_message(&mut messages).await?;
    match method {
        Method::Range => encoded(services.range(decoded(message, remote)?).await),
        Method::Put => encoded(services.put(decoded(message, remote)?).await),
        Method::DeleteRange => encoded(services.delete_range(decoded(message, remote)?).await),
        Method::Txn => encoded(services.txn(decoded(message, remote)?).await),
    }
}

/// Returns the first message, without its prefix, when the request has ended. Others are passed over.
async fn only_message<B>(messages: &mut Messages<B>) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes> + Send + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut whole: Option<Bytes> = None;
    // Messages are handed on when they are whole, in the pieces in which they came.
    let mut pieces = BytesMut::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *messages).poll_frame(context)).await {
        let Ok(data) = frame.map_err(Status::from_error)?.into_data() else { break };
        if whole.is_some() {
            continue;
        }
        if pieces.is_empty() && message_bytes(&data).is_some_and(|bytes| bytes <= data.len()) {
            whole = Some(data);
        } else {
            pieces.extend_from_slice(&data);
            if message_bytes(&pieces).is_some_and(|bytes| bytes <= pieces.len()) {
                whole = Some(std::mem::take(&mut pieces).freeze());
            }
        }
    }
    let mut message = whole.ok_or_else(|| Status::internal("Missing request message."))?;
    let end = message_bytes(&message).unwrap_or_default();
    message.truncate(end);
    message.advance(PREFIX_BYTES);
    Ok(message)
}

fn decoded<T: prost::Message + Default>(
    message: Bytes,
    remote: Option<Remote>,
) -> Result<Request<T>, Status> {
    let request = T::decode(message).map_err(|error| Status::internal(error.to_string()))?;
    let mut request = Request::new(request);
    if let Some(remote) = remote {
        request.extensions_mut().insert(remote);
    }
    Ok(request)
}

fn encoded<T: prost::Message>(reply: Reply<T>) -> Result<Encoded, Status> {
    let (_, message, extensions) = reply?.into_parts();
    if extensions.get::<Held>().is_some() {
        return Ok(Encoded::Large(extensions));
    }
    ready_made::encode(&message).map(Encoded::Small)
}
