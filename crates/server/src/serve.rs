//! The client port: HTTP/1 and HTTP/2 on one socket, gRPC and the plain endpoints behind it.
//!
//! Each network thread has one event loop and owns its connections. One of them accepts and deals
//! the sockets out in turn.
//!
//! Invariants:
//! - A connection lives and ends on one thread.
//! - Streams per connection and bytes per request are bounded by the configuration; connections, and
//!   bytes of requests that are not whole, are bounded here and in `grpc::unfinished`.

mod connection;
mod http2;
mod opened;
mod parked;
mod places;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Incoming};
use quoin_api::etcdserverpb::cluster_server::ClusterServer;
use quoin_api::etcdserverpb::kv_server::KvServer;
use quoin_api::etcdserverpb::lease_server::LeaseServer;
use quoin_api::etcdserverpb::maintenance_server::MaintenanceServer;
use quoin_api::healthpb::health_server::HealthServer;
use quoin_front::{Head, KeepAliveTimes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tonic::Status;
use tonic::body::Body;

use crate::config::Config;
use crate::grpc::call::Messages;
use crate::grpc::health::Health;
use crate::grpc::stats::Remote;
use crate::grpc::unary::Answered;
use crate::grpc::unfinished::{Charged, OnConnection, Unfinished};
use crate::grpc::{Services, admission, call, counted, unary, watch as watching};
use crate::http as endpoints;
use crate::lane::Lane;
use crate::log;
use crate::member::Member;
use crate::metrics::{Call, Exporter};
use crate::v2::{V2, take_watching};
use crate::vital::{self, AbortOnPanic};
use places::{Place, Places};

/// Bytes that a message may have beyond the largest request, as in etcd.
const MESSAGE_OVERHEAD_BYTES: usize = 512 << 10;
/// Connections that may wait to be dealt out to a thread.
const DEALT_MAX: usize = 1024;
/// Calls under way on one connection, if the configuration allows more.
const STREAMS_MAX: u32 = 1 << 17;
/// The pause after a failed accept, which doubles from the first to the last.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(5);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Everything that answers on the client port.
#[derive(Clone)]
pub(crate) struct Front {
    services: Arc<Services>,
    kv: KvServer<Services>,
    cluster: ClusterServer<Services>,
    lease: LeaseServer<Services>,
    maintenance: MaintenanceServer<Services>,
    health: HealthServer<Health>,
    watch: Arc<watching::Shard>,
    exporter: Arc<Exporter>,
    v2: Arc<V2>,
    member: Arc<Member>,
    config: Arc<Config>,
    message_bytes: usize,
    streams_max: u32,
    keep_alive: KeepAliveTimes,
    unfinished: Arc<Unfinished>,
}

type UnaryAnswer = Pin<Box<dyn Future<Output = Answered> + Send>>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Front {
    pub(crate) fn new(
        services: Services,
        exporter: Exporter,
        v2: Arc<V2>,
        config: &Config,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let bytes = services.member.limits.request_bytes + MESSAGE_OVERHEAD_BYTES;
        let unfinished = Arc::new(Unfinished::new(bytes));
        services.member.metrics.show_unfinished(&unfinished);
        Self {
            watch: Arc::new(watching::Shard::new(&services.member, config)),
            exporter: Arc::new(exporter),
            v2,
            member: Arc::clone(&services.member),
            config: Arc::clone(&services.config),
            services: Arc::new(services.clone()),
            kv: KvServer::new(services.clone()).max_decoding_message_size(bytes),
            cluster: ClusterServer::new(services.clone()).max_decoding_message_size(bytes),
            lease: LeaseServer::new(services.clone()).max_decoding_message_size(bytes),
            maintenance: MaintenanceServer::new(services).max_decoding_message_size(bytes),
            health: HealthServer::new(Health::new(stopped)).max_decoding_message_size(bytes),
            message_bytes: bytes,
            streams_max: config.max_concurrent_streams.min(STREAMS_MAX),
            keep_alive: http2::times(config),
            unfinished,
        }
    }

    /// Returns a front for one thread, which has watch streams of its own.
    fn for_thread(&self) -> Self {
        let watch = Arc::new(watching::Shard::new(&self.member, &self.config));
        self.member.metrics.add_shard(&watch);
        Self { watch, ..self.clone() }
    }
}

impl hyper::service::Service<Request<Incoming>> for Front {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.answer(request)
    }
}

impl Front {
    /// Answers a call that is one message each way, if it is a usual one: what is refused before its
    /// handler, and what is compressed, takes the general way.
    fn unary<B>(
        &self,
        head: &Head,
        body: B,
        on_connection: &Arc<OnConnection>,
        remote: Option<Remote>,
    ) -> Result<UnaryAnswer, B>
    where
        B: HttpBody<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (path, headers) = (head.path.as_str(), &head.headers);
        let Some(method) = unary::Method::of(path) else { return Err(body) };
        let is_usual = call::is_grpc_type(headers) && head.method == http::Method::POST;
        let deadline = call::usual_deadline(headers).filter(|_| is_usual);
        let Some(deadline) = deadline else { return Err(body) };
        if admission::admit(&self.member, path, headers).is_err() {
            return Err(body);
        }
        let metrics = &self.member.metrics;
        let rpc = Call::begin(metrics, path);
        metrics.clients.count(headers, false);
        let received = rpc.as_ref().map(Call::received);
        let messages = Messages::new(body, self.message_bytes)
            .counted_by(received)
            .charged_to(Some(Arc::clone(on_connection)))
            .unary();
        let call = unary::UnaryCall {
            services: Arc::clone(&self.services),
            method,
            messages,
            deadline,
            rpc,
            remote,
        };
        Ok(Box::pin(call.answer()))
    }

    /// Answers a request of any protocol.
    fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: HttpBody<Data = Bytes> + Send + Sync + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Display,
    {
        let path = request.uri().path();
        if !call::is_grpc(&request) {
            let (exporter, v2) = (Arc::clone(&self.exporter), Arc::clone(&self.v2));
            return Box::pin(async move {
                let connection = request.extensions().get::<Arc<OnConnection>>().cloned();
                let mut response = match connection {
                    Some(connection) => {
                        let request = request.map(|body| Charged::new(body, &connection));
                        endpoints::handle(exporter, v2, request).await
                    }
                    None => endpoints::handle(exporter, v2, request).await,
                };
                let watching = take_watching(&mut response);
                Ok(match watching {
                    Some(watching) => response.map(|_| Body::new(watching)),
                    None => response,
                })
            });
        }
        let metrics = &self.member.metrics;
        let rpc = Call::begin(metrics, path);
        if let Some(rpc) = &rpc {
            metrics.clients.count(request.headers(), rpc.is_stream());
        }
        if let Err(error) = admission::admit(&self.member, path, request.headers()) {
            let refused = counted::count(rpc, Status::from(error).into_http());
            return Box::pin(async move { Ok(refused) });
        }
        let terms = (self.message_bytes, rpc);
        let config = Arc::clone(&self.config);
        match path.rsplit_once('/').map_or("", |(service, _)| service) {
            "/etcdserverpb.KV" => Box::pin(call::call(self.kv.clone(), request, terms, config)),
            "/etcdserverpb.Cluster" => {
                Box::pin(call::call(self.cluster.clone(), request, terms, config))
            }
            "/etcdserverpb.Lease" => {
                Box::pin(call::call(self.lease.clone(), request, terms, config))
            }
            "/etcdserverpb.Maintenance" => {
                Box::pin(call::call(self.maintenance.clone(), request, terms, config))
            }
            "/etcdserverpb.Watch" => {
                let response = watching::call(&self.watch, request, terms);
                Box::pin(async move { Ok(response) })
            }
            "/grpc.health.v1.Health" => {
                Box::pin(call::call(self.health.clone(), request, terms, config))
            }
            _ => {
                let response = counted::count(terms.1, call::unknown_service(path));
                Box::pin(async move { Ok(response) })
            }
        }
    }
}

/// The threads of the client port.
#[derive(Debug)]
pub(crate) struct Network {
    threads: Vec<thread::JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Network {
    /// Serves `front` on the listeners with this many threads, until `stop` is told that it is true.
    pub(crate) fn start(
        listeners: Vec<std::net::TcpListener>,
        front: &Front,
        threads: usize,
        stop: watch::Sender<bool>,
    ) -> io::Result<Self> {
        let stopped = stop.subscribe();
        let places = Places::new(&front.member.metrics);
        let mut queues = Vec::new();
        let mut handles = Vec::new();
        for number in 0..threads.max(1) {
            let (sender, dealt) = mpsc::channel(DEALT_MAX);
            queues.push(sender);
            let (front, stopped) = (front.for_thread(), stopped.clone());
            handles.push(spawn(number, move || serve_dealt(dealt, front, stopped))?);
        }
        let (next, stopped) = (queues, stopped);
        handles.push(spawn(threads, move || accept_all(listeners, next, places, stopped))?);
        Ok(Self { threads: handles, stop })
    }

    /// Stops accepting, gives calls under way a little time, and waits for the threads.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        for handle in self.threads {
            // A panic of one has already ended the process.
            handle.join().expect("a network thread does not unwind");
        }
    }
}

fn spawn<F>(
    number: usize,
    body: impl FnOnce() -> F + Send + 'static,
) -> io::Result<thread::JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("network-{number}");
    thread::Builder::new().name(name).spawn(move || {
        // Connections that wait for this thread, or are dealt out by it, would wait for ever.
        let _abort = AbortOnPanic;
        runtime.block_on(body());
    })
}

/// Accepts on all listeners until the stop, and deals the sockets out in turn.
async fn accept_all(
    listeners: Vec<std::net::TcpListener>,
    queues: Vec<mpsc::Sender<Dealt>>,
    places: Places,
    stopped: watch::Receiver<bool>,
) {
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let (queues, places, stopped) = (queues.clone(), places.clone(), stopped.clone());
        accepting.spawn(async move {
            let _abort = AbortOnPanic;
            let address = listener.local_addr();
            if let Err(error) = accept(listener, queues, places, stopped).await {
                log::error!("stopped accepting client connections",
                    "address" => format!("{address:?}"), "error" => error.to_string());
            }
        });
    }
    while accepting.join_next().await.is_some() {}
}

async fn accept(
    listener: std::net::TcpListener,
    queues: Vec<mpsc::Sender<Dealt>>,
    places: Places,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut turn = 0;
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return Ok(()),
        };
        match accepted {
            Ok((stream, _)) => {
                pause = ACCEPT_PAUSE_MIN;
                // Dropping the socket ends the connection: the client learns at once that it must
                // go elsewhere, which it would not in the queue of the listener.
                let Some(place) = places.take() else { continue };
                turn = (turn + 1) % queues.len();
                // The threads end after the accept loops, so the queue is open.
                drop(queues[turn].send(Dealt { stream: stream.into_std()?, place }).await);
            }
            Err(error) if is_transient(&error) => {
                log::warn!("failed to accept a client connection", "error" => error.to_string());
                // Out of file descriptors: connections must end before more can begin.
                tokio::time::sleep(pause).await;
                pause = ACCEPT_PAUSE_MAX.min(pause * 2);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns true for errors of one connection, or of a moment, that do not end the listener.
fn is_transient(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected)
}

/// A connection that is dealt out to a thread.
struct Dealt {
    stream: std::net::TcpStream,
    place: Place,
}

/// Serves the connections dealt to this thread until the stop, and a little longer.
async fn serve_dealt(
    mut dealt: mpsc::Receiver<Dealt>,
    front: Front,
    stopped: watch::Receiver<bool>,
) {
    let front = Arc::new(front);
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = stopped.clone();
    vital::spawn(Arc::clone(&front.watch).run(stopped.clone()));
    vital::spawn(Lane::of_this_thread().run());
    loop {
        let next = tokio::select! {
            next = dealt.recv() => next,
            _ = stop.changed() => None,
        };
        let Some(Dealt { stream, place }) = next else { break };
        let stream = stream.set_nodelay(true).and_then(|()| TcpStream::from_std(stream));
        match stream {
            Ok(stream) => {
                let front = Arc::clone(&front);
                let served = connection::serve(stream, front, stopped.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => log::debug!("lost a client connection", "error" => error.to_string()),
        }
        while connections.try_join_next().is_some() {}
    }
    while connections.join_next().await.is_some() {}
}
