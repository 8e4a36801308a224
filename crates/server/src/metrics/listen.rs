//! The listeners of `--listen-metrics-urls`: `/metrics` and `/health` over plain HTTP/1, on a
//! thread of their own, so that they answer while clients keep the others busy.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Exporter;
use crate::http as endpoints;
use crate::log;

/// Connections at once; one more is closed at once.
const CONNECTIONS_MAX: usize = 128;
/// How long a request head may take, and a connection may idle.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failed accept, for instance because no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The thread that serves the listeners.
#[derive(Debug)]
pub(crate) struct Listening {
    thread: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Listening {
    /// Serves the listeners, each with the URL that was given for it.
    pub(crate) fn start(
        listeners: Vec<(String, TcpListener)>,
        exporter: &Exporter,
    ) -> io::Result<Option<Self>> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let exporter = Arc::new(exporter.clone());
        let body = move || runtime.block_on(serve_all(listeners, exporter, stopped));
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(body)?;
        Ok(Some(Self { thread, stop }))
    }

    /// Ends all connections.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            log::warn!("the metrics thread panicked");
        }
    }
}

async fn serve_all(
    listeners: Vec<(String, TcpListener)>,
    exporter: Arc<Exporter>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut serving = JoinSet::new();
    for (url, listener) in listeners {
        log::info!("serving metrics", "address" => url.clone());
        let exporter = Arc::clone(&exporter);
        serving.spawn(async move {
            if let Err(error) = serve(listener, exporter).await {
                log::error!("stopped serving metrics", "address" => url,
                    "error" => error.to_string());
            }
        });
    }
    // What is under way ends with the runtime.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn serve(listener: TcpListener, exporter: Arc<Exporter>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < CONNECTIONS_MAX => {
                let exporter = Arc::clone(&exporter);
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let exporter = Arc::clone(&exporter);
                        async move {
                            Ok::<_, Infallible>(endpoints::handle_metrics(exporter, request).await)
                        }
                    });
                    let connection = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEADER_READ_TIMEOUT)
                        .serve_connection(TokioIo::new(stream), service);
                    // A client that goes away is no news.
                    connection.await.ok();
                });
            }
            Ok(_) => log::warn!("too many connections to a metrics listener"),
            Err(error) => {
                log::warn!("failed to accept a connection", "error" => error.to_string());
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
