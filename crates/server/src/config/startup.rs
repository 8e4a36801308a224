//! The log lines of a start that repeat the configuration, as etcd writes them: tools look for
//! their texts and fields.

use super::settings::{Config, ROWS};
use super::validate::texts;
use crate::log::{Record, Value};
use crate::{record, version};

/// The quota that stands for none given.
const DEFAULT_QUOTA_BYTES: i64 = 2 << 30;

/// The only phase of the v2 store that there is.
const V2_DEPRECATION: &str = "write-only";

impl Config {
    /// Returns the line before the peer listeners are bound.
    pub fn peer_listeners_record(&self) -> Record {
        let urls = texts(&self.listen_peer_urls);
        record!(Info, "configuring peer listeners", "listen-peer-urls" => urls)
    }

    /// Returns the line before the client listeners are bound.
    pub fn client_listeners_record(&self) -> Record {
        let urls = texts(&self.listen_client_urls);
        record!(Info, "configuring client listeners", "listen-client-urls" => urls)
    }

    /// Returns the line after all listeners serve.
    pub fn serving_record(&self, member_id: u64) -> Record {
        record!(
            Info,
            "now serving peer/client/metrics",
            "local-member-id" => format!("{member_id:x}"),
            "initial-advertise-peer-urls" => texts(&self.initial_advertise_peer_urls),
            "listen-peer-urls" => texts(&self.listen_peer_urls),
            "advertise-client-urls" => texts(&self.advertise_client_urls),
            "listen-client-urls" => texts(&self.listen_client_urls),
            "listen-metrics-urls" => texts(&self.listen_metrics_urls),
        )
    }

    /// Returns the lines of a stop: before it begins and when it is done.
    pub fn closing_records(&self) -> [Record; 2] {
        let closing = |message: &'static str| {
            record!(
                Info,
                message,
                "name" => &self.name,
                "data-dir" => &self.data_dir,
                "advertise-peer-urls" => texts(&self.initial_advertise_peer_urls),
                "advertise-client-urls" => texts(&self.advertise_client_urls),
            )
        };
        [closing("closing etcd server"), closing("closed etcd server")]
    }

    /// Returns the quota in bytes; less than zero means none.
    pub fn quota_bytes(&self) -> i64 {
        if self.quota_backend_bytes == 0 { DEFAULT_QUOTA_BYTES } else { self.quota_backend_bytes }
    }

    /// Returns the line before the member starts. The initial cluster is left out when the member
    /// exists already, because it does not count then.
    pub fn starting_record(&self, member_initialized: bool) -> Record {
        let mut record = record!(
            Info,
            "starting an etcd server",
            "etcd-version" => version::ETCD_VERSION,
            "git-sha" => version::GIT_SHA,
            "go-version" => version::GO_VERSION,
            "go-os" => version::go_os(),
            "go-arch" => version::go_arch(),
            "max-cpu-set" => processors(),
            "max-cpu-available" => processors(),
            "member-initialized" => member_initialized,
        );
        self.add_member_fields(&mut record.fields);
        self.add_cluster_fields(&mut record.fields, member_initialized);
        self.add_feature_fields(&mut record.fields);
        for flag in DISCOVERY_FIELDS {
            self.add_setting(&mut record.fields, flag);
        }
        record
            .with("downgrade-check-interval", self.downgrade_check_time.to_string())
            .with("max-learners", self.max_learners)
            .with("v2-deprecation", V2_DEPRECATION)
    }

    fn add_member_fields(&self, fields: &mut Vec<(&'static str, Value)>) {
        let election = self.heartbeat() * u32::try_from(self.election_ticks()).unwrap_or(u32::MAX);
        fields.extend([
            ("name", Value::from(&self.name)),
            ("data-dir", Value::from(&self.data_dir)),
            ("wal-dir", Value::from(&self.wal_dir)),
            ("wal-dir-dedicated", Value::from(&self.wal_dir)),
            ("member-dir", Value::from(self.member_dir().display().to_string())),
            ("force-new-cluster", Value::from(self.force_new_cluster)),
            ("heartbeat-interval", Value::from(self.heartbeat())),
            ("election-timeout", Value::from(election)),
            ("initial-election-tick-advance", Value::from(self.initial_election_tick_advance)),
            ("snapshot-count", Value::from(self.snapshot_count)),
            ("max-wals", Value::from(self.max_wals)),
            ("max-snapshots", Value::from(self.max_snapshots)),
            ("snapshot-catchup-entries", Value::from(self.snapshot_catchup_entries)),
            ("initial-advertise-peer-urls", texts(&self.initial_advertise_peer_urls).into()),
            ("listen-peer-urls", texts(&self.listen_peer_urls).into()),
            ("advertise-client-urls", texts(&self.advertise_client_urls).into()),
            ("listen-client-urls", texts(&self.listen_client_urls).into()),
            ("listen-metrics-urls", texts(&self.listen_metrics_urls).into()),
            ("local-address", Value::from("")),
            ("cors", Value::Texts(self.cors.0.iter().cloned().collect())),
            ("host-whitelist", Value::Texts(self.host_whitelist.0.iter().cloned().collect())),
        ]);
    }

    fn add_cluster_fields(
        &self,
        fields: &mut Vec<(&'static str, Value)>,
        member_initialized: bool,
    ) {
        let (members, token) = if member_initialized {
            (String::new(), String::new())
        } else {
            let members = self.initial_cluster().unwrap_or_default();
            (members.to_string(), self.initial_cluster_token.clone())
        };
        fields.extend([
            ("initial-cluster", Value::from(members)),
            ("initial-cluster-state", Value::from(self.initial_cluster_state.to_string())),
            ("initial-cluster-token", Value::from(token)),
        ]);
    }

    fn add_feature_fields(&self, fields: &mut Vec<(&'static str, Value)>) {
        let retention = Value::Nanos(self.auto_compaction_nanos().unwrap_or(0));
        fields.extend([
            ("quota-backend-bytes", Value::from(self.quota_bytes())),
            ("max-request-bytes", Value::from(self.max_request_bytes)),
            ("max-concurrent-streams", Value::from(self.max_concurrent_streams)),
            ("pre-vote", Value::from(self.pre_vote)),
            ("feature-gates", Value::from(self.feature_gates.to_string())),
            ("initial-corrupt-check", Value::from(false)),
            ("corrupt-check-time-interval", Value::from(self.corrupt_check_time.to_string())),
            ("compact-check-time-interval", Value::Nanos(self.compact_hash_check_time.nanos())),
            ("auto-compaction-mode", Value::from(&self.auto_compaction_mode)),
            ("auto-compaction-retention", retention.clone()),
            ("auto-compaction-interval", retention),
        ]);
    }

    /// Adds a field with the name and the value of a flag.
    fn add_setting(&self, fields: &mut Vec<(&'static str, Value)>, flag: &str) {
        if let Some(row) = ROWS.iter().find(|row| row.flag == flag) {
            let value = (row.show)(self);
            let value = if row.is_bool { Value::Bool(value == "true") } else { value.into() };
            fields.push((row.flag, value));
        }
    }
}

/// The settings of discovery that the line shows. The password is not among them.
const DISCOVERY_FIELDS: [&str; 12] = [
    "discovery-token",
    "discovery-endpoints",
    "discovery-dial-timeout",
    "discovery-request-timeout",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-insecure-transport",
    "discovery-insecure-skip-tls-verify",
    "discovery-cert",
    "discovery-key",
    "discovery-cacert",
    "discovery-user",
];

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
