//! The peer listener: one task per connection.
//!
//! A connection that idles or sends its request head slowly is closed; one that stops to read
//! what it asked for fails its write deadline.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::Transport;
use super::io::Deadlined;
use super::{id_text, limits};
use crate::record;

/// Pause after an accept that failed, for instance because no file descriptor was left.
const ACCEPT_RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Serves the peers that connect to `listener` until `shutdown` resolves, then closes their
/// connections.
pub async fn serve(
    listener: TcpListener,
    transport: Arc<Transport>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < limits::CONNECTIONS => {
                // Without it only latency suffers.
                stream.set_nodelay(true).ok();
                connections.spawn(serve_connection(stream, Arc::clone(&transport)));
            }
            Ok(_) => log(&transport, "too many connections on the peer listener".to_owned()),
            Err(error) => {
                log(&transport, error.to_string());
                tokio::time::sleep(ACCEPT_RETRY_INTERVAL).await;
            }
        }
    }
}

/// Serves one connection until it is closed. The byte stream may be TCP, or TLS above it.
pub async fn serve_connection<T>(io: T, transport: Arc<Transport>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Deadlined::writes(io, limits::IO_DEADLINE));
    let service = service_fn(|request| {
        let transport = Arc::clone(&transport);
        async move { Ok::<_, Infallible>(transport.handle(request).await) }
    });
    // A connection that breaks is the business of whoever used it: a stream reports its own loss.
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_DEADLINE)
        .title_case_headers(true)
        .serve_connection(io, service)
        .await
        .ok();
}

fn log(transport: &Transport, error: String) {
    let shared = &transport.shared;
    shared.log(&record!(
        Warn, "rejected connection on peer endpoint",
        "local-member-id" => id_text(shared.options.node_id),
        "error" => error,
    ));
}
