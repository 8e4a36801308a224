//! Settings that are accepted because etcd has them and that this program does not honour yet.
//!
//! A setting whose absence would change what is safe, or what is kept, or who may connect, stops
//! the program: it is never silently ignored. A setting that only tunes how etcd works inside, or
//! that is about an area that is not configured, is accepted and named in the log.
//!
//! A capability that arrives removes its rows here.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use super::gates::Feature;
use super::settings::{Config, row};
use super::url::Url;
use super::validate::JOURNAL;

/// Settings that stop the program when they differ from their defaults.
const REFUSED: [&str; 28] = [
    "auto-tls",
    "cert-file",
    "client-cert-allowed-hostname",
    "client-cert-auth",
    "client-cert-file",
    "client-crl-file",
    "client-key-file",
    "corrupt-check-time",
    "discovery-endpoints",
    "discovery-srv",
    "discovery-srv-name",
    "discovery-token",
    "enable-distributed-tracing",
    "enable-log-rotation",
    "force-new-cluster",
    "key-file",
    "listen-client-http-urls",
    "peer-auto-tls",
    "peer-cert-allowed-cn",
    "peer-cert-allowed-hostname",
    "peer-cert-file",
    "peer-client-cert-auth",
    "peer-client-cert-file",
    "peer-client-key-file",
    "peer-crl-file",
    "peer-key-file",
    "peer-trusted-ca-file",
    "trusted-ca-file",
];

/// Settings that change nothing here. Those of TLS are among them because TLS itself is refused,
/// and those that only forbid something because it is not there.
const WITHOUT_EFFECT: [&str; 30] = [
    "auth-token-ttl",
    "backend-batch-interval",
    "backend-batch-limit",
    "backend-bbolt-freelist-type",
    "bcrypt-cost",
    "bootstrap-defrag-threshold-megabytes",
    "cipher-suites",
    "compact-hash-check-time",
    "compaction-batch-limit",
    "compaction-sleep-interval",
    "distributed-tracing-address",
    "distributed-tracing-instance-id",
    "distributed-tracing-sampling-rate",
    "distributed-tracing-service-name",
    "downgrade-check-time",
    "enable-grpc-gateway",
    "enable-pprof",
    "log-rotation-config-json",
    "max-snapshots",
    "memory-mlock",
    "peer-skip-client-san-verification",
    "raft-read-timeout",
    "raft-write-timeout",
    "self-signed-cert-validity",
    "socket-reuse-address",
    "socket-reuse-port",
    "strict-reconfig-check",
    "tls-max-version",
    "tls-min-version",
    "unsafe-no-fsync",
];

/// Settings that say how to do what the settings above ask for; those are refused, so these are
/// never looked at.
#[cfg(test)]
const BESIDE_REFUSED: [&str; 11] = [
    "discovery-cacert",
    "discovery-cert",
    "discovery-dial-timeout",
    "discovery-insecure-skip-tls-verify",
    "discovery-insecure-transport",
    "discovery-keepalive-time",
    "discovery-keepalive-timeout",
    "discovery-key",
    "discovery-request-timeout",
    "discovery-user",
    "discovery-password",
];

/// Settings without a flag: one is refused, the other belongs to TLS.
#[cfg(test)]
const IN_FILE_ONLY: [&str; 2] = [
    "client-transport-security.allowed-cn",
    "client-transport-security.skip-client-san-verification",
];

impl Config {
    /// Returns what the configuration asks for that this program cannot do and must not ignore,
    /// each as `--flag=value`. The program should refuse to start unless the list is empty.
    pub fn unsupported(&self) -> Vec<String> {
        let mut list: Vec<String> = REFUSED.iter().filter_map(|flag| self.changed(flag)).collect();
        if self.auth_token.starts_with("jwt") {
            // The options may name secrets.
            list.push("--auth-token=jwt".to_owned());
        }
        if self.log_outputs.contains(JOURNAL) {
            list.push(format!("--log-outputs={JOURNAL}"));
        }
        if !self.client_cert_allowed_cn.is_empty() {
            list.push("client-transport-security.allowed-cn".to_owned());
        }
        let listeners = [
            ("listen-peer-urls", &self.listen_peer_urls),
            ("listen-client-urls", &self.listen_client_urls),
        ];
        for (flag, urls) in listeners {
            let tls = urls.iter().filter(|url| url.is_tls());
            list.extend(tls.map(|url: &Url| format!("--{flag}={url}")));
        }
        list
    }

    /// Checks the kind of authentication token and the form of its options.
    ///
    /// # Errors
    /// Returns etcd's words if etcd would not start with it.
    pub fn check_auth_token(&self) -> Result<(), String> {
        let mut parts = self.auth_token.split(',');
        let is_known = matches!(parts.next(), Some("" | "simple" | "jwt"));
        let mut keys = BTreeSet::new();
        let has_form = parts.all(|option| match option.split('=').collect::<Vec<_>>()[..] {
            [key, _] => keys.insert(key),
            _ => false,
        });
        let is_valid = is_known && has_form;
        is_valid.then_some(()).ok_or_else(|| "auth: invalid auth options".to_owned())
    }

    /// Returns the settings that differ from their defaults and change nothing, each as
    /// `--flag=value`, for one line of the log.
    pub fn without_effect(&self) -> Vec<String> {
        let mut list: Vec<String> =
            WITHOUT_EFFECT.iter().filter_map(|flag| self.changed(flag)).collect();
        let is_idle = |gate: &Feature| {
            !matches!(gate, Feature::AllAlpha | Feature::AllBeta | Feature::LeaseCheckpoint)
        };
        let gates = self.feature_gates.changed().filter(is_idle);
        list.extend(gates.map(|gate| {
            let on = self.feature_gates.enabled(gate);
            format!("--feature-gates={}={on}", gate.name())
        }));
        list
    }

    /// Returns `--flag=value` if the setting differs from its default.
    fn changed(&self, flag: &str) -> Option<String> {
        let row = row(flag)?;
        let value = (row.show)(self);
        (value != (row.show)(&Self::default())).then(|| format!("--{flag}={value}"))
    }
}
