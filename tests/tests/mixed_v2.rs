//! Clusters of ours and of an etcd that has the v2 API too: moved one member after the other and
//! back, under load, with keys of both APIs. And clusters with an etcd that cannot apply v2 requests.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
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
use serde_json::Value;

/// The first etcd without the v2 API.
const WITHOUT_V2: Version = Version { major: 3, minor: 6 };
/// What one try of a writer may take; a member that is being replaced does not answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Random requests under each leader.
const RANDOM_REQUESTS: usize = 400;
/// Between two writes of a writer.
const WRITE_PAUSE: Duration = Duration::from_millis(5);
/// Entries after which a member writes a snapshot: a few times in a test.
const SNAPSHOT_COUNT: &str = "300";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime of one thread").block_on(future)
}

/// One request on a connection of its own: the status and the body.
fn http(method: &str, url: &str, path: &str, form: &str) -> std::io::Result<(u16, String)> {
    let host = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(TRY_TIMEOUT))?;
    let length = form.len();
    // This version of HTTP has no chunks.
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {host}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let parts = answer.split_once("\r\n\r\n").and_then(|(head, body)| {
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    });
    parts.ok_or_else(|| std::io::Error::other(format!("no answer but {answer:?}")))
}

fn get(url: &str, path: &str) -> Value {
    let (status, body) = http("GET", url, path, "").unwrap_or_else(|e| panic!("{url}{path}: {e}"));
    assert_eq!(status, 200, "{url}{path}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{url}{path}: {error}: {body}"))
}

#[track_caller]
fn change(method: &str, url: &str, path: &str, form: &str) {
    let (status, body) = http(method, url, path, form).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(status == 200 || status == 201, "{method} {path}: {status} {body}");
}

/// The members of a cluster, each of which runs one of the two programs.
struct Mixed {
    members: Vec<Member>,
    servers: Vec<Option<Server>>,
    // Last, so that the processes end before their files go.
    dir: TempDir,
}

/// Everything that a member has to agree on with the others.
#[derive(Clone, Debug, PartialEq)]
struct State {
    hash: u32,
    revision: i64,
    /// Keys of the v2 API, hidden ones, users and roles.
    v2: Vec<Value>,
}

impl Mixed {
    fn prepare(label: &str) -> Self {
        let dir = TempDir::new(label);
        let mut members: Vec<Member> =
            ["m1", "m2", "m3"].map(|name| Member::alone(dir.path(), name)).into();
        let everyone: Vec<String> = members.iter().map(|it| it.initial_cluster.clone()).collect();
        for member in &mut members {
            member.initial_cluster = everyone.join(",");
            member.settings.push(("enable-v2", "true".to_owned()));
            member.settings.push(("snapshot-count", SNAPSHOT_COUNT.to_owned()));
        }
        Self { servers: members.iter().map(|_| None).collect(), members, dir }
    }

    fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| member.client_url.clone()).collect()
    }

    fn spawn(&mut self, member: usize, program: &Path) {
        let launch = self.members[member].launch(program, self.dir.path());
        self.servers[member] = Some(Server::spawn(&launch));
    }

    fn wait_ready(&mut self, member: usize) {
        let server = self.servers[member].as_mut().expect("it was started");
        server.wait_ready(START_TIMEOUT).unwrap_or_else(|error| panic!("{error}"));
    }

    fn start_all(&mut self, program: &Path) {
        (0..self.members.len()).for_each(|member| self.spawn(member, program));
        (0..self.members.len()).for_each(|member| self.wait_ready(member));
    }

    fn stop(&mut self, member: usize) {
        let mut server = self.servers[member].take().expect("it was started");
        server.terminate(START_TIMEOUT).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Puts ours in the place of an etcd: on its directory, as it is.
    fn move_to_ours(&mut self, member: usize) {
        self.stop(member);
        self.spawn(member, &programs::subject_etcd());
        self.wait_ready(member);
    }

    /// Makes the directory of a member of ours, which is down, one of etcd.
    fn export(&self, member: usize, target: Option<&str>) {
        let data_dir = &self.members[member].data_dir;
        let exported = self.dir.join("exported");
        let mut command = Command::new(programs::subject_etcdutl());
        command.arg("export").arg("--data-dir").arg(data_dir).arg("--output-dir").arg(&exported);
        command.args(target.map(|version| format!("--target-version={version}")));
        let output = command.output().expect("the tool can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::remove_dir_all(data_dir).expect("the directory is ours");
        std::fs::rename(&exported, data_dir).expect("the directory is ours");
    }

    fn move_back(&mut self, member: usize) {
        self.stop(member);
        self.export(member, None);
        self.spawn(member, &programs::reference_etcd());
        self.wait_ready(member);
    }

    fn move_leader(&self, to: usize) {
        let ctl = Etcdctl::new(&programs::reference_etcdctl(), &self.urls());
        let list = ctl.ok(&["member", "list"]);
        let name = format!(", {},", self.members[to].name);
        let line = list.lines().find(|line| line.contains(&name)).expect("it is a member");
        let id = line.split(',').next().expect("a line begins with the ID");
        ctl.ok(&["move-leader", id]);
    }

    /// Hash and revision of the keys.
    fn hash(&self, member: usize) -> (u32, i64) {
        block_on(async {
            let channel = rpc::channel(&self.members[member].client_url, START_TIMEOUT);
            let answer = rpc::maintenance(channel).hash_kv(HashKvRequest { revision: 0 }).await;
            let answer = answer.expect("a member that serves").into_inner();
            (answer.hash, answer.header.expect("every answer has a header").revision)
        })
    }

    fn state(&self, member: usize) -> State {
        let url = &self.members[member].client_url;
        let (hash, revision) = self.hash(member);
        let paths = [
            "/v2/keys/?recursive=true&sorted=true",
            "/v2/keys/_hidden?recursive=true&sorted=true",
            "/v2/auth/users",
            "/v2/auth/users/alice",
            "/v2/auth/roles",
            "/v2/auth/roles/readers",
        ];
        let v2 = paths.iter().map(|path| without_ttl(get(url, path))).collect();
        State { hash, revision, v2 }
    }

    /// Waits until all members agree; nothing may be written meanwhile.
    #[track_caller]
    fn check_same(&self, step: &str) -> State {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let states: Vec<State> =
                (0..self.members.len()).map(|member| self.state(member)).collect();
            if states.iter().all(|state| *state == states[0]) {
                println!("{step}: revision {}, hash {}", states[0].revision, states[0].hash);
                return states[0].clone();
            }
            assert!(Instant::now() < deadline, "{step}: the members stay apart: {states:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn version(&self, member: usize) -> String {
        let version = get(&self.members[member].client_url, "/version");
        version["etcdcluster"].as_str().unwrap_or_default().to_owned()
    }
}

/// What is left of a node's time changes with each look; when it ends does not.
fn without_ttl(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.remove("ttl");
            fields.values_mut().for_each(|field| *field = without_ttl(field.take()));
        }
        Value::Array(values) => values.iter_mut().for_each(|it| *it = without_ttl(it.take())),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    value
}

/// Writers of both APIs, each of which writes one key after the other, through any member, until it
/// is acknowledged.
struct Load {
    /// Held by a writer during a write.
    gate: Arc<RwLock<()>>,
    stop: Arc<AtomicBool>,
    v3: Arc<AtomicU64>,
    v2: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(urls: &[String]) -> Self {
        let (gate, stop) = (Arc::default(), Arc::default());
        let mut load =
            Self { gate, stop, v3: Arc::default(), v2: Arc::default(), threads: Vec::new() };
        let v2 = |url: &str, number: u64| {
            let path = format!("/v2/keys/load/{number}");
            let answer = http("PUT", url, &path, &format!("value={number}"));
            answer.is_ok_and(|(status, _)| status == 200 || status == 201)
        };
        load.write(urls, Arc::clone(&load.v2), v2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime of one thread");
        let v3 = move |url: &str, number: u64| {
            let (key, value) = (format!("load/{number}").into(), number.to_string().into());
            let request = PutRequest { key, value, ..PutRequest::default() };
            let put = async { rpc::kv(rpc::channel(url, TRY_TIMEOUT)).put(request).await };
            runtime.block_on(put).is_ok()
        };
        load.write(urls, Arc::clone(&load.v3), v3);
        load
    }

    fn write(
        &mut self,
        urls: &[String],
        acknowledged: Arc<AtomicU64>,
        put: impl Fn(&str, u64) -> bool + Send + 'static,
    ) {
        let (gate, stop, urls) = (Arc::clone(&self.gate), Arc::clone(&self.stop), urls.to_owned());
        self.threads.push(std::thread::spawn(move || {
            for url in urls.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let held = gate.read().unwrap_or_else(PoisonError::into_inner);
                let number = acknowledged.load(Ordering::Relaxed);
                if put(url, number) {
                    acknowledged.store(number + 1, Ordering::Relaxed);
                }
                drop(held);
                std::thread::sleep(WRITE_PAUSE);
            }
        }));
    }

    /// Runs a look at the members while nothing is written; then waits until both writers have got
    /// something acknowledged again.
    #[track_caller]
    fn paused<T>(&self, look: impl FnOnce() -> T) -> T {
        let held = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let seen = look();
        let before = self.acknowledged();
        drop(held);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let now = self.acknowledged();
            if now.0 > before.0 + 10 && now.1 > before.1 + 10 {
                return seen;
            }
            assert!(Instant::now() < deadline, "the writers stand still: {before:?} {now:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn acknowledged(&self) -> (u64, u64) {
        (self.v3.load(Ordering::Relaxed), self.v2.load(Ordering::Relaxed))
    }

    /// Ends the writers and returns how many keys of each API were acknowledged.
    fn stop(mut self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a writer does not panic");
        }
        self.acknowledged()
    }
}

/// Keys of each kind of both APIs, users and roles.
fn fill(cluster: &Mixed) {
    let urls = cluster.urls();
    change("PUT", &urls[0], "/v2/keys/a/b/c", "value=deep");
    change("PUT", &urls[1], "/v2/keys/empty", "dir=true");
    change("PUT", &urls[2], "/v2/keys/_hidden/key", "value=hidden");
    change("PUT", &urls[0], "/v2/keys/long", "value=lives&ttl=3600");
    change("PUT", &urls[1], "/v2/keys/short", "value=ends&ttl=5");
    change("PUT", &urls[1], "/v2/keys/dir-with-ttl", "dir=true&ttl=3600");
    for value in ["one", "two", "%3C%26%22%C3%A4"] {
        change("POST", &urls[2], "/v2/keys/queue", &format!("value={value}"));
    }
    change("PUT", &urls[0], "/v2/keys/a/b/c", "value=deeper&prevValue=deep");
    change("DELETE", &urls[0], "/v2/keys/a/b/c?prevValue=deeper", "");
    let role = r#"{"role":"readers","permissions":{"kv":{"read":["/a/*"],"write":[]}}}"#;
    change("PUT", &urls[0], "/v2/auth/roles/readers", role);
    let user = r#"{"user":"alice","password":"secret","roles":["readers"]}"#;
    change("PUT", &urls[1], "/v2/auth/users/alice", user);
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &urls);
    ctl.ok(&["put", "large", &"x".repeat(50_000)]);
    ctl.ok(&["put", "gone", "1"]);
    ctl.ok(&["del", "gone"]);
}

/// The keys below `load/` that the cluster has.
fn load_keys(url: &str) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &[url.to_owned()]);
    let v3 = ctl.ok(&["get", "load/", "--prefix", "--keys-only"]);
    let number = |key: &str| key.rsplit('/').next().and_then(|number| number.parse().ok());
    let v3 = v3.lines().filter_map(number).collect();
    let v2 = get(url, "/v2/keys/load");
    let nodes = v2["node"]["nodes"].as_array().expect("a directory").iter();
    let v2 = nodes.filter_map(|node| number(node["key"].as_str().unwrap_or_default())).collect();
    (v3, v2)
}

/// A running etcd 3.4 dies of requests that are newer than itself, so for a long time ours refused
/// to start beside one. Now it writes what a 3.4 would write, as long as one is there.
#[test]
fn a_cluster_is_moved_member_by_member_and_back_under_load() {
    let reference = programs::reference_etcd();
    let version = programs::etcd_version(&reference);
    if version >= WITHOUT_V2 {
        println!("skipped: the reference is {version:?}");
        return;
    }
    let target = format!("{}.{}", version.major, version.minor);
    let mut cluster = Mixed::prepare("mixed-v2");
    cluster.start_all(&reference);
    fill(&cluster);
    let load = Load::start(&cluster.urls());
    load.paused(|| cluster.check_same("all etcd"));
    // Each member for itself, then two, of which one leads.
    for member in 0..3 {
        cluster.move_to_ours(member);
        load.paused(|| cluster.check_same("one of ours"));
        cluster.move_leader(member);
        load.paused(|| cluster.check_same("one of ours, which leads"));
        if member < 2 {
            cluster.move_back(member);
            load.paused(|| cluster.check_same("all etcd again"));
        }
    }
    cluster.move_to_ours(1);
    load.paused(|| cluster.check_same("two of ours"));
    cluster.move_leader(0);
    load.paused(|| cluster.check_same("two of ours behind an etcd"));
    assert_eq!(cluster.version(1), format!("{target}.0"));
    for member in [1, 2] {
        cluster.move_back(member);
        load.paused(|| cluster.check_same("back"));
    }
    // Once all are ours the version rises. Then they can only go back together.
    for member in 0..3 {
        cluster.move_to_ours(member);
        load.paused(|| cluster.check_same("moved for good"));
    }
    let deadline = Instant::now() + START_TIMEOUT;
    while cluster.version(0) != "3.7.0" {
        assert!(Instant::now() < deadline, "the version stays {}", cluster.version(0));
        std::thread::sleep(Duration::from_millis(100));
    }
    load.paused(|| cluster.check_same("all ours"));
    let (v3, v2) = load.stop();
    println!("acknowledged: {v3} keys, {v2} keys of the v2 API");
    let before = cluster.check_same("all ours, at rest");
    for member in 0..3 {
        cluster.stop(member);
    }
    (0..3).for_each(|member| cluster.export(member, Some(&target)));
    cluster.start_all(&reference);
    let after = cluster.check_same("all back");
    assert_eq!((after.hash, after.revision), (before.hash, before.revision));
    assert_eq!(cluster.version(0), format!("{target}.0"));
    for url in cluster.urls() {
        let found = load_keys(&url);
        let missing = |count: u64, found: &BTreeSet<u64>| -> Vec<u64> {
            (0..count).filter(|number| !found.contains(number)).collect()
        };
        assert_eq!((missing(v3, &found.0), missing(v2, &found.1)), (vec![], vec![]), "{url}");
    }
}

/// What members do with a request may not depend on which program they run.
#[test]
fn random_requests_leave_members_of_both_alike() {
    let (reference, subject) = (programs::reference_etcd(), programs::subject_etcd());
    let version = programs::etcd_version(&reference);
    let mut generator = Generator::new(Rng::seed_of_run("mixed"), version);
    let mut cluster = Mixed::prepare("mixed-random");
    cluster.start_all(&reference);
    (0..2).for_each(|member| {
        cluster.stop(member);
        cluster.spawn(member, &subject);
        cluster.wait_ready(member);
    });
    for leader in [0, 2, 1] {
        cluster.move_leader(leader);
        block_on(async {
            let urls = cluster.urls();
            let session = |url: &String| Session::new(url, rpc::channel(url, START_TIMEOUT));
            let mut sessions: Vec<Session> = urls.iter().map(session).collect();
            for number in 0..RANDOM_REQUESTS {
                let request = generator.request();
                if splits_old_members(&request, version) {
                    continue;
                }
                let reply = sessions[number % urls.len()].call(&request).await;
                generator.learn(&request, &reply);
            }
        });
        // An etcd compacts in the background, so it may take a while.
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let hashes: Vec<(u32, i64)> = (0..3).map(|member| cluster.hash(member)).collect();
            if hashes.iter().all(|hash| *hash == hashes[0]) {
                break;
            }
            assert!(Instant::now() < deadline, "the members stay apart: {hashes:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// An etcd that has no v2 API any more ends when it meets a v2 request in the log.
#[test]
fn v2_requests_wait_while_an_etcd_without_them_is_a_member() {
    let (reference, subject) = (programs::reference_etcd(), programs::subject_etcd());
    let version = programs::etcd_version(&reference);
    if version < WITHOUT_V2 {
        println!("skipped: the reference is {version:?}");
        return;
    }
    let mut cluster = Mixed::prepare("refused-v2");
    // An etcd of this age does not know the setting.
    cluster.members[2].settings.retain(|(key, _)| *key != "enable-v2");
    for (member, program) in [(0, &subject), (1, &subject), (2, &reference)] {
        cluster.spawn(member, program);
    }
    (0..3).for_each(|member| cluster.wait_ready(member));
    let urls = cluster.urls();
    let ctl = Etcdctl::new(&programs::reference_etcdctl(), &urls);
    for url in &urls[..2] {
        let (status, body) = http("PUT", url, "/v2/keys/a", "value=1").expect("an answer");
        let text = "v2 requests are refused while member ";
        assert!(status >= 400 && body.contains(text), "{status} {body}");
        // Reading is no request to the others.
        let (status, body) = http("GET", url, "/v2/keys/", "").expect("an answer");
        assert_eq!(status, 200, "{body}");
    }
    ctl.ok(&["put", "a", "1"]);
    // The last one is moved as well.
    cluster.move_to_ours(2);
    let deadline = Instant::now() + START_TIMEOUT;
    for url in &urls {
        loop {
            let (status, body) = http("PUT", url, "/v2/keys/a", "value=1").expect("an answer");
            if status == 200 || status == 201 {
                break;
            }
            assert!(Instant::now() < deadline, "still refused: {status} {body}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    ctl.ok(&["put", "a", "2"]);
}
