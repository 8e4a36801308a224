//! Members in both forms, and when the v2 store begins anew.

use bytes::Bytes;
use quoin_api::raftpb::ConfChangeType;

use super::*;

fn member(id: u64) -> Member {
    Member { id, peer_urls: vec![format!("http://h:{id}")], ..Member::default() }
}

fn change(kind: ConfChangeType, id: u64, member: Option<&Member>) -> ConfChange {
    let context = member.map(|member| Bytes::from(member.to_json(Some(false))));
    let context = context.unwrap_or_default();
    ConfChange { r#type: kind as i32, node_id: id, context, ..ConfChange::default() }
}

fn add(cluster: &mut Cluster, member: &Member) {
    let change = change(ConfChangeType::ConfChangeAddNode, member.id, Some(member));
    assert_eq!(cluster.apply_conf_change(&change, 1), Ok(Ok(())));
}

fn version(minor: u64) -> ClusterVersion {
    ClusterVersion { major: 3, minor, patch: 0 }
}

fn put(cluster: &mut Cluster, path: &str) -> V2Outcome {
    let path = Bytes::copy_from_slice(path.as_bytes());
    let request = V2Request { method: "PUT".to_owned(), path, ..V2Request::default() };
    cluster.apply_v2(&request).unwrap()
}

/// What etcd's store has below `/0`, as paths and values.
fn shown(cluster: &Cluster) -> Vec<String> {
    let below = cluster.v2().view().get(b"/0", true).unwrap().below;
    let files = below.into_iter().filter(|node| !node.dir);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    files.map(|node| text(&node.key) + "=" + &text(&node.value.unwrap())).collect()
}

#[test]
fn the_tree_shows_the_members() {
    let mut cluster = Cluster::default();
    add(&mut cluster, &member(10));
    add(&mut cluster, &member(11));
    cluster.set_attributes(10, "m1".to_owned(), vec!["http://c:1".to_owned()]);
    cluster.set_attributes(99, "gone".to_owned(), Vec::new());
    cluster.set_version(version(4));
    let changed = Member { peer_urls: vec!["http://other:1".to_owned()], ..member(11) };
    let update = change(ConfChangeType::ConfChangeUpdateNode, 11, Some(&changed));
    assert_eq!(cluster.apply_conf_change(&update, 1), Ok(Ok(())));
    assert_eq!(
        shown(&cluster),
        [
            r#"/0/members/a/attributes={"name":"m1","clientURLs":["http://c:1"]}"#,
            r#"/0/members/a/raftAttributes={"peerURLs":["http://h:10"]}"#,
            r#"/0/members/b/raftAttributes={"peerURLs":["http://other:1"]}"#,
            "/0/version=3.4.0",
        ]
    );
    // A refused change takes no index; etcd counts the others like this.
    assert_eq!(cluster.v2().index(), 5);
    let refused = change(ConfChangeType::ConfChangeRemoveNode, 12, None);
    assert!(cluster.apply_conf_change(&refused, 1).unwrap().is_err());
    assert_eq!(cluster.v2().index(), 5);
    let remove = change(ConfChangeType::ConfChangeRemoveNode, 11, None);
    assert_eq!(cluster.apply_conf_change(&remove, 1), Ok(Ok(())));
    assert_eq!(cluster.v2().index(), 7);
    assert_eq!(shown(&cluster)[2..], ["/0/removed_members/b=", "/0/version=3.4.0"]);

    let json = cluster.v2().view().to_json();
    let read = Cluster::of_v2_json(&json).unwrap();
    assert_eq!(read.membership(), cluster.membership());
    assert_eq!(read.v2().index(), 7);
}

/// An etcd 3.6 keeps no v2 index, so members that were taken over from it at different times had
/// different ones, and gave different answers to the same request from then on.
#[test]
fn members_agree_on_the_index_from_the_first_use_on() {
    let mut counted = Cluster::default();
    add(&mut counted, &member(1));
    for _ in 0..5 {
        counted.set_attributes(1, "m1".to_owned(), Vec::new());
    }
    counted.set_version(version(7));
    let mut taken_over = Cluster::of_members(counted.membership().as_ref().clone());
    assert_ne!(counted.v2().index(), taken_over.v2().index());
    drop(counted.take_v2_changes());

    assert_eq!(put(&mut counted, "/1/a"), put(&mut taken_over, "/1/a"));
    assert_eq!((counted.v2().index(), taken_over.v2().index()), (4, 4));
    let changes = counted.take_v2_changes();
    assert_eq!(changes.replaced.map(|v2| v2.index()), Some(3));
    assert_eq!(changes.notices.len(), 1);
    // From then on every change counts.
    counted.set_attributes(1, "m1".to_owned(), Vec::new());
    put(&mut counted, "/1/a");
    assert_eq!(counted.v2().index(), 6);
    assert!(counted.take_v2_changes().replaced.is_none());
}

/// Beside an etcd 3.4 counting must go on as there.
#[test]
fn nothing_begins_anew_beside_an_etcd_that_keeps_the_index() {
    let mut cluster = Cluster::default();
    add(&mut cluster, &member(1));
    for _ in 0..5 {
        cluster.set_attributes(1, "m1".to_owned(), Vec::new());
    }
    cluster.set_version(version(4));
    put(&mut cluster, "/1/a");
    assert_eq!(cluster.v2().index(), 8);
}

#[test]
fn a_copy_for_an_older_etcd_counts_nothing() {
    let mut cluster = Cluster::default();
    add(&mut cluster, &member(1));
    cluster.set_version(version(7));
    cluster.lower_version(version(4));
    assert_eq!(cluster.v2().index(), 2);
    assert_eq!(shown(&cluster)[1], "/0/version=3.4.0");
    cluster.lower_version(version(5));
    assert_eq!(cluster.membership().version(), Some(version(4)));
}

#[test]
fn paths_of_attributes() {
    for (path, id) in [
        ("/0/members/a/attributes", Some(10)),
        ("/0/members/8e9e05c52164694d/attributes", Some(0x8e9e_05c5_2164_694d)),
        ("/0/members/+a/attributes", None),
        ("/0/members/x/attributes", None),
        ("/0/members//attributes", None),
        ("/0/members/a/raftAttributes", None),
        ("/0/members/11111111111111111/attributes", None),
        ("/1/members/a/attributes", None),
    ] {
        assert_eq!(member_of_attributes_path(path), id, "{path}");
    }
}
