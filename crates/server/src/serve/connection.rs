//! One connection from its first byte to its last.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tonic::body::Body;

use super::opened::{Opened, Protocol};
use super::parked::{self, Parked, Parking};
use super::{Answer, Front, http2};
use crate::grpc::call;
use crate::grpc::stats::Remote;
use crate::grpc::unfinished::OnConnection;
use crate::http as endpoints;
use crate::log;
use crate::v2::take_watching;

/// How long calls under way may take when the member stops. Their answers are there by then; what
/// is left are clients that do not finish a request or do not read.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How long a client may take until its protocol is known.
const OPENING_TIME_MAX: Duration = Duration::from_secs(30);
/// How long an HTTP/1 client may take for its headers.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

type Stopped = watch::Receiver<bool>;

/// Serves a connection until it ends, or until the stop and a little longer.
pub(super) async fn serve(stream: TcpStream, front: Arc<Front>, mut stopped: Stopped) {
    let begun = tokio::select! {
        begun = tokio::time::timeout(OPENING_TIME_MAX, Opened::begin(stream)) => begun,
        _ = stopped.changed() => return,
    };
    let Ok(begun) = begun else { return ended("the client has not said anything") };
    match begun {
        Ok(Some((opened, Protocol::Http1))) => serve_http1(opened, front, stopped).await,
        // What is kept for a protocol is made only once it is known.
        Ok(Some((opened, Protocol::Http2))) => Box::pin(serve_http2(opened, front, stopped)).await,
        Ok(None) => {}
        Err(error) => ended(&error.to_string()),
    }
}

fn ended(error: &str) {
    log::debug!("a client connection ended", "error" => error.to_owned());
}

async fn serve_http2(opened: Opened, front: Arc<Front>, mut stopped: Stopped) {
    let mut driver = http2::Driver::new(opened, front);
    let end = tokio::select! {
        end = driver.run() => Some(end),
        _ = stopped.changed() => None,
    };
    let end = match end {
        Some(end) => end,
        None => {
            driver.shut_down();
            match tokio::time::timeout(STOP_GRACE, driver.run()).await {
                Ok(end) => end,
                Err(_) => return log::debug!("cut off a client connection"),
            }
        }
    };
    if let Err(error) = end {
        ended(&error.to_string());
    }
}

/// Serves requests of HTTP/1, and the waiting ones without the library.
async fn serve_http1(opened: Opened, front: Arc<Front>, mut stopped: Stopped) {
    let mut opened = opened;
    loop {
        let next = Box::pin(serve_library(opened, Arc::clone(&front), stopped.clone()));
        let Some((parked, stream, read)) = next.await else { return };
        let resumed = tokio::select! {
            resumed = parked.run(stream, read) => resumed,
            () = past_stop(&mut stopped) => None,
        };
        let Some((stream, read)) = resumed else { return };
        if *stopped.borrow() {
            return;
        }
        opened = Opened::new(stream, read);
    }
}

/// Ends a little after the stop.
async fn past_stop(stopped: &mut Stopped) {
    stopped.wait_for(|stopped| *stopped).await.ok();
    tokio::time::sleep(STOP_GRACE).await;
}

type Library = http1::Connection<TokioIo<Opened>, ParkingFront>;

/// Lets the library serve a connection. Returns it, with what was read of the next request, when the
/// answer to a request begins to wait.
async fn serve_library(
    opened: Opened,
    front: Arc<Front>,
    mut stopped: Stopped,
) -> Option<(Parked, TcpStream, Bytes)> {
    let has_unsent = opened.unsent_flag();
    let parking = Arc::new(Parking::default());
    let on_connection = front.unfinished.connection();
    let front = ConnectionFront { front, on_connection, remote: None };
    let service = ParkingFront { front, parking: Arc::clone(&parking) };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .title_case_headers(true);
    let mut connection = builder.serve_connection(TokioIo::new(opened), service);
    let driven = poll_fn(|context| {
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(context) {
            return Poll::Ready(Err(end));
        }
        parking.take(&has_unsent).map_or(Poll::Pending, |parked| Poll::Ready(Ok(parked)))
    });
    let driven = tokio::select! {
        driven = driven => driven,
        _ = stopped.changed() => {
            finish(connection).await;
            return None;
        }
    };
    match driven {
        Ok(parked) => {
            let parts = connection.into_parts();
            let (stream, unread) = parts.io.into_inner().into_parts();
            let read = [parts.read_buf, unread].concat();
            Some((parked, stream, Bytes::from(read)))
        }
        Err(Ok(())) => None,
        Err(Err(error)) => {
            ended(&error.to_string());
            None
        }
    }
}

/// Gives the request under way its time after the stop.
async fn finish(mut connection: Library) {
    Pin::new(&mut connection).graceful_shutdown();
    match tokio::time::timeout(STOP_GRACE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => ended(&error.to_string()),
        Err(_) => log::debug!("cut off a client connection"),
    }
}

/// Everything that answers, for the requests of one connection.
struct ConnectionFront {
    front: Arc<Front>,
    on_connection: Arc<OnConnection>,
    remote: Option<Remote>,
}

impl Service<Request<Incoming>> for ConnectionFront {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, mut request: Request<Incoming>) -> Answer {
        request.extensions_mut().insert(Arc::clone(&self.on_connection));
        if let Some(remote) = self.remote {
            request.extensions_mut().insert(remote);
        }
        self.front.call(request)
    }
}

/// The same for a connection that can be taken from the library.
struct ParkingFront {
    front: ConnectionFront,
    parking: Arc<Parking>,
}

impl Service<Request<Incoming>> for ParkingFront {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        if call::is_grpc(&request) || !parked::may_park(&request) {
            return self.front.call(request);
        }
        let Front { exporter, v2, .. } = &*self.front.front;
        let (exporter, v2) = (Arc::clone(exporter), Arc::clone(v2));
        let parking = Arc::clone(&self.parking);
        Box::pin(async move {
            let mut response = endpoints::handle(exporter, v2, request).await;
            let Some(watching) = take_watching(&mut response) else { return Ok(response) };
            let (head, _) = response.into_parts();
            match parking.offer(head, watching).await {
                Some((head, watching)) => Ok(Response::from_parts(head, Body::new(watching))),
                // The connection is taken, and this request with it.
                None => std::future::pending().await,
            }
        })
    }
}
