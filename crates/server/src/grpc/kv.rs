//! The KV service.

use std::pin::Pin;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::kv_server::Kv;
use quoin_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse,
    InternalRaftRequest, PutRequest, PutResponse, RangeRequest, RangeResponse, RangeStreamResponse,
    ResponseHeader, TxnRequest, TxnResponse,
};
use quoin_store::{
    Reply as Applied, check_delete, check_put, check_range, check_range_stream, check_txn,
    is_txn_readonly, is_txn_serializable,
};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::range_stream::RangeChunks;
use super::{Reply, Services};

#[tonic::async_trait]
impl Kv for Services {
    async fn range(&self, request: Request<RangeRequest>) -> Reply<RangeResponse> {
        let request = request.into_inner();
        check_range(&request)?;
        if !request.serializable {
            self.member.linearize().await?;
        }
        let mut response = self.member.view().range(&request)?;
        self.member.fill(&mut response.header);
        Ok(Response::new(response))
    }

    type RangeStreamStream =
        Pin<Box<dyn Stream<Item = Result<RangeStreamResponse, Status>> + Send + 'static>>;

    async fn range_stream(&self, request: Request<RangeRequest>) -> Reply<Self::RangeStreamStream> {
        let request = request.into_inner();
        check_range_stream(&request)?;
        let chunks = RangeChunks::new(&self.member, request);
        if !chunks.serializable() {
            self.member.linearize().await?;
        }
        let stream = chunks.over(self.member.view());
        Ok(Response::new(Box::pin(tokio_stream::iter(stream))))
    }

    async fn put(&self, request: Request<PutRequest>) -> Reply<PutResponse> {
        let request = request.into_inner();
        check_put(&request)?;
        let internal = InternalRaftRequest { put: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            Applied::Put(response) => self.respond(response, |r| &mut r.header),
            other => Err(unexpected(&other)),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Reply<DeleteRangeResponse> {
        let request = request.into_inner();
        check_delete(&request)?;
        let internal = InternalRaftRequest { delete_range: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            Applied::DeleteRange(response) => self.respond(response, |r| &mut r.header),
            other => Err(unexpected(&other)),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Reply<TxnResponse> {
        let request = request.into_inner();
        check_txn(&request, self.member.limits.txn_ops)?;
        if is_txn_readonly(&request) {
            if !is_txn_serializable(&request) {
                self.member.linearize().await?;
            }
            let response = self.member.view().txn_readonly(&request)?;
            return self.respond(response, |r| &mut r.header);
        }
        let internal = InternalRaftRequest { txn: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            Applied::Txn(response) => self.respond(response, |r| &mut r.header),
            other => Err(unexpected(&other)),
        }
    }

    async fn compact(&self, request: Request<CompactionRequest>) -> Reply<CompactionResponse> {
        let request = request.into_inner();
        let internal = InternalRaftRequest { compaction: Some(request), ..Default::default() };
        match self.apply(internal).await? {
            Applied::Compaction(response) => self.respond(response, |r| &mut r.header),
            other => Err(unexpected(&other)),
        }
    }
}

impl Services {
    /// Proposes a request; returns what its entry returned when it was applied here.
    pub(super) async fn apply(&self, request: InternalRaftRequest) -> Result<Applied, Error> {
        self.member.propose(request).await?.result
    }

    /// Fills the header of a response and sends it.
    pub(super) fn respond<T>(
        &self,
        mut response: T,
        header: fn(&mut T) -> &mut Option<ResponseHeader>,
    ) -> Reply<T> {
        self.member.fill(header(&mut response));
        Ok(Response::new(response))
    }
}

/// Reports an answer of another kind than the request's, which no entry can give.
pub(super) fn unexpected(reply: &Applied) -> Status {
    Status::internal(format!("etcdserver: the request was answered with {reply:?}"))
}
