//! What a service manager and an operator's `kill` see of a member: notices and signals.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use quoin_tests::cluster::Member;
use quoin_tests::programs;
use quoin_tests::server::{Launch, START_TIMEOUT, Server, shell_code};
use quoin_tests::temp_dir::TempDir;

const SOON: Duration = Duration::from_secs(30);
/// Long enough for a signal that ends a process to have ended it.
const MOMENT: Duration = Duration::from_millis(300);

fn launch(program: &Path, dir: &TempDir, name: &str) -> Launch {
    Member::alone(dir.path(), name).launch(program, dir.path())
}

fn both() -> [(&'static str, PathBuf); 2] {
    [("reference", programs::reference_etcd()), ("subject", programs::subject_etcd())]
}

/// Returns the notices in order until one is `last`.
fn notices_until(socket: &UnixDatagram, last: &str) -> Vec<String> {
    let deadline = Instant::now() + SOON;
    let mut notices = Vec::new();
    while notices.last().is_none_or(|notice| notice != last) {
        assert!(Instant::now() < deadline, "no {last} among {notices:?}");
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{notices:?}: {error}"));
        notices.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
    }
    notices
}

/// The story: under `Type=notify`, as the units of every distribution have it, systemd waited for a
/// notice that never came, and ended the member after 90 s.
#[test]
fn a_service_manager_is_told_that_the_member_is_ready_and_alive_and_stops() {
    let dir = TempDir::new("notify");
    let path = dir.join("notify.sock").display().to_string();
    let abstract_name = format!("quoin-{}", std::process::id());
    let by_name = SocketAddr::from_abstract_name(&abstract_name).expect("a short name");
    let sockets = [
        (path.clone(), UnixDatagram::bind(&path).expect("the path is free")),
        (format!("@{abstract_name}"), UnixDatagram::bind_addr(&by_name).expect("the name is free")),
    ];
    for (name, socket) in sockets {
        socket.set_read_timeout(Some(SOON)).expect("a timeout above zero");
        for (whose, program) in both() {
            let launch = launch(&program, &dir, whose).env("NOTIFY_SOCKET", &name);
            let mut server = Server::spawn(&launch.env("WATCHDOG_USEC", "400000"));
            notices_until(&socket, "READY=1");
            let waited = server.wait_ready(START_TIMEOUT);
            waited.unwrap_or_else(|error| panic!("{name} {whose}: {error}"));
            if whose == "subject" {
                notices_until(&socket, "WATCHDOG=1");
                notices_until(&socket, "WATCHDOG=1");
            }
            let ended = server.terminate(SOON);
            ended.unwrap_or_else(|error| panic!("{name} {whose}: {error}"));
            if whose == "subject" {
                notices_until(&socket, "STOPPING=1");
            }
            let log = server.log_text();
            assert!(!log.contains("failed to notify systemd"), "{log}");
        }
        for (whose, _) in both() {
            let data = dir.join(format!("{whose}.etcd"));
            std::fs::remove_dir_all(data).expect("a member was there");
        }
    }
}

#[test]
fn signs_of_life_are_given_by_the_process_that_is_meant_and_by_no_other() {
    let dir = TempDir::new("watchdog");
    let path = dir.join("notify.sock").display().to_string();
    let socket = UnixDatagram::bind(&path).expect("the path is free");
    socket.set_read_timeout(Some(SOON)).expect("a timeout above zero");
    let launch = launch(&programs::subject_etcd(), &dir, "other").env("NOTIFY_SOCKET", &path);
    let launch = launch.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
    std::thread::sleep(MOMENT);
    server.terminate(SOON).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(notices_until(&socket, "STOPPING=1"), ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_manager_that_is_not_there_is_an_error_line_and_no_more() {
    for (whose, program) in both() {
        let dir = TempDir::new("no-manager");
        let launch = launch(&program, &dir, whose).env("NOTIFY_SOCKET", "/nowhere/notify.sock");
        let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
        for text in
            ["failed to notify systemd for readiness", "dial unixgram /nowhere/notify.sock: "]
        {
            server.wait_log(text, SOON).unwrap_or_else(|error| panic!("{whose}: {error}"));
        }
    }
}

fn send(server: &Server, signal: i32) {
    // The shell knows real-time signals by number.
    let command = format!("kill -{signal} {}", server.pid().as_raw_nonzero());
    let status = Command::new("sh").args(["-c", &command]).status().expect("there is a shell");
    assert!(status.success(), "{command}");
}

/// The story: a supervisor that sent SIGUSR1, which etcd does not even notice, ended the member.
#[test]
fn signals_that_etcd_survives_do_not_end_the_process() {
    for (whose, program) in both() {
        let dir = TempDir::new("survive");
        let launch = launch(&program, &dir, whose);
        let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
        let urgent_and_others = [10, 12, 13, 14, 17, 18, 23, 24, 25, 26, 27, 28, 29, 30];
        for signal in urgent_and_others.into_iter().chain(35..=64) {
            send(&server, signal);
        }
        let status = server.wait_exit(MOMENT);
        assert_eq!(status, None, "{whose}");
        let ended = server.terminate(SOON).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(shell_code(ended), 128 + 15, "{whose}");
    }
}

#[test]
fn signals_that_end_etcd_end_the_process_in_the_same_way() {
    for signal in [1, 2, 3, 15, 34] {
        let codes = both().map(|(whose, program)| {
            let dir = TempDir::new("end");
            let launch = launch(&program, &dir, whose);
            let mut server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
            send(&server, signal);
            let status = server.wait_exit(SOON);
            status.map(shell_code).unwrap_or_else(|| panic!("{whose} survives {signal}"))
        });
        assert_eq!(codes[0], codes[1], "signal {signal}");
    }
}
