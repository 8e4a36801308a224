//! Streams of messages in both directions, opened over one connection.
//!
//! - Requests come from a bounded queue; the stream is half closed when its sender is dropped.
//! - The stream reports a connection that is lost as its last item.
//!
//! Not here: what to do when a stream ends (see `watch` and `lease`).

use std::pin::Pin;

use futures_util::TryFutureExt as _;
use futures_util::stream::{Stream, poll_fn};
use http::uri::PathAndQuery;
use prost::Message;
use quoin_api::error::Error as Known;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use crate::call::{announced, is_untaken};
use crate::connection::Connection;
use crate::{Client, Error};

/// How many requests may wait to be sent over one stream.
pub(crate) const REQUESTS_WAITING: usize = 16;

/// What a server sends.
pub(crate) type Inbound<Resp> = Pin<Box<dyn Stream<Item = Result<Resp, Status>> + Send>>;

impl Client {
    /// Opens a stream, which the server ends when it loses its leader if that is required. Nothing is
    /// sent before the stream is read.
    pub(crate) fn open<Req, Resp>(
        &self,
        connection: Connection,
        path: &'static str,
        mut requests: mpsc::Receiver<Req>,
        requires_leader: bool,
    ) -> Inbound<Resp>
    where
        Req: Message + 'static,
        Resp: Message + Default + 'static,
    {
        let mut request = announced(poll_fn(move |cx| requests.poll_recv(cx)));
        if requires_leader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let mut grpc = self.grpc(connection);
        let opened = async move {
            let codec: ProstCodec<Req, Resp> = ProstCodec::default();
            let path = PathAndQuery::from_static(path);
            Ok(grpc.streaming(request, path, codec).await?.into_inner())
        };
        Box::pin(opened.try_flatten_stream())
    }
}

/// Why a stream ended, or what it failed with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Another try may help.
    Lost,
    /// It would fail again.
    Halted(Error),
}

impl Broken {
    pub(crate) fn new(status: Status) -> Self {
        if is_untaken(&status) {
            return Self::Lost;
        }
        let error = Error::from(status);
        let passes = matches!(error.code(), Some(Code::Unavailable | Code::Internal));
        if passes && error != Error::Server(Known::NoLeader) {
            return Self::Lost;
        }
        Self::Halted(error)
    }
}
