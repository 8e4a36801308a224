//! The client against servers that play a script.

mod streams;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use quoin_api::error::Error as Known;
use quoin_api::{etcdserverpb as pb, mvccpb};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::call::Repeat;
use crate::{Client, Error, Observer, Options};

/// What a server does with one request.
enum Play {
    /// Answers with these messages.
    Answer(Vec<Bytes>),
    /// Answers with a row of the error table.
    Refuse(Known),
    /// Answers with a status of its own.
    Fail(Code, &'static str),
    /// Never answers.
    Hang,
}

impl Play {
    fn message(message: &impl Message) -> Self {
        Self::Answer(vec![message.encode_to_vec().into()])
    }
}

/// A server that plays its script, one entry per request, and notes what it was asked.
struct Server {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    async fn start(script: Vec<Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let notes = asked.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, notes) = (script.clone(), notes.clone());
                let service =
                    service_fn(move |request| answer(request, script.clone(), notes.clone()));
                let builder = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { endpoint, asked, task }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn answer(
    request: Request<Incoming>,
    script: Arc<Mutex<VecDeque<Play>>>,
    notes: Arc<Mutex<Vec<String>>>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let version = request.headers()["client-api-version"].to_str().unwrap();
    notes.lock().unwrap().push(format!("{} {version}", request.uri().path()));
    let play = script.lock().unwrap().pop_front().expect("a request beyond the script");
    let (messages, code, text) = match play {
        Play::Answer(messages) => (messages, Code::Ok, ""),
        Play::Refuse(known) => (Vec::new(), known.code().into(), known.message()),
        Play::Fail(code, text) => (Vec::new(), code, text),
        Play::Hang => std::future::pending().await,
    };
    let mut body = BytesMut::new();
    for message in messages {
        body.put_u8(0);
        body.put_u32(u32::try_from(message.len()).unwrap());
        body.put(message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", (code as i32).into());
    trailers.insert("grpc-message", text.parse().unwrap());
    let body = Full::new(body.freeze()).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

fn options(endpoints: &[&str]) -> Options {
    Options {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        command_timeout: Some(Duration::from_secs(30)),
        ..Options::default()
    }
}

fn connect(endpoints: &[&str]) -> Client {
    Client::connect(options(endpoints)).unwrap()
}

/// An endpoint where nothing listens.
async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

fn put() -> pb::PutRequest {
    pb::PutRequest { key: "k".into(), value: "v".into(), ..pb::PutRequest::default() }
}

fn get() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), ..pb::RangeRequest::default() }
}

fn range(keys: &[&'static str], count: i64, more: bool) -> pb::RangeResponse {
    let key = |key: &&'static str| mvccpb::KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        ..mvccpb::KeyValue::default()
    };
    pb::RangeResponse { header: None, kvs: keys.iter().map(key).collect(), more, count }
}

#[tokio::test]
async fn answers_arrive_and_the_version_is_announced() {
    let server = Server::start(vec![Play::message(&range(&["k"], 1, false))]).await;
    let response = connect(&[&server.endpoint]).range(get()).await.unwrap();
    assert_eq!(response, range(&["k"], 1, false));
    assert_eq!(server.asked(), ["/etcdserverpb.KV/Range 3.7"]);
}

#[tokio::test]
async fn reads_are_repeated_while_unavailable() {
    let script = vec![
        Play::Refuse(Known::NoLeader),
        Play::Fail(Code::Unavailable, "going away"),
        Play::message(&range(&[], 0, false)),
    ];
    let server = Server::start(script).await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = failures.clone();
    let observer = Observer::new(move |attempt| {
        assert!(attempt.addresses.is_some());
        seen.lock().unwrap().push((attempt.attempt, attempt.error.wire_text()));
    });
    let options = Options { observer: Some(observer), ..options(&[&server.endpoint]) };
    Client::connect(options).unwrap().range(get()).await.unwrap();
    assert_eq!(server.asked().len(), 3);
    let expected = [
        (0, "rpc error: code = Unavailable desc = etcdserver: no leader".to_owned()),
        (1, "rpc error: code = Unavailable desc = going away".to_owned()),
    ];
    assert_eq!(*failures.lock().unwrap(), expected);
}

#[tokio::test]
async fn changes_are_not_repeated_once_sent() {
    let script = vec![Play::Refuse(Known::NoLeader), Play::Fail(Code::Unavailable, "x")];
    let server = Server::start(script).await;
    let client = connect(&[&server.endpoint]);
    assert_eq!(client.put(put()).await, Err(Error::Server(Known::NoLeader)));
    let error = client.delete_range(pb::DeleteRangeRequest::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "rpc error: code = Unavailable desc = x");
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn a_change_refused_by_a_learner_goes_to_the_next_endpoint() {
    let learner = Server::start(vec![Play::Refuse(Known::NotSupportedForLearner)]).await;
    let client = connect(&[&learner.endpoint]);
    let error = client.put(put()).await.unwrap_err();
    assert_eq!(error, Error::Server(Known::NotSupportedForLearner));
    for (endpoints, allowed) in [(1, false), (2, true)] {
        let left = Duration::from_secs(1);
        assert_eq!(Repeat::IfRefused.allows(&error, endpoints, left), allowed);
    }
}

/// Without a quorum `etcdctl --command-timeout=10s put` ended after 7 s with "rpc error: code =
/// DeadlineExceeded", which is the time of the server. It had no leader to propose the change to, so
/// the change can be sent again until the time of the client ends.
#[tokio::test]
async fn a_server_that_gave_up_waiting_for_a_leader_is_asked_again() {
    let gave_up = || Play::Refuse(Known::ContextDeadlineExceeded);
    let script = vec![gave_up(), gave_up(), Play::message(&pb::PutResponse::default())];
    let server = Server::start(script).await;
    connect(&[&server.endpoint]).put(put()).await.unwrap();
    assert_eq!(server.asked().len(), 3);

    let server = Server::start(vec![gave_up(), Play::Hang]).await;
    let soon = Some(Duration::from_millis(300));
    let options = Options { command_timeout: soon, ..options(&[&server.endpoint]) };
    let error = Client::connect(options).unwrap().put(put()).await.unwrap_err();
    assert_eq!(error, Error::Deadline { unreachable: None });
    // It may have been proposed if somebody between us and the server gave up.
    let script = vec![Play::Fail(Code::DeadlineExceeded, "upstream timeout")];
    let server = Server::start(script).await;
    connect(&[&server.endpoint]).put(put()).await.unwrap_err();
    assert_eq!(server.asked().len(), 1);
    // Near the end, the server may speak of the time of the call.
    let error = Error::Server(Known::ContextDeadlineExceeded);
    assert!(!Repeat::IfRefused.allows(&error, 1, Duration::from_millis(50)));
}

#[tokio::test]
async fn endpoints_that_are_down_are_passed_over() {
    let answers = || Play::message(&pb::PutResponse::default());
    let server = Server::start(vec![answers(), answers()]).await;
    let (down, wrong) = (nobody().await, "no-port");
    let client = connect(&[&down, wrong, &server.endpoint]);
    client.put(put()).await.unwrap();
    client.put(put()).await.unwrap();
    assert_eq!(server.asked(), ["/etcdserverpb.KV/Put 3.7"; 2]);
}

#[tokio::test]
async fn calls_take_turns_over_the_endpoints() {
    let script = || vec![Play::message(&pb::PutResponse::default())];
    let (one, two) = (Server::start(script()).await, Server::start(script()).await);
    let client = connect(&[&one.endpoint, &two.endpoint]);
    // Both must be up before turns can be taken.
    while client.pool.next().await.addresses == client.pool.next().await.addresses {
        tokio::task::yield_now().await;
    }
    client.put(put()).await.unwrap();
    client.put(put()).await.unwrap();
    assert_eq!((one.asked().len(), two.asked().len()), (1, 1));
}

/// A change sent while the server was shutting its connection down failed, although GOAWAY said
/// that it had not been processed. Each change must succeed, and must be processed once.
#[tokio::test]
async fn changes_survive_connections_that_shut_down() {
    const CHANGES: usize = 30;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let answers = (0..CHANGES).map(|_| Play::message(&pb::PutResponse::default()));
    let script: Arc<Mutex<VecDeque<Play>>> = Arc::new(Mutex::new(answers.collect()));
    let notes = Arc::new(Mutex::new(Vec::new()));
    let seen = notes.clone();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (script, seen) = (script.clone(), seen.clone());
            let asked = Arc::new(tokio::sync::Notify::new());
            let first = asked.clone();
            let service = service_fn(move |request| {
                first.notify_one();
                answer(request, script.clone(), seen.clone())
            });
            let builder = http2::Builder::new(TokioExecutor::new());
            let mut connection =
                std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                () = asked.notified() => connection.as_mut().graceful_shutdown(),
                ended = connection.as_mut() => panic!("{ended:?}"),
            }
            // How the last connection ends depends on when the client goes.
            connection.await.ok();
        }
    });
    let client = connect(&[&endpoint]);
    for _ in 0..CHANGES {
        client.put(put()).await.unwrap();
    }
    assert_eq!(notes.lock().unwrap().len(), CHANGES);
    server.abort();
}

#[tokio::test]
async fn a_cluster_out_of_reach_ends_in_a_deadline_with_the_reason() {
    let endpoint = nobody().await;
    let soon = Some(Duration::from_millis(100));
    let options = Options { command_timeout: soon, ..options(&[&endpoint]) };
    let error = Client::connect(options).unwrap().put(put()).await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
    assert_eq!(error.code(), Some(Code::DeadlineExceeded));
    let reason = format!("dial tcp {endpoint}: connect: connection refused");
    assert!(error.wire_text().contains(&reason), "{}", error.wire_text());
}

#[tokio::test]
async fn a_server_that_hangs_ends_in_a_deadline() {
    let server = Server::start(vec![Play::Hang]).await;
    let soon = Some(Duration::from_millis(200));
    let options = Options { command_timeout: soon, ..options(&[&server.endpoint]) };
    let error = Client::connect(options).unwrap().range(get()).await.unwrap_err();
    assert_eq!(error.to_string(), "context deadline exceeded");
}

/// A change whose time was over before it began was sent, because timers are coarse.
#[tokio::test]
async fn a_call_without_time_is_not_sent() {
    let server = Server::start(Vec::new()).await;
    let options = Options { command_timeout: Some(Duration::ZERO), ..options(&[&server.endpoint]) };
    let client = Client::connect(options).unwrap();
    client.pool.next().await;
    assert_eq!(client.put(put()).await, Err(Error::Deadline { unreachable: None }));
    assert_eq!(server.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn a_port_that_does_not_speak_http2_never_comes_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.writable().await.unwrap();
            stream.try_write(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        }
    });
    let soon = Some(Duration::from_millis(200));
    let options = Options { command_timeout: soon, ..options(&[&endpoint]) };
    let error = Client::connect(options).unwrap().put(put()).await.unwrap_err();
    assert!(matches!(&error, Error::Deadline { unreachable: Some(_) }), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn limits_are_reported_in_the_words_of_etcd() {
    let large = pb::RangeResponse {
        kvs: vec![mvccpb::KeyValue { value: vec![0; 100].into(), ..mvccpb::KeyValue::default() }],
        ..pb::RangeResponse::default()
    };
    let server = Server::start(vec![Play::message(&large)]).await;
    let options = Options {
        max_send_bytes: Some(5),
        max_recv_bytes: Some(50),
        ..options(&[&server.endpoint])
    };
    let client = Client::connect(options.clone()).unwrap();
    let error = client.put(put()).await.unwrap_err().to_string();
    let text = "rpc error: code = ResourceExhausted desc =";
    assert_eq!(error, format!("{text} trying to send message larger than max (6 vs. 5)"));
    let error = client.range(get()).await.unwrap_err().to_string();
    assert_eq!(error, format!("{text} grpc: received message larger than max (104 vs. 50)"));

    let error = Client::connect(Options { max_send_bytes: Some(51), ..options }).unwrap_err();
    let text = "gRPC message recv limit (50 bytes) must be greater than send limit (51 bytes)";
    assert_eq!(error.to_string(), text);
    assert_eq!(Client::connect(self::options(&[])).unwrap_err(), Error::NoEndpoints);
}

#[tokio::test]
async fn a_streamed_range_is_put_together() {
    let header = pb::ResponseHeader { revision: 7, ..pb::ResponseHeader::default() };
    let mut first = range(&["a", "b"], 0, false);
    first.header = Some(header);
    let chunks = [first, range(&["c"], 9, true)].map(|response| {
        let chunk = pb::RangeStreamResponse { range_response: Some(response) };
        Bytes::from(chunk.encode_to_vec())
    });
    let server = Server::start(vec![Play::Answer(chunks.to_vec())]).await;
    let whole = connect(&[&server.endpoint]).range_stream(get()).await.unwrap();
    let mut expected = range(&["a", "b", "c"], 9, true);
    expected.header = Some(header);
    assert_eq!(whole, expected);
}

#[test]
fn rows_that_the_client_of_etcd_does_not_know_are_shown_with_their_code() {
    let text = |known| Error::Server(known).to_string();
    assert_eq!(text(Known::Compacted), Known::Compacted.message());
    let expected = "rpc error: code = Unimplemented desc = \
                    RangeStream does not support custom sort orders";
    assert_eq!(text(Known::RangeStreamSort), expected);
}

#[tokio::test]
async fn maintenance_calls_go_to_the_endpoint_they_name() {
    let status = |version: &str| pb::StatusResponse {
        version: version.to_owned(),
        ..pb::StatusResponse::default()
    };
    let one = Server::start(vec![Play::message(&status("1"))]).await;
    let two = Server::start(vec![Play::message(&status("2")), Play::message(&status("2"))]).await;
    let client = connect(&[&one.endpoint, &two.endpoint]);
    assert_eq!(client.status(&two.endpoint).await.unwrap().version, "2");
    assert_eq!(client.status(&one.endpoint).await.unwrap().version, "1");
    assert_eq!(client.status(&two.endpoint).await.unwrap().version, "2");
}
