//! The health service of gRPC, as etcd registers it: one service, the server as a whole, which
//! serves as long as it answers at all.
//!
//! Whether a member has a leader or an alarm is not said here (`http`, `/health`): load balancers
//! would take all members of a cluster away at once.

use std::collections::BTreeMap;
use std::pin::Pin;

use futures_util::StreamExt as _;
use futures_util::stream;
use quoin_api::error::Error;
use quoin_api::healthpb::health_check_response::ServingStatus;
use quoin_api::healthpb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_server::Health as Service,
};
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::Reply;

/// The name of the server as a whole.
const SERVER: &str = "";

/// The handlers of the service.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// True when the member stops.
    stopped: watch::Receiver<bool>,
}

impl Health {
    /// Returns handlers whose streams end when `stopped` becomes true.
    pub(crate) fn new(stopped: watch::Receiver<bool>) -> Self {
        Self { stopped }
    }
}

#[tonic::async_trait]
impl Service for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Reply<HealthCheckResponse> {
        match status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("unknown service")),
            known @ (ServingStatus::Unknown
            | ServingStatus::Serving
            | ServingStatus::NotServing) => Ok(Response::new(response(known))),
        }
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Reply<HealthListResponse> {
        let statuses = BTreeMap::from([(SERVER.to_owned(), response(status(SERVER)))]);
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Reply<Self::WatchStream> {
        // A service that is unknown may be registered later, so its stream stays open.
        let first = response(status(&request.get_ref().service));
        let mut stopped = self.stopped.clone();
        let end = stream::once(async move {
            stopped.wait_for(|stopped| *stopped).await.ok();
            Err(Error::Stopped.into())
        });
        Ok(Response::new(Box::pin(stream::iter([Ok(first)]).chain(end))))
    }
}

fn status(service: &str) -> ServingStatus {
    if service == SERVER { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}
