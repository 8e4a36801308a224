//! `etcdutl backup` of what a real etcd left, of what a member of ours left, and a real etcd that
//! begins a new cluster on the copy. Keys of both APIs must be there again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;

use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::Etcdctl;
use quoin_tests::metrics::fetch;
use quoin_tests::programs::{self, Version};
use quoin_tests::server::{START_TIMEOUT, Server};
use quoin_tests::temp_dir::TempDir;
use serde_json::Value;

/// An etcd that has the v2 API; none if the reference is newer.
fn reference_with_v2() -> Option<PathBuf> {
    let reference = programs::reference_etcd();
    let version = programs::etcd_version(&reference);
    if version >= (Version { major: 3, minor: 6 }) {
        println!("skipped: the reference is {version:?}, which has no v2 API");
        return None;
    }
    Some(reference)
}

/// The reference's tool for the v2 API.
fn v2(member: &Member, args: &[&str]) {
    let mut command = Command::new(programs::reference_etcdctl());
    command.env("ETCDCTL_API", "2").arg("--endpoints").arg(&member.client_url).args(args);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Keys of both APIs, on both sides of a snapshot if the member makes one every ten entries.
fn fill_v3(member: &Member, compacted: &str) {
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
    for number in 0..14 {
        ctl.ok(&["put", &format!("k{}", number % 5), &number.to_string()]);
    }
    ctl.ok(&["del", "k3"]);
    ctl.ok(&["compaction", compacted]);
}

fn fill_v2(member: &Member) {
    for number in 0..14 {
        v2(member, &["set", &format!("/a/k{}", number % 5), &number.to_string()]);
    }
    v2(member, &["rm", "/a/k3"]);
    v2(member, &["mkdir", "/empty"]);
    v2(member, &["set", "/_hidden/members/1/attributes", "is a key like others"]);
}

/// All keys of the v2 API with their values.
fn v2_tree(member: &Member) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    for path in ["/v2/keys/?recursive=true", "/v2/keys/_hidden?recursive=true"] {
        let (head, body) = fetch(&member.client_url, path);
        assert!(head.contains("200 OK") || head.contains("404"), "{head}{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        collect(&answer["node"], &mut found);
    }
    found.sort();
    found
}

fn collect(node: &Value, found: &mut Vec<(String, Option<String>)>) {
    let key = node["key"].as_str().unwrap_or_default().to_owned();
    found.push((key, node["value"].as_str().map(str::to_owned)));
    node["nodes"].as_array().into_iter().flatten().for_each(|node| collect(node, found));
}

/// Hash of the history and revision.
fn v3_hash(member: &Member) -> (u64, i64) {
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
    let answer = ctl.ok(&["endpoint", "hashkv", "-w", "json"]);
    let answer: Value = serde_json::from_str(&answer).expect("JSON was asked for");
    let hash = &answer[0]["HashKV"];
    let revision = hash["header"]["revision"].as_i64();
    (hash["hash"].as_u64().expect("a hash"), revision.expect("a revision"))
}

/// What a cluster has.
#[derive(Debug, PartialEq)]
struct Content {
    v2: Vec<(String, Option<String>)>,
    v3: (u64, i64),
}

fn content(member: &Member) -> Content {
    Content { v2: v2_tree(member), v3: v3_hash(member) }
}

fn backup(source: &Path, target: &Path, with_v3: bool) -> String {
    let mut command = Command::new(programs::subject_etcdutl());
    command.arg("backup").arg("--data-dir").arg(source).arg("--backup-dir").arg(target);
    command.args(with_v3.then_some("--with-v3"));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts an etcd on a copy, as a new cluster.
fn start_on_copy(program: &Path, member: &Member, settings: &[(&'static str, &str)]) -> Server {
    let mut member = member.clone();
    member.settings = settings.iter().map(|&(key, value)| (key, value.to_owned())).collect();
    start(program, &member)
}

const FORCED: &[(&str, &str)] = &[("enable-v2", "true"), ("force-new-cluster", "true")];
const RESTARTED: &[(&str, &str)] = &[("enable-v2", "true")];

/// Starts the reference on a copy and compares. Then the new cluster is used, and started again.
#[track_caller]
fn check_copy(reference: &Path, member: &Member, expected: &Content) {
    let mut server = start_on_copy(reference, member, FORCED);
    assert_eq!(content(member), *expected);
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
    let list = ctl.ok(&["member", "list"]);
    assert_eq!(list.lines().count(), 1, "{list}");
    assert!(list.contains(&format!(", {}, http://localhost:2380, ", member.name)), "{list}");
    // Writes must not be taken for ones that the database has already.
    ctl.ok(&["put", "after", "1"]);
    v2(member, &["set", "/after", "1"]);
    let later = content(member);
    assert_eq!(later.v3.1, expected.v3.1 + 1);
    assert_eq!(later.v2.len(), expected.v2.len() + 1);
    server.terminate(START_TIMEOUT).unwrap_or_else(|error| panic!("{error}"));
    let _server = start_on_copy(reference, member, RESTARTED);
    assert_eq!(content(member), later);
}

/// Lines of the log without their times.
fn messages(log: &str) -> Vec<String> {
    log.lines()
        .filter_map(|line| line.split_once(" I | "))
        .map(|(_, text)| text.to_owned())
        .collect()
}

/// One of three members is stopped; with few entries for a snapshot and with many, so that the log is
/// all there is.
#[test]
fn a_cluster_of_etcd_begins_anew() {
    let Some(reference) = reference_with_v2() else { return };
    for snapshot_count in ["10", "100000"] {
        let settings = [("enable-v2", "true"), ("snapshot-count", snapshot_count)];
        let mut cluster = Cluster::start_with(&reference, 3, "backup-etcd", &settings);
        let member = cluster.members[1].clone();
        fill_v3(&member, "8");
        fill_v2(&member);
        let expected = content(&member);
        // An etcd that is killed may not have written yet that its last entry was committed.
        let stopped = cluster.server(1).terminate(START_TIMEOUT);
        stopped.unwrap_or_else(|error| panic!("{error}"));
        let dir = TempDir::new("backup-copies");
        for with_v3 in [true, false] {
            let copy = Member::alone(dir.path(), if with_v3 { "both" } else { "v2" });
            let log = backup(&member.data_dir, &copy.data_dir, with_v3);
            compare_log(&member.data_dir, &dir.join("official"), with_v3, &log);
            let v3 = if with_v3 { expected.v3 } else { empty_v3() };
            check_copy(&reference, &copy, &Content { v2: expected.v2.clone(), v3 });
        }
    }
}

/// Hash and revision of a store without keys.
fn empty_v3() -> (u64, i64) {
    (1_084_519_789, 1)
}

/// The official tool says the same of the same directory.
fn compare_log(source: &Path, target: &Path, with_v3: bool, log: &str) {
    let mut command = Command::new(programs::reference_etcdctl());
    command.env("ETCDCTL_API", "2").arg("backup").arg("--data-dir").arg(source);
    command.arg("--backup-dir").arg(target).args(with_v3.then_some("--with-v3"));
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    std::fs::remove_dir_all(target).expect("the directory is ours");
    let expected = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(messages(log), messages(&expected));
}

/// Starts a member on what is there.
fn start(program: &Path, member: &Member) -> Server {
    let dir = member.data_dir.parent().expect("a directory of the test");
    let server = Server::start(&member.launch(program, dir));
    server.unwrap_or_else(|error| panic!("{error}"))
}

/// Both APIs come from an etcd into a member of ours, and from there into a directory of etcd.
#[test]
fn a_member_of_ours_moves_to_an_etcd() {
    let Some(reference) = reference_with_v2() else { return };
    let dir = TempDir::new("backup-ours");
    let mut member = Member::alone(dir.path(), "m1");
    member.settings = vec![("enable-v2", "true".to_owned())];
    let mut server = start(&reference, &member);
    fill_v2(&member);
    fill_v3(&member, "8");
    let v2 = v2_tree(&member);
    server.kill();
    // It writes a checkpoint now and then, and has a log behind it.
    member.settings = vec![("snapshot-count", "10".to_owned())];
    let mut server = start(&programs::subject_etcd(), &member);
    fill_v3(&member, "20");
    let v3 = v3_hash(&member);
    server.kill();
    for with_v3 in [true, false] {
        let copy = Member::alone(dir.path(), if with_v3 { "both" } else { "v2" });
        backup(&member.data_dir, &copy.data_dir, with_v3);
        let v3 = if with_v3 { v3 } else { empty_v3() };
        check_copy(&reference, &copy, &Content { v2: v2.clone(), v3 });
    }
}

/// The copy is of one member, so it needs no force to start here; and it can be copied again.
#[test]
fn a_copy_starts_here() {
    let Some(reference) = reference_with_v2() else { return };
    let dir = TempDir::new("backup-here");
    for snapshot_count in ["10", "100000"] {
        let mut member = Member::alone(dir.path(), &format!("m{snapshot_count}"));
        let settings = [("enable-v2", "true"), ("snapshot-count", snapshot_count)];
        member.settings = settings.map(|(key, value)| (key, value.to_owned())).into();
        let mut server = start(&reference, &member);
        fill_v3(&member, "8");
        fill_v2(&member);
        let expected = content(&member);
        server.kill();
        let copy = Member::alone(dir.path(), &format!("copy{snapshot_count}"));
        backup(&member.data_dir, &copy.data_dir, true);
        let mut server = start_on_copy(&programs::subject_etcd(), &copy, &[]);
        assert_eq!(v3_hash(&copy), expected.v3);
        server.kill();
        let again = Member::alone(dir.path(), &format!("again{snapshot_count}"));
        backup(&copy.data_dir, &again.data_dir, true);
        check_copy(&reference, &again, &expected);
    }
}
