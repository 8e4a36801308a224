//! What a log line says, as a value.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// How grave a line is, in zap's order. A logger drops everything below its own level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For developers; off by default.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// Something failed.
    Error,
    /// A level of zap between error and panic that nothing here logs at; it can be a threshold.
    Dpanic,
    /// A threshold above error.
    Panic,
    /// The process ends with this line.
    Fatal,
}

impl Level {
    /// Returns the name of the level as it stands in a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Dpanic => "dpanic",
            Self::Panic => "panic",
            Self::Fatal => "fatal",
        }
    }

    /// Reads the value of `--log-level`, in any case. Nothing at all means info, as in zap.
    pub fn parse(text: &str) -> Option<Self> {
        let level = match text.to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" | "" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" => Self::Error,
            "dpanic" => Self::Dpanic,
            "panic" => Self::Panic,
            "fatal" => Self::Fatal,
            _ => return None,
        };
        Some(level)
    }
}

/// The place in the source that made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The path as `file!()` gives it.
    pub file: &'static str,
    /// The line in that file.
    pub line: u32,
}

impl fmt::Display for Caller {
    /// Writes the last directory, the file and the line, as zap's short form does. `src` says
    /// nothing, so the crate's own directory stands in for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = self.file.rsplit('/').filter(|part| *part != "src");
        let file = last.next().unwrap_or(self.file);
        match last.next() {
            Some(directory) => write!(f, "{directory}/{file}:{}", self.line),
            None => write!(f, "{file}:{}", self.line),
        }
    }
}

/// The value of a field, one variant for each form it takes in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A string.
    Text(Cow<'static, str>),
    /// A list of strings.
    Texts(Vec<String>),
    /// True or false.
    Bool(bool),
    /// A number.
    Int(i64),
    /// A number.
    Uint(u64),
    /// A span of time in nanoseconds, written as Go writes it: `"1m0s"`.
    Nanos(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(Cow::Owned(text.clone()))
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<&[String]> for Value {
    fn from(texts: &[String]) -> Self {
        Self::Texts(texts.to_vec())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Int(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<isize> for Value {
    fn from(number: isize) -> Self {
        Self::Int(number as i64)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Uint(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Uint(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Uint(number as u64)
    }
}

impl From<Duration> for Value {
    fn from(span: Duration) -> Self {
        Self::Nanos(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

/// One log line without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// How grave it is.
    pub level: Level,
    /// The name of the part that speaks, `raft` for instance; usually empty.
    pub logger: &'static str,
    /// Where in the source it was made.
    pub caller: Caller,
    /// What happened.
    pub message: Cow<'static, str>,
    /// The particulars, in the order they are written.
    pub fields: Vec<(&'static str, Value)>,
}

impl Record {
    /// Returns the record with the name of the part that speaks.
    #[must_use]
    pub fn named(mut self, logger: &'static str) -> Self {
        self.logger = logger;
        self
    }

    /// Returns the record with one more field at its end.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.fields.push((key, value.into()));
        self
    }
}
