//! The same command lines of the v2 API for the official etcdctl and for ours: equal output,
//! errors, exit codes.
//!
//! Each tool has a real etcd 3.4 of its own; the two servers have the same IDs and get the same
//! commands, so that even indexes are equal. Only what cannot be equal is taken out: the servers'
//! addresses, times, what only the official tool says about a terminal that is none, and the words
//! of the help.
//!
//! Servers after etcd 3.5 have no v2 API; with such a reference these tests do nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::{Etcdctl, Outcome};
use quoin_tests::ports::free_port;
use quoin_tests::programs::{self, Version};
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;

/// The last version whose server and tool have the v2 API.
const LAST: Version = Version { major: 3, minor: 4 };

/// One command; `''` is an empty argument, `~` a space. `ENDPOINT` stands for the server's URL.
struct Case {
    line: &'static str,
    input: &'static str,
}

const fn case(line: &'static str) -> Case {
    Case { line, input: "" }
}

const fn input(line: &'static str, input: &'static str) -> Case {
    Case { line, input }
}

/// Commands on one server, in this order.
const CASES: &[Case] = &[
    // Keys.
    case("ls"),
    case("set a 1"),
    case("set /a 2"),
    case("get a"),
    case("get /a/"),
    case("-o extended get a"),
    case("-o json get a"),
    case("--output=json get a"),
    case("-o simple get a"),
    case("-o wrong get a"),
    case("-o wrong set a 3"),
    case("get none"),
    case("-o json get none"),
    case("get"),
    case("get a b"),
    case("get a --sort --quorum"),
    case("get -q none"),
    case("set"),
    case("set a"),
    case("set a ''"),
    case("get a"),
    input("set stdin", "from standard input\n"),
    case("get stdin"),
    input("-o json set stdin", "<&>\u{e9}\u{2028}\"\\\u{1}"),
    case("-o json get stdin"),
    input("mk stdin2", "x"),
    input("update stdin2", "y"),
    case("set dash -v"),
    case("set dash -- -w"),
    case("set -- dash -x"),
    case("set dash -1"),
    case("set dash - "),
    case("set dash --"),
    case("set t v --ttl 100"),
    case("-o extended get t"),
    case("-o json get t"),
    case("set t v --ttl=-5"),
    case("set t v -ttl 5 w"),
    case("set t v --ttl"),
    case("set t --ttl"),
    case("set --ttl x t v"),
    case("set --ttl= t v"),
    case("set --ttl 99999999999999999999 t v"),
    case("set --ttl 0x10 t v"),
    case("set --wrong t v"),
    case("set t --ttl 7 v"),
    case("set t v"),
    case("set t w --swap-with-value v"),
    case("set t w --swap-with-value v"),
    case("set t w --swap-with-value="),
    case("set t x --swap-with-index 1"),
    case("-o extended set t x --swap-with-value w"),
    case("-o json set t y --swap-with-value x"),
    case("set none w --swap-with-value v"),
    case("set s~p~a/c?e#%d/\u{e9}!*&=+ v~a~l&=+%"),
    case("get s~p~a/c?e#%d/\u{e9}!*&=+"),
    case("-o json ls s~p~a"),
    case("set deep/er/and/deeper 1"),
    case("set deep/../x 1"),
    case("set / v"),
    case("set '' v"),
    case("get /"),
    case("get ''"),
    case("mk m 1"),
    case("mk m 1"),
    case("mk m2 1 --ttl 50"),
    case("mk"),
    case("mk m3"),
    case("mk queue one --in-order"),
    case("-o extended mk queue two --in-order --ttl 60"),
    case("-o json mk --in-order queue three"),
    case("mk a four --in-order"),
    case("update m 2"),
    case("update none 2"),
    case("-o extended update m 3"),
    case("update m 4 --ttl 20"),
    case("update"),
    // Directories.
    case("mkdir d"),
    case("mkdir d"),
    case("mkdir"),
    case("-o json mkdir d2"),
    case("-o extended mkdir d3 --ttl 30"),
    case("get d"),
    case("set d v"),
    case("setdir d"),
    case("-o extended setdir d4"),
    case("setdir d4 --ttl 90"),
    case("updatedir d --ttl 90"),
    case("updatedir none"),
    case("-o extended updatedir d"),
    case("-o json updatedir d4"),
    case("updatedir a"),
    case("set d/k 1"),
    case("set d/sub/k 2"),
    case("set d/_hidden 2"),
    case("get d/_hidden"),
    case("ls d --sort"),
    case("ls d --sort -p"),
    case("ls --sort -r -p d"),
    case("ls -rp d"),
    case("ls d/k"),
    case("ls none"),
    case("-o json ls d --sort -r"),
    case("-o extended ls d"),
    case("-o extended ls"),
    case("ls --sort=x"),
    case("ls d -r -o"),
    case("ls d -o --sort -r"),
    case("ls d --sort a"),
    case("ls --sort true"),
    case("ls d -q --sort"),
    case("ls --sort --recursive"),
    case("rmdir d"),
    case("rm d"),
    case("rm d --dir"),
    case("rm d/k"),
    case("rm d/sub -r"),
    case("-o json rm d -r"),
    case("rm d"),
    case("rm"),
    case("rm /"),
    case("rm / -r"),
    case("rmdir d4"),
    case("-o extended rmdir d2"),
    case("rmdir d2"),
    case("rmdir a"),
    case("set r 1"),
    case("-o extended rm r"),
    case("set r 1"),
    case("rm r --with-value 2"),
    case("rm r --with-value 1"),
    case("set r 1"),
    case("rm r --with-index 1"),
    case("rm r --with-index=-1"),
    case("-o json rm r"),
    case("rm --dir none"),
    // Watches of what has happened.
    case("watch"),
    case("watch --after-index 3 a"),
    case("watch / --after-index 3 -r"),
    case("-o extended watch --recursive --after-index 5 /"),
    case("-o json watch --after-index 8 /stdin"),
    case("watch --after-index x a"),
    case("exec-watch"),
    case("exec-watch a"),
    case("exec-watch --after-index 3 nosuchprogram x a"),
    case("exec-watch --after-index 3 ./no/such x a"),
    case(
        "exec-watch --after-index 3 sh -c \
         echo~$0~$ETCD_WATCH_ACTION~$ETCD_WATCH_MODIFIED_INDEX~$ETCD_WATCH_KEY~\
         $ETCD_WATCH_VALUE;kill~-INT~$PPID zero x",
    ),
    // Members.
    case("member list"),
    case("member list extra"),
    case("member add"),
    case("member add x"),
    case("member add x foo"),
    case("member add x http://a"),
    case("member add x http://a/b"),
    case("member add x http://a:1/b"),
    case("member add x ftp://a:1"),
    case("member add x ''"),
    case("member add x http://a:b"),
    case("member remove"),
    case("member remove nothing"),
    case("member remove twin"),
    case("member update"),
    case("member update zz http://127.0.0.1:1"),
    case("member update 12 http://127.0.0.1:1"),
    case("member update 12 foo"),
    case("cluster-health"),
    case("cluster-health extra"),
    // Users and roles.
    case("user list"),
    case("user list extra"),
    case("user add"),
    case("user add bob:secret"),
    case("user add root:secret"),
    input("user add carol", "secret\n"),
    case("user list"),
    case("user get bob"),
    case("user get nobody"),
    case("user get"),
    case("role add r1"),
    case("role add r1"),
    case("role add root"),
    case("role add"),
    case("role list"),
    case("role list extra"),
    case("role get r1"),
    case("role get none"),
    case("role grant r1"),
    case("role grant r1 --path /a"),
    case("role grant r1 --path a --read"),
    case("role grant r1 --path /a --read --write"),
    case("role grant r1 --path /a --read"),
    case("role grant r1 --path /a --read"),
    case("role grant r1 --path /b/* -rw"),
    case("role grant r1 --path /c --write"),
    case("role grant r1 --path /d --readwrite --rw"),
    case("role grant none --path /a --read"),
    case("role get r1"),
    case("role revoke r1 --path /c --write"),
    case("role revoke r1 --path /c --write"),
    case("user grant bob"),
    case("user grant bob --roles r1"),
    case("user grant bob --roles r1"),
    case("user grant bob --roles root --roles r2,r3"),
    case("user get bob"),
    case("user revoke bob --roles r2,r3"),
    case("user revoke bob --roles r2,r3"),
    case("user revoke bob --roles none,other"),
    case("user get bob"),
    case("user grant nobody --roles r1"),
    input("user passwd carol", " new secret \n"),
    input("user passwd nobody", "x\n"),
    case("auth disable"),
    case("auth enable extra"),
    case("auth enable"),
    case("auth enable"),
    case("-u bob:secret get a"),
    case("-u bob:wrong get a"),
    case("-u bob:secret set a 9"),
    case("-u carol:new~secret get a"),
    case("-u root:secret user list"),
    case("-u root:secret user get bob"),
    case("user list"),
    case("role list"),
    case("role remove r1"),
    case("member list"),
    input("-u root get a", "secret\n"),
    input("-u root user add dave", "secret\ndavid\n"),
    case("-u root:secret role remove r1"),
    case("-u root:secret role remove r1"),
    case("-u root:secret user remove bob"),
    case("-u root:secret user remove bob"),
    case("-u bob:secret auth disable"),
    case("-u root:secret auth disable"),
    // What every command has.
    case("--debug get a"),
    case("--debug set s~p/x&y~<z> v~1&2"),
    case("--debug set q v --ttl 9 --swap-with-value w~x --swap-with-index 4"),
    case("--debug mkdir dbg --ttl 4"),
    case("--debug mk dbg/q \u{e9} --in-order --ttl 3"),
    case("--debug rm dbg -r --dir --with-value v~w --with-index 7"),
    case("--debug ls --sort"),
    case("--debug --no-sync get a"),
    case("--debug member list"),
    case("--debug cluster-health"),
    case("--debug user list"),
    case("--debug user add erin:x"),
    case("--debug user grant erin --roles a"),
    case("--debug role add r9"),
    case("--debug role grant r9 --path /x --rw"),
    case("--debug role remove r9"),
    case("--debug auth disable"),
    case("--no-sync get a"),
    case("--no-sync=false get a"),
    case("--no-sync=x get a"),
    case("--total-timeout 0s get a"),
    case("--total-timeout 1ns get a"),
    case("--total-timeout -1s get a"),
    case("--timeout 1ns get a"),
    case("--timeout 1ns mk timeout 1"),
    case("--timeout 1ns cluster-health"),
    case("--timeout 0s get a"),
    case("--timeout 5 get a"),
    case("--endpoints 127.0.0.1:1 get a"),
    case("--endpoints localhost:1 get a"),
    case("--endpoints http://127.0.0.1:1 get a"),
    case("--endpoints http://127.0.0.1:1 get"),
    case("--endpoints http://127.0.0.1:1 mk a 1"),
    case("--endpoints http://127.0.0.1:1 --no-sync mk a 1"),
    case("--endpoints http://127.0.0.1:1 --no-sync get a"),
    case("--endpoints http://127.0.0.1:1 member list"),
    case("--endpoints http://127.0.0.1:1 --no-sync member list"),
    case("--endpoints http://127.0.0.1:1 member list extra"),
    case("--endpoints http://127.0.0.1:1 cluster-health"),
    case("--endpoints http://127.0.0.1:1 user list"),
    case("--endpoints http://127.0.0.1:1 user add"),
    case("--endpoints http://127.0.0.1:x get a"),
    case("--endpoints http:// get a"),
    case("--endpoints ftp://127.0.0.1:1 get a"),
    case("--endpoints ENDPOINT/ --debug get a"),
    case("--endpoint http://127.0.0.1:1 get a"),
    case("-C http://127.0.0.1:1 --endpoint= get a"),
    // Help.
    case(""),
    case("''"),
    case("help"),
    case("h"),
    case("--help"),
    case("-h get a"),
    case("--version"),
    case("-v"),
    case("--version=false"),
    case("--wrong"),
    case("--wrong=1 get a"),
    case("-ojson get a"),
    case("-o"),
    case("---o get a"),
    case("-- get a"),
    case("wrong"),
    case("help wrong"),
    case("help set"),
    case("set -h"),
    case("get a --help"),
    case("set -h --wrong"),
    case("member"),
    case("member wrong"),
    case("member -x"),
    case("member help"),
    case("member help list"),
    case("member help wrong"),
    case("member -h"),
    case("member list -h"),
    case("user"),
    case("role"),
    case("auth"),
    case("help member"),
    case("backup --help"),
    case("cluster-health -h"),
    case("exec-watch -h"),
    case("role grant -h"),
];

/// A tool and its server.
struct Side {
    ctl: Etcdctl,
    endpoint: String,
    _server: Server,
}

impl Side {
    fn start(server: &Path, tool: &Path, twin: &Member, dir: &TempDir, role: &str) -> Self {
        let home = dir.join(role);
        std::fs::create_dir(&home).expect("a new directory");
        let own = Member::alone(&home, "twin");
        let member = Member {
            advertised_peer_url: twin.advertised_peer_url.clone(),
            initial_cluster: twin.initial_cluster.clone(),
            settings: vec![("enable-v2", "true".to_owned())],
            ..own
        };
        let server = Server::start(&member.launch(server, &home));
        let server = server.unwrap_or_else(|error| panic!("{role}: {error}"));
        let endpoint = member.client_url;
        let ctl = v2(tool).env("ETCDCTL_ENDPOINTS", &endpoint);
        Self { ctl, endpoint, _server: server }
    }

    fn run(&self, case: &Case) -> Outcome {
        let line = case.line.replace("ENDPOINT", &self.endpoint);
        let args = words(&line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        normal(self.ctl.run_with_input(&args, case.input), &self.endpoint)
    }
}

fn v2(tool: &Path) -> Etcdctl {
    Etcdctl::bare(tool).env("ETCDCTL_API", "2")
}

fn words(line: &str) -> Vec<String> {
    let words = line.split(' ').filter(|word| !word.is_empty());
    words.map(|word| if word == "''" { String::new() } else { word.replace('~', " ") }).collect()
}

/// Takes out what cannot be equal.
fn normal(outcome: Outcome, endpoint: &str) -> Outcome {
    let address = endpoint.trim_start_matches("http://");
    let text = |text: &str| hide_times(&text.replace(address, "127.0.0.1:CLIENT"));
    let stderr = outcome.stderr.lines().filter(|line| !line.starts_with("stty: "));
    let stderr: String = stderr.map(|line| format!("{line}\n")).collect();
    // A text without a line end, as some errors of etcd's tool are, stays one.
    let stderr =
        if outcome.stderr.ends_with('\n') { &stderr } else { stderr.trim_end_matches('\n') };
    Outcome {
        stdout: text(&without_help(&outcome.stdout)),
        stderr: text(stderr),
        code: outcome.code,
    }
}

/// When keys end, in JSON.
fn hide_times(text: &str) -> String {
    let marker = "\"expiration\":\"";
    let mut parts = text.split(marker);
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.split_once('"').map_or("", |(_, rest)| rest);
        result += &format!("{marker}VARIES\"{rest}");
    }
    result
}

/// Leaves of a help what is not words: headings, and the names of commands and flags.
fn without_help(text: &str) -> String {
    let Some((before, help)) = text.split_once("NAME:\n") else {
        return text.to_owned();
    };
    let mut result = before.to_owned();
    let mut heading = "NAME:";
    for line in help.lines() {
        if line.ends_with(':') && !line.starts_with(' ') {
            heading = line;
        }
        let is_list = matches!(heading, "COMMANDS:" | "OPTIONS:" | "GLOBAL OPTIONS:");
        match heading {
            "NAME:" => result += line.split(" - ").next().unwrap_or_default(),
            "USAGE:" => result += line.split([' ', '<']).next().unwrap_or_default(),
            // The placeholder of --output is a word of its help.
            _ if is_list => result += &names(line).replace(" simple", " value"),
            _ => continue,
        }
        result.push('\n');
    }
    result
}

/// What stands before the explanation of a command or a flag.
fn names(line: &str) -> &str {
    let end = line.trim_start().find("  ").map(|end| end + line.len() - line.trim_start().len());
    &line[..end.unwrap_or(line.len())]
}

/// The official server, if it has the v2 API.
fn reference() -> Option<PathBuf> {
    let server = programs::reference_etcd();
    let version = programs::etcd_version(&server);
    if version > LAST {
        println!("no v2 API in {version:?}");
        return None;
    }
    Some(server)
}

#[test]
fn the_same_commands_print_the_same() {
    let Some(server) = reference() else {
        return;
    };
    let dir = TempDir::new("ctl-v2");
    let twin = Member::alone(dir.path(), "twin");
    let reference = Side::start(&server, &programs::reference_etcdctl(), &twin, &dir, "reference");
    let subject = Side::start(&server, &programs::subject_etcdctl(), &twin, &dir, "subject");
    let mut differences = Vec::new();
    for case in CASES {
        let (expected, found) = std::thread::scope(|scope| {
            let expected = scope.spawn(|| reference.run(case));
            let found = subject.run(case);
            (expected.join().expect("a tool that ran"), found)
        });
        if expected != found {
            let (line, input) = (case.line, case.input);
            let text = format!("{line} {input:?}\nexpected: {expected:?}\nfound:    {found:?}");
            differences.push(text);
        }
    }
    println!("{} commands", CASES.len());
    let count = differences.len();
    assert!(differences.is_empty(), "{count} differ:\n\n{}", differences.join("\n\n"));
}

/// Compares both tools on servers that they share, for commands that change nothing, all at once:
/// most of them wait for a timeout.
fn compare(lines: &[String], env: &[(&str, &str)]) {
    let run = |tool: &Path, line: &str| {
        let ctl = env.iter().fold(v2(tool), |ctl, (name, value)| ctl.env(name, value));
        let args = words(line);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        normal(ctl.run(&args), "nothing")
    };
    let (official, ours) = (programs::reference_etcdctl(), programs::subject_etcdctl());
    std::thread::scope(|scope| {
        let running: Vec<_> = lines
            .iter()
            .map(|line| (line, scope.spawn(|| (run(&official, line), run(&ours, line)))))
            .collect();
        for (line, thread) in running {
            let (expected, found) = thread.join().expect("a tool that ran");
            assert_eq!(expected, found, "{line}");
        }
    });
}

#[test]
fn without_a_leader_reads_succeed_and_the_rest_fails_alike() {
    let Some(server) = reference() else {
        return;
    };
    let settings = [("enable-v2", "true")];
    let mut cluster = Cluster::start_with(&server, 2, "ctl-v2-leaderless", &settings);
    let url = cluster.members[0].client_url.clone();
    let ctl = v2(&programs::subject_etcdctl()).env("ETCDCTL_ENDPOINTS", &url);
    assert_eq!(ctl.ok(&["set", "/ts/test/name", "ts1"]), "ts1\n");
    cluster.kill(1);
    let lost = Duration::from_secs(10);
    cluster.server(0).wait_log("lost leader", lost).expect("a member that is alone notices");
    let lines = [
        "get /ts/test/name",
        "get -q /ts/test/name",
        "ls -r",
        "set /ts/test/name ts2",
        "mk /ts/new 1",
        "rm /ts/test/name",
        "mkdir /ts/d",
        "member list",
        "member add x http://127.0.0.1:1",
        "cluster-health",
        "user list",
        "user add bob:x",
        "role add r",
        "auth enable",
        "--timeout 10s --total-timeout 1s set a 1",
        "--timeout 8s --total-timeout 9s set a 1",
    ];
    // Without asking for the members, which may be told in another order, one server is asked.
    let lines = lines.map(|line| match line {
        "cluster-health" => line.to_owned(),
        line => format!("--no-sync {line}"),
    });
    compare(&lines, &[("ETCDCTL_ENDPOINTS", &url)]);
    let failed = ctl.run(&["--no-sync", "member", "list"]);
    assert!(failed.stderr.starts_with("Failed to get leader:  client: "), "{failed:?}");
    assert!(failed.stderr.contains(&format!("error #0: client: etcd member {url} has no leader")));
    let failed = ctl.run(&["--no-sync", "set", "/ts/test/name", "ts2"]);
    assert!(failed.stderr.contains("exceeded header timeout\n"), "{failed:?}");
    assert_eq!(failed.code, 4);
}

#[test]
fn variables_name_the_servers() {
    if reference().is_none() {
        return;
    }
    let nowhere =
        [free_port(), free_port(), free_port()].map(|port| format!("http://127.0.0.1:{port}"));
    let [endpoints, endpoint, peers] = &nowhere;
    let variables = [
        ("ETCDCTL_ENDPOINTS", endpoints),
        ("ETCDCTL_ENDPOINT", endpoint),
        ("ETCDCTL_PEERS", peers),
    ];
    for first in 0..variables.len() {
        let env: Vec<(&str, &str)> =
            variables[first..].iter().map(|&(name, value)| (name, value.as_str())).collect();
        let lines = ["member list", "get a", "-C http://127.0.0.1:1 get a"].map(str::to_owned);
        compare(&lines, &env);
    }
    compare(&["get a".to_owned()], &[("ETCDCTL_ENDPOINTS", "a:b:c"), ("ETCDCTL_USERNAME", "u:p")]);
    compare(&["get a".to_owned()], &[("ETCDCTL_API", "4")]);
}

#[test]
fn own_verbs_need_no_variable_and_the_rest_stays_v3() {
    let ours = Etcdctl::bare(&programs::subject_etcdctl());
    let nobody = format!("--endpoints=http://127.0.0.1:{}", free_port());
    for verb in ["set a 1", "ls", "mk a 1", "mkdir a", "rm a", "rmdir a", "setdir a", "update a 1"]
    {
        let args: Vec<&str> = [nobody.as_str()].into_iter().chain(verb.split(' ')).collect();
        let outcome = ours.run(&args);
        let frame =
            "Error:  client: etcd cluster is unavailable or misconfigured; error #0: dial tcp";
        assert!(outcome.stderr.starts_with(frame), "{verb}: {outcome:?}");
        assert_eq!(outcome.code, 2, "{verb}");
        let outcome = ours.clone().env("ETCDCTL_API", "3").run(&args);
        assert!(outcome.stderr.starts_with("Error: unknown command"), "{verb}: {outcome:?}");
    }
    let outcome = ours.run(&[&nobody, "--command-timeout=100ms", "get", "a"]);
    assert!(outcome.stderr.contains("context deadline exceeded"), "{outcome:?}");
    let help = ours.ok(&["--help"]);
    assert!(help.contains("\n  cluster-health"), "{help}");
}

#[test]
fn only_words_are_taken_out_of_help() {
    let help = "x\n\nNAME:\n   a b - words\n\nUSAGE:\n   a b <k>\n\nDESCRIPTION:\n   words\n\n\
                OPTIONS:\n   --c value, -d value  words  words\n   -e                   words\n   \n";
    let left = "x\n\n   a b\n\nUSAGE:\n\n\nOPTIONS:\n   --c value, -d value\n   -e\n   \n";
    assert_eq!(without_help(help), left);
    assert_eq!(
        hide_times(r#"{"expiration":"2026","ttl":1}"#),
        r#"{"expiration":"VARIES","ttl":1}"#
    );
}
