//! Flags of older releases that etcd 3.7 no longer has, still accepted so that a start script or a
//! configuration file from then keeps its meaning.
//!
//! Each use is logged with the name of today. When both names are given the one of today wins.

use super::gates::Feature;
use super::go::parse_bool;
use super::settings::{Config, row};
use super::value::Refusal;
use super::yaml::Node;
use crate::log::Record;
use crate::record;

/// A flag that etcd 3.7 no longer has.
pub(super) struct Legacy {
    name: &'static str,
    fate: Fate,
}

/// What an old flag means today.
enum Fate {
    /// Another flag does the same.
    Renamed(&'static str),
    /// A feature gate does the same.
    Gate(Feature),
    /// It asks for nothing that is still there. Holds whether it is boolean.
    Nothing { is_bool: bool },
    /// It asks for nothing that is still there, but only with one of these values.
    NothingIf(&'static [&'static str]),
    /// It sets the log level to debug.
    Debug,
}

use Fate::{Debug, Gate, Nothing, NothingIf, Renamed};

const TABLE: &[Legacy] = &[
    old("debug", Debug),
    old("experimental-backend-bbolt-freelist-type", Renamed("backend-bbolt-freelist-type")),
    old(
        "experimental-bootstrap-defrag-threshold-megabytes",
        Renamed("bootstrap-defrag-threshold-megabytes"),
    ),
    old("experimental-compact-hash-check-enabled", Gate(Feature::CompactHashCheck)),
    old("experimental-compact-hash-check-time", Renamed("compact-hash-check-time")),
    old("experimental-compaction-batch-limit", Renamed("compaction-batch-limit")),
    old("experimental-compaction-sleep-interval", Renamed("compaction-sleep-interval")),
    old("experimental-corrupt-check-time", Renamed("corrupt-check-time")),
    old("experimental-distributed-tracing-address", Renamed("distributed-tracing-address")),
    old("experimental-distributed-tracing-instance-id", Renamed("distributed-tracing-instance-id")),
    old(
        "experimental-distributed-tracing-sampling-rate",
        Renamed("distributed-tracing-sampling-rate"),
    ),
    old(
        "experimental-distributed-tracing-service-name",
        Renamed("distributed-tracing-service-name"),
    ),
    old("experimental-downgrade-check-time", Renamed("downgrade-check-time")),
    old("experimental-enable-distributed-tracing", Renamed("enable-distributed-tracing")),
    old("experimental-enable-lease-checkpoint", Gate(Feature::LeaseCheckpoint)),
    old("experimental-enable-lease-checkpoint-persist", Gate(Feature::LeaseCheckpointPersist)),
    old("experimental-enable-v2v3", NothingIf(&[""])),
    old("experimental-initial-corrupt-check", Gate(Feature::InitialCorruptCheck)),
    old("experimental-max-learners", Renamed("max-learners")),
    old("experimental-memory-mlock", Renamed("memory-mlock")),
    old(
        "experimental-peer-skip-client-san-verification",
        Renamed("peer-skip-client-san-verification"),
    ),
    old("experimental-set-member-localaddr", Gate(Feature::SetMemberLocalAddr)),
    old("experimental-snapshot-catchup-entries", Renamed("snapshot-catchup-entries")),
    old("experimental-snapshot-catch-up-entries", Renamed("snapshot-catchup-entries")),
    old("experimental-stop-grpc-service-on-defrag", Gate(Feature::StopGRPCServiceOnDefrag)),
    old(
        "experimental-txn-mode-write-with-shared-buffer",
        Gate(Feature::TxnModeWriteWithSharedBuffer),
    ),
    old("experimental-warning-apply-duration", Renamed("warning-apply-duration")),
    old("experimental-warning-unary-request-duration", Renamed("warning-unary-request-duration")),
    old("experimental-watch-progress-notify-interval", Renamed("watch-progress-notify-interval")),
    old("log-output", Renamed("log-outputs")),
    old("log-package-levels", Nothing { is_bool: false }),
    old("proxy", NothingIf(&["off"])),
    old("proxy-dial-timeout", Nothing { is_bool: false }),
    old("proxy-failure-wait", Nothing { is_bool: false }),
    old("proxy-read-timeout", Nothing { is_bool: false }),
    old("proxy-refresh-interval", Nothing { is_bool: false }),
    old("proxy-write-timeout", Nothing { is_bool: false }),
];

const fn old(name: &'static str, fate: Fate) -> Legacy {
    Legacy { name, fate }
}

/// Returns the old flag of that name.
pub(super) fn find(name: &str) -> Option<&'static Legacy> {
    TABLE.iter().find(|legacy| legacy.name == name)
}

/// Returns the names of all old flags.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|legacy| legacy.name)
}

impl Legacy {
    /// Returns whether the flag may stand without a value.
    pub(super) fn is_bool(&self) -> bool {
        match self.fate {
            Renamed(target) => row(target).is_some_and(|row| row.is_bool),
            Gate(_) | Debug => true,
            Nothing { is_bool } => is_bool,
            NothingIf(_) => false,
        }
    }

    /// Returns the flag of today that decides instead of this one when both are given.
    pub(super) fn target(&self) -> Option<&'static str> {
        match self.fate {
            Renamed(target) => Some(target),
            Gate(_) => Some("feature-gates"),
            Debug => Some("log-level"),
            Nothing { .. } | NothingIf(_) => None,
        }
    }

    /// Gives the flag's value to what stands for it today. Returns what to log.
    pub(super) fn set(&self, config: &mut Config, text: &str) -> Result<Record, String> {
        match self.fate {
            Renamed(target) => {
                if let Some(row) = row(target) {
                    (row.set)(config, text)?;
                }
            }
            Gate(_) | Debug => {
                let on = parse_bool(text).ok_or_else(|| "parse error".to_owned())?;
                self.switch(config, on);
            }
            Nothing { .. } => {}
            NothingIf(accepted) => check_nothing(accepted, text)?,
        }
        Ok(self.note())
    }

    /// Gives a value of the configuration file to what stands for the flag today.
    pub(super) fn load(&self, config: &mut Config, node: &Node) -> Result<Record, Refusal> {
        match self.fate {
            Renamed(target) => {
                let Some(row) = row(target) else { return Ok(self.note()) };
                match node {
                    // One output stood for itself before there was a list of them.
                    Node::Text(text) if self.name == "log-output" => {
                        (row.set)(config, text).map_err(Refusal::Value)?;
                    }
                    _ => (row.load)(config, node)?,
                }
            }
            Gate(_) | Debug => match node {
                Node::Bool(on) => self.switch(config, *on),
                other => return Err(Refusal::Type(other.type_name().to_owned())),
            },
            Nothing { .. } => {}
            NothingIf(accepted) => match node {
                Node::Text(text) => check_nothing(accepted, text).map_err(Refusal::Value)?,
                // An unquoted `off` is a boolean in the YAML of etcd.
                Node::Bool(false) if accepted.contains(&"off") => {}
                other => return Err(Refusal::Type(other.type_name().to_owned())),
            },
        }
        Ok(self.note())
    }

    fn switch(&self, config: &mut Config, on: bool) {
        match self.fate {
            Gate(feature) => config.feature_gates.switch(feature, on),
            Debug if on => "debug".clone_into(&mut config.log_level),
            Debug | Renamed(_) | Nothing { .. } | NothingIf(_) => {}
        }
    }

    fn note(&self) -> Record {
        let name = self.name;
        match self.fate {
            Renamed(target) => {
                record!(Warn, "flag has another name now", "flag" => name, "use" => target)
            }
            Gate(feature) => {
                let gate = feature.name();
                record!(Warn, "flag is a feature gate now", "flag" => name, "gate" => gate)
            }
            Debug => {
                record!(Warn, "flag has another name now", "flag" => name, "use" => "log-level")
            }
            Nothing { .. } | NothingIf(_) => {
                record!(Warn, "flag is no longer supported - ignoring", "flag" => name)
            }
        }
    }
}

fn check_nothing(accepted: &[&str], text: &str) -> Result<(), String> {
    if accepted.contains(&text) {
        return Ok(());
    }
    let accepted = accepted.join(", ");
    Err(format!("what it asks for has been removed; only {accepted:?} is accepted"))
}
