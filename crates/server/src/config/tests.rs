//! Tables over command lines, environments and files: what comes out as a configuration, and what
//! ends the program with which code and text. The texts are those of etcd 3.7.1.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::settings::row;
use super::*;
use crate::log::{Format, Level, Output};

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Parses `etcd` with these arguments, variables (`NAME=value`), and file.
fn parse(args: &[&str], env: &[&str], file: Option<&str>) -> Result<Parsed, Box<Exit>> {
    let args: Vec<String> =
        std::iter::once("etcd").chain(args.iter().copied()).map(str::to_owned).collect();
    let pair = |text: &&str| {
        let (key, value) = text.split_once('=').expect("a variable has a value");
        (key.to_owned(), value.to_owned())
    };
    let env: Vec<(String, String)> = env.iter().map(pair).collect();
    Config::parse(&args, &env, |path: &Path| {
        assert_eq!(path, Path::new("c.yml"));
        file.map(|text| text.as_bytes().to_vec()).ok_or_else(|| io::Error::from_raw_os_error(2))
    })
}

#[track_caller]
fn config(args: &[&str]) -> Config {
    match parse(args, &[], None) {
        Ok(parsed) => parsed.config,
        Err(exit) => panic!("{args:?} ended with {exit:?}"),
    }
}

#[track_caller]
fn from_file(text: &str) -> Config {
    match parse(&["--config-file=c.yml"], &[], Some(text)) {
        Ok(parsed) => parsed.config,
        Err(exit) => panic!("{text:?} ended with {exit:?}"),
    }
}

fn urls(config: &[Url]) -> Vec<&str> {
    config.iter().map(Url::as_str).collect()
}

/// Returns `level message key=value` for every line, the configured ones last.
fn lines(notes: &Notes) -> Vec<String> {
    let line = |record: &Record| {
        let mut text = format!("{} {}", record.level.name(), record.message);
        for (key, value) in &record.fields {
            match value {
                log::Value::Text(value) => text.push_str(&format!(" {key}={value}")),
                other => text.push_str(&format!(" {key}={other:?}")),
            }
        }
        text
    };
    notes.early.iter().chain(&notes.configured).map(line).collect()
}

fn error_of(exit: &Exit) -> Option<String> {
    let fields = exit.notes.configured.iter().rev().flat_map(|record| &record.fields);
    let mut errors = fields.filter(|(key, _)| *key == "error");
    match errors.next() {
        Some((_, log::Value::Text(text))) => Some(text.to_string()),
        _ => None,
    }
}

/// The command line is malformed: code 2, the reason and the usage on standard error.
#[track_caller]
fn malformed(args: &[&str], reason: &str) {
    let exit = parse(args, &[], None).expect_err("the command line is malformed");
    assert_eq!((exit.code, exit.stdout.as_str()), (2, ""), "{args:?}");
    assert_eq!(exit.stderr, format!("{reason}\n{}", help::USAGE), "{args:?}");
    assert_eq!(exit.notes, Notes::default());
}

/// The configuration is wrong: code 1 and the reason in the log.
#[track_caller]
fn wrong(args: &[&str], reason: &str) {
    let exit = parse(args, &[], None).expect_err("the configuration is wrong");
    assert_eq!((exit.code, error_of(&exit).as_deref()), (1, Some(reason)), "{args:?}");
    assert_eq!((exit.stdout.as_str(), exit.stderr.as_str()), ("", ""), "{args:?}");
}

#[track_caller]
fn wrong_file(text: &str, reason: &str) {
    let exit = parse(&["--config-file=c.yml"], &[], Some(text)).expect_err("the file is wrong");
    assert_eq!((exit.code, error_of(&exit).as_deref()), (1, Some(reason)), "{text:?}");
    assert_eq!(exit.stderr, "", "{text:?}");
}

#[test]
fn nothing_at_all_is_the_default() {
    let parsed = parse(&[], &[], None).expect("the default is valid");
    assert_eq!(parsed.config, Config::default());
    assert_eq!(parsed.log, LogSettings::default());
    assert_eq!(
        lines(&parsed.notes),
        [
            "warn Running http and grpc server on single port. This is not recommended for \
             production.",
            "warn it isn't recommended to use default name, please set a value for --name. Note \
             that etcd might run into issue when multiple members have the same default name \
             name=default",
            "info Running:  args=Texts([\"etcd\"])",
        ]
    );
}

#[test]
fn flags_follow_the_syntax_of_go() {
    let given = config(&[
        "-name",
        "a",
        "--name",
        "b",
        "--name=c=d",
        "--data-dir=",
        "-pre-vote=f",
        "--strict-reconfig-check",
        "--heartbeat-interval=0x10",
        "--election-timeout",
        "1_000",
        "--max-learners=-1",
        "--grpc-keepalive-interval=1h30m",
        "--snapshot-count=010",
    ]);
    let expected = Config {
        name: "c=d".to_owned(),
        pre_vote: false,
        heartbeat_interval: 16,
        election_timeout: 1000,
        max_learners: -1,
        grpc_keepalive_interval: GoDuration::from_secs(5400),
        snapshot_count: 8,
        ..Config::default()
    };
    assert_eq!(given, expected);
    assert_eq!(config(&["--name=a", "--"]).name, "a");
}

#[test]
fn a_malformed_command_line_ends_with_code_2() {
    malformed(&["--foo"], "flag provided but not defined: -foo");
    malformed(&["-foo=bar"], "flag provided but not defined: -foo");
    malformed(&["--name"], "flag needs an argument: -name");
    malformed(&["--=x"], "bad flag syntax: --=x");
    malformed(&["---x"], "bad flag syntax: ---x");
    malformed(
        &["--heartbeat-interval=x"],
        "invalid value \"x\" for flag -heartbeat-interval: parse error",
    );
    malformed(
        &["--heartbeat-interval=-1"],
        "invalid value \"-1\" for flag -heartbeat-interval: parse error",
    );
    malformed(
        &["--heartbeat-interval", ""],
        "invalid value \"\" for flag -heartbeat-interval: parse error",
    );
    malformed(
        &["--heartbeat-interval=99999999999999999999999"],
        "invalid value \"99999999999999999999999\" for flag -heartbeat-interval: value out of range",
    );
    malformed(&["--pre-vote=maybe"], "invalid boolean value \"maybe\" for -pre-vote: parse error");
    malformed(&["--version=x"], "invalid boolean value \"x\" for -version: parse error");
    malformed(
        &["--grpc-keepalive-interval=5"],
        "invalid value \"5\" for flag -grpc-keepalive-interval: parse error",
    );
    malformed(
        &["--initial-cluster-state=foo"],
        "invalid value \"foo\" for flag -initial-cluster-state: invalid value",
    );
    malformed(
        &["--discovery-fallback=foo"],
        "invalid value \"foo\" for flag -discovery-fallback: invalid value",
    );
    malformed(
        &["--v2-deprecation=foo"],
        "invalid value \"foo\" for flag -v2-deprecation: invalid value \"foo\"",
    );
    malformed(
        &["--max-concurrent-streams=x"],
        "invalid value \"x\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \"x\": invalid syntax",
    );
    malformed(
        &["--max-concurrent-streams=4294967296"],
        "invalid value \"4294967296\" for flag -max-concurrent-streams: strconv.ParseUint: parsing \
         \"4294967296\": value out of range",
    );
    malformed(
        &["--listen-peer-urls=foo"],
        "invalid value \"foo\" for flag -listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo",
    );
    malformed(
        &["--feature-gates=X=true"],
        "invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X",
    );
    malformed(
        &["--feature-gates=InitialCorruptCheck"],
        "invalid value \"InitialCorruptCheck\" for flag -feature-gates: missing bool value for InitialCorruptCheck",
    );
    malformed(
        &["--feature-gates=InitialCorruptCheck=maybe"],
        "invalid value \"InitialCorruptCheck=maybe\" for flag -feature-gates: invalid value of \
         InitialCorruptCheck=maybe, err: strconv.ParseBool: parsing \"maybe\": invalid syntax",
    );
    // The command line comes before the file.
    malformed(&["--config-file=c.yml", "--foo"], "flag provided but not defined: -foo");
}

#[test]
fn an_argument_that_is_no_flag_ends_with_code_1() {
    for (args, stray) in [
        (&["stray"] as &[&str], "stray"),
        (&["--version", "stray"], "stray"),
        (&["--", "--name=a"], "--name=a"),
        (&["-", "stray"], "-"),
        (&["--snapshot", "5"], "5"),
        (&["--pre-vote", "true"], "true"),
    ] {
        wrong(args, &format!("\"{stray}\" is not a valid flag"));
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    for flag in ["-h", "--help", "-help=3", "--h"] {
        let exit = parse(&["--name=a", flag, "--foo"], &[], None).expect_err("help ends it");
        assert_eq!((exit.code, exit.stderr.as_str()), (0, help::USAGE));
        assert_eq!(exit.stdout, help::flags());
    }
    let exit =
        parse(&["--version", "--election-timeout=1"], &[], None).expect_err("version ends it");
    assert_eq!((exit.code, exit.stdout, exit.stderr), (0, version::text(), String::new()));
    assert!(parse(&["--version=false"], &[], None).is_ok());
}

#[test]
fn help_names_every_flag_once_with_its_default() {
    let text = help::flags();
    for name in flags::names() {
        let is_old = row(name).is_none()
            && !["config-file", "discovery-fallback", "v2-deprecation", "version"].contains(&name);
        let times = text.matches(&format!("  --{name} '")).count();
        assert_eq!(times, usize::from(!is_old), "{name}");
    }
    assert!(text.contains("  --quota-backend-bytes '0'\n"));
    assert!(text.contains("  --grpc-keepalive-interval '2h0m0s'\n"));
    assert!(text.contains("    TxnModeWriteWithSharedBuffer=true|false (BETA - default=true)\n"));
    let widest = text.lines().filter(|line| line.starts_with("    ")).map(str::len).max();
    assert!(widest <= Some(100), "{widest:?}");
}

/// Every flag of etcd 3.7.1, so that none is forgotten.
#[test]
fn every_flag_of_etcd_is_known() {
    const FLAGS: &str = "name data-dir wal-dir snapshot-count snapshot-catchup-entries \
        heartbeat-interval election-timeout initial-election-tick-advance listen-peer-urls \
        listen-client-urls listen-client-http-urls listen-metrics-urls max-wals max-snapshots \
        memory-mlock max-learners config-file version quota-backend-bytes \
        backend-bbolt-freelist-type backend-batch-interval backend-batch-limit \
        bootstrap-defrag-threshold-megabytes compaction-batch-limit compaction-sleep-interval \
        auto-compaction-mode auto-compaction-retention max-txn-ops max-request-bytes \
        max-concurrent-streams grpc-keepalive-min-time grpc-keepalive-interval \
        grpc-keepalive-timeout socket-reuse-port socket-reuse-address raft-read-timeout \
        raft-write-timeout warning-apply-duration warning-unary-request-duration \
        watch-progress-notify-interval initial-advertise-peer-urls advertise-client-urls \
        initial-cluster initial-cluster-state initial-cluster-token strict-reconfig-check pre-vote \
        force-new-cluster discovery-srv discovery-srv-name discovery-fallback discovery-endpoints \
        discovery-token discovery-dial-timeout discovery-request-timeout discovery-keepalive-time \
        discovery-keepalive-timeout discovery-insecure-transport \
        discovery-insecure-skip-tls-verify discovery-cert discovery-key discovery-cacert \
        discovery-user discovery-password cert-file key-file client-cert-file client-key-file \
        client-cert-auth client-crl-file client-cert-allowed-hostname trusted-ca-file auto-tls \
        peer-cert-file peer-key-file peer-client-cert-file peer-client-key-file \
        peer-client-cert-auth peer-crl-file peer-cert-allowed-cn peer-cert-allowed-hostname \
        peer-trusted-ca-file peer-auto-tls peer-skip-client-san-verification \
        self-signed-cert-validity cipher-suites tls-min-version tls-max-version cors \
        host-whitelist auth-token auth-token-ttl bcrypt-cost enable-pprof metrics \
        enable-distributed-tracing distributed-tracing-address distributed-tracing-service-name \
        distributed-tracing-instance-id distributed-tracing-sampling-rate logger log-outputs \
        log-level log-format enable-log-rotation log-rotation-config-json corrupt-check-time \
        compact-hash-check-time downgrade-check-time feature-gates enable-grpc-gateway \
        unsafe-no-fsync v2-deprecation cluster-active-size cluster-remove-delay \
        cluster-sync-interval config force max-result-buffer max-retry-attempts \
        peer-heartbeat-interval peer-election-timeout retry-interval snapshot v vv \
        test.coverprofile test.outputdir";
    let etcd: BTreeSet<&str> = FLAGS.split_whitespace().collect();
    let ours = flags::names();
    let missing: Vec<_> = etcd.difference(&ours).collect();
    assert_eq!(missing, Vec::<&&str>::new());
    let old: BTreeSet<&str> = legacy::names().collect();
    let extra: Vec<_> = ours.difference(&etcd).filter(|name| !old.contains(*name)).collect();
    assert_eq!(extra, [&"enable-v2", &"memory-budget-bytes"]);
}

#[test]
fn the_table_has_no_row_twice() {
    let rows = settings::ROWS;
    let flags: BTreeSet<&str> =
        rows.iter().map(|row| row.flag).filter(|flag| !flag.is_empty()).collect();
    let keys: BTreeSet<&str> =
        rows.iter().map(|row| row.key).filter(|key| !key.is_empty()).collect();
    assert_eq!(flags.len(), rows.iter().filter(|row| !row.flag.is_empty()).count());
    assert_eq!(keys.len(), rows.iter().filter(|row| !row.key.is_empty()).count());
}

#[test]
fn url_lists_are_sorted_and_an_empty_one_changes_nothing() {
    let given = config(&[
        "--listen-peer-urls=http://127.0.0.1:9,unix:a,http://127.0.0.1:10,http://127.0.0.1:9",
    ]);
    assert_eq!(
        urls(&given.listen_peer_urls),
        ["http://127.0.0.1:10", "http://127.0.0.1:9", "unix:a"]
    );
    let given = config(&["--listen-peer-urls=", "--listen-metrics-urls="]);
    assert_eq!(given, Config::default());
    let given = config(&["--cors=http://b:1,http://a:1", "--host-whitelist=b,a,b"]);
    assert_eq!(given.cors.0, BTreeSet::from(["http://a:1".to_owned(), "http://b:1".to_owned()]));
    assert_eq!(given.host_whitelist.0, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_wrong_configuration_ends_with_code_1_and_says_why() {
    let unset = validate::UNSET_ADVERTISE_CLIENT_URLS;
    wrong(&["--listen-client-urls=http://127.0.0.9:1"], unset);
    wrong(&["--listen-client-urls="], unset);
    wrong(
        &["--listen-peer-urls=http://foo.bar:1"],
        "expected IP in URL for binding (http://foo.bar:1)",
    );
    wrong(&["--listen-metrics-urls=http://:1"], "expected IP in URL for binding (http://:1)");
    wrong(
        &["--initial-advertise-peer-urls=http://:1"],
        "--initial-advertise-peer-urls \"http://:1\" must be \"host:port\" (unexpected empty host (http://:1))",
    );
    wrong(
        &["--advertise-client-urls=http://:1,http://:2"],
        "--advertise-client-urls \"http://:1,http://:2\" must be in the format \"host:port\", \
         \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" (unexpected empty host (http://:1))",
    );
    wrong(
        &["--discovery-srv=foo", "--initial-cluster=a=b"],
        "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
         \"discovery-endpoints\" or \"discovery-srv\"",
    );
    let both = "both --discovery-token and --discovery-endpoints must be set";
    wrong(&["--discovery-token=foo"], both);
    wrong(&["--discovery-endpoints=foo"], both);
    wrong(
        &["--discovery-endpoints=,", "--discovery-token=x"],
        "--discovery-endpoints must not contain empty endpoints",
    );
    wrong(
        &["--discovery-fallback=proxy"],
        "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
    );
    wrong(&["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)");
    wrong(&["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)");
    wrong(
        &["--election-timeout=300"],
        "--election-timeout[300ms] should be at least as 5 times as --heartbeat-interval[100ms]",
    );
    wrong(
        &["--heartbeat-interval=18446744073709551615"],
        "--election-timeout[1000ms] should be at least as 5 times as --heartbeat-interval[18446744073709551615ms]",
    );
    wrong(
        &["--election-timeout=60000"],
        "--election-timeout[60000ms] is too long, and should be set less than 50000ms",
    );
    wrong(&["--auto-compaction-mode="], "undefined auto-compaction-mode");
    wrong(&["--auto-compaction-mode=foo"], "unknown auto-compaction-mode \"foo\"");
    wrong(&["--compact-hash-check-time=0"], "--compact-hash-check-time must be >0 (set to 0s)");
    wrong(
        &["--tls-min-version=TLS1.0"],
        "unexpected TLS version \"TLS1.0\" (must be one of: TLS1.2, TLS1.3)",
    );
    wrong(
        &["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
        "min version (TLS1.3) is greater than max version (TLS1.2)",
    );
    wrong(
        &["--tls-min-version=TLS1.3", "--cipher-suites=a"],
        "cipher suites cannot be configured when only TLS1.3 is enabled",
    );
    wrong(
        &["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=-1"],
        "distributed tracing configurition is not valid: (tracing sampling rate must be positive)",
    );
    wrong(
        &["--feature-gates=LeaseCheckpointPersist=true"],
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
    );
}

#[test]
fn the_logger_of_etcd_34_gives_its_lines_and_a_warning() {
    let args: &[&[&str]] = &[&["--logger=capnslog"], &["--logger=capnslog", "--log-format=json"]];
    for args in args {
        let parsed = parse(args, &[], None).expect("the logger is known");
        assert_eq!(parsed.log.format, Format::Capnslog);
        let warned = |note: &Record| note.message.starts_with("deprecated logger is set");
        assert!(parsed.notes.configured.iter().any(warned));
    }
}

/// The configuration files of etcd 3.3 and older had one output, not a list of them.
#[test]
fn the_logging_of_an_old_file_is_understood() {
    let file = "debug: true\nlog-package-levels: etcdserver=DEBUG\nlogger: capnslog\n";
    for output in ["stdout", "[stdout]"] {
        let text = format!("{file}log-output: {output}\n");
        let parsed = parse(&["--config-file=c.yml"], &[], Some(&text));
        let log = parsed.expect("the file is understood").log;
        let outputs = BTreeSet::from([Output::Stdout]);
        assert_eq!(log, LogSettings { level: Level::Debug, format: Format::Capnslog, outputs });
    }
}

#[test]
fn a_wrong_logging_configuration_ends_with_code_1() {
    wrong(&["--logger=foo"], "unknown logger option \"foo\"");
    wrong(&["--log-level=foo"], "unrecognized level: \"foo\"");
    wrong(&["--log-format=foo"], "unknown log format: foo, supported values json, console");
    wrong(
        &["--log-outputs=default,stdout"],
        "multi logoutput for \"default\" is not supported yet",
    );
    wrong(
        &["--enable-log-rotation"],
        "--log-outputs requires a single file path when --log-rotate-config-json is defined",
    );
    wrong(
        &["--log-outputs=systemd/journal,a"],
        "running with systemd/journal but other '--log-outputs' values ([\"a\" \"systemd/journal\"]) are \
         configured with 'default'; override 'default' value with something else",
    );
}

#[test]
fn logging_is_configured_before_the_rest_is_checked() {
    let args = [
        "--log-outputs=stdout,/x",
        "--log-level=WARNING",
        "--log-format=console",
        "--election-timeout=1",
    ];
    let exit = parse(&args, &[], None).expect_err("the election timeout is wrong");
    let outputs = BTreeSet::from([Output::Stdout, Output::File("/x".into())]);
    let log = LogSettings { level: Level::Warn, format: Format::Console, outputs };
    assert_eq!(exit.log.as_deref(), Some(&log));
    assert_eq!(exit.notes.early, []);
    let discard = config(&["--log-outputs=/dev/null,stderr"]).log_settings().expect("it is valid");
    assert_eq!(discard.outputs, BTreeSet::from([Output::File("/dev/null".into())]));
}

#[test]
fn variables_stand_for_flags() {
    let env = [
        "ETCD_NAME=zz",
        "HOME=/",
        "ETCD_FOO=bar",
        "ETCD_WAL_DIR=",
        "ETCD_PRE_VOTE=0",
        "ETCD_VERSION=3",
    ];
    let parsed = parse(&["--data-dir=d"], &env, None).expect("it is valid");
    let expected = Config {
        name: "zz".to_owned(),
        data_dir: "d".to_owned(),
        pre_vote: false,
        ..Config::default()
    };
    assert_eq!(parsed.config, expected);
    assert_eq!(
        lines(&parsed.notes)[..5],
        [
            "warn cannot set special environment variable key=ETCD_VERSION value=3",
            "info recognized and used environment variable variable-name=ETCD_NAME variable-value=zz",
            "info recognized and used environment variable variable-name=ETCD_PRE_VOTE variable-value=0",
            "warn unrecognized environment variable environment-variable=ETCD_FOO=bar",
            "warn unrecognized environment variable environment-variable=ETCD_WAL_DIR=",
        ]
    );
    assert_eq!(parsed.notes.early.len(), 5);
}

#[test]
fn a_wrong_variable_ends_with_code_1_after_all_were_looked_at() {
    let env = ["ETCD_HEARTBEAT_INTERVAL=x", "ETCD_FOO=bar"];
    let exit = parse(&[], &env, None).expect_err("x is no number");
    assert_eq!(exit.code, 1);
    assert_eq!(
        lines(&exit.notes),
        [
            "warn unrecognized environment variable environment-variable=ETCD_FOO=bar",
            "info Running:  args=Texts([\"etcd\"])",
            "warn failed to verify flags error=invalid value \"x\" for ETCD_HEARTBEAT_INTERVAL: parse error",
        ]
    );
}

#[test]
fn a_flag_and_its_variable_are_a_conflict() {
    for value in ["foo", ""] {
        let env = [format!("ETCD_NAME={value}"), "ETCD_FOO=bar".to_owned()];
        let env: Vec<&str> = env.iter().map(String::as_str).collect();
        let exit = parse(&["--name=bar"], &env, None).expect_err("both are set");
        assert_eq!(exit.code, 1);
        assert_eq!(
            lines(&exit.notes),
            [
                "fatal conflicting environment variable is shadowed by corresponding command-line flag \
              (either unset environment variable or disable flag)) environment-variable=ETCD_NAME"
            ]
        );
    }
}

#[test]
fn setting_client_urls_by_variable_requires_advertised_ones_too() {
    let exit = parse(&[], &["ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:1"], None)
        .expect_err("nothing is advertised");
    let lines = lines(&exit.notes);
    let unset = validate::UNSET_ADVERTISE_CLIENT_URLS;
    assert_eq!(
        lines[lines.len() - 2..],
        [
            format!("warn failed to verify flags error={unset}"),
            format!("warn advertise client URLs are not set error={unset}"),
        ]
    );
}

#[test]
fn a_file_replaces_flags_and_environment() {
    let text = "name: f\nheartbeat-interval: 50\n";
    let expected = Config { name: "f".to_owned(), heartbeat_interval: 50, ..Config::default() };
    let ways: [(&[&str], &[&str]); 3] = [
        (&["--config-file=c.yml", "--name=x", "--election-timeout=1"], &["ETCD_NAME=y"]),
        (&["--name=x"], &["ETCD_CONFIG_FILE=c.yml", "ETCD_NAME=y", "ETCD_BOGUS=1"]),
        (&["--config-file="], &["ETCD_CONFIG_FILE=c.yml"]),
    ];
    for (args, env) in ways {
        let parsed = parse(args, env, Some(text)).expect("it is valid");
        assert_eq!(parsed.config, expected);
        let lines = lines(&parsed.notes);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[1],
            "info loaded server configuration, other configuration command line flags and \
             environment variables will be ignored if provided path=c.yml"
        );
    }
}

#[test]
fn every_type_is_read_from_the_file() {
    let given = from_file(
        "name: f\n\
         Data-Dir: d\n\
         election-timeout: 2000.0\n\
         pre-vote: no\n\
         grpc-keepalive-interval: 1000000000\n\
         quota-backend-bytes: -1\n\
         max-learners: 2\n\
         max-concurrent-streams: 7\n\
         listen-peer-urls: http://127.0.0.1:2,http://127.0.0.1:1\n\
         listen-client-urls: http://127.0.0.1:3\n\
         cors: http://a:1\n\
         host-whitelist: b,a\n\
         log-outputs: [stdout]\n\
         cipher-suites: [B, A]\n\
         feature-gates: CompactHashCheck=true\n\
         initial-cluster-state: existing\n\
         initial-cluster-token:\n\
         socket-options: {reuse-port: true}\n\
         discovery-config: {token: t, client: {dial-timeout: 1, secure: {cert: c}, auth: {username: u}}}\n\
         client-transport-security: {cert-file: c, client-cert-auth: true, allowed-cn: [x]}\n\
         peer-transport-security:\n  key-file: k\n  allowed-hostname: [h]\n\
         discovery-config: {client: {dial-timeout: 1, secure: {cert: c}, auth: {username: u}}}\n",
    );
    let mut expected = Config {
        name: "f".to_owned(),
        data_dir: "d".to_owned(),
        election_timeout: 2000,
        pre_vote: false,
        grpc_keepalive_interval: GoDuration::from_secs(1),
        quota_backend_bytes: -1,
        max_learners: 2,
        max_concurrent_streams: 7,
        listen_peer_urls: Url::parse_list("http://127.0.0.1:1,http://127.0.0.1:2").expect("two"),
        listen_client_urls: Url::parse_list("http://127.0.0.1:3").expect("one"),
        log_outputs: BTreeSet::from(["stdout".to_owned()]),
        cipher_suites: strings(&["B", "A"]),
        initial_cluster_state: ClusterState::Existing,
        socket_reuse_port: true,
        discovery_dial_timeout: GoDuration::from_nanos(1),
        discovery_cert: "c".to_owned(),
        discovery_user: "u".to_owned(),
        cert_file: "c".to_owned(),
        client_cert_auth: true,
        client_cert_allowed_cn: strings(&["x"]),
        peer_key_file: "k".to_owned(),
        peer_cert_allowed_hostname: strings(&["h"]),
        ..Config::default()
    };
    expected.cors = Origins(BTreeSet::from(["http://a:1".to_owned()]));
    expected.host_whitelist = Hosts(BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    expected.feature_gates.switch(Feature::CompactHashCheck, true);
    assert_eq!(given, expected);
}

#[test]
fn nothing_in_the_file_is_the_default() {
    for text in ["", "# comment\n", "---\n", "{}", "null", "name:\ncors:\n"] {
        assert_eq!(from_file(text), Config::default(), "{text:?}");
    }
}

/// The keys of the sample file that etcd ships, which many deployments have grown from.
#[test]
fn the_sample_file_of_etcd_is_read() {
    let text = "name: 'default'\ndata-dir:\nwal-dir:\nsnapshot-count: 10000\n\
        heartbeat-interval: 100\nelection-timeout: 1000\nquota-backend-bytes: 0\n\
        listen-peer-urls: http://localhost:2380\nlisten-client-urls: http://localhost:2379\n\
        max-snapshots: 5\nmax-wals: 5\ncors:\n\
        initial-advertise-peer-urls: http://localhost:2380\n\
        advertise-client-urls: http://localhost:2379\ndiscovery:\ndiscovery-fallback: 'proxy'\n\
        discovery-proxy:\ndiscovery-srv:\ninitial-cluster:\n\
        initial-cluster-token: 'etcd-cluster'\ninitial-cluster-state: 'new'\n\
        strict-reconfig-check: false\nenable-pprof: true\nproxy: 'off'\n\
        proxy-failure-wait: 5000\nclient-transport-security:\n  cert-file:\n  \
        client-cert-auth: false\npeer-transport-security:\n  allowed-cn:\n  auto-tls: false\n\
        self-signed-cert-validity: 1\nlog-level: debug\nlogger: zap\nlog-outputs: [stderr]\n\
        force-new-cluster: false\nauto-compaction-mode: periodic\nauto-compaction-retention: \"1\"\n\
        tls-min-version: 'TLS1.2'\ntls-max-version: 'TLS1.3'\n";
    let parsed = parse(&["--config-file=c.yml"], &[], Some(text)).expect("it is valid");
    assert!(!parsed.config.strict_reconfig_check);
    assert_eq!(
        parsed.config.auto_compaction(),
        Ok(AutoCompaction::Periodic(Duration::from_secs(3600)))
    );
    let lines = lines(&parsed.notes);
    assert_eq!(
        lines[..3],
        [
            "warn flag is no longer supported - ignoring flag=proxy",
            "warn flag is no longer supported - ignoring flag=proxy-failure-wait",
            "warn unrecognized key in the configuration file key=discovery-fallback",
        ]
    );
    let deprecated = "warn --max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.";
    assert!(lines.iter().any(|line| line == deprecated), "{lines:?}");
}

#[test]
fn a_wrong_file_ends_with_code_1_and_says_where() {
    let json = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ";
    for (text, found, field, go_type) in [
        ("election-timeout: \"300\"", "string", "Config.election-timeout", "uint"),
        ("election-timeout: -3", "number -3", "Config.election-timeout", "uint"),
        ("election-timeout: 3.5", "number 3.5", "Config.election-timeout", "uint"),
        (
            "grpc-keepalive-interval: 2h",
            "string",
            "Config.grpc-keepalive-interval",
            "time.Duration",
        ),
        (
            "max-concurrent-streams: 4294967296",
            "number 4294967296",
            "Config.max-concurrent-streams",
            "uint32",
        ),
        ("snapshot-count: x", "string", "Config.snapshot-count", "uint64"),
        ("quota-backend-bytes: x", "string", "Config.quota-backend-bytes", "int64"),
        ("max-learners: x", "string", "Config.max-learners", "int"),
        ("pre-vote: 3", "number", "Config.pre-vote", "bool"),
        ("pre-vote: \"true\"", "string", "Config.pre-vote", "bool"),
        ("name: 12", "number", "Config.name", "string"),
        ("name: [a]", "array", "Config.name", "string"),
        ("Name: {a: b}", "object", "Config.name", "string"),
        ("initial-cluster-token: true", "bool", "Config.initial-cluster-token", "string"),
        ("log-outputs: stdout", "string", "Config.log-outputs", "[]string"),
        (
            "listen-peer-urls: [http://127.0.0.1:1]",
            "array",
            "configJSON.listen-peer-urls",
            "string",
        ),
        (
            "client-transport-security: foo",
            "string",
            "configJSON.client-transport-security",
            "embed.securityConfig",
        ),
    ] {
        wrong_file(
            text,
            &format!("{json}{found} into Go struct field configYAML.{field} of type {go_type}"),
        );
    }
    for (text, rest) in [
        (
            "client-transport-security: {cert-file: 3}",
            "number into Go struct field securityConfig.configJSON.client-transport-security.cert-file of type string",
        ),
        (
            "socket-options: {reuse-port: 4}",
            "number into Go struct field SocketOpts.Config.socket-options.reuse-port of type bool",
        ),
        (
            "discovery-config: {token: t, client: {endpoints: a}}",
            "string into Go struct field ConfigSpec.Config.discovery-config.client.endpoints of type []string",
        ),
        (
            "log-outputs: [1]",
            "number into Go struct field configYAML.Config.log-outputs of type string",
        ),
        ("hello", "string into Go value of type embed.configYAML"),
        ("- a", "array into Go value of type embed.configYAML"),
    ] {
        wrong_file(text, &format!("{json}{rest}"));
    }
}

#[test]
fn a_file_with_wrong_values_ends_with_code_1() {
    wrong_file("peer-transport-security:\n", "invalid peer-transport-security");
    wrong_file("initial-cluster-state: foo", "unexpected clusterState \"foo\"");
    wrong_file("feature-gates: foo=true", "unrecognized feature gate: foo");
    wrong_file("logger: foo", "unknown logger option \"foo\"");
    wrong_file(
        "discovery-config: {token: t}",
        "both --discovery-token and --discovery-endpoints must be set",
    );
    wrong_file(
        "name: a\n  b: c\n",
        "error converting YAML to JSON: yaml: line 2: mapping values are not allowed in this context",
    );
    let exit = parse(&["--config-file=c.yml"], &[], None).expect_err("there is no file");
    assert_eq!(error_of(&exit).as_deref(), Some("open c.yml: no such file or directory"));
    let exit = parse(&["--config-file=c.yml"], &[], Some("listen-peer-urls: foo"))
        .expect_err("foo is no URL");
    let text = "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo\n";
    assert_eq!((exit.code, exit.stderr.as_str(), &exit.notes), (1, text, &Notes::default()));
}

#[test]
fn a_key_given_twice_counts_as_given_last_and_unknown_keys_are_logged() {
    let parsed = parse(&["--config-file=c.yml"], &[], Some("name: a\nname: b\nfoo: [1]\n"))
        .expect("it is valid");
    assert_eq!(parsed.config.name, "b");
    assert_eq!(from_file("name: a\n---\nname: b\n").name, "a");
    assert_eq!(lines(&parsed.notes)[0], "warn unrecognized key in the configuration file key=foo");
}

/// The story: a file saved with a byte order mark was read as empty, and the member started with
/// the default name, directory and ports. Settings that use the YAML of etcd were refused or lost.
#[test]
fn the_file_is_read_in_the_yaml_of_etcd() {
    let given = from_file(
        "\u{feff}base: &base\n  quota-backend-bytes: 8_589_934_592\n  pre-vote: off\n\
         <<: *base\nname: a\nheartbeat-interval: 0x64\nelection-timeout: 02000\n\
         strict-reconfig-check: No\n",
    );
    let expected = Config {
        name: "a".to_owned(),
        quota_backend_bytes: 8 << 30,
        pre_vote: false,
        heartbeat_interval: 100,
        election_timeout: 1024,
        strict_reconfig_check: false,
        ..Config::default()
    };
    assert_eq!(given, expected);
    let json = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ";
    for (text, rest) in [
        (
            "pre-vote: \"yes\"",
            "string into Go struct field configYAML.Config.pre-vote of type bool",
        ),
        ("name: no", "bool into Go struct field configYAML.Config.name of type string"),
        (
            "initial-cluster-token: 0x10",
            "number into Go struct field configYAML.Config.initial-cluster-token of type string",
        ),
        (
            "quota-backend-bytes: 1e21",
            "number 1e+21 into Go struct field configYAML.Config.quota-backend-bytes of type int64",
        ),
        (
            "snapshot-count: -0.0",
            "number -0 into Go struct field configYAML.Config.snapshot-count of type uint64",
        ),
    ] {
        wrong_file(text, &format!("{json}{rest}"));
    }
}

#[test]
fn keys_that_differ_in_case_name_one_setting_and_the_last_of_them_in_order_counts() {
    assert_eq!(from_file("name: a\nName: b\nNAME: c\n").name, "a");
    let given = from_file(
        "client-transport-security: {cert-file: a}\nClient-Transport-Security: {cert-file: b, Key-File: c}\n",
    );
    assert_eq!((given.cert_file.as_str(), given.key_file.as_str()), ("a", "c"));
    assert_eq!(from_file("di\u{17f}covery-srv: a\n").discovery_srv, "a");
}

#[test]
fn a_null_in_a_list_leaves_what_stood_there() {
    assert_eq!(from_file("log-outputs: [~]\n"), Config::default());
    assert_eq!(from_file("cipher-suites: [~, a]\n").cipher_suites, strings(&["", "a"]));
}

#[test]
fn documents_after_the_first_are_said_to_be_unread() {
    let parsed = parse(&["--config-file=c.yml"], &[], Some("---\n---\nname: b\n"))
        .expect("nothing is wrong with it");
    assert_eq!(
        lines(&parsed.notes)[0],
        "warn only the first document of the configuration file is read"
    );
}

#[test]
fn flags_of_older_releases_keep_their_meaning() {
    let given = config(&[
        "--experimental-initial-corrupt-check",
        "--experimental-max-learners=3",
        "--experimental-compact-hash-check-enabled=true",
        "--experimental-corrupt-check-time",
        "1m",
        "--enable-v2",
        "--proxy=off",
        "--proxy-read-timeout=3",
        "--debug",
        "--logger=zap",
        "--log-output=stdout",
        "--snapshot=9",
        "-vv",
        "--log-package-levels=a=DEBUG",
    ]);
    let mut expected = Config {
        max_learners: 3,
        corrupt_check_time: GoDuration::from_secs(60),
        enable_v2: true,
        log_level: "debug".to_owned(),
        log_outputs: BTreeSet::from(["stdout".to_owned()]),
        ..Config::default()
    };
    expected.feature_gates.switch(Feature::InitialCorruptCheck, true);
    expected.feature_gates.switch(Feature::CompactHashCheck, true);
    assert_eq!(given, expected);
    let old = from_file(
        "experimental-max-learners: 3\nexperimental-initial-corrupt-check: true\n\
         experimental-compact-hash-check-enabled: true\nexperimental-corrupt-check-time: 60000000000\n\
         enable-v2: true\nproxy: off\ndebug: true\nlog-output: [stdout]\n",
    );
    assert_eq!(old, expected);
}

#[test]
fn the_name_of_today_wins_over_the_old_one() {
    for args in [
        ["--max-learners=3", "--experimental-max-learners=5"],
        ["--experimental-max-learners=5", "--max-learners=3"],
    ] {
        assert_eq!(config(&args).max_learners, 3);
    }
    assert_eq!(from_file("max-learners: 3\nexperimental-max-learners: 5\n").max_learners, 3);
    malformed(
        &["--max-learners=3", "--experimental-max-learners=x"],
        "invalid value \"x\" for flag -experimental-max-learners: parse error",
    );
    malformed(
        &["--proxy=on"],
        "invalid value \"on\" for flag -proxy: what it asks for has been removed; only \"off\" is accepted",
    );
}

#[test]
fn the_use_of_old_and_deprecated_flags_is_logged() {
    let args = ["--experimental-max-learners=5", "--max-snapshots=3", "--v2-deprecation=gone"];
    let parsed =
        parse(&args, &["ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true"], None).expect("it is valid");
    let lines = lines(&parsed.notes);
    for line in [
        "warn flag has another name now flag=experimental-max-learners use=max-learners",
        "warn flag is a feature gate now flag=experimental-initial-corrupt-check gate=InitialCorruptCheck",
        "warn --max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        "warn --v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is \
         enforced, ignoring user input.",
    ] {
        assert!(lines.iter().any(|given| given == line), "{line} in {lines:#?}");
    }
}

#[test]
fn peer_timeouts_have_a_floor() {
    let parsed = parse(&["--raft-read-timeout=1s", "--raft-write-timeout=6s"], &[], None)
        .expect("it is valid");
    assert_eq!(parsed.config.raft_read_timeout, GoDuration::from_secs(5));
    assert_eq!(parsed.config.raft_write_timeout, GoDuration::from_secs(6));
    assert_eq!(lines(&parsed.notes)[0], "info raft-read-timeout increased to minimum value: 5s");
}

#[test]
fn a_name_alone_founds_a_cluster_of_one() {
    let mut given = config(&["--name=s1", "--initial-advertise-peer-urls=http://h:2,http://h:1"]);
    let notes = given.settle(Err("could not find default route".to_owned()));
    assert_eq!(given.initial_cluster, "s1=http://h:1,s1=http://h:2");
    assert_eq!(given.data_dir, "s1.etcd");
    let notes = Notes { early: notes, configured: Vec::new() };
    assert_eq!(
        lines(&notes),
        [
            "info failed to detect default host error=could not find default route",
            "warn 'data-dir' was empty; using default data-dir=s1.etcd",
        ]
    );
    let mut given = config(&["--name=s1", "--initial-cluster=a=http://a:1", "--data-dir=d"]);
    assert_eq!(given.settle(Ok(String::new())), []);
    assert_eq!((given.initial_cluster.as_str(), given.data_dir.as_str()), ("a=http://a:1", "d"));
}

#[test]
fn an_open_listener_advertises_the_address_of_the_machine() {
    let open = "--listen-peer-urls=http://0.0.0.0:7";
    let mut given = config(&["--name=s1", open]);
    let notes = given.settle(Ok("10.1.2.3".to_owned()));
    assert_eq!(urls(&given.initial_advertise_peer_urls), ["http://10.1.2.3:7"]);
    assert_eq!(given.initial_cluster, "s1=http://10.1.2.3:7");
    assert_eq!(urls(&given.advertise_client_urls), ["http://localhost:2379"]);
    assert_eq!(notes[0].message, "detected default host for advertise");

    let mut given = config(&[open, "--initial-advertise-peer-urls=http://127.0.0.1:7"]);
    given.settle(Ok("10.1.2.3".to_owned()));
    assert_eq!(urls(&given.initial_advertise_peer_urls), ["http://127.0.0.1:7"]);
}

#[test]
fn the_founders_of_a_cluster_are_read_and_checked() {
    let two = config(&[
        "--name=b",
        "--initial-cluster=b=http://h:2,a=http://h:1,,b=http://h:0",
        "--initial-advertise-peer-urls=http://h:0,http://h:2",
    ]);
    let nobody = |_: &Url| Err("nobody".to_owned());
    let cluster = two.check_bootstrap(nobody).expect("it matches");
    assert_eq!(cluster.to_string(), "a=http://h:1,b=http://h:0,b=http://h:2");
    assert_eq!(urls(&cluster.0["b"]), ["http://h:0", "http://h:2"]);

    let check = |args: &[&str], reason: &str| {
        let resolve = |url: &Url| match url.host() {
            "unknown" => Err("no such host".to_owned()),
            "alias" => Ok(format!("10.0.0.1:{}", url.port_text())),
            _ => Ok(url.host_port()),
        };
        let found = config(args).check_bootstrap(resolve);
        assert_eq!(found.map(|cluster| cluster.to_string()), Err(reason.to_owned()), "{args:?}");
    };
    let own = "couldn't find local name \"default\" in the initial cluster configuration";
    check(&["--initial-cluster=a=http://localhost:2380"], own);
    check(&["--initial-cluster="], own);
    check(
        &["--initial-cluster=a=b"],
        "error setting up initial cluster: URL scheme must be http, https, unix, or unixs: b",
    );
    check(
        &["--initial-cluster=default=http://localhost:2380,a=http://localhost:2380"],
        "initial cluster a=http://localhost:2380,default=http://localhost:2380 has duplicate url",
    );
    check(
        &[
            "--initial-cluster=default=http://10.1.1.1:2380",
            "--initial-advertise-peer-urls=http://10.1.1.2:2380",
        ],
        "--initial-cluster has default=http://10.1.1.1:2380 but missing from \
         --initial-advertise-peer-urls=http://10.1.1.2:2380 (resolved urls: \"http://10.1.1.2:2380\" != \
         \"http://10.1.1.1:2380\")",
    );
    check(
        &["--initial-cluster=default=http://localhost:2380,default=http://localhost:2381"],
        "--initial-cluster has default=http://localhost:2381 but missing from \
         --initial-advertise-peer-urls=http://localhost:2380 (len([\"http://localhost:2380\"]) != \
         len([\"http://localhost:2380\" \"http://localhost:2381\"]))",
    );
    check(
        &["--initial-advertise-peer-urls=http://localhost:2380,http://localhost:2381"],
        "--initial-advertise-peer-urls has http://localhost:2381 but missing from \
         --initial-cluster=default=http://localhost:2380,default=http://localhost:2381",
    );
    check(
        &[
            "--initial-cluster=default=http://unknown:1",
            "--initial-advertise-peer-urls=http://10.0.0.1:1",
        ],
        "--initial-cluster has default=http://unknown:1 but missing from \
         --initial-advertise-peer-urls=http://10.0.0.1:1 (failed to resolve \"http://unknown:1\" \
         (no such host))",
    );
    let alias = config(&[
        "--initial-cluster=default=http://alias:1",
        "--initial-advertise-peer-urls=http://10.0.0.1:1",
    ]);
    assert!(alias.check_bootstrap(|url| Ok(format!("10.0.0.1:{}", url.port_text()))).is_ok());
    let joins = config(&[
        "--initial-cluster=default=http://a:1,b=http://b:1",
        "--initial-cluster-state=existing",
    ]);
    assert!(joins.check_join().is_ok());
}

#[test]
fn the_retention_of_history_is_read() {
    let check = |mode: &str, retention: &str, expected: Result<AutoCompaction, &str>| {
        let given = config(&[
            &format!("--auto-compaction-mode={mode}"),
            &format!("--auto-compaction-retention={retention}"),
        ]);
        assert_eq!(given.auto_compaction(), expected.map_err(str::to_owned), "{mode} {retention}");
    };
    let hour = Duration::from_secs(3600);
    check("periodic", "0", Ok(AutoCompaction::Off));
    check("periodic", "", Ok(AutoCompaction::Off));
    check("periodic", "2", Ok(AutoCompaction::Periodic(2 * hour)));
    check("periodic", "90m", Ok(AutoCompaction::Periodic(hour * 3 / 2)));
    check("revision", "1000", Ok(AutoCompaction::Revisions(1000)));
    check(
        "periodic",
        "foo",
        Err("error parsing CompactionRetention: time: invalid duration \"foo\""),
    );
}

#[test]
fn what_cannot_be_honoured_is_named() {
    assert_eq!(Config::default().unsupported(), Vec::<String>::new());
    assert_eq!(Config::default().without_effect(), Vec::<String>::new());
    let given = config(&[
        "--cert-file=c",
        "--force-new-cluster",
        "--auto-compaction-retention=1",
        "--auth-token=jwt,priv-key=p",
        "--listen-client-urls=https://127.0.0.1:1",
        "--advertise-client-urls=https://127.0.0.1:1",
        "--auto-compaction-mode=revision",
        "--bcrypt-cost=5",
        "--backend-batch-limit=5",
        "--unsafe-no-fsync",
        "--feature-gates=InitialCorruptCheck=true,LeaseCheckpoint=false",
    ]);
    let mut unsupported = given.unsupported();
    unsupported.sort();
    assert_eq!(
        unsupported,
        [
            "--auth-token=jwt",
            "--cert-file=c",
            "--force-new-cluster=true",
            "--listen-client-urls=https://127.0.0.1:1",
        ]
    );
    assert_eq!(
        given.without_effect(),
        [
            "--backend-batch-limit=5",
            "--bcrypt-cost=5",
            "--unsafe-no-fsync=true",
            "--feature-gates=InitialCorruptCheck=true"
        ]
    );
}

/// The keys of the line in the order that etcd 3.7.1 writes them.
#[test]
fn the_line_of_a_start_has_the_fields_of_etcd() {
    const KEYS: &str = "etcd-version git-sha go-version go-os go-arch max-cpu-set max-cpu-available \
        member-initialized name data-dir wal-dir wal-dir-dedicated member-dir force-new-cluster \
        heartbeat-interval election-timeout initial-election-tick-advance snapshot-count max-wals \
        max-snapshots snapshot-catchup-entries initial-advertise-peer-urls listen-peer-urls \
        advertise-client-urls listen-client-urls listen-metrics-urls local-address cors \
        host-whitelist initial-cluster initial-cluster-state initial-cluster-token \
        quota-backend-bytes max-request-bytes max-concurrent-streams pre-vote feature-gates \
        initial-corrupt-check corrupt-check-time-interval compact-check-time-interval \
        auto-compaction-mode auto-compaction-retention auto-compaction-interval discovery-token \
        discovery-endpoints discovery-dial-timeout discovery-request-timeout \
        discovery-keepalive-time discovery-keepalive-timeout discovery-insecure-transport \
        discovery-insecure-skip-tls-verify discovery-cert discovery-key discovery-cacert \
        discovery-user downgrade-check-interval max-learners v2-deprecation";
    let mut given = config(&["--snapshot-catchup-entries=1000", "--discovery-password=secret"]);
    given.settle(Ok(String::new()));
    let record = given.starting_record(false);
    let keys: Vec<&str> = record.fields.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, KEYS.split_whitespace().collect::<Vec<_>>());
    let value = |name: &str| {
        let field = record.fields.iter().find(|(key, _)| *key == name);
        field.map(|(_, value)| value.clone())
    };
    assert_eq!(value("snapshot-catchup-entries"), Some(log::Value::Uint(1000)));
    assert_eq!(value("initial-cluster"), Some("default=http://localhost:2380".into()));
    assert_eq!(value("quota-backend-bytes"), Some(log::Value::Int(2_147_483_648)));
    assert_eq!(value("election-timeout"), Some(Duration::from_secs(1).into()));
    assert_eq!(value("member-dir"), Some("default.etcd/member".into()));
    assert_eq!(value("discovery-insecure-transport"), Some(true.into()));
    let later = given.starting_record(true);
    assert!(later.fields.contains(&("initial-cluster", "".into())));
}
