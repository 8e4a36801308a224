//! The session for which this project was started: two members from YAML files, the tool in v2
//! mode, one member killed, and what the other says and does.
//!
//! With our tool and with etcd's. The files have only the keys that [`Cluster`] writes.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quoin_tests::cluster::Cluster;
use quoin_tests::programs;

const MEMBERS: usize = 2;
/// Where the tool looks if nobody says where.
const DEFAULT_ENDPOINTS: [&str; 2] = ["127.0.0.1:2379", "127.0.0.1:4001"];
/// How long a member may take to notice that it is alone, or that it is not alone any more.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);
const REFUSED: &str = "connect: connection refused";
const UNAVAILABLE: &str = "client: etcd cluster is unavailable or misconfigured; ";

/// What the log of the one that is left must say: each event in the words of one logger or another.
const ALONE: [&[&str]; 3] = [
    &[
        "lost the TCP streaming connection with peer ",
        "lost TCP streaming connection with remote peer",
    ],
    &["stepped down to follower since quorum is not active"],
    &["is starting a new election at term "],
];
/// The same where the old lines are asked for.
const ALONE_OLD: [&[&str]; 3] = [
    &[" W | rafthttp: lost the TCP streaming connection with peer "],
    &[" stepped down to follower since quorum is not active"],
    &[" is starting a new election at term "],
];

#[test]
fn the_session_with_our_tool() {
    session(&programs::subject_etcdctl(), &[("logger", "capnslog")], &ALONE_OLD);
}

#[test]
fn the_session_with_etcds_tool() {
    session(&programs::reference_v2_etcdctl(), &[], &ALONE);
}

fn session(tool: &Path, logger: &[(&'static str, &str)], alone: &[&[&str]]) {
    nobody_answers(tool);
    let program = programs::subject_etcd();
    let mut settings = logger.to_vec();
    if programs::is_original(&program) {
        // Ours does it without being told.
        settings.push(("enable-v2", "true"));
    }
    let mut cluster = Cluster::start_with(&program, MEMBERS, "session", &settings);
    let tool = Tool { program: tool.to_owned(), endpoints: cluster.endpoints() };

    let leader = tool.leader(&cluster, 0);
    let other = 1 - leader;
    assert_eq!(tool.ok(other, &["set", "/ts/test/name", "ts1"]), "ts1\n");
    tool.until(leader, &["get", "/ts/test/name"], "ts1\n");

    cluster.kill(other);
    wait_for_log(&mut cluster, leader, alone);
    assert_eq!(tool.ok(leader, &["get", "/ts/test/name"]), "ts1\n");
    tool.set_fails(leader, other);
    tool.member_list_fails(leader, other);

    cluster.spawn(other);
    cluster.wait_ready(other, NOTICE_TIMEOUT).unwrap_or_else(|text| panic!("{text}"));
    tool.leader(&cluster, other);
    // Whether the write that failed was carried out later nobody has promised.
    let kept = tool.ok(other, &["get", "-q", "/ts/test/name"]);
    assert!(kept == "ts1\n" || kept == "ts2\n", "{kept:?}");
    assert_eq!(tool.ok(other, &["set", "/ts/test/name", "ts3"]), "ts3\n");
    tool.until(leader, &["get", "/ts/test/name"], "ts3\n");
    tool.until(other, &["get", "/ts/test/name"], "ts3\n");
}

/// `member list` where nobody listens on this machine's own addresses.
fn nobody_answers(tool: &Path) {
    let mut command = alone_command();
    let output = command.arg(tool).args(["member", "list"]).env("ETCDCTL_API", "2").output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    // The tool tries its endpoints in an order that is drawn each time.
    let frames =
        both_orders(DEFAULT_ENDPOINTS.map(|address| format!("dial tcp {address}: {REFUSED}")));
    assert!(frames.contains(&stderr), "{stderr:?} is none of {frames:?}");
    assert_eq!((output.status.code(), output.stdout), (Some(2), Vec::new()));
}

/// What begins a command in a network of its own, with nothing in it. If this machine allows
/// no such thing, nothing may listen where the tool looks.
fn alone_command() -> Command {
    let script = "ip link set lo up && exec \"$@\"";
    for own_network in [vec!["--net"], vec!["--user", "--map-root-user", "--net"]] {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(&own_network).args(["sh", "-c", script, "sh"]);
            command
        };
        if command().arg("true").output().is_ok_and(|output| output.status.success()) {
            return command();
        }
    }
    for address in DEFAULT_ENDPOINTS {
        assert!(TcpStream::connect(address).is_err(), "something listens on {address}");
    }
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\"", "sh"]);
    command
}

/// The frame around the errors of all endpoints, in either order.
fn both_orders(errors: [String; 2]) -> [String; 2] {
    let frame = |one: &str, two: &str| {
        format!(
            "Error:  {UNAVAILABLE}error #0: {one}\n; error #1: {two}\n\nerror #0: {one}\nerror #1: {two}\n\n"
        )
    };
    [frame(&errors[0], &errors[1]), frame(&errors[1], &errors[0])]
}

fn wait_for_log(cluster: &mut Cluster, position: usize, wanted: &[&[&str]]) -> String {
    let deadline = Instant::now() + NOTICE_TIMEOUT;
    loop {
        let log = cluster.server(position).log_text();
        let missing = wanted.iter().find(|texts| !texts.iter().any(|text| log.contains(text)));
        match missing {
            None => return log,
            Some(texts) => assert!(Instant::now() < deadline, "none of {texts:?} in\n{log}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Tool {
    program: PathBuf,
    endpoints: Vec<String>,
}

impl Tool {
    /// Runs a command on one member: output, errors and exit code.
    fn run(&self, member: usize, args: &[&str]) -> (String, String, Option<i32>) {
        let mut command = Command::new(&self.program);
        command.env("ETCDCTL_API", "2").arg("--endpoints").arg(&self.endpoints[member]).args(args);
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.code())
    }

    fn ok(&self, member: usize, args: &[&str]) -> String {
        let (stdout, stderr, code) = self.run(member, args);
        assert_eq!((stderr.as_str(), code), ("", Some(0)), "{args:?}: {stdout}");
        stdout
    }

    /// Runs a command until it prints this: a read may be answered by a member that is behind.
    fn until(&self, member: usize, args: &[&str], wanted: &str) {
        let deadline = Instant::now() + NOTICE_TIMEOUT;
        loop {
            let stdout = self.ok(member, args);
            if stdout == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{args:?} prints {stdout:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Lists the members until one of them leads, and returns which.
    fn leader(&self, cluster: &Cluster, member: usize) -> usize {
        let deadline = Instant::now() + NOTICE_TIMEOUT;
        loop {
            let (stdout, stderr, code) = self.run(member, &["member", "list"]);
            if code == Some(0) && stdout.contains("isLeader=true") {
                return leader_in(&stdout, cluster);
            }
            assert!(Instant::now() < deadline, "{stdout}{stderr}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn set_fails(&self, member: usize, dead: usize) {
        let (stdout, stderr, code) = self.run(member, &["set", "/ts/test/name", "ts2"]);
        let timeout =
            format!("client: endpoint {} exceeded header timeout", self.endpoints[member]);
        let frames = both_orders([timeout, self.refused(dead)]);
        assert!(frames.contains(&stderr), "{stderr:?} is none of {frames:?}");
        assert_eq!((stdout.as_str(), code), ("", Some(4)));
    }

    fn member_list_fails(&self, member: usize, dead: usize) {
        let (stdout, stderr, code) = self.run(member, &["member", "list"]);
        let no_leader = format!("client: etcd member {} has no leader", self.endpoints[member]);
        let refused = self.refused(dead);
        let line = |one: &str, two: &str| {
            format!("Failed to get leader:  {UNAVAILABLE}error #0: {one}\n; error #1: {two}\n\n")
        };
        let lines = [line(&no_leader, &refused), line(&refused, &no_leader)];
        assert!(lines.contains(&stderr), "{stderr:?} is none of {lines:?}");
        assert_eq!((stdout.as_str(), code), ("", Some(1)));
    }

    fn refused(&self, member: usize) -> String {
        let address = self.endpoints[member].trim_start_matches("http://");
        format!("dial tcp {address}: {REFUSED}")
    }
}

/// One line per member, as etcd's tool prints it. Returns the position of the leader.
fn leader_in(list: &str, cluster: &Cluster) -> usize {
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), MEMBERS, "{list}");
    let mut leader = None;
    for (position, member) in cluster.members.iter().enumerate() {
        let named = format!(
            ": name={} peerURLs={} clientURLs={} isLeader=",
            member.name, member.peer_url, member.client_url
        );
        let line = lines.iter().find(|line| line.contains(&named));
        let line = line.unwrap_or_else(|| panic!("no {named:?} in {list}"));
        let (id, leads) = line.split_once(&named).expect("it is there");
        assert!(u64::from_str_radix(id, 16).is_ok(), "{line}");
        match leads {
            "true" => leader = Some(position),
            "false" => {}
            _ => panic!("{line}"),
        }
    }
    leader.unwrap_or_else(|| panic!("no leader in {list}"))
}
