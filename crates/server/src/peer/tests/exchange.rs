//! Messages between members, over each of the paths.

use quoin_api::raftpb::MessageType;

use super::harness::{Event, Member, RawStream, append, message};
use crate::peer::codec::StreamKind;

#[tokio::test]
async fn messages_travel_over_every_path_in_both_directions() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    // Member 2 does not know member 1, so it attaches no stream: a POST is the only way.
    let vote = message(MessageType::MsgPreVote, 1, 2, 5);
    one.transport.send(vec![vote.clone()]);
    two.receives(&vote).await;

    two.knows(&one);
    one.is_attached().await;
    two.is_attached().await;
    let appends: Vec<_> = (1..200).map(|index| append(1, 2, index, 100)).collect();
    one.transport.send(appends.clone());
    for message in &appends {
        two.receives(message).await;
    }
    let beat = message(MessageType::MsgHeartbeatResp, 2, 1, 5);
    two.transport.send(vec![beat.clone()]);
    one.receives(&beat).await;
    assert!(one.transport.active_since(2).is_some());
    let reports = one.transport.reports();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].sent_bytes > 199 * 100 && reports[0].received_bytes > 0, "{reports:?}");
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let (mut one, mut two) = (Member::start(1).await, Member::start(2).await);
    one.knows(&two);
    two.knows(&one);
    one.is_attached().await;
    let large: Vec<_> = (1..5).map(|index| append(1, 2, index, 3 << 20)).collect();
    one.transport.send(large.clone());
    for message in &large {
        two.receives(message).await;
    }
}

#[tokio::test]
async fn each_message_takes_its_path() {
    let mut one = Member::start(1).await;
    // Nothing listens there: what takes the POST path is lost.
    one.knows_at(2, "127.0.0.1:1");
    let append = append(1, 2, 7, 10);
    let vote = message(MessageType::MsgVote, 1, 2, 5);

    let mut messages = RawStream::attach(&one, 2, StreamKind::Message).await;
    one.transport.send(vec![append.clone()]);
    assert_eq!(messages.next().await, Some(append.clone()), "without a msgapp stream");

    let mut appends = RawStream::attach(&one, 2, StreamKind::Append).await;
    one.transport.send(vec![append.clone(), vote.clone()]);
    assert_eq!(appends.next().await, Some(append));
    assert_eq!(messages.next().await, Some(vote.clone()));

    drop((messages, appends));
    one.logs_for_both_writers("lost TCP streaming connection with remote peer").await;
    one.heard();
    one.transport.send(vec![vote]);
    one.hears(|event| *event == Event::Unreachable(2)).await;
}

#[tokio::test]
async fn a_new_stream_replaces_the_one_before() {
    let mut one = Member::start(1).await;
    one.knows_at(2, "127.0.0.1:1");
    let mut first = RawStream::attach(&one, 2, StreamKind::Message).await;
    let vote = message(MessageType::MsgVote, 1, 2, 5);
    one.transport.send(vec![vote.clone()]);
    assert_eq!(first.next().await, Some(vote.clone()));

    let mut second = RawStream::attach(&one, 2, StreamKind::Message).await;
    assert_eq!(first.next().await, None);
    one.transport.send(vec![vote.clone()]);
    assert_eq!(second.next().await, Some(vote));
    let text = "closed TCP streaming connection with remote peer";
    one.logs(text, "writer stream Message").await;
    assert!(one.transport.active_since(2).is_some(), "the peer was there all the time");
}
