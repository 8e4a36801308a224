//! What an operator gets wrong, or a disk does: one clear error each, etcd's exit code, and
//! nothing damaged. Every test ends with the cause removed and all acknowledged data served.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quoin_tests::cluster::Member;
use quoin_tests::ctl::Etcdctl;
use quoin_tests::programs;
use quoin_tests::server::{Launch, Server};
use quoin_tests::temp_dir::TempDir;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

/// How long a start that cannot succeed may take to say so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);
const KEYS: usize = 30;
/// Where the disk ends for a process whose files are limited.
const FULL_AT_BYTES: usize = 8192;

/// A member of its own with a directory.
struct Victim {
    member: Member,
    dir: TempDir,
}

impl Victim {
    fn new(label: &str) -> Self {
        let dir = TempDir::new(label);
        Self { member: Member::alone(dir.path(), "m1"), dir }
    }

    fn launch(&self) -> Launch {
        self.member.launch(&programs::subject_etcd(), self.dir.path())
    }

    fn start(&self) -> Server {
        Server::start(&self.launch()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn ctl(&self) -> Etcdctl {
        let endpoints = [self.member.client_url.clone()];
        Etcdctl::new(&programs::reference_etcdctl(), &endpoints)
    }

    fn fill(&self) {
        let ctl = self.ctl();
        for number in 0..KEYS {
            assert_eq!(ctl.ok(&["put", &format!("key{number:02}"), "acknowledged"]), "OK\n");
        }
    }

    /// All keys that [`Self::fill`] wrote are there.
    fn has_everything(&self) {
        let found = self.ctl().ok(&["get", "key", "--prefix", "--print-value-only"]);
        assert_eq!(found, "acknowledged\n".repeat(KEYS));
    }
}

/// The start fails with exit code 1 and a log that holds all of `texts`.
#[track_caller]
fn refuses(launch: &Launch, texts: &[&str]) {
    let mut server = Server::spawn(launch);
    let status = server.wait_exit(REFUSAL_TIMEOUT);
    let log = server.log_tail();
    let status = status.unwrap_or_else(|| panic!("still runs after {REFUSAL_TIMEOUT:?}\n{log}"));
    assert_eq!(status.code(), Some(1), "{status}\n{log}");
    for text in texts {
        assert!(server.log_text().contains(text), "nothing about {text:?}\n{log}");
    }
    assert!(!server.log_text().contains("panicked"), "a panic is no clear error\n{log}");
}

#[test]
fn a_taken_port_is_named() {
    let victim = Victim::new("port");
    let mut server = victim.start();
    victim.fill();
    server.kill();
    for url in [&victim.member.client_url, &victim.member.peer_url] {
        let address = url.strip_prefix("http://").expect("a plain URL");
        let holder = TcpListener::bind(address).expect("the port is free again");
        refuses(&victim.launch(), &["address already in use", address]);
        drop(holder);
    }
    let _server = victim.start();
    victim.has_everything();
}

/// etcd itself waits without end for the lock and says so after ten seconds; ours says so at
/// once and ends. Neither touches the files of the first process.
#[test]
fn a_second_process_leaves_the_data_alone() {
    let victim = Victim::new("second");
    let _first = victim.start();
    victim.fill();
    let mut second = Member::alone(victim.dir.path(), "m1");
    second.advertised_peer_url = victim.member.advertised_peer_url.clone();
    second.initial_cluster = victim.member.initial_cluster.clone();
    let home = victim.dir.join("second");
    std::fs::create_dir(&home).expect("a new directory");
    let program = programs::subject_etcd();
    let launch = second.launch(&program, &home);
    if programs::is_original(&program) {
        let mut server = Server::spawn(&launch);
        let waits = server.wait_log("flocked by another process", REFUSAL_TIMEOUT);
        waits.unwrap_or_else(|text| panic!("{text}"));
    } else {
        let data_dir = second.data_dir.display().to_string();
        refuses(&launch, &[&data_dir, "another process"]);
    }
    victim.has_everything();
    assert_eq!(victim.ctl().ok(&["put", "more", "works"]), "OK\n");
}

#[test]
fn an_initial_cluster_without_the_own_name_is_refused() {
    let mut victim = Victim::new("name");
    let right = victim.member.initial_cluster.clone();
    victim.member.initial_cluster = right.replace("m1=", "other=");
    let text = r#"couldn't find local name \"m1\" in the initial cluster configuration"#;
    refuses(&victim.launch(), &[text]);
    victim.member.initial_cluster = right;
    let _server = victim.start();
    victim.fill();
    victim.has_everything();
}

#[test]
fn an_initial_cluster_with_another_url_is_refused() {
    let mut victim = Victim::new("url");
    let right = victim.member.initial_cluster.clone();
    victim.member.initial_cluster = "m1=http://127.0.0.1:1".to_owned();
    let advertised = format!("--initial-advertise-peer-urls={}", victim.member.peer_url);
    refuses(&victim.launch(), &["--initial-cluster", "http://127.0.0.1:1", &advertised]);
    victim.member.initial_cluster = right;
    let _server = victim.start();
    victim.fill();
    victim.has_everything();
}

/// One byte in the middle of the log is wrong: the member must not start on half of its log, and
/// must not repair what is no torn tail. With the right byte back everything is there.
#[test]
fn a_damaged_log_is_refused_and_left_as_it_is() {
    let victim = Victim::new("wal");
    let mut server = victim.start();
    victim.fill();
    server.kill();
    let wal = only_segment(&victim.member.data_dir.join("member/wal"));
    let before = std::fs::read(&wal).expect("the log can be read");
    let end = before.iter().rposition(|&byte| byte != 0).expect("the log is not empty");
    let key = before.windows(5).position(|bytes| bytes == b"key15").expect("the key is in there");
    assert!(key < end);
    let file = std::fs::File::options().write(true).open(&wal).expect("the log can be opened");
    let position = u64::try_from(key).expect("an offset");
    file.write_all_at(b"k", position + 1).expect("a byte can be written");
    let damaged = std::fs::read(&wal).expect("the log can be read");
    if programs::is_original(&programs::subject_etcd()) {
        refuses(&victim.launch(), &["crc mismatch"]);
    } else {
        // Which file, and what is wrong with it.
        refuses(&victim.launch(), &[&wal.display().to_string(), "checksum"]);
    }
    assert!(std::fs::read(&wal).expect("the log can be read") == damaged, "the log was changed");
    file.write_all_at(b"e", position + 1).expect("a byte can be written");
    let _server = victim.start();
    victim.has_everything();
}

fn only_segment(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir).expect("the log has a directory");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let mut segments: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|name| name == "wal")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments.remove(0)
}

/// A limit on the size of files stands for a full disk: a write beyond it fails, as on a disk
/// without space, and it can be set and lifted without being root.
#[test]
fn a_disk_that_fills_up_ends_the_member_with_an_error() {
    let victim = Victim::new("full");
    let mut launch = victim.launch();
    launch.ignore_file_size_signal = true;
    let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    victim.fill();
    // Everything that is appended from now on lies behind the limit.
    let filler = "x".repeat(2 * FULL_AT_BYTES);
    assert_eq!(victim.ctl().ok(&["put", "filler", &filler]), "OK\n");
    let maximum = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: u64::try_from(FULL_AT_BYTES).ok(), maximum };
    prlimit(Some(server.pid()), Resource::Fsize, limit).expect("the limit of a child can be set");
    let outcome = victim.ctl().run(&["--command-timeout=3s", "put", "unacknowledged", "x"]);
    assert_ne!(outcome.code, 0, "a write to a full disk was acknowledged: {outcome:?}");
    let status = server.wait_exit(REFUSAL_TIMEOUT);
    let log = server.log_tail();
    let status = status.unwrap_or_else(|| panic!("runs on a full disk\n{log}"));
    if !programs::is_original(&programs::subject_etcd()) {
        assert_eq!(status.code(), Some(1), "{status}\n{log}");
        assert!(log.contains("File too large"), "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    let _server = victim.start();
    victim.has_everything();
}

/// The first start fails half-way. etcd leaves a database that it cannot open behind; ours must
/// start as if nothing had been tried.
#[test]
fn a_disk_that_is_full_at_the_first_start_leaves_nothing_in_the_way() {
    let victim = Victim::new("full-start");
    let mut launch = victim.launch();
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let program = launch.program.display().to_string();
    launch.args.splice(0..0, ["-c", script, "sh", &program].map(str::to_owned));
    launch.program = "/bin/sh".into();
    if programs::is_original(&programs::subject_etcd()) {
        let mut server = Server::spawn(&launch);
        assert!(server.wait_exit(REFUSAL_TIMEOUT).is_some(), "{}", server.log_tail());
        println!("etcd does not start again on what it leaves behind: nothing more to check");
        return;
    }
    refuses(&launch, &["File too large"]);
    let _server = victim.start();
    victim.fill();
    victim.has_everything();
}
