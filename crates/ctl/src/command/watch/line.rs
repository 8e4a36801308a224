//! What the words of a watch mean: keys, and the program to run.
//!
//! The key comes from the line or from the environment; both at once are refused, because one of
//! them would be lost. Everything behind `--` belongs to the program.

use std::os::unix::ffi::OsStringExt;

use bytes::Bytes;
use quoin_api::etcdserverpb::WatchCreateRequest;

use crate::command::key::{ZERO, prefix_end};
use crate::exit::Exit;
use crate::flags::{Argument, Values};
use crate::text::quote;

const MISSING: &str = "bad number of arguments";
const CONFLICT: &str = "bad number of arguments (found conflicting environment key)";
const NO_PROGRAM: &str = "bad number of arguments (found separator --, but no commands)";

/// The key and the end of the range that the environment names; empty if it does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    pub(super) key: Argument,
    pub(super) range_end: Argument,
}

impl Variables {
    pub(super) fn read() -> Result<Self, Exit> {
        let read = |name| std::env::var_os(name).map_or_else(Vec::new, OsStringExt::into_vec);
        let variables =
            Self { key: read("ETCDCTL_WATCH_KEY"), range_end: read("ETCDCTL_WATCH_RANGE_END") };
        if variables.key.is_empty() && !variables.range_end.is_empty() {
            let end = quote(&variables.range_end);
            let message =
                format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}");
            return Err(Exit::bad_arguments(message));
        }
        Ok(variables)
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The key, and the end of the range if there are two.
    pub(super) keys: Vec<Argument>,
    /// The program and its arguments; empty for none.
    pub(super) program: Vec<Argument>,
}

/// Reads the arguments of a watch, of which `dash` stand before `--`.
pub(super) fn read(
    mut arguments: Vec<Argument>,
    dash: Option<usize>,
    variables: &Variables,
) -> Result<Line, &'static str> {
    let program = match dash {
        Some(dash) => arguments.split_off(dash.min(arguments.len())),
        None => Vec::new(),
    };
    if dash.is_some() && program.is_empty() {
        return Err(NO_PROGRAM);
    }
    if variables.key.is_empty() {
        let missing = arguments.is_empty() && program.is_empty();
        return if missing { Err(MISSING) } else { Ok(Line { keys: arguments, program }) };
    }
    if !arguments.is_empty() {
        return Err(CONFLICT);
    }
    let mut keys = vec![variables.key.clone()];
    keys.extend(Some(&variables.range_end).filter(|end| !end.is_empty()).cloned());
    Ok(Line { keys, program })
}

/// Makes the request that keys and flags describe.
pub(super) fn request(keys: &[Argument], flags: &Values) -> Result<WatchCreateRequest, String> {
    let key = keys.first().ok_or(MISSING)?;
    let prefix = flags.bool("prefix");
    let (key, range_end) = match keys {
        [_, _] if prefix => {
            return Err("`range_end` and `--prefix` are mutually exclusive".to_owned());
        }
        [_, end] => (key.clone().into(), end.clone().into()),
        _ if prefix && key.is_empty() => (Bytes::from_static(ZERO), Bytes::from_static(ZERO)),
        _ if prefix => (key.clone().into(), prefix_end(key)),
        // More than two words are one key, as ever.
        _ => (key.clone().into(), Bytes::new()),
    };
    Ok(WatchCreateRequest {
        key,
        range_end,
        start_revision: flags.int("rev"),
        progress_notify: flags.bool("progress-notify"),
        prev_kv: flags.bool("prev-kv"),
        ..WatchCreateRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Argument> {
        text.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[track_caller]
    fn check(line: &str, variables: &str, expected: Result<(&str, &str), &str>) {
        let (before, after) =
            line.split_once("--").map_or((line, None), |(before, after)| (before, Some(after)));
        let mut arguments = words(before);
        let dash = after.map(|_| arguments.len());
        arguments.extend(words(after.unwrap_or_default()));
        let mut variables = words(variables).into_iter();
        let variables = Variables {
            key: variables.next().unwrap_or_default(),
            range_end: variables.next().unwrap_or_default(),
        };
        let expected =
            expected.map(|(keys, program)| Line { keys: words(keys), program: words(program) });
        assert_eq!(read(arguments, dash, &variables), expected);
    }

    #[test]
    fn keys_come_from_the_line_or_the_environment() {
        check("a", "", Ok(("a", "")));
        check("a b", "", Ok(("a b", "")));
        check("", "a", Ok(("a", "")));
        check("", "a b", Ok(("a b", "")));
        check("", "", Err(MISSING));
        check("b", "a", Err(CONFLICT));
    }

    #[test]
    fn the_program_stands_behind_the_dashes() {
        check("a -- echo hi", "", Ok(("a", "echo hi")));
        check("a -- echo echo", "", Ok(("a", "echo echo")));
        check("-- echo hi", "a b", Ok(("a b", "echo hi")));
        check("a --", "", Err(NO_PROGRAM));
        // Refused when the request is made, which a line of standard input survives.
        check("-- echo", "", Ok(("", "echo")));
        check("b -- echo", "a", Err(CONFLICT));
    }
}
