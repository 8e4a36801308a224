//! Every setting has a test of what it does, or is refused, or is on the page of those that do
//! nothing.
//!
//! The story: `--max-wals` was taken and did nothing, and nobody noticed, because a setting that is
//! read into a field and never looked at is no error anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::gates::FeatureGates;
use super::super::settings::ROWS;
use super::*;

/// Settings that do something, and the test that shows it: a file below the root of the
/// repository, and a function in it.
const EFFECTS: &[(&str, &str, &str)] = &[
    ("advertise-client-urls", "tests/tests/single.rs", "the_member_describes_itself"),
    ("auth-token", "crates/server/src/config/tests.rs", "what_cannot_be_honoured_is_named"),
    ("auto-compaction-mode", "tests/tests/space.rs", "history_is_compacted_by_age"),
    ("auto-compaction-retention", "tests/tests/space.rs", "history_is_compacted_by_age"),
    ("cors", "tests/tests/settings.rs", "pages_of_other_origins_are_kept_out"),
    ("data-dir", "tests/tests/single.rs", "flags_and_variables_do_what_the_file_does"),
    ("election-timeout", "tests/tests/settings.rs", "a_lost_quorum_is_noticed_after_the_timeout"),
    ("enable-v2", "tests/tests/settings.rs", "the_v2_api_can_be_turned_off"),
    ("feature-gates", "crates/server/src/config/support/tests.rs", "every_gate_is_accounted_for"),
    ("grpc-keepalive-interval", "tests/tests/settings.rs", "silent_connections_are_pinged"),
    ("grpc-keepalive-timeout", "tests/tests/settings.rs", "silent_connections_are_pinged"),
    (
        "grpc-keepalive-min-time",
        "tests/tests/connections.rs",
        "clients_that_ping_too_often_are_told_what_etcd_tells_them",
    ),
    ("heartbeat-interval", "tests/tests/settings.rs", "heartbeats_come_at_their_interval"),
    ("host-whitelist", "tests/tests/http.rs", "only_hosts_and_origins_that_are_named_are_answered"),
    ("initial-advertise-peer-urls", "tests/tests/single.rs", "member_ids_are_etcds"),
    (
        "initial-cluster",
        "tests/tests/faults.rs",
        "an_initial_cluster_without_the_own_name_is_refused",
    ),
    ("initial-cluster-state", "tests/tests/settings.rs", "a_member_without_data_cannot_join_yet"),
    ("initial-cluster-token", "tests/tests/single.rs", "member_ids_are_etcds"),
    (
        "initial-election-tick-advance",
        "tests/tests/settings.rs",
        "the_first_election_need_not_come_early",
    ),
    ("listen-client-urls", "tests/tests/faults.rs", "a_taken_port_is_named"),
    (
        "listen-metrics-urls",
        "tests/tests/metrics.rs",
        "listeners_for_metrics_serve_them_and_the_health",
    ),
    ("listen-peer-urls", "tests/tests/faults.rs", "a_taken_port_is_named"),
    (
        "log-format",
        "tests/tests/settings.rs",
        "the_log_has_the_form_and_the_place_that_is_asked_for",
    ),
    (
        "log-level",
        "tests/tests/settings.rs",
        "the_log_has_the_form_and_the_place_that_is_asked_for",
    ),
    (
        "log-outputs",
        "tests/tests/settings.rs",
        "the_log_has_the_form_and_the_place_that_is_asked_for",
    ),
    ("logger", "tests/tests/log.rs", "the_old_log_tells_of_a_lost_member"),
    ("max-concurrent-streams", "tests/tests/settings.rs", "streams_of_a_connection_are_limited"),
    ("max-learners", "crates/node/src/recover/tests.rs", "max_learners"),
    ("max-request-bytes", "tests/tests/settings.rs", "requests_are_limited"),
    ("max-txn-ops", "tests/tests/settings.rs", "requests_are_limited"),
    ("max-wals", "tests/tests/settings.rs", "files_of_the_log_stay_if_all_shall"),
    ("memory-budget-bytes", "tests/tests/differential.rs", "random_requests_get_equal_replies"),
    ("metrics", "tests/tests/metrics.rs", "families_are_those_of_etcd"),
    ("name", "tests/tests/single.rs", "the_member_describes_itself"),
    ("pre-vote", "tests/tests/settings.rs", "a_member_without_a_quorum_asks_before_it_campaigns"),
    (
        "quota-backend-bytes",
        "tests/tests/space.rs",
        "a_full_store_refuses_what_grows_until_it_is_disarmed",
    ),
    ("snapshot-catchup-entries", "tests/tests/metrics.rs", "snapshots_between_members_are_counted"),
    ("snapshot-count", "tests/tests/metrics.rs", "snapshots_between_members_are_counted"),
    ("wal-dir", "tests/tests/settings.rs", "the_log_lies_where_it_is_told_to"),
    (
        "warning-apply-duration",
        "tests/tests/settings.rs",
        "reads_that_take_longer_than_told_are_logged",
    ),
    (
        "warning-unary-request-duration",
        "tests/tests/log.rs",
        "the_lines_that_tools_wait_for_are_there",
    ),
    (
        "watch-progress-notify-interval",
        "tests/tests/watch.rs",
        "idle_watchers_are_notified_of_progress",
    ),
];

/// Gates that switch something, and the test that shows it, as above.
const GATE_EFFECTS: &[(Feature, &str, &str)] = &[(
    Feature::LeaseCheckpoint,
    "crates/node/src/leases/tests.rs",
    "a_leader_that_shall_not_checkpoint_leases_proposes_none",
)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[track_caller]
fn assert_tested(what: &str, file: &str, function: &str) {
    let path = root().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    assert!(text.contains(function), "{what}: {file} has no {function}");
}

/// Returns the name of a row: its flag, or its place in the file if it has no flag.
fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| if row.flag.is_empty() { row.key } else { row.flag })
}

#[test]
fn every_setting_is_accounted_for_once() {
    for (setting, file, function) in EFFECTS {
        assert_tested(setting, file, function);
    }
    let effects = EFFECTS.iter().map(|(setting, _, _)| *setting);
    let lists = REFUSED.into_iter().chain(WITHOUT_EFFECT).chain(BESIDE_REFUSED).chain(IN_FILE_ONLY);
    let mut listed: Vec<&str> = effects.chain(lists).collect();
    listed.sort_unstable();
    let all: BTreeSet<&str> = names().collect();
    let unknown: Vec<&&str> = listed.iter().filter(|name| !all.contains(**name)).collect();
    assert_eq!(unknown, Vec::<&&str>::new(), "are no settings");
    let twice: Vec<_> = listed.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert_eq!(twice, Vec::<&[&str]>::new(), "stand in two lists");
    let missing: Vec<&str> = all.into_iter().filter(|name| !listed.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "have no test, are not refused and not on the page");
}

#[test]
fn every_gate_is_accounted_for() {
    for (gate, file, function) in GATE_EFFECTS {
        assert_tested(gate.name(), file, function);
    }
    let page = page();
    for line in FeatureGates::describe() {
        let name = line.split('=').next().unwrap_or_default();
        let has_effect = GATE_EFFECTS.iter().any(|(gate, _, _)| gate.name() == name);
        assert_ne!(has_effect, page.contains(&format!("| `{name}` |")), "{name}");
    }
}

#[test]
fn the_page_lists_what_is_refused_and_what_does_nothing() {
    let page = page();
    for setting in REFUSED.into_iter().chain(WITHOUT_EFFECT) {
        assert!(page.contains(&format!("`--{setting}`")), "{setting} is not on the page");
    }
    for (setting, _, _) in EFFECTS {
        assert!(!page.contains(&format!("| `--{setting}` |")), "{setting} does something");
    }
}

fn page() -> String {
    fs::read_to_string(root().join("docs/settings.md")).expect("there is a page of settings")
}
