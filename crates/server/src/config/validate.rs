//! The checks that a configuration passes before the program does anything, in etcd's order and
//! with etcd's texts, because the first text is the only one an operator sees.
//!
//! Not here: checks that need the data directory or the network (`cluster`), and capabilities that
//! are missing (`support`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::gates::Feature;
use super::go::quote;
use super::settings::Config;
use super::url::Url;
use crate::log::{Format, Level, LogSettings, Output, Record};
use crate::record;

/// The logger of etcd 3.4 and older.
const OLD_LOGGER: &str = "capnslog";

/// Where etcd expects the system journal in `--log-outputs`.
pub(super) const JOURNAL: &str = "systemd/journal";

/// The longest election timeout, in milliseconds.
const MAX_ELECTION_MS: usize = 50_000;

/// The largest sampling rate of traces.
const MAX_SAMPLING_PER_MILLION: isize = 1_000_000;

/// The text for client URLs that nobody is told about.
pub(super) const UNSET_ADVERTISE_CLIENT_URLS: &str =
    "--advertise-client-urls is required when --listen-client-urls is set explicitly";

impl Config {
    /// Returns what the configuration says about logging.
    ///
    /// # Errors
    ///
    /// Returns etcd's text if a value is wrong.
    pub fn log_settings(&self) -> Result<LogSettings, String> {
        let is_old = match self.logger.as_str() {
            "zap" => false,
            OLD_LOGGER => true,
            other => return Err(format!("unknown logger option {}", quote(other))),
        };
        self.check_log_outputs()?;
        let level = Level::parse(&self.log_level)
            .ok_or_else(|| format!("unrecognized level: {}", quote(&self.log_level)))?;
        let format = match self.log_format.as_str() {
            _ if is_old => Format::Capnslog,
            "json" | "" => Format::Json,
            "console" => Format::Console,
            other => {
                return Err(format!("unknown log format: {other}, supported values json, console"));
            }
        };
        Ok(LogSettings { level, format, outputs: self.parsed_log_outputs() })
    }

    fn check_log_outputs(&self) -> Result<(), String> {
        let outputs = &self.log_outputs;
        if outputs.len() > 1 && outputs.contains("default") {
            return Err("multi logoutput for \"default\" is not supported yet".to_owned());
        }
        let is_file =
            |output: &&String| !matches!(output.as_str(), "default" | "stderr" | "stdout");
        let files = outputs.iter().filter(is_file).count();
        if self.enable_log_rotation && (files > 1 || (files == 0 && outputs.len() <= 1)) {
            let flag = "--log-rotate-config-json";
            return Err(format!(
                "--log-outputs requires a single file path when {flag} is defined"
            ));
        }
        if outputs.len() > 1 && outputs.contains(JOURNAL) {
            let quoted: Vec<String> = outputs.iter().map(|output| quote(output)).collect();
            let quoted = quoted.join(" ");
            return Err(format!(
                "running with systemd/journal but other '--log-outputs' values ([{quoted}]) are \
                 configured with 'default'; override 'default' value with something else"
            ));
        }
        Ok(())
    }

    fn parsed_log_outputs(&self) -> BTreeSet<Output> {
        let discard = "/dev/null";
        if self.log_outputs.contains(discard) {
            return BTreeSet::from([Output::File(PathBuf::from(discard))]);
        }
        let parse = |output: &String| match output.as_str() {
            "default" | "stderr" | JOURNAL => Output::Stderr,
            "stdout" => Output::Stdout,
            path => Output::File(PathBuf::from(path)),
        };
        let outputs: BTreeSet<Output> = self.log_outputs.iter().map(parse).collect();
        if outputs.is_empty() { BTreeSet::from([Output::Stderr]) } else { outputs }
    }

    /// Checks everything but logging. Adds what is to be logged to `notes`, also on failure.
    pub(super) fn validate(&self, notes: &mut Vec<Record>) -> Result<(), String> {
        if self.logger == OLD_LOGGER {
            let message = "deprecated logger is set; use zap instead";
            notes.push(record!(Warn, message, "logger" => &self.logger));
        }
        self.validate_urls(notes)?;
        self.validate_bootstrap()?;
        self.validate_timing()?;
        if self.advertise_client_urls.is_empty() {
            return Err(UNSET_ADVERTISE_CLIENT_URLS.to_owned());
        }
        match self.auto_compaction_mode.as_str() {
            "revision" | "periodic" => {}
            "" => return Err("undefined auto-compaction-mode".to_owned()),
            mode => return Err(format!("unknown auto-compaction-mode {}", quote(mode))),
        }
        self.validate_features(notes)?;
        if self.name == "default" {
            notes.push(record!(
                Warn,
                "it isn't recommended to use default name, please set a value for --name. Note \
                 that etcd might run into issue when multiple members have the same default name",
                "name" => &self.name,
            ));
        }
        self.validate_tls()
    }

    fn validate_urls(&self, notes: &mut Vec<Record>) -> Result<(), String> {
        let clients = self.listen_client_urls.iter().chain(&self.listen_client_http_urls);
        self.listen_peer_urls.iter().chain(clients).try_for_each(Url::check_bindable)?;
        if self.listen_client_http_urls.is_empty() {
            notes.push(record!(
                Warn,
                "Running http and grpc server on single port. This is not recommended for \
                 production."
            ));
        }
        self.listen_metrics_urls.iter().try_for_each(Url::check_bindable)?;
        let reachable = |urls: &[Url]| urls.iter().try_for_each(Url::check_reachable);
        reachable(&self.initial_advertise_peer_urls).map_err(|reason| {
            let urls = quote(&texts(&self.initial_advertise_peer_urls).join(","));
            format!("--initial-advertise-peer-urls {urls} must be \"host:port\" ({reason})")
        })?;
        reachable(&self.advertise_client_urls).map_err(|reason| {
            let urls = quote(&texts(&self.advertise_client_urls).join(","));
            format!(
                "--advertise-client-urls {urls} must be in the format \"host:port\", \
                 \"unix:/path/to/socket\" or \"unixs:/path/to/socket\" ({reason})"
            )
        })
    }

    fn validate_bootstrap(&self) -> Result<(), String> {
        let has_endpoints = !self.discovery_endpoints.is_empty();
        let ways =
            [!self.initial_cluster.is_empty(), !self.discovery_srv.is_empty(), has_endpoints];
        if ways.iter().filter(|way| **way).count() > 1 {
            return Err("multiple discovery or bootstrap flags are set. Choose one of \
                        \"initial-cluster\", \"discovery-endpoints\" or \"discovery-srv\""
                .to_owned());
        }
        if self.discovery_token.is_empty() == has_endpoints {
            return Err("both --discovery-token and --discovery-endpoints must be set".to_owned());
        }
        if self.discovery_endpoints.iter().any(|endpoint| endpoint.trim().is_empty()) {
            return Err("--discovery-endpoints must not contain empty endpoints".to_owned());
        }
        Ok(())
    }

    fn validate_timing(&self) -> Result<(), String> {
        let (heartbeat, election) = (self.heartbeat_interval, self.election_timeout);
        if heartbeat == 0 {
            return Err(format!("--heartbeat-interval must be >0 (set to {heartbeat}ms)"));
        }
        if election == 0 {
            return Err(format!("--election-timeout must be >0 (set to {election}ms)"));
        }
        if heartbeat.saturating_mul(5) > election {
            return Err(format!(
                "--election-timeout[{election}ms] should be at least as 5 times as \
                 --heartbeat-interval[{heartbeat}ms]"
            ));
        }
        if election > MAX_ELECTION_MS {
            return Err(format!(
                "--election-timeout[{election}ms] is too long, and should be set less than \
                 {MAX_ELECTION_MS}ms"
            ));
        }
        Ok(())
    }

    fn validate_features(&self, notes: &mut Vec<Record>) -> Result<(), String> {
        let rate = self.distributed_tracing_sampling_rate;
        let wrong_rate = match rate {
            ..0 => Some("tracing sampling rate must be positive".to_owned()),
            _ if rate > MAX_SAMPLING_PER_MILLION => {
                Some(format!("tracing sampling rate must be less than {MAX_SAMPLING_PER_MILLION}"))
            }
            _ => None,
        };
        if let Some(reason) = wrong_rate.filter(|_| self.enable_distributed_tracing) {
            return Err(format!("distributed tracing configurition is not valid: ({reason})"));
        }
        let checkpoint = self.feature_gates.enabled(Feature::LeaseCheckpoint);
        let persist = self.feature_gates.enabled(Feature::LeaseCheckpointPersist);
        if checkpoint && !persist {
            notes.push(record!(
                Warn,
                "Detected that checkpointing is enabled without persistence. Consider enabling \
                 feature gate LeaseCheckpointPersist"
            ));
        }
        if persist && !checkpoint {
            return Err("enabling feature gate LeaseCheckpointPersist requires enabling feature \
                        gate LeaseCheckpoint"
                .to_owned());
        }
        let interval = self.compact_hash_check_time;
        if interval.nanos() <= 0 {
            return Err(format!("--compact-hash-check-time must be >0 (set to {interval})"));
        }
        Ok(())
    }

    fn validate_tls(&self) -> Result<(), String> {
        let (min, max) = (&self.tls_min_version, &self.tls_max_version);
        let (min_rank, max_rank) = (tls_rank(min)?, tls_rank(max)?);
        if max_rank.is_some() && min_rank > max_rank {
            return Err(format!("min version ({min}) is greater than max version ({max})"));
        }
        if min == "TLS1.3" && !self.cipher_suites.is_empty() {
            return Err("cipher suites cannot be configured when only TLS1.3 is enabled".to_owned());
        }
        Ok(())
    }
}

/// Returns the texts of URLs.
pub(crate) fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

/// Returns the minor version of TLS 1, or nothing if the choice is left open.
fn tls_rank(version: &str) -> Result<Option<u8>, String> {
    match version {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(2)),
        "TLS1.3" => Ok(Some(3)),
        other => {
            let other = quote(other);
            Err(format!("unexpected TLS version {other} (must be one of: TLS1.2, TLS1.3)"))
        }
    }
}
