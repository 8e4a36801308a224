//! The command line, in the syntax of Go's flag package: `-name`, `--name`, `--name=value`,
//! `--name value`; a boolean takes a value only after `=`; a repeated flag counts as given last.

use std::collections::BTreeSet;

use super::go::{parse_bool, quote};
use super::legacy::{self, Legacy};
use super::settings::{Config, ROWS, Row, row};
use crate::log::Record;
use crate::record;

/// Flags of etcd's past that do nothing and say nothing.
const IGNORED: [&str; 15] = [
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-election-timeout",
    "peer-heartbeat-interval",
    "retry-interval",
    "snapshot",
    "test.coverprofile",
    "test.outputdir",
    "v",
    "vv",
];

/// Deprecated flags that still exist, and what is said when they are used.
const DEPRECATED: [(&str, &str); 2] = [
    ("max-snapshots", "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8."),
    (
        "v2-deprecation",
        "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is \
         enforced, ignoring user input.",
    ),
];

/// The phases that `--v2-deprecation` may name; which one has no effect.
const V2_PHASES: [&str; 4] =
    ["write-only", "write-only-skip-check", "write-only-drop-data", "gone"];

/// What a flag is.
enum Flag {
    Setting(&'static Row),
    Legacy(&'static Legacy),
    ConfigFile,
    DiscoveryFallback,
    V2Deprecation,
    Version,
    Ignored,
}

impl Flag {
    fn find(name: &str) -> Option<Self> {
        if let Some(row) = row(name) {
            return Some(Self::Setting(row));
        }
        if let Some(legacy) = legacy::find(name) {
            return Some(Self::Legacy(legacy));
        }
        match name {
            "config-file" => Some(Self::ConfigFile),
            "discovery-fallback" => Some(Self::DiscoveryFallback),
            "v2-deprecation" => Some(Self::V2Deprecation),
            "version" => Some(Self::Version),
            _ => IGNORED.contains(&name).then_some(Self::Ignored),
        }
    }

    fn is_bool(&self) -> bool {
        match self {
            Self::Setting(row) => row.is_bool,
            Self::Legacy(legacy) => legacy.is_bool(),
            Self::Version | Self::Ignored => true,
            Self::ConfigFile | Self::DiscoveryFallback | Self::V2Deprecation => false,
        }
    }
}

/// Returns the name of every flag, sorted.
pub(super) fn names() -> BTreeSet<&'static str> {
    let settings = ROWS.iter().map(|row| row.flag).filter(|flag| !flag.is_empty());
    let others = ["config-file", "discovery-fallback", "v2-deprecation", "version"];
    settings.chain(legacy::names()).chain(others).chain(IGNORED).collect()
}

/// What the command line and the environment have said so far.
pub(super) struct Draft {
    pub(super) config: Config,
    /// The flags that were given a value.
    pub(super) given: BTreeSet<&'static str>,
    pub(super) config_file: String,
    pub(super) version: bool,
    pub(super) fallback_is_proxy: bool,
    /// What is to be logged about flags that have another name now.
    pub(super) renamed: Vec<Record>,
}

/// Why the command line ends the program at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Help was asked for.
    Help,
    /// It is malformed.
    Malformed(String),
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            given: BTreeSet::new(),
            config_file: String::new(),
            version: false,
            fallback_is_proxy: false,
            renamed: Vec::new(),
        }
    }

    /// Reads the arguments after the program's name. Returns the first that is not a flag; what
    /// follows it is not looked at.
    pub(super) fn scan(&mut self, args: &[String]) -> Result<Option<String>, Stop> {
        let mut rest = args.iter();
        while let Some(argument) = rest.next() {
            if argument == "--" {
                return Ok(rest.next().cloned());
            }
            let Some(flag) = argument.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
                return Ok(Some(argument.clone()));
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            if flag.is_empty() || flag.starts_with(['-', '=']) {
                return Err(Stop::Malformed(format!("bad flag syntax: {argument}")));
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let Some(found) = Flag::find(name) else {
                if name == "help" || name == "h" {
                    return Err(Stop::Help);
                }
                let text = format!("flag provided but not defined: -{name}");
                return Err(Stop::Malformed(text));
            };
            let value = match value {
                Some(value) => value,
                None if found.is_bool() => "true",
                None => rest
                    .next()
                    .ok_or_else(|| Stop::Malformed(format!("flag needs an argument: -{name}")))?,
            };
            self.assign(name, value).map_err(|reason| {
                let value = quote(value);
                Stop::Malformed(if found.is_bool() {
                    format!("invalid boolean value {value} for -{name}: {reason}")
                } else {
                    format!("invalid value {value} for flag -{name}: {reason}")
                })
            })?;
        }
        Ok(None)
    }

    /// Gives a flag a value. The name must be one of [`names`].
    pub(super) fn assign(&mut self, name: &str, text: &str) -> Result<(), String> {
        let invalid = || "invalid value".to_owned();
        match Flag::find(name).ok_or_else(|| format!("no such flag -{name}"))? {
            Flag::Setting(row) => (row.set)(&mut self.config, text)?,
            Flag::Legacy(legacy) => {
                let taken = legacy.target().is_some_and(|target| self.given.contains(target));
                let note = if taken {
                    // The name of today has been given and wins; the old one must be valid still.
                    legacy.set(&mut Config::default(), text)?
                } else {
                    legacy.set(&mut self.config, text)?
                };
                self.renamed.push(note);
            }
            Flag::ConfigFile => text.clone_into(&mut self.config_file),
            Flag::DiscoveryFallback => {
                self.fallback_is_proxy = match text {
                    "exit" => false,
                    "proxy" => true,
                    _ => return Err(invalid()),
                };
            }
            Flag::V2Deprecation => {
                if let Some(phase) = text.split(',').find(|phase| !V2_PHASES.contains(phase)) {
                    return Err(format!("invalid value {}", quote(phase)));
                }
            }
            Flag::Version => {
                self.version = parse_bool(text).ok_or_else(|| "parse error".to_owned())?;
            }
            Flag::Ignored => {}
        }
        if let Some(name) = names().get(name) {
            self.given.insert(name);
        }
        Ok(())
    }
}

/// Returns the warnings about the deprecated names among those given.
pub(super) fn deprecations(is_given: impl Fn(&str) -> bool) -> Vec<Record> {
    let used = DEPRECATED.iter().filter(|(name, _)| is_given(name));
    used.map(|(_, message)| record!(Warn, *message)).collect()
}
