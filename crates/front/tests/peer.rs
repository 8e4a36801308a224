//! The connection against the h2 crate as its client: random calls, sizes, windows and cuts.
//!
//! What both sides must agree on: every call gets the body that belongs to it, whole and once, or
//! the reset that its client asked for.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use proptest::prelude::*;
use quoin_front::{Connection, Event, KeepAliveTimes, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const TIMES: KeepAliveTimes =
    KeepAliveTimes { interval_ms: None, timeout_ms: 1_000, min_time_ms: 5_000 };

/// What one call sends and wants.
#[derive(Clone, Debug)]
struct Call {
    /// Parts of the request's body, by their lengths.
    parts: Vec<usize>,
    /// Bytes of the answer.
    answer: usize,
    /// The answer ends with fields.
    trailers: bool,
    /// The client gives up after the request.
    gives_up: bool,
    /// The value of a field that differs from call to call.
    note: u16,
}

#[derive(Clone, Debug)]
struct Plan {
    calls: Vec<Call>,
    /// The largest piece that is read from the wire at once.
    piece: usize,
    /// The windows of both sides.
    client_window: u32,
    server_window: u32,
    header_table: u32,
}

fn calls() -> impl Strategy<Value = Call> {
    let sizes = prop_oneof![0usize..100, 0usize..70_000];
    let parts = prop::collection::vec(sizes.clone(), 0..4);
    let call = (parts, sizes, any::<bool>(), prop::bool::weighted(0.2), 0u16..20);
    call.prop_map(|(parts, answer, trailers, gives_up, note)| Call {
        parts,
        answer,
        trailers,
        gives_up,
        note,
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    let windows = || prop_oneof![Just(65_535u32), 1_000u32..200_000];
    let calls = prop::collection::vec(calls(), 1..12);
    let table = prop_oneof![Just(4096u32), 0u32..200];
    let plan = (calls, 1usize..20_000, windows(), windows(), table);
    plan.prop_map(|(calls, piece, client_window, server_window, header_table)| Plan {
        calls,
        piece,
        client_window,
        server_window,
        header_table,
    })
}

/// Answers every request with as many bytes as its path says, and the sum of its body in a field.
async fn serve(mut wire: DuplexStream, plan: Plan) {
    let limits = Limits {
        streams_max: 100,
        stream_window: plan.server_window,
        connection_window: plan.server_window.max(65_535),
        header_block_bytes: 64 << 10,
        header_list_bytes: 64 << 10,
        output_bytes: 32 << 10,
        rest_time_ms: 60_000,
    };
    let mut connection = Connection::new(limits, TIMES, 0);
    let mut sums: std::collections::BTreeMap<u32, (String, u64)> = Default::default();
    let mut buffer = Vec::new();
    let mut piece = vec![0; plan.piece];
    loop {
        while !connection.output().is_empty() {
            let length = connection.output().len().min(plan.piece);
            if wire.write_all(&connection.output()[..length]).await.is_err() {
                return;
            }
            connection.advance_output(length);
        }
        match wire.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => buffer.extend_from_slice(&piece[..length]),
        }
        let mut rest = &buffer[..];
        let mut ended = Vec::new();
        while let Some(event) = connection.next(&mut rest, 0).expect("the client keeps the rules") {
            match event {
                Event::Request { stream, head, is_end } => {
                    sums.insert(stream, (head.path.to_string(), 0));
                    ended.extend(is_end.then_some(stream));
                }
                Event::Data { stream, bytes, is_end } => {
                    sums.get_mut(&stream).expect("it began").1 += bytes.len() as u64;
                    connection.release(stream, u32::try_from(bytes.len()).expect("a frame"));
                    ended.extend(is_end.then_some(stream));
                }
                Event::Reset { stream, .. } => {
                    sums.remove(&stream);
                    ended.retain(|other| *other != stream);
                }
            }
        }
        buffer = rest.to_vec();
        for stream in ended {
            let (path, sum) = sums.remove(&stream).expect("it began");
            answer(&mut connection, stream, &path, sum);
        }
    }
}

fn answer(connection: &mut Connection, stream: u32, path: &str, sum: u64) {
    let mut parts = path[1..].split('/');
    let size: usize = parts.next().expect("a size").parse().expect("a number");
    let wants_trailers = parts.next() == Some("true");
    let mut head = HeaderMap::new();
    head.insert("content-type", HeaderValue::from_static("application/grpc"));
    head.insert("sum", HeaderValue::from(sum));
    connection.send_head(stream, 200, &head, false);
    let body: Bytes = (0..size).map(|position| byte_at(size, position)).collect();
    let half = body.slice(..size / 2);
    connection.send_data(stream, half);
    connection.send_data(stream, body.slice(size / 2..));
    let trailers = wants_trailers.then(|| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(size % 17));
        trailers
    });
    connection.send_end(stream, trailers.as_ref());
}

/// Every place of every body has its own byte, nearly.
fn byte_at(size: usize, position: usize) -> u8 {
    u8::try_from((size + position * 7) % 251).expect("below 251")
}

async fn call(mut client: h2::client::SendRequest<Bytes>, call: Call) {
    client = client.ready().await.expect("the connection is open");
    let path = format!("http://a/{}/{}", call.answer, call.trailers);
    let request = Request::post(path).header("note", call.note).body(()).expect("a request");
    let (answer, mut body) = client.send_request(request, false).expect("it is sent");
    let mut sum = 0;
    for part in &call.parts {
        let mut left = *part;
        while left > 0 {
            body.reserve_capacity(left);
            let capacity = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let count = capacity.expect("the stream is open").expect("capacity").min(left);
            body.send_data(Bytes::from(vec![7; count]), false).expect("it is sent");
            left -= count;
        }
        sum += *part as u64;
    }
    if call.gives_up {
        body.send_reset(h2::Reason::CANCEL);
        return;
    }
    body.send_data(Bytes::new(), true).expect("it is sent");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.headers()["sum"], sum.to_string().as_str());
    let mut body = answer.into_body();
    let mut received = 0;
    while let Some(bytes) = body.data().await {
        let bytes = bytes.expect("the body goes on");
        let expected = (received..).map(|position| byte_at(call.answer, position));
        assert!(bytes.iter().copied().zip(expected).all(|(byte, expected)| byte == expected));
        received += bytes.len();
        body.flow_control().release_capacity(bytes.len()).expect("it was received");
    }
    assert_eq!(received, call.answer);
    let trailers = body.trailers().await.expect("the end");
    let status = trailers.map(|fields| fields["grpc-status"].to_str().expect("text").to_owned());
    assert_eq!(status, call.trailers.then(|| (call.answer % 17).to_string()));
}

async fn run(plan: Plan) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(serve(far, plan.clone()));
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(plan.client_window).header_table_size(plan.header_table);
    let (client, connection) = builder.handshake::<_, Bytes>(near).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let calls: Vec<_> =
        plan.calls.into_iter().map(|plan| tokio::spawn(call(client.clone(), plan))).collect();
    for call in calls {
        call.await.expect("the call is answered as it must be");
    }
    drop(client);
    connection.await.expect("no panic").expect("the connection ends well");
    server.await.expect("the server ends well");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_call_gets_its_answer(plan in plans()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            // What hangs fails.
            tokio::time::timeout(Duration::from_secs(60), run(plan)).await.expect("it ends");
        });
    }
}
