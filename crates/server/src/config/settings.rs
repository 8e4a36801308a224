//! Every setting of the server: one row gives its flag, field, type, default, place in the
//! configuration file, and help.
//!
//! Flags, environment, file and help text all read this table, so they cannot disagree. The
//! environment variable of a flag is `ETCD_` and its name in upper case with underscores. In the
//! file a setting has the name of its flag unless the row says `at`; `at ""` means that it has no
//! place there. A row with an empty flag name exists in the file only.
//!
//! Not here: flags that are not settings (`--version`, `--config-file`) and old names.

use std::collections::BTreeSet;

use super::gates::FeatureGates;
use super::go::GoDuration;
use super::url::Url;
use super::value::{ClusterState, Hosts, Origins, Refusal, Setting};
use super::yaml::Node;

/// One row of the table: how to reach a setting without knowing its type.
pub(super) struct Row {
    pub(super) flag: &'static str,
    /// The dotted path in the file; empty if the file has no place for it.
    pub(super) key: &'static str,
    pub(super) group: &'static str,
    pub(super) help: &'static str,
    pub(super) is_bool: bool,
    pub(super) is_indirect: bool,
    pub(super) go_type: &'static str,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) load: fn(&mut Config, &Node) -> Result<(), Refusal>,
    pub(super) show: fn(&Config) -> String,
}

/// Returns the row of a flag.
pub(super) fn row(flag: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.flag == flag && !flag.is_empty())
}

fn url(text: &str) -> Vec<Url> {
    vec![Url::parse(text).expect("the defaults are well formed")]
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn secs(seconds: i64) -> GoDuration {
    GoDuration::from_secs(seconds)
}

fn millis(millis: i64) -> GoDuration {
    GoDuration::from_millis(millis)
}

macro_rules! settings {
    ($( $group:literal { $(
        $flag:literal $field:ident: $type:ty = $default:expr, $(at $key:literal,)? $help:literal;
    )* } )*) => {
        /// The configuration of the server: what the flags, the environment or the file say.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $( $( #[doc = $help] pub $field: $type, )* )*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $( $( $field: $default, )* )* }
            }
        }

        /// Every setting, in the order of the help text.
        pub(super) static ROWS: &[Row] = &[ $( $( Row {
            flag: $flag,
            key: [$( $key, )? $flag][0],
            group: $group,
            help: $help,
            is_bool: <$type as Setting>::IS_BOOL,
            is_indirect: <$type as Setting>::IS_INDIRECT,
            go_type: <$type as Setting>::GO_TYPE,
            set: |config, text| config.$field.set(text),
            load: |config, node| config.$field.load(node),
            show: |config| config.$field.show(),
        }, )* )* ];
    };
}

settings! {
    "Member" {
        "name" name: String = text("default"),
            "Name of this member, unique in its cluster.";
        "data-dir" data_dir: String = String::new(),
            "Directory of everything this member keeps. Empty means ${name}.etcd.";
        "wal-dir" wal_dir: String = String::new(),
            "Directory of the write-ahead log, if it lives apart from the data directory.";
        "snapshot-count" snapshot_count: u64 = 10_000,
            "Number of applied entries after which a snapshot is written to disk.";
        "snapshot-catchup-entries" snapshot_catchup_entries: u64 = 5_000,
            "Number of entries kept after a snapshot for followers that lag behind.";
        "heartbeat-interval" heartbeat_interval: usize = 100,
            "Milliseconds between heartbeats of the leader.";
        "election-timeout" election_timeout: usize = 1_000,
            "Milliseconds without a heartbeat after which a follower campaigns: at least five \
             times the heartbeat interval, at most 50000.";
        "initial-election-tick-advance" initial_election_tick_advance: bool = true,
            "Whether the first election after a start comes early.";
        "listen-peer-urls" listen_peer_urls: Vec<Url> = url("http://localhost:2380"),
            "Comma-separated URLs to listen on for other members.";
        "listen-client-urls" listen_client_urls: Vec<Url> = url("http://localhost:2379"),
            "Comma-separated URLs to listen on for clients, both gRPC and HTTP unless HTTP has \
             URLs of its own.";
        "listen-client-http-urls" listen_client_http_urls: Vec<Url> = Vec::new(),
            "Comma-separated URLs to listen on for HTTP clients only; the other client URLs then \
             serve gRPC only.";
        "max-snapshots" max_snapshots: usize = 5,
            "Accepted for compatibility: there are no snapshot files. Deprecated since 3.6.";
        "max-wals" max_wals: usize = 5,
            "0 keeps all files of the write-ahead log. Otherwise a file goes when nothing needs it, so \
             that fewer than this number are kept.";
        "memory-mlock" memory_mlock: bool = false,
            "Whether the memory of the process is locked, so that it is never swapped out.";
        "quota-backend-bytes" quota_backend_bytes: i64 = 0,
            "Size of the stored data, in bytes, at which writes stop and an alarm is raised. 0 \
             means 2 GiB; less than 0 means no quota.";
        "memory-budget-bytes" memory_budget_bytes: usize = 32 << 20,
            "Bytes of stored records that stay in memory although they are on disk; the newest \
             ones do. quoin only.";
        "backend-bbolt-freelist-type" backend_bbolt_freelist_type: String = text("map"),
            "Accepted for compatibility: the store keeps no bbolt free list (array or map).";
        "backend-batch-interval" backend_batch_interval: GoDuration = secs(0),
            "Accepted for compatibility: writes are not batched by time.";
        "backend-batch-limit" backend_batch_limit: isize = 0,
            "Accepted for compatibility: writes are not batched by number.";
        "max-txn-ops" max_txn_ops: usize = 128,
            "Number of operations that a transaction may have.";
        "max-request-bytes" max_request_bytes: usize = 1_572_864,
            "Size, in bytes, that a request of a client may have.";
        "max-concurrent-streams" max_concurrent_streams: u32 = u32::MAX,
            "Number of streams that a client may have open on one connection.";
        "grpc-keepalive-min-time" grpc_keepalive_min_time: GoDuration = secs(5),
            "Shortest time between two pings of a client; one that pings faster is disconnected.";
        "grpc-keepalive-interval" grpc_keepalive_interval: GoDuration = secs(7_200),
            "Time without traffic after which the server pings a client (0 never pings).";
        "grpc-keepalive-timeout" grpc_keepalive_timeout: GoDuration = secs(20),
            "Time after which a client that does not answer a ping is disconnected (0 never \
             disconnects).";
        "socket-reuse-port" socket_reuse_port: bool = false, at "socket-options.reuse-port",
            "Whether listeners set SO_REUSEPORT, so that a port in use can be bound again.";
        "socket-reuse-address" socket_reuse_address: bool = false,
            at "socket-options.reuse-address",
            "Whether listeners set SO_REUSEADDR, so that an address in TIME_WAIT can be bound.";
        "enable-grpc-gateway" enable_grpc_gateway: bool = true,
            "Whether the API is also served as JSON over HTTP.";
        "raft-read-timeout" raft_read_timeout: GoDuration = secs(5), at "",
            "Time after which a read from a peer gives up; at least 5s.";
        "raft-write-timeout" raft_write_timeout: GoDuration = secs(5), at "",
            "Time after which a write to a peer gives up; at least 5s.";
        "feature-gates" feature_gates: FeatureGates = FeatureGates::default(),
            "Comma-separated name=bool pairs that switch features which are not settled. The names \
             are:";
    }
    "Clustering" {
        "initial-advertise-peer-urls" initial_advertise_peer_urls: Vec<Url>
            = url("http://localhost:2380"),
            "Comma-separated peer URLs of this member, as the other members reach them.";
        "initial-cluster" initial_cluster: String = text("default=http://localhost:2380"),
            "Comma-separated name=URL pairs, one for each peer URL of each member that founds the \
             cluster.";
        "initial-cluster-state" initial_cluster_state: ClusterState = ClusterState::New,
            "Whether a member that starts for the first time founds a cluster ('new') or joins one \
             that has added it ('existing'). Later starts ignore it.";
        "initial-cluster-token" initial_cluster_token: String = text("etcd-cluster"),
            "Token of the cluster: clusters with different tokens never mix, even at the same \
             addresses.";
        "advertise-client-urls" advertise_client_urls: Vec<Url> = url("http://localhost:2379"),
            "Comma-separated client URLs of this member, as clients reach them.";
        "discovery-token" discovery_token: String = String::new(), at "discovery-config.token",
            "Discovery: token of the cluster that is to be founded.";
        "discovery-endpoints" discovery_endpoints: BTreeSet<String> = BTreeSet::new(),
            at "discovery-config.client.endpoints",
            "Discovery: comma-separated gRPC endpoints of the discovery service.";
        "discovery-dial-timeout" discovery_dial_timeout: GoDuration = secs(2),
            at "discovery-config.client.dial-timeout",
            "Discovery: time after which dialing gives up.";
        "discovery-request-timeout" discovery_request_timeout: GoDuration = secs(5),
            at "discovery-config.client.request-timeout",
            "Discovery: time after which a request gives up.";
        "discovery-keepalive-time" discovery_keepalive_time: GoDuration = secs(2),
            at "discovery-config.client.keepalive-time",
            "Discovery: time without traffic after which the service is pinged.";
        "discovery-keepalive-timeout" discovery_keepalive_timeout: GoDuration = secs(6),
            at "discovery-config.client.keepalive-timeout",
            "Discovery: time after which an unanswered ping closes the connection.";
        "discovery-insecure-transport" discovery_insecure_transport: bool = true,
            at "discovery-config.client.secure.insecure-transport",
            "Discovery: whether connections go without TLS.";
        "discovery-insecure-skip-tls-verify" discovery_insecure_skip_tls_verify: bool = false,
            at "discovery-config.client.secure.insecure-skip-tls-verify",
            "Discovery: whether the certificate of the service goes unverified. For tests only.";
        "discovery-cert" discovery_cert: String = String::new(),
            at "discovery-config.client.secure.cert",
            "Discovery: file with the certificate this member shows.";
        "discovery-key" discovery_key: String = String::new(),
            at "discovery-config.client.secure.key",
            "Discovery: file with the key of that certificate.";
        "discovery-cacert" discovery_cacert: String = String::new(),
            at "discovery-config.client.secure.cacert",
            "Discovery: file with the authorities that may sign the certificate of the service.";
        "discovery-user" discovery_user: String = String::new(),
            at "discovery-config.client.auth.username",
            "Discovery: user name, or user name and password divided by a colon.";
        "discovery-password" discovery_password: String = String::new(),
            at "discovery-config.client.auth.password",
            "Discovery: password, if the user name comes without one.";
        "discovery-srv" discovery_srv: String = String::new(),
            "Domain whose SRV records name the members that found the cluster.";
        "discovery-srv-name" discovery_srv_name: String = String::new(),
            "Suffix of the service name in those SRV records.";
        "strict-reconfig-check" strict_reconfig_check: bool = true,
            "Whether a change of membership that would lose the quorum is refused.";
        "pre-vote" pre_vote: bool = true,
            "Whether a member asks if it could win before it campaigns, so that one coming back \
             from a partition disturbs nobody.";
        "auto-compaction-mode" auto_compaction_mode: String = text("periodic"),
            "What the retention counts: 'periodic' for time, 'revision' for revisions.";
        "auto-compaction-retention" auto_compaction_retention: String = text("0"),
            "How much history automatic compaction keeps: a duration, or a bare number of hours or \
             revisions. 0 turns it off.";
    }
    "Security" {
        "cert-file" cert_file: String = String::new(), at "client-transport-security.cert-file",
            "File with the certificate shown to clients.";
        "key-file" key_file: String = String::new(), at "client-transport-security.key-file",
            "File with the key of that certificate.";
        "client-cert-auth" client_cert_auth: bool = false,
            at "client-transport-security.client-cert-auth",
            "Whether clients must show a certificate.";
        "client-cert-file" client_cert_file: String = String::new(),
            at "client-transport-security.client-cert-file",
            "File with the certificate for connections to the client URLs that this process makes \
             itself.";
        "client-key-file" client_key_file: String = String::new(),
            at "client-transport-security.client-key-file",
            "File with the key of that certificate.";
        "client-crl-file" client_crl_file: String = String::new(), at "",
            "File with the certificates of clients that are revoked.";
        "client-cert-allowed-hostname" client_cert_allowed_hostname: Vec<String> = Vec::new(),
            at "client-transport-security.allowed-hostname",
            "Comma-separated host names; a client's certificate must carry one of them.";
        "" client_cert_allowed_cn: Vec<String> = Vec::new(),
            at "client-transport-security.allowed-cn",
            "Common names; a client's certificate must carry one of them. Only in the \
             configuration file.";
        "" client_skip_client_san_verification: bool = false,
            at "client-transport-security.skip-client-san-verification",
            "Whether the addresses in a client's certificate go unverified. Only in the \
             configuration file.";
        "trusted-ca-file" trusted_ca_file: String = String::new(),
            at "client-transport-security.trusted-ca-file",
            "File with the authorities that may sign certificates of clients.";
        "auto-tls" auto_tls: bool = false, at "client-transport-security.auto-tls",
            "Whether the certificate shown to clients is made by this process.";
        "peer-cert-file" peer_cert_file: String = String::new(),
            at "peer-transport-security.cert-file",
            "File with the certificate shown to other members.";
        "peer-key-file" peer_key_file: String = String::new(),
            at "peer-transport-security.key-file",
            "File with the key of that certificate.";
        "peer-client-cert-auth" peer_client_cert_auth: bool = false,
            at "peer-transport-security.client-cert-auth",
            "Whether other members must show a certificate.";
        "peer-client-cert-file" peer_client_cert_file: String = String::new(),
            at "peer-transport-security.client-cert-file",
            "File with the certificate for connections to other members, if it is another one.";
        "peer-client-key-file" peer_client_key_file: String = String::new(),
            at "peer-transport-security.client-key-file",
            "File with the key of that certificate.";
        "peer-trusted-ca-file" peer_trusted_ca_file: String = String::new(),
            at "peer-transport-security.trusted-ca-file",
            "File with the authorities that may sign certificates of members.";
        "peer-cert-allowed-cn" peer_cert_allowed_cn: Vec<String> = Vec::new(),
            at "peer-transport-security.allowed-cn",
            "Comma-separated common names; a member's certificate must carry one of them.";
        "peer-cert-allowed-hostname" peer_cert_allowed_hostname: Vec<String> = Vec::new(),
            at "peer-transport-security.allowed-hostname",
            "Comma-separated host names; a member's certificate must carry one of them.";
        "peer-auto-tls" peer_auto_tls: bool = false, at "peer-transport-security.auto-tls",
            "Whether the certificate shown to other members is made by this process.";
        "self-signed-cert-validity" self_signed_cert_validity: usize = 1,
            "Years for which a certificate made by this process is valid.";
        "peer-crl-file" peer_crl_file: String = String::new(), at "",
            "File with the certificates of members that are revoked.";
        "peer-skip-client-san-verification" peer_skip_client_san_verification: bool = false,
            at "peer-transport-security.skip-client-san-verification",
            "Whether the addresses in a member's certificate go unverified.";
        "cipher-suites" cipher_suites: Vec<String> = Vec::new(),
            "Comma-separated TLS cipher suites, best first. Empty means a safe selection.";
        "tls-min-version" tls_min_version: String = text("TLS1.2"),
            "Oldest TLS version to speak: TLS1.2 or TLS1.3.";
        "tls-max-version" tls_max_version: String = String::new(),
            "Newest TLS version to speak: TLS1.2, TLS1.3, or empty for the newest.";
        "cors" cors: Origins = Origins::any(),
            "Comma-separated origins whose pages may use the API from a browser (* means all).";
        "host-whitelist" host_whitelist: Hosts = Hosts::any(),
            "Comma-separated host names by which HTTP clients may address a server without TLS \
             (empty or * means all).";
    }
    "Auth" {
        "auth-token" auth_token: String = text("simple"),
            "Kind of authentication token and its options: 'simple', or \
             'jwt,pub-key=...,sign-method=...'.";
        "bcrypt-cost" bcrypt_cost: usize = 10,
            "Cost of hashing a password, from 4 to 31.";
        "auth-token-ttl" auth_token_ttl: usize = 300,
            "Seconds for which a simple token lives after its last use.";
    }
    "Profiling and Monitoring" {
        "enable-pprof" enable_pprof: bool = false,
            "Whether profiles are served under /debug/pprof/ of the client URLs.";
        "metrics" metrics: String = text("basic"),
            "Detail of the metrics: 'basic', or 'extensive' for histograms of every gRPC method.";
        "listen-metrics-urls" listen_metrics_urls: Vec<Url> = Vec::new(),
            "Comma-separated URLs to listen on for /metrics and /health only.";
    }
    "Logging" {
        "logger" logger: String = text("zap"),
            "Kind of logger: 'zap', or 'capnslog' for the lines of etcd 3.4 and older.";
        "log-outputs" log_outputs: BTreeSet<String> = BTreeSet::from([text("default")]),
            "Comma-separated outputs: 'stderr' (also called 'default'), 'stdout', or files to \
             append to.";
        "log-level" log_level: String = text("info"),
            "Lowest level that is logged: debug, info, warn, error, panic or fatal.";
        "log-format" log_format: String = text("json"),
            "Form of a log line: json or console.";
        "enable-log-rotation" enable_log_rotation: bool = false,
            "Whether the log file is rotated.";
        "log-rotation-config-json" log_rotation_config_json: String = text(DEFAULT_LOG_ROTATION),
            "How the log file is rotated: size in MB, age in days, number of backups, local time, \
             compression.";
        "warning-unary-request-duration" warning_unary_request_duration: GoDuration = millis(300),
            "Time after which a request that is still unanswered is logged.";
        "warning-apply-duration" warning_apply_duration: GoDuration = millis(100),
            "Time after which applying a request is logged as slow.";
    }
    "Distributed tracing" {
        "enable-distributed-tracing" enable_distributed_tracing: bool = false,
            "Whether requests are traced with OpenTelemetry.";
        "distributed-tracing-address" distributed_tracing_address: String = text("localhost:4317"),
            "Address of the OpenTelemetry collector.";
        "distributed-tracing-service-name" distributed_tracing_service_name: String = text("etcd"),
            "Name of the service in traces, the same on every member.";
        "distributed-tracing-instance-id" distributed_tracing_instance_id: String = String::new(),
            "Name of this member in traces, unique to it.";
        "distributed-tracing-sampling-rate" distributed_tracing_sampling_rate: isize = 0,
            "Number of requests traced in a million.";
    }
    "Features" {
        "corrupt-check-time" corrupt_check_time: GoDuration = secs(0),
            "Time between two comparisons of the members' data (0 never compares).";
        "compact-hash-check-time" compact_hash_check_time: GoDuration = secs(60),
            "Accepted for compatibility: hashes after compactions are not compared.";
        "compaction-batch-limit" compaction_batch_limit: isize = 0,
            "Number of revisions that one step of a compaction removes. 0 means 1000.";
        "compaction-sleep-interval" compaction_sleep_interval: GoDuration = secs(0),
            "Time between two steps of a compaction. 0 means 10ms.";
        "watch-progress-notify-interval" watch_progress_notify_interval: GoDuration = secs(0),
            "Time between two progress notifications of a watch. 0 means 10m; at least 100ms.";
        "bootstrap-defrag-threshold-megabytes" bootstrap_defrag_threshold_megabytes: usize = 0,
            "Accepted for compatibility: the store is never defragmented.";
        "max-learners" max_learners: isize = 1,
            "Number of learners that a cluster may have.";
        "downgrade-check-time" downgrade_check_time: GoDuration = secs(5),
            "Time between two looks at whether a downgrade is complete.";
    }
    "Legacy" {
        "enable-v2" enable_v2: bool = true,
            "Whether the API of etcd 2 is served.";
    }
    "Unsafe" {
        "force-new-cluster" force_new_cluster: bool = false,
            "Whether this member forgets all others and goes on alone with what it has. Loses what \
             only the others have.";
        "unsafe-no-fsync" unsafe_no_fsync: bool = false,
            "Whether writes go unsynced. Loses data when the machine stops.";
    }
}

/// How a log file is rotated unless the configuration says otherwise.
const DEFAULT_LOG_ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;
