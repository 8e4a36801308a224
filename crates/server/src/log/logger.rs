//! Where records go: the outputs of `--log-outputs`, filtered by level, one write a line.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use time::{OffsetDateTime, UtcOffset};

use super::encode::{Format, encode};
use super::record::{Level, Record};

/// The largest line buffer kept between lines; a longer line gives its memory back.
const KEPT_LINE_BYTES: usize = 64 << 10;

/// One output of `--log-outputs`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// Standard error, also called `default`.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file that lines are appended to.
    File(PathBuf),
}

/// What the configuration says about logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Lines below this level are dropped.
    pub level: Level,
    /// The form of a line.
    pub format: Format,
    /// Every output gets every line.
    pub outputs: BTreeSet<Output>,
}

impl Default for LogSettings {
    fn default() -> Self {
        let outputs = BTreeSet::from([Output::Stderr]);
        Self { level: Level::Info, format: Format::Json, outputs }
    }
}

/// What time it is, and how far local time is from UTC.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Returns the time.
    pub now: fn() -> SystemTime,
    /// The offset lines are written with.
    pub offset: UtcOffset,
}

impl Clock {
    /// Returns the clock of the machine. The offset is read once: it can be read safely only while
    /// the process has one thread, so make the first logger before the first thread.
    pub fn system() -> Self {
        Self {
            now: SystemTime::now,
            offset: UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC),
        }
    }
}

/// Writes records to its outputs.
pub struct Logger {
    level: Level,
    format: Format,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    sinks: Vec<Box<dyn Write + Send>>,
    line: String,
}

impl Logger {
    /// Returns a logger to the given sinks, which should not buffer.
    pub fn new(
        level: Level,
        format: Format,
        clock: Clock,
        sinks: Vec<Box<dyn Write + Send>>,
    ) -> Self {
        Self { level, format, clock, state: Mutex::new(State { sinks, line: String::new() }) }
    }

    /// Returns the logger that serves until the configuration is known.
    pub fn early() -> Self {
        let sinks = duplicate(std::io::stderr()).into_iter().collect();
        Self::new(Level::Info, Format::Json, Clock::system(), sinks)
    }

    /// Opens the outputs.
    ///
    /// # Errors
    ///
    /// Returns etcd's text if a file cannot be opened for appending.
    pub fn open(settings: &LogSettings) -> Result<Self, String> {
        let mut sinks: Vec<Box<dyn Write + Send>> = Vec::new();
        for output in &settings.outputs {
            match output {
                Output::Stderr => sinks.extend(duplicate(std::io::stderr())),
                Output::Stdout => sinks.extend(duplicate(std::io::stdout())),
                Output::File(path) => {
                    let file = OpenOptions::new().append(true).create(true).open(path);
                    let file = file.map_err(|error| {
                        let name = path.display();
                        let reason = crate::config::go_io_error(&error);
                        format!("open sink \"{name}\": open {name}: {reason}")
                    })?;
                    sinks.push(Box::new(file));
                }
            }
        }
        Ok(Self::new(settings.level, settings.format, Clock::system(), sinks))
    }

    /// Returns whether lines of this level are written.
    pub fn enabled(&self, level: Level) -> bool {
        level >= self.level
    }

    /// Writes a record unless its level is off. An output that fails loses the line and nothing
    /// else: there is nowhere left to report it.
    pub fn write(&self, record: &Record) {
        if !self.enabled(record.level) {
            return;
        }
        let now = OffsetDateTime::from((self.clock.now)()).to_offset(self.clock.offset);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { sinks, line } = &mut *state;
        line.clear();
        encode(line, self.format, record, now);
        for sink in sinks {
            drop(sink.write_all(line.as_bytes()));
        }
        if line.capacity() > KEPT_LINE_BYTES {
            *line = String::new();
        }
    }
}

/// Returns an unbuffered handle on a standard stream, or nothing if the process has none.
fn duplicate(stream: impl AsFd) -> Option<Box<dyn Write + Send>> {
    let descriptor = stream.as_fd().try_clone_to_owned().ok()?;
    Some(Box::new(File::from(descriptor)))
}
