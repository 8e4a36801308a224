//! Watches and renewals against a server whose streams the test plays itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use quoin_api::error::Error as Known;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::{etcdserverpb as pb, mvccpb};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::Code;

use super::connect;
use crate::{Error, Watch};

/// A server that hands each stream to the test.
struct Server {
    endpoint: String,
    streams: mpsc::Receiver<Stream>,
}

/// The server's end of a stream.
struct Stream {
    body: Incoming,
    read: BytesMut,
    frames: mpsc::Sender<Frame<Bytes>>,
    needs_leader: Option<HeaderValue>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let (sender, streams) = mpsc::channel(4);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let sender = sender.clone();
                let service = service_fn(move |request| open(request, sender.clone()));
                let builder = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { endpoint, streams }
    }

    async fn stream(&mut self) -> Stream {
        self.streams.recv().await.unwrap()
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn open(
    request: Request<Incoming>,
    streams: mpsc::Sender<Stream>,
) -> Result<Response<Body>, Infallible> {
    let (frames, mut played) = mpsc::channel::<Frame<Bytes>>(16);
    let needs_leader = request.headers().get("hasleader").cloned();
    let (body, read) = (request.into_body(), BytesMut::new());
    streams.send(Stream { body, read, frames, needs_leader }).await.ok();
    let frames = futures_util::stream::poll_fn(move |cx| played.poll_recv(cx).map(|f| f.map(Ok)));
    let body = BodyExt::boxed(StreamBody::new(frames));
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

impl Stream {
    /// Waits for a message; none when the client has ended its half.
    async fn request<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(head) = self.read.get(..5) {
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if self.read.len() >= 5 + length {
                    self.read.advance(5);
                    return Some(M::decode(self.read.split_to(length)).unwrap());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.read.put(frame.into_data().ok()?);
        }
    }

    async fn created(&mut self, watch_id: i64, revision: i64) -> pb::WatchCreateRequest {
        let request: pb::WatchRequest = self.request().await.unwrap();
        let Some(RequestUnion::CreateRequest(create)) = request.request_union else {
            panic!("{request:?}");
        };
        self.send(&pb::WatchResponse { created: true, ..response(watch_id, revision) }).await;
        create
    }

    async fn send(&self, message: &impl Message) {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
        message.encode(&mut frame).unwrap();
        self.frames.send(Frame::data(frame.freeze())).await.unwrap();
    }

    async fn end(self, code: Code, text: &str) {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", (code as i32).into());
        trailers.insert("grpc-message", text.parse().unwrap());
        self.frames.send(Frame::trailers(trailers)).await.unwrap();
    }
}

fn response(watch_id: i64, revision: i64) -> pb::WatchResponse {
    let header = Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() });
    pb::WatchResponse { header, watch_id, ..pb::WatchResponse::default() }
}

fn event(watch_id: i64, mod_revision: i64) -> pb::WatchResponse {
    let kv = Some(mvccpb::KeyValue { mod_revision, ..mvccpb::KeyValue::default() });
    let events = vec![mvccpb::Event { kv, ..mvccpb::Event::default() }];
    pb::WatchResponse { events, ..response(watch_id, mod_revision) }
}

fn create(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.into(), ..pb::WatchCreateRequest::default() }
}

async fn next_revision(watch: &mut Watch) -> i64 {
    let update = watch.next().await.unwrap();
    assert_eq!(update.error, None);
    update.response.events[0].kv.as_ref().unwrap().mod_revision
}

#[tokio::test]
async fn a_watch_goes_on_when_its_stream_breaks() {
    let mut server = Server::start().await;
    let watcher = connect(&[&server.endpoint]).watcher();
    let (mut one, mut two) = (watcher.watch(create("1")).await, watcher.watch(create("2")).await);
    let mut stream = server.stream().await;
    assert_eq!(stream.needs_leader, Some(HeaderValue::from_static("true")));
    assert_eq!(stream.created(0, 5).await, create("1"));
    assert_eq!(stream.created(1, 5).await, create("2"));
    stream.send(&event(0, 7)).await;
    assert_eq!(next_revision(&mut one).await, 7);
    stream.end(Code::Unavailable, "going away").await;

    let mut stream = server.stream().await;
    assert_eq!(stream.created(4, 9).await.start_revision, 8);
    assert_eq!(stream.created(3, 9).await.start_revision, 6);
    stream.send(&event(3, 8)).await;
    stream.send(&event(4, 9)).await;
    assert_eq!(next_revision(&mut two).await, 8);
    assert_eq!(next_revision(&mut one).await, 9);

    drop(one);
    let request: pb::WatchRequest = stream.request().await.unwrap();
    let cancel = pb::WatchCancelRequest { watch_id: 4 };
    assert_eq!(request.request_union, Some(RequestUnion::CancelRequest(cancel)));
    drop((two, watcher));
    assert_eq!(stream.request::<pb::WatchRequest>().await, None);
}

#[tokio::test]
async fn a_watch_ends_when_its_server_has_no_leader() {
    let mut server = Server::start().await;
    let watcher = connect(&[&server.endpoint]).watcher();
    let mut watch = watcher.watch(create("1")).await;
    let mut stream = server.stream().await;
    stream.created(0, 5).await;
    stream.end(Known::NoLeader.code().into(), Known::NoLeader.message()).await;
    let update = watch.next().await.unwrap();
    assert_eq!(update.error, Some(Error::Server(Known::NoLeader)));
    assert!(watch.next().await.is_none());
    // The watcher is of use still.
    let mut watch = watcher.watch(create("2")).await;
    let mut stream = server.stream().await;
    stream.created(0, 5).await;
    stream.send(&event(0, 6)).await;
    assert_eq!(next_revision(&mut watch).await, 6);
}

/// A watch that nobody reads holds a few updates; the others wait with the server.
#[tokio::test]
async fn a_watch_that_is_not_read_does_not_fill_the_memory() {
    const EVENTS: i64 = 100;
    let mut server = Server::start().await;
    let watcher = connect(&[&server.endpoint]).watcher();
    let mut watch = watcher.watch(create("1")).await;
    let mut stream = server.stream().await;
    stream.created(0, 1).await;
    let large = vec![0; 64 * 1024];
    let mut sent = 0;
    for revision in 2..2 + EVENTS {
        let mut message = event(0, revision);
        message.events[0].kv.as_mut().unwrap().value = large.clone().into();
        let send = stream.send(&message);
        if tokio::time::timeout(std::time::Duration::from_millis(300), send).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < EVENTS, "the server was never made to wait");
    for revision in 2..2 + sent {
        assert_eq!(next_revision(&mut watch).await, revision);
    }
}

#[tokio::test]
async fn a_lease_is_renewed_until_it_is_gone() {
    let mut server = Server::start().await;
    let client = connect(&[&server.endpoint]);
    let mut keep_alive = client.lease_keep_alive(7);
    let answer = |ttl| pb::LeaseKeepAliveResponse { header: None, id: 7, ttl };
    let play = async {
        let mut stream = server.stream().await;
        let request: pb::LeaseKeepAliveRequest = stream.request().await.unwrap();
        assert_eq!(request.id, 7);
        stream.send(&answer(1)).await;
        // A broken stream is opened again while the lease lives.
        stream.request::<pb::LeaseKeepAliveRequest>().await.unwrap();
        stream.end(Code::Unavailable, "going away").await;
        let mut stream = server.stream().await;
        stream.request::<pb::LeaseKeepAliveRequest>().await.unwrap();
        stream.send(&answer(0)).await;
        stream
    };
    let renewed = async {
        let first = keep_alive.next().await;
        (first, keep_alive.next().await)
    };
    let (_stream, (first, last)) = tokio::join!(play, renewed);
    assert_eq!(first, Some(answer(1)));
    assert_eq!(last, None);
}

#[tokio::test]
async fn a_lease_that_does_not_exist_cannot_be_renewed() {
    let mut server = Server::start().await;
    let client = connect(&[&server.endpoint]);
    let play = async {
        let mut stream = server.stream().await;
        stream.request::<pb::LeaseKeepAliveRequest>().await.unwrap();
        stream.send(&pb::LeaseKeepAliveResponse::default()).await;
        stream
    };
    let (_stream, renewed) = tokio::join!(play, client.lease_keep_alive_once(7));
    assert_eq!(renewed, Err(Error::Server(Known::LeaseNotFound)));
}

#[tokio::test]
async fn a_snapshot_is_held_against_its_checksum() {
    let mut server = Server::start().await;
    let client = connect(&[&server.endpoint]);
    let pages = vec![3; 512];
    let sum = Sha256::digest(&pages).to_vec();
    for (sum, expected) in [(sum, Ok(())), (vec![0; 32], Err(Error::ChecksumMismatch))] {
        let play = async {
            let stream = server.stream().await;
            for blob in [pages.clone(), sum] {
                let version = "3.7.0".to_owned();
                let blob = blob.into();
                stream.send(&pb::SnapshotResponse { blob, version, ..Default::default() }).await;
            }
            stream.end(Code::Ok, "").await;
        };
        let receive = async {
            let mut snapshot = client.snapshot().await?;
            assert_eq!(snapshot.version(), "3.7.0");
            let mut bytes = 0;
            while let Some(blob) = snapshot.next().await? {
                bytes += blob.len();
            }
            assert_eq!(bytes, 544);
            Ok(())
        };
        let ((), received) = tokio::join!(play, receive);
        assert_eq!(received, expected);
    }
}
