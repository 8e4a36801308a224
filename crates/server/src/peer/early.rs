//! Answers on the peer port before this member knows what it is.
//!
//! Members that start together ask each other whether they have run before, while none of them
//! serves yet. A question to a port that is bound and not served waits for its time limit; an
//! answer that says "not yet" costs nothing. So somebody answers until the transport does.
//!
//! Not here: any answer with content.

use std::convert::Infallible;
use std::future::pending;

use futures_util::future::join_all;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::answer::{PeerBody, text_response};
use super::limits;

/// Answers everybody that this member is starting. Never ends; dropped, it closes its connections.
pub async fn answer_early(listeners: Vec<TcpListener>) -> Infallible {
    join_all(listeners.iter().map(answer_on)).await;
    pending().await
}

async fn answer_on(listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) if connections.len() < limits::CONNECTIONS => {
                connections.spawn(answer_one(stream));
            }
            Ok(_) => {}
            // The transport will see the same and say it.
            Err(_) => return,
        }
    }
}

async fn answer_one(stream: TcpStream) {
    let service = service_fn(|_| async { Ok::<_, Infallible>(starting()) });
    // Whoever breaks the connection off asks again.
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_DEADLINE)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

fn starting() -> Response<PeerBody> {
    let mut response = text_response(StatusCode::SERVICE_UNAVAILABLE, "this member is starting");
    // The next question is for the transport.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
