//! Hand-written requests: the codes and texts that Go peers act on.

use std::sync::atomic::Ordering;

use prost::Message as _;
use quoin_api::raftpb::{Message, MessageType};

use super::harness::{CLUSTER, Event, Member, append, ask, introduction, message, snapshot};
use crate::peer::limits;

const INCOMPATIBLE: &str = "incompatible version\n";
const FOREIGN: &str = "cluster ID mismatch\n";

/// A member 1 that knows member 2 and has removed member 3.
async fn member() -> Member {
    let member = Member::start(1).await;
    member.knows_at(2, "127.0.0.1:1");
    member.recorder.removed.lock().expect("no test panics here").insert(3);
    member
}

#[tokio::test]
async fn header_checks_come_in_etcds_order() {
    let member = member().await;
    let old = introduction(2).replace("Version: 3.7.1", "Version: 2.3.8");
    let unstated = introduction(2).replace("X-Server-Version", "X-Other");
    let nonsense = introduction(2).replace("Version: 3.7.1", "Version: latest");
    let newer = introduction(2).replace("Version: 3.0.0", "Version: 3.8.0");
    let foreign = introduction(2).replace("ID: c1", "ID: c2");
    let old_and_foreign = old.replace("ID: c1", "ID: c2");
    let cases = [
        (&old, 412, INCOMPATIBLE),
        (&unstated, 412, INCOMPATIBLE),
        (&nonsense, 412, INCOMPATIBLE),
        (&newer, 412, INCOMPATIBLE),
        (&foreign, 412, FOREIGN),
        (&old_and_foreign, 412, INCOMPATIBLE),
    ];
    let paths =
        ["POST /raft", "POST /raft/snapshot", "GET /raft/stream/message/2", "GET /raft/stream/x"];
    for path in paths {
        for (headers, status, text) in cases {
            let (got, head, body) = ask(&member.address, path, headers, b"").await;
            assert_eq!((got, body.as_str()), (status, text), "{path} with {headers}");
            assert!(head.contains(&format!("X-Etcd-Cluster-Id: {CLUSTER:x}")), "{head}");
            assert!(head.contains("Content-Type: text/plain; charset=utf-8"), "{head}");
        }
    }
}

#[tokio::test]
async fn streams_are_given_to_members_only() {
    let member = member().await;
    let to_us = "X-Raft-To: 1\r\n";
    let cases = [
        ("/raft/stream/msgapp/2", "X-Raft-To: 9\r\n", 412, "to field mismatch\n"),
        ("/raft/stream/msgapp/2", "", 412, "to field mismatch\n"),
        ("/raft/stream/msgapp/2", "X-Raft-To: 01\r\n", 412, "to field mismatch\n"),
        ("/raft/stream/msgapp/3", to_us, 410, "removed member\n"),
        ("/raft/stream/message/4", to_us, 404, "error sender not found\n"),
        ("/raft/stream/message/4", "X-Raft-To: 9\r\n", 404, "error sender not found\n"),
        ("/raft/stream/message/xyz", to_us, 404, "invalid from\n"),
        ("/raft/stream/message/+2", to_us, 404, "invalid from\n"),
        ("/raft/stream/message/11112222333344445", to_us, 404, "invalid from\n"),
        ("/raft/stream/message/", to_us, 404, "invalid from\n"),
        ("/raft/stream/snapshot/2", to_us, 404, "invalid path\n"),
        ("/raft/stream/msgapp/2/2", to_us, 404, "invalid path\n"),
    ];
    for (path, to, status, text) in cases {
        let headers = format!("{}{to}", introduction(2));
        let (got, head, body) = ask(&member.address, &format!("GET {path}"), &headers, b"").await;
        assert_eq!((got, body.as_str()), (status, text), "{path} {to}");
        assert!(head.contains("X-Server-Version: 3.7.1"), "{head}");
    }
}

#[tokio::test]
async fn methods_are_checked_first() {
    let member = member().await;
    let cases = [
        ("GET /raft", "POST"),
        ("PUT /raft/snapshot", "POST"),
        ("POST /raft/stream/msgapp/2", "GET"),
        ("POST /members", "GET"),
        ("DELETE /version", "GET"),
    ];
    for (line, allowed) in cases {
        let (status, head, body) = ask(&member.address, line, "", b"").await;
        assert_eq!((status, body.as_str()), (405, "Method Not Allowed\n"), "{line}");
        assert!(head.contains(&format!("Allow: {allowed}")), "{head}");
    }
}

#[tokio::test]
async fn posts_of_a_message_are_answered_as_go_peers_expect() {
    let mut member = member().await;
    let vote = |from, to| message(MessageType::MsgVote, from, to, 5).encode_to_vec();
    let ask = |body: Vec<u8>| {
        let address = member.address.clone();
        async move {
            let (status, _, text) = ask(&address, "POST /raft", &introduction(2), &body).await;
            (status, text)
        }
    };
    assert_eq!(ask(vote(2, 1)).await, (204, String::new()));
    let removed = r#"{"message":"cannot process message from removed member"}"#;
    assert_eq!(ask(vote(3, 1)).await, (403, removed.to_owned()));
    // Not 403: the sender is no removed member, and would stop for ever.
    assert_eq!(ask(vote(2, 9)).await, (412, "to field mismatch\n".to_owned()));
    let garbage = (400, "error unmarshalling raft message\n".to_owned());
    assert_eq!(ask(vec![0xff; 100]).await, garbage);
    member.recorder.full.store(true, Ordering::Relaxed);
    assert_eq!(ask(vote(2, 1)).await, (500, "error processing raft message\n".to_owned()));
    member.receives(&message(MessageType::MsgVote, 2, 1, 5)).await;
    assert!(member.heard().iter().all(|event| !matches!(event, Event::Message(_))));
}

/// Whoever reached the port could have half a gigabyte taken in, as a vote, on each of a thousand
/// connections; and a state of any size written to the disk, whoever it called itself.
#[tokio::test]
async fn no_more_is_taken_in_than_a_message_needs() {
    let mut member = member().await;
    member.recorder.strangers.lock().expect("no test panics here").insert(4);
    let address = member.address.clone();
    let post = |path: &'static str, body: Vec<u8>| {
        let address = address.clone();
        async move { ask(&address, path, &introduction(2), &body).await.0 }
    };
    let long = |kind, from, bytes| {
        let context = vec![0; bytes].into();
        Message { context, ..message(kind, from, 1, 5) }.encode_to_vec()
    };
    let short = usize::try_from(limits::SHORT_MESSAGE_BYTES).expect("it is short");
    assert_eq!(post("POST /raft", long(MessageType::MsgVote, 2, short / 2)).await, 204);
    assert_eq!(post("POST /raft", long(MessageType::MsgVote, 2, short)).await, 400);
    assert_eq!(post("POST /raft", append(2, 1, 7, 4 << 20).encode_to_vec()).await, 204);
    // A sender that is no member as far as the transport knows may be one that the log adds.
    assert_eq!(post("POST /raft", append(4, 1, 7, 1 << 20).encode_to_vec()).await, 204);
    assert_eq!(post("POST /raft", append(4, 1, 7, 4 << 20).encode_to_vec()).await, 400);
    let mut senders = Vec::new();
    for event in member.heard() {
        if let Event::Message(message) = event {
            senders.push(message.from);
        }
    }
    assert_eq!(senders, [2, 2, 4]);

    let envelope = |from| {
        let header = snapshot(from, 1, 77).encode_to_vec();
        [&(header.len() as u64).to_be_bytes(), &header[..], &[7; 100_000]].concat()
    };
    assert_eq!(post("POST /raft/snapshot", envelope(4)).await, 500);
    member.hears(|event| *event == Event::Stranger(4)).await;
    assert!(member.heard().iter().all(|event| !matches!(event, Event::Snapshot(..))));
    assert_eq!(post("POST /raft/snapshot", envelope(3)).await, 403);
    assert_eq!(post("POST /raft/snapshot", envelope(2)).await, 204);
}

#[tokio::test]
async fn snapshots_with_a_wrong_head_are_refused() {
    let member = member().await;
    let framed = |length: u64, payload: &[u8]| [&length.to_be_bytes(), payload].concat();
    let vote = message(MessageType::MsgVote, 2, 1, 5).encode_to_vec();
    let cases = [
        (framed(vote.len() as u64, &vote), "wrong raft message type\n"),
        (
            framed(512 * 1024 * 1024 + 1, b"x"),
            "failed to decode raft message (length 536870913 exceeds the limit of 536870912 bytes)\n",
        ),
        (framed(9, &[0xff; 9]), "failed to decode raft message (malformed message: "),
        (framed(9, b"short"), "failed to decode raft message (unexpected end of file)\n"),
    ];
    for (body, text) in cases {
        let line = "POST /raft/snapshot";
        let (status, _, answer) = ask(&member.address, line, &introduction(2), &body).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.starts_with(text), "{answer:?} is not {text:?}");
    }
}

#[tokio::test]
async fn plain_questions_are_answered_to_everyone() {
    let member = member().await;
    let ask = |line: &'static str| ask(&member.address, line, "", b"");
    let (status, head, body) = ask("GET /members").await;
    assert_eq!((status, body.as_str()), (200, "[]\n"));
    assert!(head.contains("X-Etcd-Cluster-Id: c1") && head.contains("application/json"), "{head}");
    let (status, _, body) = ask("GET /version").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"etcdserver":"3.7.1""#) && body.ends_with('}'), "{body}");
    let (status, _, body) = ask("GET /raft/probing").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"OK":true,"Now":"2"#) && body.ends_with("Z\"}\n"), "{body}");
    for unknown in ["GET /", "GET /raft/", "GET /raft/streams", "POST /leases/"] {
        let (status, _, body) = ask(unknown).await;
        assert_eq!((status, body.as_str()), (404, "404 page not found\n"), "{unknown}");
    }
}
