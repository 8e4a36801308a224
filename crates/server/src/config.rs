//! The configuration of the server: from the command line, the environment and the configuration
//! file to one checked [`Config`].
//!
//! Reading is a function of its inputs ([`Config::parse`]): it touches no process, file or clock,
//! and returns what should be printed and logged instead of doing it. [`load`] is the one place
//! that connects it to the process.
//!
//! Invariants:
//! - The file replaces flags and environment; it is never mixed with them.
//! - A flag and its variable together are an error; a repeated flag counts as given last.
//! - Every text of an error is etcd's where etcd has one, and so is every exit code.
//!
//! Not here: what needs the data directory, and what the settings mean to the rooms that use them.

mod cluster;
mod env;
mod file;
mod flags;
mod gates;
mod go;
mod help;
mod legacy;
mod settings;
mod startup;
mod support;
#[cfg(test)]
mod tests;
mod url;
mod validate;
mod value;
mod yaml;

pub use cluster::{AutoCompaction, InitialCluster, default_host, resolve_host};
pub use gates::{Feature, FeatureGates};
pub use go::GoDuration;
pub(crate) use go::{go_io_error, parse_bool, quote};
pub use settings::Config;
pub use url::{Scheme, Url};
pub(crate) use validate::texts;
pub use value::{ClusterState, Hosts, Origins};

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use self::env::EnvError;
use self::file::FileError;
use self::flags::{Draft, Stop};
use crate::log::{self, Format, LogSettings, Logger, Record};
use crate::{record, version};

/// What is to be logged about the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Lines that go to standard error as JSON, whatever the configuration says about logging.
    pub early: Vec<Record>,
    /// Lines that go where the configuration says.
    pub configured: Vec<Record>,
}

/// A configuration that is complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// Where logging goes from now on.
    pub log: LogSettings,
    /// What is to be logged about it.
    pub notes: Notes,
}

/// Why the program ends instead of starting, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code of the process.
    pub code: u8,
    /// What goes to standard output.
    pub stdout: String,
    /// What goes to standard error before the log.
    pub stderr: String,
    /// What is to be logged.
    pub notes: Notes,
    /// Where the configured lines go; boxed because it is seldom there.
    pub log: Option<Box<LogSettings>>,
}

impl Exit {
    fn new(code: u8, stdout: &str, stderr: &str) -> Box<Self> {
        let (stdout, stderr) = (stdout.to_owned(), stderr.to_owned());
        Box::new(Self { code, stdout, stderr, notes: Notes::default(), log: None })
    }

    /// Says everything and returns the exit code.
    pub fn report(&self) -> ExitCode {
        // Nobody is left to tell if the standard streams are gone.
        drop(io::stdout().write_all(self.stdout.as_bytes()));
        drop(io::stderr().write_all(self.stderr.as_bytes()));
        for note in &self.notes.early {
            log::early().write(note);
        }
        let configured = self.log.as_deref().map(Logger::open).transpose();
        match &configured {
            Ok(logger) => {
                let logger = logger.as_ref().unwrap_or(log::early());
                self.notes.configured.iter().for_each(|note| logger.write(note));
            }
            // Without its outputs the configuration is wrong before all else.
            Err(reason) => log::early().write(&failed(reason)),
        }
        ExitCode::from(self.code)
    }
}

impl Config {
    /// Reads a configuration. `args` begins with the name of the program; `read_file` reads the
    /// configuration file if there is one.
    ///
    /// # Errors
    ///
    /// Returns what the program says and its exit code if it should not start: because it was
    /// asked for something else (help, version), or because something is wrong.
    pub fn parse(
        args: &[String],
        env: &[(String, String)],
        read_file: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Parsed, Box<Exit>> {
        let mut draft = Draft::new();
        let stray = draft.scan(args.get(1..).unwrap_or_default()).map_err(|stop| match stop {
            Stop::Help => Exit::new(0, &help::flags(), help::USAGE),
            Stop::Malformed(reason) => Exit::new(2, "", &format!("{reason}\n{}", help::USAGE)),
        })?;
        let mut notes = Notes::default();
        if let Some(stray) = stray {
            let reason = format!("{} is not a valid flag", quote(&stray));
            return Err(refuse(args, notes, None, &reason));
        }
        if draft.version {
            return Err(Exit::new(0, &version::text(), ""));
        }
        let variable = env::lookup(env, &env::variable("config-file"));
        let path = match draft.config_file.as_str() {
            "" => variable.unwrap_or_default().to_owned(),
            path => path.to_owned(),
        };
        if path.is_empty() {
            return from_flags(draft, args, env, notes);
        }
        let read = read_file(Path::new(&path)).map_err(|error| {
            let failed = if error.kind() == io::ErrorKind::IsADirectory { "read" } else { "open" };
            FileError::Logged(format!("{failed} {path}: {}", go_io_error(&error)))
        });
        let mut config = Self::default();
        let loaded = read.and_then(|bytes| file::load(&mut config, &bytes));
        let keys = match loaded {
            Ok((unknown, keys)) => {
                notes.early.extend(unknown);
                keys
            }
            Err(FileError::Plain(text)) => return Err(Exit::new(1, "", &text)),
            Err(FileError::Logged(reason)) => return Err(refuse(args, notes, None, &reason)),
        };
        if config.uses_discovery() && config.initial_cluster == Self::default().initial_cluster {
            config.initial_cluster.clear();
        }
        if config.self_signed_cert_validity == 0 {
            config.self_signed_cert_validity = 1;
        }
        let is_given = |name: &str| keys.iter().any(|key| key == name);
        let source = Source { is_given: &is_given, path: Some(path) };
        finish(config, args, notes, &source)
    }

    fn uses_discovery(&self) -> bool {
        !self.discovery_srv.is_empty() || !self.discovery_endpoints.is_empty()
    }
}

/// Where a configuration comes from.
struct Source<'a> {
    is_given: &'a dyn Fn(&str) -> bool,
    /// The configuration file.
    path: Option<String>,
}

fn from_flags(
    mut draft: Draft,
    args: &[String],
    env: &[(String, String)],
    mut notes: Notes,
) -> Result<Parsed, Box<Exit>> {
    match env::apply(&mut draft, env, &mut notes.early) {
        Ok(()) => {}
        Err(EnvError::Value(reason)) => return Err(refuse(args, notes, None, &reason)),
        Err(EnvError::Conflict(last)) => {
            notes.early.push(last);
            return Err(Box::new(Exit { notes, ..*Exit::new(1, "", "") }));
        }
    }
    let Draft { mut config, given, fallback_is_proxy, renamed, .. } = draft;
    notes.early.extend(renamed);
    raise_peer_timeouts(&mut config, &mut notes.early);
    if given.contains("listen-client-urls") && !given.contains("advertise-client-urls") {
        config.advertise_client_urls.clear();
    }
    let by_discovery = config.uses_discovery() || !config.discovery_srv_name.is_empty();
    if by_discovery && !given.contains("initial-cluster") {
        config.initial_cluster.clear();
    }
    if fallback_is_proxy {
        let reason = "v2 proxy is deprecated, and --discovery-fallback can't be configured as \
                      \"proxy\"";
        return Err(refuse(args, notes, None, reason));
    }
    let is_given = |name: &str| given.contains(name);
    finish(config, args, notes, &Source { is_given: &is_given, path: None })
}

/// Checks a configuration and completes what is to be logged.
fn finish(
    config: Config,
    args: &[String],
    mut notes: Notes,
    source: &Source<'_>,
) -> Result<Parsed, Box<Exit>> {
    let log = match config.log_settings() {
        Ok(log) => log,
        Err(reason) => return Err(refuse(args, notes, None, &reason)),
    };
    let checked = config.validate(&mut notes.configured);
    if let (Some(path), Ok(())) = (&source.path, &checked) {
        notes.configured.push(record!(
            Info,
            "loaded server configuration, other configuration command line flags and environment \
             variables will be ignored if provided",
            "path" => path,
        ));
    }
    notes.configured.extend(flags::deprecations(source.is_given));
    if let Err(reason) = checked {
        // etcd throws a wrong file away, and with it what the file says about logging.
        let log = source.path.is_none().then_some(log);
        return Err(refuse(args, notes, log, &reason));
    }
    notes.configured.push(running(args));
    Ok(Parsed { config, log, notes })
}

/// Ends the program with code 1 because of the configuration.
fn refuse(args: &[String], mut notes: Notes, log: Option<LogSettings>, reason: &str) -> Box<Exit> {
    notes.configured.push(running(args));
    notes.configured.push(failed(reason));
    if reason == validate::UNSET_ADVERTISE_CLIENT_URLS {
        let message = "advertise client URLs are not set";
        notes.configured.push(record!(Warn, message, "error" => reason.to_owned()));
    }
    Box::new(Exit { notes, log: log.map(Box::new), ..*Exit::new(1, "", "") })
}

fn failed(reason: &str) -> Record {
    record!(Warn, "failed to verify flags", "error" => reason.to_owned())
}

fn running(args: &[String]) -> Record {
    record!(Info, "Running: ", "args" => args)
}

/// The peer timeouts have a floor, because a peer that is slow for a moment must not be lost.
fn raise_peer_timeouts(config: &mut Config, notes: &mut Vec<Record>) {
    const FLOOR: GoDuration = GoDuration::from_secs(5);
    let timeouts = [
        ("raft-read-timeout", &mut config.raft_read_timeout),
        ("raft-write-timeout", &mut config.raft_write_timeout),
    ];
    for (name, timeout) in timeouts {
        if *timeout < FLOOR {
            *timeout = FLOOR;
            notes.push(record!(Info, format!("{name} increased to minimum value: {FLOOR}")));
        }
    }
}

/// The largest configuration file that is read. etcd's own sample has 4 KiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more tells a file that is too large from one that just fits.
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("file is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Reads the configuration of this process, starts logging, and fills in what follows from the
/// machine. Call it before the first thread.
///
/// # Errors
///
/// Returns the exit code if the program should not start; everything has been said then.
pub fn load() -> Result<Config, ExitCode> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let args: Vec<String> = std::env::args_os().map(text).collect();
    let env: Vec<(String, String)> =
        std::env::vars_os().map(|(key, value)| (text(key), text(value))).collect();

    let parsed = Config::parse(&args, &env, read_bounded).map_err(|exit| exit.report())?;
    let Parsed { mut config, log, notes } = parsed;
    // Lines that come early are JSON, as in etcd; but the old log has none of those.
    let is_old = log.format == Format::Capnslog;
    if !is_old {
        notes.early.iter().for_each(|note| log::early().write(note));
    }
    match Logger::open(&log) {
        Ok(logger) => log::install(logger),
        Err(reason) => return Err(refuse(&args, Notes::default(), None, &reason).report()),
    };
    if is_old {
        notes.early.iter().for_each(log::write);
    }
    let settled = config.settle(default_host());
    for note in notes.configured.iter().chain(&settled) {
        log::write(note);
    }
    let ignored = config.without_effect();
    if !ignored.is_empty() {
        log::warn!("settings are accepted without effect", "settings" => ignored);
    }
    Ok(config)
}
