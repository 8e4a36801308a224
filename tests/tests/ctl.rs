//! The same command lines for the official etcdctl and for ours: equal output, errors, exit codes.
//!
//! Each tool has a server of its own, a real etcd; the two servers have the same IDs and get the
//! same commands, so that even the output with revisions and IDs is equal. Only what cannot be
//! equal is taken out: the servers' addresses, durations, sizes of files, the tool's own log lines,
//! and the explanation of a command's flags that follows an error.
//!
//! A command whose output changed between versions of etcd names the first version that prints
//! what ours prints, and runs only against a tool of that version or a later one.

use std::path::Path;
use std::time::{Duration, Instant};

use quoin_tests::cluster::{Cluster, Member};
use quoin_tests::ctl::{Etcdctl, Outcome};
use quoin_tests::programs::{self, Version};
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;

/// One command; `''` is an empty argument.
struct Case {
    line: &'static str,
    input: &'static str,
    since: Version,
}

/// Every version that matters prints this.
const fn always(line: &'static str) -> Case {
    Case { line, input: "", since: Version { major: 3, minor: 4 } }
}

/// Not printed like this by 3.4; 3.7 is the next version that this was held against.
const fn since_3_7(line: &'static str) -> Case {
    Case { line, input: "", since: Version { major: 3, minor: 7 } }
}

const fn txn(line: &'static str, input: &'static str) -> Case {
    Case { line, input, since: Version { major: 3, minor: 4 } }
}

/// The status comes first: `endpoint health` adds entries to the log in some versions.
const CASES: &[Case] = &[
    since_3_7("endpoint status"),
    always("endpoint status -w json"),
    since_3_7("endpoint status -w fields"),
    since_3_7("endpoint status --cluster"),
    always("put a 1"),
    always("put a 2 --prev-kv"),
    always("put a 3 -w json"),
    always("put a 4 -w fields"),
    always("put a 5 --prev-kv -w fields"),
    always("put a 6 --prev-kv -w json"),
    always("put a 7 --prev-kv -w protobuf"),
    always("put ab 1"),
    always("put abc --ignore-value"),
    always("put ab --ignore-value"),
    always("put ab x --ignore-lease"),
    always("put ab --ignore-value --ignore-lease"),
    always("put ab x --ignore-value"),
    always("put b 0 --lease=0"),
    always("put b 0 --lease=1234abcd"),
    always("put b 0 --lease=wrong"),
    always("put '' x"),
    always("put"),
    always("put a b c"),
    Case { input: "from standard input", ..always("put stdin") },
    always("put -- -dash -value"),
    always("get stdin"),
    always("get -- -dash"),
    always("put hex \u{1}\u{7f}"),
    always("get hex --hex"),
    always("get hex -w fields"),
    always("get a"),
    always("get a --hex"),
    always("get a -w json"),
    always("get a -w fields"),
    always("get a -w protobuf"),
    always("get a -w table"),
    always("get a -w wrong"),
    always("get a b"),
    always("get a b -w json"),
    always("get a b c"),
    always("get"),
    always("get ''"),
    always("get none"),
    always("get none -w json"),
    always("get none -w fields"),
    always("get a --prefix"),
    always("get '' --prefix"),
    always("get '' --prefix --keys-only"),
    always("get '' --prefix -w fields"),
    always("get '' --from-key"),
    always("get ab --from-key --limit=2"),
    always("get ab --from-key --limit=2 -w json"),
    always("get a b --from-key"),
    always("get a b --prefix"),
    always("get a --prefix --from-key"),
    always("get a --print-value-only"),
    always("get a --prefix --print-value-only"),
    always("get a --prefix --keys-only"),
    always("get a --prefix --keys-only --print-value-only"),
    always("get a --prefix --limit=1"),
    always("get a --prefix --sort-by=VERSION"),
    always("get a --prefix --sort-by=CREATE --order=DESCEND"),
    always("get a --prefix --sort-by=modify --order=ascend"),
    always("get a --prefix --sort-by=VALUE"),
    always("get a --prefix --sort-by=KEY --order=DESCEND"),
    always("get a --prefix --sort-by=wrong"),
    always("get a --prefix --order=wrong"),
    always("get a --consistency=s"),
    always("get a --consistency=l"),
    always("get a --consistency=x"),
    always("get a --rev=2"),
    always("get a --rev=99"),
    always("get a --rev=99 -w json"),
    always("get a --rev=-1"),
    since_3_7("get a --prefix --count-only"),
    since_3_7("get a --prefix --count-only -w fields"),
    since_3_7("get a --prefix --count-only -w json"),
    since_3_7("get --wrong-flag"),
    always("del none"),
    always("del ab --prev-kv"),
    always("put ab again"),
    always("del ab --prev-kv -w json"),
    always("put ab again"),
    always("del ab -w fields"),
    always("put ab again"),
    since_3_7("del ab b --prev-kv -w fields"),
    always("put a/1 x"),
    always("put a/2 y"),
    always("del a/ --prefix --prev-kv"),
    always("del zz --from-key"),
    always("del a b --prefix"),
    always("del a --prefix --from-key"),
    always("del"),
    always("del ''"),
    always("del none -w table"),
    txn("txn", "val(\"a\") = \"7\"\n\nput t 1\nget a\n\nget t\n\n"),
    txn("txn", "mod(\"t\") > \"0\"\nver(\"t\") = \"1\"\n\ndel t\nput t 2\n\n\n"),
    txn("txn", "create(\"t\") = \"0\"\n\nget a\n\nget t\ndel t --prev-kv\n\n"),
    Case { input: "val(\"a\") = \"7\"\n\nput t 1\nget a\n\nget t\n\n", ..since_3_7("txn -w json") },
    txn("txn -w fields", "val(\"a\") < \"7\"\n\nput t 1\nget a\n\nget t\ndel t\n\n"),
    txn("txn --interactive", "create(\"a\") > \"0\"\n\nput t 3 --prev-kv\n\nget t\n\n"),
    txn("txn -i", "\n\n\n"),
    txn("txn", "val(a) = 1\n\nget a\n\n\n"),
    txn("txn", "wrong\n\nget a\n\n\n"),
    txn("txn", "mod(\"a\") = \"seven\"\n\nget a\n\n\n"),
    txn("txn", "val(\"a\") != \"7\"\n\nget a\n\nget a\n\n"),
    txn("txn", "\nput u 1\nput u 2\n\n\n"),
    txn("txn", "\nwrong u 1\n\n\n"),
    txn("txn", "\nput u\n\n\n"),
    txn("txn", "\nput \"quoted key\" \"quoted \\\"value\\\"\"\nget \"quoted key\"\n\n\n"),
    txn("txn extra", "\n\n\n"),
    always("compaction 5"),
    always("compaction 5"),
    always("compaction 999"),
    always("compaction 9 --physical"),
    always("compaction 10 -w json"),
    always("compaction 11 -w fields"),
    always("compaction"),
    always("compaction wrong"),
    always("compaction 1 2"),
    always("get a --rev=3"),
    always("member list"),
    since_3_7("member list -w table"),
    always("member list -w json"),
    since_3_7("member list -w fields"),
    always("member list -w protobuf"),
    since_3_7("member list --hex -w json"),
    always("member list --hex"),
    always("member list extra"),
    since_3_7("endpoint health"),
    always("endpoint health -w json"),
    since_3_7("endpoint health --cluster"),
    since_3_7("endpoint health extra"),
    since_3_7("endpoint hashkv"),
    always("lease list"),
    always("lease list -w json"),
    always("lease list -w fields"),
    always("lease list -w table"),
    always("lease revoke 77"),
    always("lease revoke wrong"),
    always("lease revoke"),
    always("lease grant"),
    always("lease grant wrong"),
    always("lease timetolive 77"),
    // Go writes a negative number with its sign, in hexadecimal, too.
    always("lease timetolive -- -000000000000005"),
    always("lease timetolive -w json -- -5"),
    always("lease revoke -- -5"),
    always("lease timetolive 77 --keys"),
    always("lease timetolive 77 -w json"),
    always("lease timetolive 77 --keys -w fields"),
    since_3_7("lease timetolive 77 --hex -w fields"),
    always("lease timetolive"),
    always("lease keep-alive 77"),
    always("lease keep-alive 77 --once"),
    always("lease keep-alive 77 -w json"),
    always("lease keep-alive"),
    always("put leased x --lease=77"),
    always("alarm list"),
    always("alarm list -w json"),
    since_3_7("alarm list -w fields"),
    always("alarm list extra"),
    always("alarm disarm"),
    always("alarm disarm -w json"),
    always("alarm disarm extra"),
    since_3_7("defrag"),
    since_3_7("defrag --cluster"),
    always("watch a --rev=2"),
    since_3_7("watch a --rev=2 -w json"),
    since_3_7("watch a --rev=2 -w fields"),
    always("watch"),
    always("watch a b --prefix"),
    always("watch a --"),
    since_3_7("watch a --rev=wrong"),
    Case { input: "\nfoo\nwatch\n", ..since_3_7("watch -i") },
    Case { input: "watch a --bogus\n", ..always("watch --interactive") },
    since_3_7("snapshot save"),
    since_3_7("snapshot save /no/such/directory/file"),
    always("check perf --load=wrong"),
    always("check datascale --load=wrong"),
    since_3_7("wrong"),
    since_3_7("--wrong"),
    since_3_7("get a --command-timeout=wrong"),
    always("get a --dial-timeout=1s"),
    always("get a --write-out=simple"),
];

/// Watches that see what follows and end at the key `last`, by a program that fails there.
const WATCHES: &[(Version, &str)] = &[
    (Version { major: 3, minor: 4 }, "watch w --prefix"),
    (Version { major: 3, minor: 4 }, "watch w --prefix --prev-kv"),
    (Version { major: 3, minor: 4 }, "watch w z --prev-kv -w fields"),
    (Version { major: 3, minor: 7 }, "watch w --prefix --prev-kv -w json"),
    (Version { major: 3, minor: 4 }, "watch w --prefix --prev-kv -w protobuf"),
    (Version { major: 3, minor: 4 }, "watch w --prefix --hex"),
];

/// The words that end a watch at the key `w/last`.
const UNTIL_LAST: &[&str] = &["--", "sh", "-c", r#"test "$ETCD_WATCH_KEY" != '"w/last"'"#];

#[test]
fn the_same_watches_print_the_same() {
    let (version, dir, reference, subject) = twins("watch");
    let put = |key: &str, value: &str| {
        let [expected, found] =
            [&reference, &subject].map(|side| side.ctl.run(&["put", key, value]));
        assert_eq!(expected, found);
    };
    put("before", "x");
    put("w/1", "one");
    put("w/1", "two");
    put("w/\u{1}", "<&>\u{7f}");
    for side in [&reference, &subject] {
        side.ctl.ok(&["del", "w/1"]);
    }
    put("w/last", "");
    for (since, line) in WATCHES.iter().filter(|(since, _)| version >= *since) {
        let mut args: Vec<&str> = line.split(' ').collect();
        args.push("--rev=2");
        args.extend(UNTIL_LAST);
        let [expected, found] = [&reference, &subject].map(|side| side.run_args(&args, ""));
        assert_eq!(expected, found, "{line}, as since {since:?}");
        assert_eq!(found.code, 1, "{found:?}");
    }
    drop(dir);
}

#[test]
fn a_saved_snapshot_is_the_same_and_whole() {
    let (_, dir, reference, subject) = twins("snapshot");
    let file = |side: &str| dir.join(side).join("saved.db");
    let save = |side: &Side, role: &str| {
        let path = file(role);
        side.ctl.run(&["snapshot", "save", path.to_str().expect("a path in ASCII")])
    };
    let expected = save(&reference, "reference");
    let found = save(&subject, "subject");
    let normal = |outcome: &Outcome, role: &str| {
        let path = file(role).display().to_string();
        (outcome.stdout.replace(&path, "PATH"), outcome.code)
    };
    assert_eq!(normal(&expected, "reference").1, 0, "{expected:?}");
    let lines = normal(&found, "subject").0;
    assert!(normal(&expected, "reference").0.starts_with("Snapshot saved at PATH\n"));
    assert!(lines.starts_with("Snapshot saved at PATH\n"), "{found:?}");
    let saved = std::fs::read(file("subject")).expect("the file that was reported");
    let part = file("subject").with_extension("db.part");
    assert!(!part.exists(), "{part:?} was left behind");
    assert_eq!(saved.len() % 512, 32, "pages and a checksum");
}

/// Two servers that cannot be told apart, one with each tool.
fn twins(name: &str) -> (Version, TempDir, Side, Side) {
    let server = programs::reference_etcd();
    let version = programs::etcd_version(&server);
    let dir = TempDir::new(name);
    let twin = Member::alone(dir.path(), "twin");
    let reference = Side::start(&server, &programs::reference_etcdctl(), &twin, &dir, "reference");
    let subject = Side::start(&server, &programs::subject_etcdctl(), &twin, &dir, "subject");
    (version, dir, reference, subject)
}

#[test]
fn the_same_commands_print_the_same() {
    let (version, _dir, reference, subject) = twins("ctl");
    let mut differences = Vec::new();
    let mut compared = 0;
    for case in CASES.iter().filter(|case| version >= case.since) {
        let expected = reference.run(case);
        let found = subject.run(case);
        compared += 1;
        if expected != found {
            let (line, input) = (case.line, case.input);
            let text = format!("{line} {input:?}\nexpected: {expected:?}\nfound:    {found:?}");
            differences.push(text);
        }
    }
    println!("{compared} commands");
    let count = differences.len();
    assert!(differences.is_empty(), "{count} differ:\n\n{}", differences.join("\n\n"));
}

/// A tool and its server.
struct Side {
    ctl: Etcdctl,
    address: String,
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
            ..own
        };
        let server = Server::start(&member.launch(server, &home));
        let server = server.unwrap_or_else(|error| panic!("{role}: {error}"));
        let ctl = Etcdctl::new(tool, std::slice::from_ref(&member.client_url));
        let address = member.client_url.replace("http://", "");
        Self { ctl, address, _server: server }
    }

    fn run(&self, case: &Case) -> Outcome {
        let args: Vec<&str> =
            case.line.split(' ').map(|arg| if arg == "''" { "" } else { arg }).collect();
        self.run_args(&args, case.input)
    }

    fn run_args(&self, args: &[&str], input: &str) -> Outcome {
        let outcome = self.ctl.run_with_input(args, input);
        Outcome {
            stdout: self.normal(&outcome.stdout),
            stderr: self.normal(without_usage(&without_log(&outcome.stderr))),
            code: outcome.code,
        }
    }

    fn normal(&self, text: &str) -> String {
        let text = text.replace(&self.address, "127.0.0.1:CLIENT");
        let fields: Vec<&str> = text.split(", ").map(hide_size).collect();
        hide_varying(&fields.join(", "))
    }
}

/// The tool's log lines are JSON objects with a level.
fn without_log(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("{\"level\":"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// What a flag is for is said in our own words; the error before that is etcd's.
fn without_usage(text: &str) -> &str {
    text.split_once("\nUsage:\n").map_or(text, |(error, _)| error)
}

/// The size of the database, and how much of it is unused, depend on when it was last written.
fn hide_size(field: &str) -> &str {
    let varies = field.ends_with(" kB") || field.ends_with('%');
    if varies { "VARIES" } else { field }
}

/// Replaces every duration and size, known by the words before it: both are the moment's.
fn hide_varying(text: &str) -> String {
    let mut rest = text;
    let mut result = String::new();
    while let Some((before, marker)) = next_marker(rest) {
        result.push_str(&rest[..before + marker.len()]);
        rest = &rest[before + marker.len()..];
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '\u{b5}';
        let after = rest.trim_start_matches(is_part);
        if after.len() < rest.len() {
            result.push_str("VARIES");
        }
        rest = after;
    }
    result + rest
}

fn next_marker(text: &str) -> Option<(usize, &'static str)> {
    let markers = [
        "took = ",
        "]. took ",
        "\"took\":\"",
        "\"dbSize\":",
        "\"dbSizeInUse\":",
        "\"DBSize\" : ",
        "\"DBSizeInUse\" : ",
    ];
    let found = markers.iter().filter_map(|marker| text.find(marker).map(|at| (at, *marker)));
    found.min()
}

#[test]
fn only_what_varies_is_hidden() {
    assert_eq!(hide_varying("took = 1.5ms\nnext 2ms"), "took = VARIES\nnext 2ms");
    assert_eq!(hide_varying(r#"{"took":"12.1us","x":3}"#), r#"{"took":"VARIES","x":3}"#);
    assert_eq!(hide_varying("took = "), "took = ");
}

/// Without a quorum a server gives up after 7 s, and `etcdctl --command-timeout=9s` gave up with it, in
/// the words of gRPC. It waits for as long as it was told to.
#[test]
fn without_a_quorum_a_command_waits_for_as_long_as_it_was_told() {
    if !programs::slow_tests() {
        return;
    }
    const TOLD: Duration = Duration::from_secs(9);
    let mut cluster = Cluster::start(&programs::subject_etcd(), 2, "ctl-quorum");
    let endpoints = cluster.endpoints();
    cluster.kill(1);
    let waited = cluster.server(0).wait_log("lost leader", TOLD);
    waited.unwrap_or_else(|error| panic!("{error}"));
    for program in [programs::subject_etcdctl(), programs::reference_etcdctl()] {
        let began = Instant::now();
        let ctl = Etcdctl::new(&program, &endpoints[..1]);
        let outcome = ctl.run(&["put", "a", "1", "--command-timeout=9s"]);
        let program = program.display();
        assert_eq!(outcome.code, 1, "{program}: {outcome:?}");
        let last = outcome.stderr.lines().last();
        assert_eq!(last, Some("Error: context deadline exceeded"), "{program}: {outcome:?}");
        assert!(began.elapsed() >= TOLD, "{program}: {outcome:?}");
    }
}
