//! The offline tool against snapshots of a real etcd, and a member that starts on what it makes.

use std::path::{Path, PathBuf};
use std::process::Command;

use quoin_tests::cluster::Member;
use quoin_tests::ctl::{Etcdctl, Outcome};
use quoin_tests::programs;
use quoin_tests::server::{Server, shell_code};
use quoin_tests::temp_dir::TempDir;

/// A snapshot of an etcd that has written, deleted and compacted.
struct Saved {
    dir: TempDir,
    file: PathBuf,
    /// All keys and values as JSON, without the header.
    keys: String,
    hash: u64,
}

fn saved(label: &str) -> Saved {
    let dir = TempDir::new(label);
    let member = Member::alone(dir.path(), "source");
    let server = Server::start(&member.launch(&programs::reference_etcd(), dir.path()));
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), std::slice::from_ref(&member.client_url));
    for round in 0..3 {
        for key in ["a", "b", "c\u{1}"] {
            ctl.ok(&["put", key, &format!("{key}-{round}")]);
        }
    }
    ctl.ok(&["del", "b"]);
    ctl.ok(&["compaction", "5"]);
    ctl.ok(&["lease", "grant", "100000"]);
    let file = dir.join("saved.db");
    ctl.ok(&["snapshot", "save", text(&file)]);
    let (keys, hash) = content(&ctl);
    drop(server);
    Saved { dir, file, keys, hash }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in ASCII")
}

/// Keys and hash of the history of a server.
fn content(ctl: &Etcdctl) -> (String, u64) {
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&ctl.ok(args)).expect("JSON was asked for")
    };
    let keys = json(&["get", "", "--from-key", "-w", "json"])["kvs"].to_string();
    let hash = json(&["endpoint", "hashkv", "-w", "json"])[0]["HashKV"]["hash"].as_u64();
    (keys, hash.expect("a hash is a number"))
}

fn run(program: &Path, dir: &Path, line: &str) -> Outcome {
    let mut command = Command::new(program);
    let output = command.args(line.split(' ')).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    // Log lines have tabs; what follows an error is how to use the command.
    let errors: Vec<&str> = errors.lines().filter(|line| !line.contains('\t')).collect();
    let errors = errors.join("\n");
    let errors = errors.split("\nUsage:").next().unwrap_or_default().to_owned();
    Outcome { stdout: text(&output.stdout), stderr: errors, code: shell_code(output.status) }
}

/// Starts a member of ours on a directory and compares what it has with the source.
#[track_caller]
fn check_started(program: &Path, member: &Member, saved: &Saved) {
    let server = Server::start(&member.launch(program, saved.dir.path()));
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    let ctl = Etcdctl::new(&programs::subject_etcdctl(), std::slice::from_ref(&member.client_url));
    let (keys, hash) = content(&ctl);
    assert_eq!((keys, hash), (saved.keys.clone(), saved.hash));
    let members = ctl.ok(&["member", "list"]);
    assert_eq!(members.lines().count(), 1, "{members}");
    assert!(members.contains(&member.name), "{members}");
    ctl.ok(&["put", "after", "all"]);
    drop(server);
}

fn restore_line(member: &Member, file: &Path) -> String {
    format!(
        "snapshot restore {} --name {} --data-dir {} --initial-cluster {} \
         --initial-cluster-token quoin-tests --initial-advertise-peer-urls {}",
        file.display(),
        member.name,
        member.data_dir.display(),
        member.initial_cluster,
        member.advertised_peer_url
    )
}

const LINES: &[&str] = &[
    "snapshot status FILE",
    "snapshot status FILE -w json",
    "snapshot status FILE -w fields",
    "snapshot status FILE -w table",
    "snapshot status FILE -w protobuf",
    "snapshot status FILE -w wrong",
    "snapshot status",
    "snapshot status nothing",
    "hashkv FILE",
    "hashkv FILE -w json",
    "hashkv FILE -w fields",
    "hashkv FILE -w table",
    "hashkv FILE --rev 6",
    "hashkv FILE --rev 2",
    "hashkv FILE --rev 99",
    "hashkv nothing",
    "snapshot restore",
    "snapshot restore nothing",
    "snapshot restore FILE --bump-revision 5",
    "snapshot restore FILE --name m1",
    "snapshot restore FILE --initial-cluster a=b",
    "migrate --data-dir x --target-version 3",
    "defrag",
];

#[test]
fn the_same_commands_print_the_same() {
    let Some(reference) = programs::reference_etcdutl() else {
        println!("there is no etcdutl to compare with");
        return;
    };
    let saved = saved("utl-compare");
    let mut differences = Vec::new();
    for line in LINES {
        let [expected, found] =
            [("reference", &reference), ("subject", &programs::subject_etcdutl())].map(
                |(role, program)| {
                    // The official tool changes the file that it hashes.
                    let file = saved.dir.join("copy.db");
                    std::fs::copy(&saved.file, &file).expect("a copy of the snapshot");
                    let dir = saved.dir.join(role);
                    std::fs::create_dir_all(&dir).expect("a new directory");
                    run(program, &dir, &line.replace("FILE", text(&file)))
                },
            );
        if expected != found {
            differences.push(format!("{line}\nexpected: {expected:?}\nfound:    {found:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
}

#[test]
fn a_restored_member_has_what_the_snapshot_has() {
    let saved = saved("utl-restore");
    let member = Member::alone(saved.dir.path(), "restored");
    let line = restore_line(&member, &saved.file);
    let outcome = run(&programs::subject_etcdutl(), saved.dir.path(), &line);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    check_started(&programs::subject_etcd(), &member, &saved);

    // What is there is not overwritten.
    let outcome = run(&programs::subject_etcdutl(), saved.dir.path(), &line);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stderr.contains("not empty"), "{outcome:?}");
}

#[test]
fn an_exported_member_goes_on_as_etcd() {
    let saved = saved("utl-export");
    let member = Member::alone(saved.dir.path(), "exported");
    let utl = programs::subject_etcdutl();
    let line = restore_line(&member, &saved.file);
    assert_eq!(run(&utl, saved.dir.path(), &line).code, 0);
    let target = saved.dir.join("for-etcd");
    let version = programs::etcd_version(&programs::reference_etcd());
    let line = format!(
        "export --data-dir {} --output-dir {} --target-version {}.{}",
        member.data_dir.display(),
        target.display(),
        version.major,
        version.minor
    );
    let outcome = run(&utl, saved.dir.path(), &line);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let member = Member { data_dir: target, ..member };
    check_started(&programs::reference_etcd(), &member, &saved);
}

#[test]
fn a_damaged_snapshot_is_refused_by_name() {
    let saved = saved("utl-damage");
    let utl = programs::subject_etcdutl();
    let whole = std::fs::read(&saved.file).expect("the snapshot");
    let damaged = saved.dir.join("damaged.db");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bytes in [&flipped[..], &whole[..whole.len() - 700], &whole[..100], &[]] {
        std::fs::write(&damaged, bytes).expect("a file");
        let member = Member::alone(saved.dir.path(), "damaged");
        for line in
            [format!("snapshot status {}", damaged.display()), restore_line(&member, &damaged)]
        {
            let outcome = run(&utl, saved.dir.path(), &line);
            assert_eq!(outcome.code, 1, "{line}: {outcome:?}");
            assert!(outcome.stderr.contains("damaged.db"), "{line}: {outcome:?}");
            assert!(!member.data_dir.exists(), "{line}");
        }
    }
}
