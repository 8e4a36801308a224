//! What happens when queues fill, members restart, and peers send nonsense.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use quoin_api::raftpb::{Entry, Message, MessageType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::harness::{Event, Member, RawStream, introduction, message};
use crate::peer::codec::StreamKind;

fn beat(term: u64) -> Message {
    message(MessageType::MsgHeartbeat, 1, 2, term)
}

fn unreachable_reports(member: &mut Member) -> usize {
    member.heard().iter().filter(|event| **event == Event::Unreachable(2)).count()
}

#[tokio::test]
async fn a_full_stream_queue_drops_and_reports() {
    let mut one = Member::start_with(1, "127.0.0.1:0", |options| options.stream_queue = 4).await;
    one.knows_at(2, "127.0.0.1:1");
    let mut stream = RawStream::attach(&one, 2, StreamKind::Message).await;
    one.heard();
    // The connection's task does not run before the next await, so the queue alone takes these.
    one.transport.send((1..=10).map(beat).collect());
    assert_eq!(unreachable_reports(&mut one), 6);
    for term in 1..=4 {
        assert_eq!(stream.next().await, Some(beat(term)));
    }
    one.transport.send(vec![beat(11)]);
    assert_eq!(stream.next().await, Some(beat(11)));
}

fn proposal(bytes: usize) -> Message {
    let entry = Entry { data: vec![7; bytes].into(), ..Entry::default() };
    Message { entries: vec![entry], ..message(MessageType::MsgProp, 1, 2, 0) }
}

/// Heartbeats, and the answers to them, stood in one queue with forwarded proposals: behind 64 MiB of
/// them a leader on a slow network had no answer in time, and was deposed.
#[tokio::test]
async fn heartbeats_do_not_wait_behind_proposals() {
    let one = Member::start(1).await;
    one.knows_at(2, "127.0.0.1:1");
    let mut stream = RawStream::attach(&one, 2, StreamKind::Message).await;
    // The connection's task does not run before the next await.
    let sent = [proposal(1 << 20), proposal(2 << 20), beat(1), proposal(3 << 20), beat(2)];
    one.transport.send(sent.to_vec());
    for expected in [2, 4, 0, 1, 3].map(|number: usize| &sent[number]) {
        assert_eq!(stream.next().await.as_ref(), Some(expected));
    }
}

/// What waited for a peer was bounded to 4,096 messages, whatever their length.
#[tokio::test]
async fn a_queue_with_too_many_bytes_drops_and_reports() {
    let mut one = Member::start_with(1, "127.0.0.1:0", |options| options.stream_bytes = 5000).await;
    one.knows_at(2, "127.0.0.1:1");
    let mut stream = RawStream::attach(&one, 2, StreamKind::Message).await;
    one.heard();
    let mut sent: Vec<Message> = (0..10).map(|_| proposal(1000)).collect();
    sent.push(beat(1));
    one.transport.send(sent);
    assert_eq!(unreachable_reports(&mut one), 6);
    assert_eq!(stream.next().await, Some(beat(1)));
    for _ in 0..4 {
        assert_eq!(stream.next().await, Some(proposal(1000)));
    }
    one.transport.send(vec![proposal(9000), proposal(1)]);
    assert_eq!(unreachable_reports(&mut one), 1);
    assert_eq!(stream.next().await, Some(proposal(9000)), "a single one always has room");
}

#[tokio::test]
async fn a_full_pipeline_queue_drops_and_reports() {
    let mut one = Member::start_with(1, "127.0.0.1:0", |options| options.pipeline_queue = 4).await;
    one.knows_at(2, "127.0.0.1:1");
    let snapshots = (1..=5).map(|term| message(MessageType::MsgSnap, 1, 2, term));
    one.transport.send((1..=5).map(beat).chain(snapshots).collect());
    let heard = one.heard();
    let reports = heard.iter().filter(|event| **event == Event::Unreachable(2)).count();
    assert_eq!(reports, 2);
    assert!(heard.contains(&Event::SnapshotStatus(2, false)));
    // The eight that were taken, four of each lane, find nobody at that address.
    for _ in 0..8 {
        one.hears(|event| *event == Event::Unreachable(2)).await;
    }
}

#[tokio::test]
async fn messages_that_wait_when_a_stream_ends_are_reported() {
    let mut one = Member::start(1).await;
    one.knows_at(2, "127.0.0.1:1");
    let stream = RawStream::attach(&one, 2, StreamKind::Message).await;
    one.heard();
    one.transport.send(vec![beat(1)]);
    drop(stream);
    one.hears(|event| *event == Event::Unreachable(2)).await;
}

#[tokio::test]
async fn a_member_that_comes_back_is_found_again() {
    let mut one = Member::start(1).await;
    let two = Member::start(2).await;
    one.knows(&two);
    two.knows(&one);
    one.is_attached().await;
    let address = two.stop().await;
    one.logs_for_both_writers("lost TCP streaming connection with remote peer").await;

    let mut two = Member::start_with(2, &address, |_| {}).await;
    two.knows(&one);
    one.is_attached().await;
    two.is_attached().await;
    one.transport.send(vec![beat(7)]);
    two.receives(&beat(7)).await;
    assert!(one.transport.active_since(2).is_some());
}

#[tokio::test]
async fn removing_a_peer_ends_its_streams() {
    let mut one = Member::start(1).await;
    one.knows_at(2, "127.0.0.1:1");
    let mut stream = RawStream::attach(&one, 2, StreamKind::Append).await;
    one.transport.remove_peer(2);
    assert_eq!(stream.next().await, None);
    one.heard();
    one.transport.send(vec![beat(1)]);
    assert_eq!(unreachable_reports(&mut one), 0, "nobody is told about a stranger");
    one.transport.remove_peer(2);
    assert_eq!(one.transport.active_since(2), None);
}

#[tokio::test]
async fn a_full_receiver_drops_and_the_stream_goes_on() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    one.is_attached().await;
    two.recorder.full.store(true, Ordering::Relaxed);
    one.transport.send(vec![beat(1)]);
    let text = "dropped internal Raft message since receiving buffer is full (overloaded network)";
    two.logs(text, "").await;
    two.recorder.full.store(false, Ordering::Relaxed);
    one.transport.send(vec![beat(2)]);
    two.receives(&beat(2)).await;
}

/// A member that was told of another's removal stops for ever, so this must reach it, and only
/// it.
#[tokio::test]
async fn a_removed_member_hears_of_it() {
    let (mut one, two) = (Member::start(1).await, Member::start(2).await);
    two.recorder.removed.lock().expect("no test panics here").insert(1);
    one.knows(&two);
    one.hears(|event| *event == Event::RemovedBy(2)).await;
    one.heard();
    one.transport.send(vec![beat(1)]);
    one.hears(|event| *event == Event::RemovedBy(2)).await;
}

/// A new member gets messages from a leader that it does not know from its log so far, and must
/// be able to answer.
#[tokio::test]
async fn a_sender_that_is_no_member_yet_is_answered() {
    let (mut one, two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    one.transport.send(vec![beat(1)]);
    let mut two = two;
    two.receives(&beat(1)).await;
    let answer = message(MessageType::MsgHeartbeatResp, 2, 1, 1);
    two.transport.send(vec![answer.clone()]);
    one.receives(&answer).await;
    assert_eq!(two.transport.reports(), [], "it is no member");
}

/// Anyone who can reach the listener can claim to be a member that is not known yet.
#[tokio::test]
async fn remotes_are_bounded() {
    let one = Member::start(1).await;
    let bound = crate::peer::limits::REMOTES as u64;
    let urls = ["http://127.0.0.1:1".to_owned()];
    for id in 100..100 + 2 * bound {
        one.transport.add_remote(id, &urls).expect("the URL is well formed");
    }
    let kept: BTreeSet<u64> =
        (100..100 + 2 * bound).filter(|id| one.transport.link(*id).is_some()).collect();
    assert_eq!(kept.len() as u64, bound);
}

/// A peer that answers a stream with nonsense is left and dialed again.
#[tokio::test]
async fn nonsense_on_a_stream_ends_it() {
    let nonsense: [&[u8]; 4] = [
        b"\x07",
        b"\x02\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\x00\x7f\x00\x00\x00",
        b"\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x02\xff\xff",
    ];
    let mut one = Member::start(1).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    one.knows_at(2, &listener.local_addr().expect("it is bound").to_string());
    for body in nonsense {
        loop {
            let (mut stream, _) = listener.accept().await.expect("it dials");
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.expect("it asks");
            let request = String::from_utf8_lossy(&request[..length]);
            if !request.starts_with("GET /raft/stream/msgapp/1 ") {
                continue;
            }
            for header in introduction(1).lines().chain(["X-Raft-To: 2", "X-Peerurls: http://"]) {
                let header = header.replace("-ID", "-Id");
                assert!(request.contains(&header), "{header} in {request}");
            }
            let head = "HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\n\r\n";
            stream.write_all(&[head.as_bytes(), body].concat()).await.expect("it reads");
            one.logs("lost TCP streaming connection with remote peer", "reader stream MsgApp v2")
                .await;
            break;
        }
    }
}
