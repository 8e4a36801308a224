use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::raftpb::{ConfChange, ConfChangeType};

use super::{BadChange, Change, ClusterVersion, Member, Membership, cluster_id, member_id};

const ADD: ConfChangeType = ConfChangeType::ConfChangeAddNode;
const ADD_LEARNER: ConfChangeType = ConfChangeType::ConfChangeAddLearnerNode;
const REMOVE: ConfChangeType = ConfChangeType::ConfChangeRemoveNode;
const UPDATE: ConfChangeType = ConfChangeType::ConfChangeUpdateNode;

fn apply(membership: &mut Membership, change: &ConfChange) -> Result<Result<(), Error>, BadChange> {
    Ok(membership.apply(&Change::read(change)?, 1))
}

fn member(id: u64, url: &str) -> Member {
    Member { id, peer_urls: vec![url.to_owned()], ..Member::default() }
}

fn learner(id: u64, url: &str) -> Member {
    Member { is_learner: true, ..member(id, url) }
}

fn change(kind: ConfChangeType, id: u64, context: String) -> ConfChange {
    ConfChange { id: 1, r#type: kind as i32, node_id: id, context: Bytes::from(context) }
}

fn add(member: &Member) -> ConfChange {
    let kind = if member.is_learner { ADD_LEARNER } else { ADD };
    change(kind, member.id, member.to_json(Some(false)))
}

fn promote(id: u64) -> ConfChange {
    change(ADD, id, Member { id, ..Member::default() }.to_json(Some(true)))
}

fn update(member: &Member) -> ConfChange {
    change(UPDATE, member.id, member.to_json(None))
}

fn remove(id: u64) -> ConfChange {
    change(REMOVE, id, String::new())
}

/// Applies changes that are valid.
fn grown(changes: &[ConfChange]) -> Membership {
    let mut membership = Membership::default();
    for change in changes {
        assert_eq!(apply(&mut membership, change), Ok(Ok(())), "{change:?}");
    }
    membership
}

fn check_refused(membership: &Membership, change: &ConfChange, expected: Error) {
    let mut after = membership.clone();
    assert_eq!(after.validate(change, 1), Err(expected));
    assert_eq!(apply(&mut after, change), Ok(Err(expected)));
    assert_eq!(after, *membership, "a refused change changes nothing");
}

fn urls(urls: &[&str]) -> Vec<String> {
    urls.iter().map(|&url| url.to_owned()).collect()
}

/// The IDs are etcd's, seen in real clusters.
#[test]
fn ids_are_those_of_etcd() {
    let id = |url: &str, token| member_id(&urls(&[url]), token, None);
    assert_eq!(id("http://30.1.3.42:2380", "etcd-cluster-token"), 0xe8e5_aa3e_0acd_f16b);
    assert_eq!(id("http://30.1.3.43:2380", "etcd-cluster-token"), 0x6f84_0018_249f_939b);
    let token = "etcd-cluster-token";
    let ports = [11380, 12380, 13380];
    let ids = ports.map(|port| id(&format!("http://127.0.0.1:{port}"), token));
    let expected = [0x1208_ed65_8c3b_1dad, 0x6ad1_063b_fbf8_109a, 0x9a68_bde9_5008_f820];
    assert!(expected.iter().all(|id| ids.contains(id)), "{ids:x?}");
    assert_eq!(cluster_id(&ids), 0xbe2b_f5a2_76ed_2ca9);
    let alone = id("http://127.0.0.1:12380", "etcd-cluster");
    assert_eq!((alone, cluster_id(&[alone])), (0xddd6_7b31_2462_fd7b, 0xa7ef_944b_9571_1739));
    let sorted = member_id(&urls(&["http://a:1", "http://b:1"]), "", Some(7));
    assert_eq!(sorted, member_id(&urls(&["http://b:1", "http://a:1"]), "", Some(7)));
    assert_ne!(sorted, member_id(&urls(&["http://a:1", "http://b:1"]), "", Some(8)));
}

#[test]
fn members_are_written_as_go_does() {
    let full = Member {
        id: 0xffff_ffff_ffff_ffff,
        peer_urls: urls(&["http://a:1", "http://b:1"]),
        is_learner: true,
        name: "n".to_owned(),
        client_urls: urls(&["http://c:1"]),
    };
    assert_eq!(
        full.to_json(Some(false)),
        [
            r#"{"id":18446744073709551615,"peerURLs":["http://a:1","http://b:1"],"#,
            r#""isLearner":true,"name":"n","clientURLs":["http://c:1"],"isPromote":false}"#,
        ]
        .concat()
    );
    let bare = Member { id: 5, ..Member::default() };
    assert_eq!(bare.to_json(Some(true)), r#"{"id":5,"peerURLs":null,"isPromote":true}"#);
    assert_eq!(bare.to_json(None), r#"{"id":5,"peerURLs":null}"#);
}

#[test]
fn members_are_read_as_etcd_writes_them() {
    let json = r#"{"id":5,"peerURLs":["http://a:1"],"name":null,"clientURLs":null,"later":[1]}"#;
    let grown = grown(&[change(ADD, 5, json.to_owned())]);
    assert_eq!(grown.member(5), Some(&member(5, "http://a:1")));
}

#[test]
fn members_come_and_go() {
    let mut membership = grown(&[
        add(&member(1, "http://a:1")),
        add(&learner(2, "http://b:1")),
        promote(2),
        update(&member(1, "http://c:1")),
        add(&member(3, "http://a:1")),
        remove(3),
    ]);
    assert_eq!(membership.member(2), Some(&member(2, "http://b:1")));
    assert_eq!(membership.member(1).unwrap().peer_urls, ["http://c:1"]);
    assert!(membership.is_removed(3) && membership.member(3).is_none());
    membership.set_attributes(2, "two".to_owned(), urls(&["http://x:1"]));
    membership.set_attributes(3, "three".to_owned(), vec![]);
    assert_eq!(membership.member(2).unwrap().name, "two");
    assert_eq!(membership.members().count(), 2);
}

#[test]
fn what_is_refused() {
    let membership = grown(&[
        add(&member(1, "http://a:1")),
        add(&learner(2, "http://b:1")),
        add(&member(3, "http://c:1")),
        remove(3),
    ]);
    let refused = |change, error| check_refused(&membership, &change, error);
    refused(add(&member(1, "http://d:1")), Error::MemberExists);
    refused(add(&member(3, "http://d:1")), Error::MemberNotFound);
    refused(add(&member(4, "http://b:1")), Error::PeerUrlExists);
    refused(add(&learner(4, "http://d:1")), Error::TooManyLearners);
    refused(promote(1), Error::MemberNotLearner);
    refused(promote(3), Error::MemberNotFound);
    refused(promote(9), Error::MemberNotFound);
    refused(remove(3), Error::MemberNotFound);
    refused(remove(9), Error::MemberNotFound);
    refused(update(&member(9, "http://d:1")), Error::MemberNotFound);
    refused(update(&member(1, "http://b:1")), Error::PeerUrlExists);
    assert_eq!(membership.validate(&update(&member(1, "http://a:1")), 1), Ok(()));
    assert_eq!(membership.validate(&add(&learner(4, "http://d:1")), 2), Ok(()));
}

#[test]
fn what_cannot_be_understood_is_not_applied() {
    let mut membership = grown(&[add(&member(1, "http://a:1"))]);
    let mut apply = |change: ConfChange| apply(&mut membership, &change).unwrap_err();
    assert!(matches!(apply(change(ADD, 2, "{".to_owned())), BadChange::Context(_)));
    let other = BadChange::OtherMember { change: 2, described: 5 };
    assert_eq!(apply(change(ADD, 2, member(5, "http://b:1").to_json(None))), other);
    let kind = ConfChange { r#type: 9, ..remove(1) };
    assert_eq!(apply(kind), BadChange::Kind(9));
}

#[test]
fn versions_are_three_numbers() {
    let version = ClusterVersion { major: 3, minor: 7, patch: 0 };
    assert_eq!("3.7.0".parse(), Ok(version));
    assert_eq!(version.to_string(), "3.7.0");
    for text in ["", "3", "3.7", "3.7.0.1", "3.7.x", "3.-7.0", "v3.7.0"] {
        assert_eq!(text.parse::<ClusterVersion>(), Err(()), "{text:?}");
    }
}
