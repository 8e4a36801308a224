//! Log lines in zap's form, because operators' pipelines and test tools read etcd's, or in the form of
//! etcd 3.4 and older.
//!
//! A [`Record`] is a value: what is said, where, how gravely, with which fields. It is made with
//! [`record!`](crate::record) or written at once with [`info!`] and its siblings. The time is added
//! when a [`Logger`] writes it, so everything before that is deterministic.
//!
//! ```json
//! {"level":"info","ts":"2006-01-02T15:04:05.000000Z","caller":"server/x.go:1","msg":"m","k":"v"}
//! ```
//!
//! Invariants:
//! - A line is one write. Logging never fails and never panics; a write error loses the line.
//! - There is no colour and nothing but log lines on a log output, terminal or not.
//!
//! Not here: sampling, rotation, the system journal.

mod capnslog;
mod encode;
mod logger;
mod old_lines;
mod record;
#[cfg(test)]
mod tests;

pub use encode::Format;
pub(crate) use encode::duration_text;
pub use logger::{Clock, LogSettings, Logger, Output};
pub use record::{Caller, Level, Record, Value};

use std::sync::OnceLock;

pub use crate::{
    log_debug as debug, log_error as error, log_fatal as fatal, log_info as info, log_warn as warn,
};

/// The logger of the process once the configuration is known.
static CONFIGURED: OnceLock<Logger> = OnceLock::new();

/// The logger of the process until then: JSON lines from level info on standard error.
static EARLY: OnceLock<Logger> = OnceLock::new();

/// Makes `logger` the logger of the process. Only the first call counts: returns whether it did.
pub fn install(logger: Logger) -> bool {
    CONFIGURED.set(logger).is_ok()
}

/// Returns the logger of the process.
pub fn logger() -> &'static Logger {
    CONFIGURED.get().unwrap_or_else(early)
}

/// Returns the logger used before the configuration is known.
pub fn early() -> &'static Logger {
    EARLY.get_or_init(Logger::early)
}

/// Writes a record to the logger of the process.
pub fn write(record: &Record) {
    logger().write(record);
}

/// Makes a [`Record`]: a level, a message, then `"key" => value` fields.
#[macro_export]
macro_rules! record {
    ($level:ident, $message:expr $(, $key:literal => $value:expr)* $(,)?) => {
        $crate::log::Record {
            level: $crate::log::Level::$level,
            logger: "",
            caller: $crate::log::Caller { file: file!(), line: line!() },
            message: ::std::borrow::Cow::from($message),
            fields: vec![$(($key, $crate::log::Value::from($value))),*],
        }
    };
}

/// Writes a debug line: a message, then `"key" => value` fields, which are not evaluated when the
/// level is off.
#[macro_export]
macro_rules! log_debug {
    ($($record:tt)*) => {
        if $crate::log::logger().enabled($crate::log::Level::Debug) {
            $crate::log::write(&$crate::record!(Debug, $($record)*));
        }
    };
}

/// Writes an info line: a message, then `"key" => value` fields.
#[macro_export]
macro_rules! log_info {
    ($($record:tt)*) => {
        if $crate::log::logger().enabled($crate::log::Level::Info) {
            $crate::log::write(&$crate::record!(Info, $($record)*));
        }
    };
}

/// Writes a warning: a message, then `"key" => value` fields.
#[macro_export]
macro_rules! log_warn {
    ($($record:tt)*) => {
        if $crate::log::logger().enabled($crate::log::Level::Warn) {
            $crate::log::write(&$crate::record!(Warn, $($record)*));
        }
    };
}

/// Writes an error line: a message, then `"key" => value` fields.
#[macro_export]
macro_rules! log_error {
    ($($record:tt)*) => {
        if $crate::log::logger().enabled($crate::log::Level::Error) {
            $crate::log::write(&$crate::record!(Error, $($record)*));
        }
    };
}

/// Writes the last line of a process that gives up. It does not end the process: the caller does,
/// with exit code 1.
#[macro_export]
macro_rules! log_fatal {
    ($($record:tt)*) => {
        $crate::log::write(&$crate::record!(Fatal, $($record)*))
    };
}
