//! Data that goes from etcd to the subject and back: a killed etcd's directory, backups both ways.
//! Every time the hash of the whole history must be the same.
//!
//! Backups are restored with the etcdutl beside the reference etcd, or if there is none with the
//! reference etcdctl, which could do it until etcd 3.5.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::slice::from_ref;
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{HashKvRequest, PutRequest};
use quoin_tests::cluster::Member;
use quoin_tests::compare::Session;
use quoin_tests::ctl::Etcdctl;
use quoin_tests::generate::{Generator, splits_old_members};
use quoin_tests::programs::{self, Version};
use quoin_tests::rng::Rng;
use quoin_tests::rpc;
use quoin_tests::server::{START_TIMEOUT, Server};
use quoin_tests::temp_dir::TempDir;

/// Entries of the log that an etcd before 3.6 keeps for those who lag.
const KEPT_BY_OLD_ETCD: u32 = 5000;
/// Requests that are answered before the kill.
const REQUESTS: u64 = 400;

fn start(program: &Path, member: &Member, dir: &TempDir) -> Server {
    let server = Server::start(&member.launch(program, dir.path()));
    server.unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread").block_on(future)
}

fn connect(member: &Member) -> Session {
    let channel = rpc::channel(&member.client_url, Duration::from_secs(30));
    Session::new(&member.client_url, channel)
}

/// Sends random requests, and keys that a restart cannot explain away.
fn fill(member: &Member, label: &str) {
    let seed = Rng::seed_of_run(label);
    let version = programs::etcd_version(&programs::reference_etcd());
    block_on(async {
        let mut session = connect(member);
        let mut generator = Generator::new(seed, version);
        for _ in 0..REQUESTS {
            let request = generator.request();
            // etcd would carry it out after the restart although it refused it before, or not: it
            // depends on when its database was written.
            if splits_old_members(&request, version) {
                continue;
            }
            let reply = session.call(&request).await;
            generator.learn(&request, &reply);
        }
    });
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
    ctl.ok(&["put", "kept", "1"]);
    ctl.ok(&["put", "large", &"x".repeat(100_000)]);
}

/// Hash and revision of all there is.
fn hash(member: &Member) -> (u32, i64) {
    block_on(async {
        let mut session = connect(member);
        let answer = session.maintenance.hash_kv(HashKvRequest { revision: 0 }).await;
        let answer = answer.expect("a member that serves").into_inner();
        (answer.hash, answer.header.expect("every answer has a header").revision)
    })
}

fn member_list(member: &Member) -> String {
    Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url))
        .ok(&["member", "list"])
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("there is cp").success());
}

/// What is in the files of a directory, but for the log, which goes on.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        files.push((path.clone(), std::fs::read(&path).expect("a file")));
    }
    files.sort();
    files
}

fn save(member: &Member, file: &Path) {
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
    ctl.ok(&["snapshot", "save", &file.display().to_string()]);
}

/// Makes the data-dir of a member from a backup.
fn restore(file: &Path, member: &Member) {
    let beside = programs::reference_etcd().with_file_name("etcdutl");
    let tool = if beside.is_file() { beside } else { programs::reference_etcdctl() };
    let mut command = Command::new(tool);
    command.args(["snapshot", "restore"]).arg(file).arg("--data-dir").arg(&member.data_dir);
    command.args(["--name", &member.name, "--initial-cluster", &member.initial_cluster]);
    command.args(["--initial-advertise-peer-urls", &member.advertised_peer_url]);
    command.args(["--initial-cluster-token", "quoin-tests"]);
    let output = command.output().expect("the tool can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The killed directory twice: the reference starts on one copy and the subject on the other, so
/// both have the same to recover, also what was under way.
#[test]
fn the_directory_of_a_killed_etcd_opens() {
    for snapshot_count in ["100000", "50"] {
        let dir = TempDir::new("takeover");
        let member = Member::alone(dir.path(), "m1");
        let reference = programs::reference_etcd();
        let launch = member.launch(&reference, dir.path());
        let text = format!("{}snapshot-count: {snapshot_count}\n", member.yaml());
        std::fs::write(&launch.args[1], text).expect("the file is ours");
        let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
        fill(&member, "takeover");
        server.kill();
        let twin = dir.join("twin");
        copy(&member.data_dir, &twin);
        let mut server = start(&reference, &member, &dir);
        let expected = (hash(&member), member_list(&member));
        server.kill();
        std::fs::remove_dir_all(&member.data_dir).expect("the directory is ours");
        std::fs::rename(&twin, &member.data_dir).expect("the directory is ours");
        let before = files(&member.data_dir.join("member/snap"));
        let mut server = start(&programs::subject_etcd(), &member, &dir);
        assert_eq!((hash(&member), member_list(&member)), expected);
        let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
        ctl.ok(&["put", "after", "1"]);
        server.kill();
        assert_eq!(files(&member.data_dir.join("member/snap")), before);
        let _server = start(&programs::subject_etcd(), &member, &dir);
        assert_eq!(ctl.ok(&["get", "after"]), "after\n1\n");
        assert_eq!(ctl.ok(&["get", "kept"]), "kept\n1\n");
    }
}

#[test]
fn backups_go_both_ways() {
    let dir = TempDir::new("backup");
    let next = |name: &str| Member::alone(dir.path(), name);
    let first = next("m1");
    let mut server = start(&programs::reference_etcd(), &first, &dir);
    fill(&first, "backup");
    let expected = hash(&first);
    let file = dir.join("reference.snap");
    save(&first, &file);
    server.kill();

    let second = next("m2");
    restore(&file, &second);
    let mut server = start(&programs::subject_etcd(), &second, &dir);
    assert_eq!(hash(&second), expected);
    assert_eq!(member_list(&second).lines().count(), 1);
    let file = dir.join("subject.snap");
    save(&second, &file);
    server.kill();

    for (name, program) in [("m3", programs::reference_etcd()), ("m4", programs::subject_etcd())] {
        let member = next(name);
        restore(&file, &member);
        let _server = start(&program, &member, &dir);
        assert_eq!(hash(&member), expected, "{name}");
        let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&member.client_url));
        ctl.ok(&["put", "after", "1"]);
        ctl.ok(&["del", "", "--prefix"]);
    }
}

#[test]
fn a_database_that_is_cut_off_is_refused_and_kept() {
    let dir = TempDir::new("cut-off");
    let member = Member::alone(dir.path(), "m1");
    let mut server = start(&programs::reference_etcd(), &member, &dir);
    fill(&member, "cut-off");
    server.terminate(START_TIMEOUT).unwrap_or_else(|error| panic!("{error}"));
    let database = member.data_dir.join("member/snap/db");
    let bytes = std::fs::read(&database).expect("the database is there");
    std::fs::write(&database, &bytes[..8192]).expect("the database is ours");
    let before =
        (files(database.parent().expect("a parent")), files(&member.data_dir.join("member/wal")));
    let launch = member.launch(&programs::subject_etcd(), dir.path());
    let mut server = Server::spawn(&launch);
    let status = server.wait_exit(START_TIMEOUT);
    let log = server.log_tail();
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log}");
    assert!(log.contains("member/snap/db") && log.contains("is cut off"), "{log}");
    let after =
        (files(database.parent().expect("a parent")), files(&member.data_dir.join("member/wal")));
    assert!(before == after, "files were changed");
    // The same directory starts as soon as the file is whole again.
    std::fs::write(&database, &bytes).expect("the database is ours");
    let _server = start(&programs::subject_etcd(), &member, &dir);
}

/// A member of a cluster whose members forget their log soon, so that who lags needs the state.
fn forgetful(program: &Path, member: &Member, dir: &TempDir) -> Server {
    let launch = member.launch(program, dir.path());
    let settings = "snapshot-count: 20\nsnapshot-catchup-entries: 5\n";
    let text = format!("{}{settings}", member.yaml());
    std::fs::write(&launch.args[1], text).expect("the file is ours");
    Server::spawn(&launch)
}

fn put_many(ctl: &Etcdctl, prefix: &str) {
    // More than a member keeps of its log at the least.
    for number in 0..160 {
        ctl.ok(&["put", &format!("{prefix}{}", number % 30), &number.to_string()]);
    }
}

/// Puts this many times, as fast as one client can.
fn put_fast(member: &Member, times: u32) {
    block_on(async {
        let mut kv = rpc::kv(rpc::channel(&member.client_url, Duration::from_secs(30)));
        for number in 0..times {
            let (key, value) = (format!("fast{}", number % 30), number.to_string());
            let (key, value) = (key.into(), value.into());
            let put = kv.put(PutRequest { key, value, ..PutRequest::default() }).await;
            put.unwrap_or_else(|status| panic!("{status}"));
        }
    });
}

/// The members of one cluster.
fn three(dir: &TempDir) -> Vec<Member> {
    let mut members: Vec<Member> =
        ["m1", "m2", "m3"].map(|name| Member::alone(dir.path(), name)).into();
    let everyone: Vec<String> = members.iter().map(|m| m.initial_cluster.clone()).collect();
    members.iter_mut().for_each(|member| member.initial_cluster = everyone.join(","));
    members
}

fn ready(server: &mut Server) {
    server.wait_ready(START_TIMEOUT).unwrap_or_else(|error| panic!("{error}"));
}

/// Waits until all members are at the same revision, and compares their hashes.
fn check_same_hash(members: &[Member]) {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let hashes: Vec<(u32, i64)> = members.iter().map(hash).collect();
        if hashes.iter().all(|hash| hash.1 == hashes[0].1) {
            assert!(hashes.iter().all(|hash| hash.0 == hashes[0].0), "{hashes:?}");
            return;
        }
        assert!(Instant::now() < deadline, "the members stay apart: {hashes:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a write is answered. One that is on its way to a leader that was killed is lost, and
/// its client learns of it only when its time is over.
fn wait_writable(ctl: &Etcdctl) {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let outcome = ctl.run(&["--command-timeout=1s", "put", "writable", "yes"]);
        if outcome.code == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "no write is answered: {outcome:?}");
    }
}

/// Makes one of the members, which are all up, the leader.
fn move_leader(members: &[Member], to: usize) {
    let urls: Vec<String> = members.iter().map(|member| member.client_url.clone()).collect();
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &urls);
    let list = ctl.ok(&["member", "list"]);
    let name = format!(", {},", members[to].name);
    let line = list.lines().find(|line| line.contains(&name)).expect("it is a member");
    let id = line.split(',').next().expect("a line begins with the ID");
    ctl.ok(&["move-leader", id]);
}

/// One member of a cluster of etcd is moved. It lags and is sent the state by an etcd; then it
/// leads, and sends the state to an etcd that lags.
#[test]
fn members_of_both_catch_up_from_each_other() {
    let (reference, subject) = (programs::reference_etcd(), programs::subject_etcd());
    let version = programs::etcd_version(&reference);
    // Before this version the entries that an etcd keeps at the least are no setting.
    let kept = if version < (Version { major: 3, minor: 6 }) { KEPT_BY_OLD_ETCD } else { 0 };
    let dir = TempDir::new("mixed");
    let members = three(&dir);
    let urls: Vec<String> = members.iter().map(|member| member.client_url.clone()).collect();
    let ctl = |of: &[usize]| {
        let urls: Vec<String> = of.iter().map(|&member| urls[member].clone()).collect();
        Etcdctl::new(&programs::reference_etcdctl(), &urls)
    };
    let mut servers: Vec<Server> =
        members.iter().map(|member| forgetful(&reference, member, &dir)).collect();
    servers.iter_mut().for_each(ready);
    put_many(&ctl(&[0]), "a");
    servers[2].kill();
    servers[2] = forgetful(&subject, &members[2], &dir);
    ready(&mut servers[2]);
    check_same_hash(&members);

    servers[2].kill();
    wait_writable(&ctl(&[0]));
    put_many(&ctl(&[0]), "b");
    put_fast(&members[0], kept);
    servers[2] = forgetful(&subject, &members[2], &dir);
    servers[2]
        .wait_log("received and saved database snapshot", START_TIMEOUT)
        .unwrap_or_else(|error| panic!("{error}"));
    ready(&mut servers[2]);
    check_same_hash(&members);

    move_leader(&members, 2);
    servers[1].kill();
    put_many(&ctl(&[0, 2]), "c");
    servers[1] = forgetful(&reference, &members[1], &dir);
    servers[2]
        .wait_log("sent database snapshot", START_TIMEOUT)
        .unwrap_or_else(|error| panic!("{error}"));
    ready(&mut servers[1]);
    check_same_hash(&members);
    // What was sent must also carry a restart.
    servers[1].kill();
    servers[1] = forgetful(&reference, &members[1], &dir);
    ready(&mut servers[1]);
    check_same_hash(&members);
}

/// A member that was away while others joined must listen to one of those that leads now, although its
/// own log does not tell of it: it asks a member that it knows. Messages of whom no member lists are
/// refused.
#[test]
fn a_member_follows_a_leader_that_joined_while_it_was_away() {
    let (reference, subject) = (programs::reference_etcd(), programs::subject_etcd());
    let dir = TempDir::new("joined");
    let mut members = three(&dir);
    // One member is down while another one is added, which etcd refuses otherwise.
    for member in &mut members[..2] {
        member.settings.push(("strict-reconfig-check", "false".to_owned()));
    }
    let mut servers: Vec<Server> = Vec::new();
    for (member, program) in members.iter().zip([&reference, &reference, &subject]) {
        servers.push(Server::spawn(&member.launch(program, dir.path())));
    }
    servers.iter_mut().for_each(ready);
    check_same_hash(&members);
    servers[2].kill();

    let ctl = Etcdctl::new(&programs::reference_etcdctl(), from_ref(&members[0].client_url));
    wait_writable(&ctl);
    let mut joined = Member::alone(dir.path(), "m4");
    ctl.ok(&["member", "add", "m4", &format!("--peer-urls={}", joined.peer_url)]);
    joined.initial_cluster = format!("{},{}", members[0].initial_cluster, joined.initial_cluster);
    let launch = joined.launch(&reference, dir.path());
    let (new, existing) = ("initial-cluster-state: new", "initial-cluster-state: existing");
    let text = joined.yaml().replace(new, existing);
    std::fs::write(&launch.args[1], text).expect("the file is ours");
    let mut fourth = Server::spawn(&launch);
    ready(&mut fourth);
    let of_now = [members[0].clone(), members[1].clone(), joined.clone()];
    check_same_hash(&of_now);
    wait_writable(&ctl);
    move_leader(&of_now, 2);
    put_many(&ctl, "joined");

    servers[2] = Server::spawn(&members[2].launch(&subject, dir.path()));
    servers[2]
        .wait_log("listening to a sender that a member lists", START_TIMEOUT)
        .unwrap_or_else(|error| panic!("{error}"));
    ready(&mut servers[2]);
    let everyone = [members[0].clone(), members[1].clone(), joined, members[2].clone()];
    check_same_hash(&everyone);
}
