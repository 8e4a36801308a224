//! Flags as a POSIX-minded user writes them: anywhere on the line, `--name value`,
//! `--name=value`, `-n value`, `-nvalue`, `--` before arguments that begin with a dash.
//!
//! - A flag given twice has its last value, except for lists, which grow.
//! - A long name needs two dashes.
//! - A truth value stands alone or behind `=`, never as the next argument.
//!
//! Not here: which command has which flags, and the environment.

mod list;

use std::collections::BTreeMap;
use std::fmt;

use crate::number::{self, Base};
use crate::text::{duration, quote};

/// One word of the command line, which need not be text.
pub type Argument = Vec<u8>;

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A truth value.
    Bool,
    /// A 64-bit integer.
    Int,
    /// A duration in nanoseconds.
    Duration,
    /// A text.
    Text,
    /// Texts separated by commas.
    List,
}

/// What a command knows about one of its flags.
#[derive(Debug)]
pub struct Flag {
    /// The name behind two dashes.
    pub name: &'static str,
    /// The letter behind one dash.
    pub letter: Option<char>,
    /// A second name, which only `classic` reads; empty for none.
    pub alias: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value as a user would write it.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
}

impl Flag {
    /// A truth value that is false unless it is given.
    pub const fn bool(name: &'static str, help: &'static str) -> Self {
        Self { name, letter: None, alias: "", kind: Kind::Bool, default: "false", help }
    }

    /// An integer that is 0 unless it is given.
    pub const fn int(name: &'static str, help: &'static str) -> Self {
        Self { name, letter: None, alias: "", kind: Kind::Int, default: "0", help }
    }

    /// A text that is empty unless it is given.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, letter: None, alias: "", kind: Kind::Text, default: "", help }
    }

    /// A duration.
    pub const fn duration(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, letter: None, alias: "", kind: Kind::Duration, default, help }
    }

    /// A list of texts.
    pub const fn list(name: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { name, letter: None, alias: "", kind: Kind::List, default, help }
    }

    /// The same flag with a letter.
    pub const fn letter(mut self, letter: char) -> Self {
        self.letter = Some(letter);
        self
    }

    /// The same flag with a second name.
    pub const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    /// Whether a word without its dashes stands for this flag, whatever it is written with.
    pub fn has_name(&self, word: &str) -> bool {
        let is_letter = |letter: char| word.strip_prefix(letter) == Some("");
        word == self.name
            || self.letter.is_some_and(is_letter)
            || !self.alias.is_empty() && word == self.alias
    }

    /// The same flag with another default.
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    fn read(&self, text: &str) -> Result<Value, String> {
        let value = match self.kind {
            Kind::Bool => number::parse_bool(text).map(Value::Bool),
            Kind::Int => number::parse_int(text, Base::Prefixed).map(Value::Int),
            Kind::Duration => number::parse_duration(text).map(Value::Duration),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::List => return list::read(text).map(Value::List),
        };
        value.map_err(|error| error.to_string())
    }

    fn default_value(&self) -> Value {
        self.read(self.default).expect("the default of a flag is a value")
    }
}

/// The value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A text.
    Text(String),
    /// Texts.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Duration(value) => f.write_str(&duration(*value)),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => write!(f, "[{}]", list::write(values)),
        }
    }
}

/// A command line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagError(String);

impl FlagError {
    pub(crate) fn new(message: String) -> Self {
        Self(message)
    }
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The flags of one command and what the user set them to.
#[derive(Clone, Debug)]
pub struct Values {
    flags: Vec<&'static Flag>,
    set: BTreeMap<&'static str, Value>,
}

impl Values {
    pub(crate) fn new(flags: Vec<&'static Flag>) -> Self {
        Self { flags, set: BTreeMap::new() }
    }

    pub(crate) fn flags(&self) -> &[&'static Flag] {
        &self.flags
    }

    pub(crate) fn put(&mut self, flag: &'static Flag, value: Value) {
        self.set.insert(flag.name, value);
    }

    /// Returns whether the user gave the flag a value.
    pub fn is_set(&self, name: &str) -> bool {
        self.set.contains_key(name)
    }

    /// Gives the flag a value, or more values if it is a list that has some.
    pub fn set(&mut self, flag: &'static Flag, text: &str) -> Result<(), String> {
        let mut value = flag.read(text)?;
        if let (Value::List(new), Some(Value::List(old))) = (&mut value, self.set.get(flag.name)) {
            new.splice(..0, old.iter().cloned());
        }
        self.set.insert(flag.name, value);
        Ok(())
    }

    /// Returns the value of a flag, or its default.
    pub fn value(&self, name: &str) -> Value {
        if let Some(value) = self.set.get(name) {
            return value.clone();
        }
        let flag = self.flags.iter().find(|flag| flag.name == name);
        flag.expect("a command reads only flags that it has").default_value()
    }

    /// Returns a truth value.
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Bool(true))
    }

    /// Returns an integer, or a duration in nanoseconds.
    pub fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(value) | Value::Duration(value) => value,
            Value::Bool(_) | Value::Text(_) | Value::List(_) => 0,
        }
    }

    /// Returns a text.
    pub fn text(&self, name: &str) -> String {
        match self.value(name) {
            Value::Text(value) => value,
            Value::Bool(_) | Value::Int(_) | Value::Duration(_) | Value::List(_) => String::new(),
        }
    }

    /// Returns a list.
    pub fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(values) => values,
            Value::Bool(_) | Value::Int(_) | Value::Duration(_) | Value::Text(_) => Vec::new(),
        }
    }
}

/// Returns the flag that an argument of the form `--name` or `-n` stands for.
fn named<'a>(flags: &[&'a Flag], argument: &[u8]) -> Option<&'a Flag> {
    let flag = match argument.strip_prefix(b"--") {
        Some(name) => flags.iter().find(|flag| flag.name.as_bytes() == name),
        None => flags.iter().find(|flag| {
            let letter = argument.get(1).copied().map(char::from);
            argument.len() == 2 && flag.letter.is_some() && flag.letter == letter
        }),
    };
    flag.copied()
}

/// Returns whether the value of a flag must be the next argument, for the search of commands.
/// Flags that nobody knows count, because a value is what usually follows them.
pub fn takes_next(flags: &[&'static Flag], argument: &[u8]) -> bool {
    let long = argument.starts_with(b"--");
    let short = argument.starts_with(b"-") && argument.len() == 2;
    let bare = (long || short) && !argument.contains(&b'=');
    bare && named(flags, argument).is_none_or(|flag| flag.kind != Kind::Bool)
}

/// A command line that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The flags.
    pub flags: Values,
    /// What is neither a flag nor the value of one.
    pub arguments: Vec<Argument>,
    /// How many arguments stand before `--`; none if it is not there.
    pub dash: Option<usize>,
}

/// Reads the flags out of `arguments`.
pub fn parse(flags: Vec<&'static Flag>, arguments: Vec<Argument>) -> Result<Parsed, FlagError> {
    let mut values = Values::new(flags);
    let mut others = Vec::new();
    let mut dash = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if argument == b"--" {
            dash = Some(others.len());
            others.extend(arguments);
            break;
        }
        let mut next =
            || arguments.next().map(|argument| String::from_utf8_lossy(&argument).into_owned());
        if let Some(name) = argument.strip_prefix(b"--") {
            parse_long(&mut values, &String::from_utf8_lossy(name), &mut next)?;
        } else if argument.len() > 1 && argument.starts_with(b"-") {
            parse_short(&mut values, &argument[1..], &mut next)?;
        } else {
            others.push(argument);
        }
    }
    Ok(Parsed { flags: values, arguments: others, dash })
}

type Next<'a> = &'a mut dyn FnMut() -> Option<String>;

fn parse_long(values: &mut Values, text: &str, next: Next<'_>) -> Result<(), FlagError> {
    if text.starts_with(['-', '=']) {
        return Err(FlagError(format!("bad flag syntax: --{text}")));
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let Some(flag) = values.flags.iter().copied().find(|flag| flag.name == name) else {
        return Err(FlagError(format!("unknown flag: --{name}")));
    };
    let value = match value {
        Some(value) => value,
        None if flag.kind == Kind::Bool => "true".to_owned(),
        None => next().ok_or_else(|| FlagError(format!("flag needs an argument: --{name}")))?,
    };
    assign(values, flag, &value)
}

/// Reads letters behind one dash: flags without a value may stand together.
fn parse_short(values: &mut Values, letters: &[u8], next: Next<'_>) -> Result<(), FlagError> {
    let mut rest = letters;
    while let Some((&letter, after)) = rest.split_first() {
        let text = String::from_utf8_lossy(rest).into_owned();
        let letter = char::from(letter);
        let known = |flag: &&'static Flag| flag.letter == Some(letter);
        let Some(flag) = values.flags.iter().copied().find(known) else {
            let message = format!("unknown shorthand flag: {letter:?} in -{text}");
            return Err(FlagError(message));
        };
        let value = match after {
            [b'=', value @ ..] if !value.is_empty() => lossy(value),
            _ if flag.kind == Kind::Bool => {
                assign(values, flag, "true")?;
                rest = after;
                continue;
            }
            [] => next().ok_or_else(|| {
                FlagError(format!("flag needs an argument: {letter:?} in -{text}"))
            })?,
            value => lossy(value),
        };
        return assign(values, flag, &value);
    }
    Ok(())
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assign(values: &mut Values, flag: &'static Flag, text: &str) -> Result<(), FlagError> {
    values.set(flag, text).map_err(|reason| {
        let name = match flag.letter {
            Some(letter) => format!("-{letter}, --{}", flag.name),
            None => format!("--{}", flag.name),
        };
        let text = quote(text.as_bytes());
        FlagError(format!("invalid argument {text} for \"{name}\" flag: {reason}"))
    })
}

#[cfg(test)]
mod tests;
