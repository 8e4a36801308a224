//! Flags as etcd's v2 tool reads them, in the manner of Go's `flag` package.
//!
//! - One dash or two, `-name value` or `-name=value`; letters cannot stand together.
//! - The first argument that is no flag ends the flags, unless the flags of a command are gathered
//!   first ([`parse_gathered`]): then they may stand behind its arguments.
//! - What looks like a flag but is none of the command's is an argument when another argument
//!   stands before it, so that `set key -v` stores `-v`.
//!
//! Not here: the flags of the other tools (see `flags`).

use crate::flags::{Argument, Flag, FlagError, Kind, Parsed, Value, Values};
use crate::text::quote;

/// Reads flags up to the first argument that is none.
///
/// # Errors
/// If a flag is unknown or its value wrong.
pub fn parse(flags: Vec<&'static Flag>, arguments: Vec<Argument>) -> Result<Parsed, FlagError> {
    let mut values = Values::new(flags);
    let mut used = Vec::new();
    let mut dash = None;
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next_if(is_flag) {
        if argument == b"--" {
            dash = Some(0);
            break;
        }
        let text = String::from_utf8_lossy(&argument).into_owned();
        let bare = text.strip_prefix("--").unwrap_or(&text[1..]);
        if bare.is_empty() || bare.starts_with(['-', '=']) {
            return Err(FlagError::new(format!("bad flag syntax: {text}")));
        }
        let (name, value) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let Some(flag) = values.flags().iter().copied().find(|flag| flag.has_name(name)) else {
            return Err(FlagError::new(format!("flag provided but not defined: -{name}")));
        };
        let value = match value {
            Some(value) => value,
            None if flag.kind == Kind::Bool => "true".to_owned(),
            None => match arguments.next() {
                Some(next) => String::from_utf8_lossy(&next).into_owned(),
                None => return Err(FlagError::new(format!("flag needs an argument: -{name}"))),
            },
        };
        assign(&mut values, flag, name, &value)?;
        used.push((flag.name, name.to_owned()));
    }
    two_forms(&values, &used)?;
    Ok(Parsed { flags: values, arguments: arguments.collect(), dash })
}

/// Reads the flags of a command wherever they stand before `--`. The place of `--` is how many
/// arguments stood before it; it is itself among the arguments if one of them moved with a flag.
///
/// # Errors
/// If a flag is unknown or its value wrong.
pub fn parse_gathered(
    flags: Vec<&'static Flag>,
    arguments: Vec<Argument>,
) -> Result<Parsed, FlagError> {
    let (gathered, dash) = gather(&flags, arguments);
    let parsed = parse(flags, gathered)?;
    // An argument that moved with a truth value ends the flags, and `--` stays behind it.
    let dash = match parsed.dash {
        Some(_) => dash,
        None => parsed
            .arguments
            .iter()
            .position(|argument| argument == b"--")
            .filter(|_| dash.is_some()),
    };
    Ok(Parsed { dash, ..parsed })
}

/// Moves the flags and what may be their values to the front, and `--` behind them. Returns also
/// how many arguments stood before `--`.
///
/// What follows a flag moves with it even if the flag is a truth value; it stays an argument then,
/// but one before those that stood before it. Tools and scripts have got used to that.
fn gather(flags: &[&'static Flag], arguments: Vec<Argument>) -> (Vec<Argument>, Option<usize>) {
    let mut gathered = Vec::new();
    let mut others: Vec<Argument> = Vec::new();
    let mut dash = None;
    let mut may_be_value = false;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let is_known = names_one(flags, &argument);
        if may_be_value && !is_known {
            may_be_value = false;
            gathered.push(argument);
        } else if argument == b"--" {
            dash = Some(others.len());
            others.insert(0, argument);
            others.extend(arguments);
            break;
        } else if is_known {
            may_be_value = !argument.contains(&b'=');
            gathered.push(argument);
        } else {
            others.push(argument);
        }
    }
    gathered.append(&mut others);
    (gathered, dash)
}

fn is_flag(argument: &Argument) -> bool {
    argument.len() > 1 && argument.starts_with(b"-")
}

/// Whether an argument names one of the flags, with a value behind `=` or without.
fn names_one(flags: &[&'static Flag], argument: &[u8]) -> bool {
    let Some(text) = argument.strip_prefix(b"-") else {
        return false;
    };
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let name = text.split(|&byte| byte == b'=').next().unwrap_or_default();
    std::str::from_utf8(name).is_ok_and(|name| flags.iter().any(|flag| flag.has_name(name)))
}

fn assign(
    values: &mut Values,
    flag: &'static Flag,
    name: &str,
    text: &str,
) -> Result<(), FlagError> {
    let done = match flag.kind {
        Kind::List => {
            values.push(flag, text);
            Ok(())
        }
        Kind::Bool | Kind::Int | Kind::Duration | Kind::Text => values.set(flag, text),
    };
    done.map_err(|reason| {
        let reason =
            if reason.ends_with("out of range") { "value out of range" } else { "parse error" };
        let text = quote(text.as_bytes());
        FlagError::new(match flag.kind {
            Kind::Bool => format!("invalid boolean value {text} for -{name}: {reason}"),
            Kind::Int | Kind::Duration | Kind::Text | Kind::List => {
                format!("invalid value {text} for flag -{name}: {reason}")
            }
        })
    })
}

/// Fails if one flag was given under two of its names: one of the values would be lost.
fn two_forms(values: &Values, used: &[(&'static str, String)]) -> Result<(), FlagError> {
    for flag in values.flags() {
        let names = || used.iter().filter(|(name, _)| *name == flag.name).map(|(_, used)| used);
        let long = names().find(|used| *used == flag.name);
        let short = names().find(|used| *used != flag.name);
        if let (Some(long), Some(short)) = (long, short) {
            let message = format!("Cannot use two forms of the same flag: {short} {long}");
            return Err(FlagError::new(message));
        }
    }
    Ok(())
}

impl Values {
    /// Adds one text to a list, commas and all.
    fn push(&mut self, flag: &'static Flag, text: &str) {
        let mut list = self.list(flag.name);
        list.push(text.to_owned());
        self.put(flag, Value::List(list));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static FLAGS: &[Flag] = &[
        Flag::int("ttl", ""),
        Flag::bool("recursive", "").letter('r'),
        Flag::bool("readwrite", "").alias("rw"),
        Flag::text("path", ""),
        Flag::list("roles", "", ""),
        Flag::duration("timeout", "2s", ""),
    ];

    fn read(line: &str) -> Result<(String, Values, Option<usize>), String> {
        let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let parsed = parse_gathered(FLAGS.iter().collect(), words).map_err(|e| e.to_string())?;
        let arguments: Vec<_> = parsed
            .arguments
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        Ok((arguments.join(" "), parsed.flags, parsed.dash))
    }

    #[track_caller]
    fn arguments(line: &str, expected: &str) {
        assert_eq!(read(line).map(|(arguments, ..)| arguments), Ok(expected.to_owned()), "{line}");
    }

    #[track_caller]
    fn refused(line: &str, expected: &str) {
        assert_eq!(read(line).map(|(arguments, ..)| arguments), Err(expected.to_owned()), "{line}");
    }

    #[test]
    fn flags_may_stand_behind_arguments() {
        let (arguments, values, dash) = read("k v --ttl 5 -r -path=a=b").unwrap();
        assert_eq!((arguments.as_str(), dash), ("k v", None));
        assert_eq!(values.int("ttl"), 5);
        assert!(values.bool("recursive"));
        assert_eq!(values.text("path"), "a=b");
    }

    #[test]
    fn what_is_no_flag_of_the_command_is_an_argument_behind_others() {
        arguments("k -v", "k -v");
        arguments("k -1", "k -1");
        arguments("k -- -v", "k -v");
        arguments("-- k -v", "k -v");
        arguments("k - -=5", "k - -=5");
        arguments("k -v --ttl 1", "k -v");
        arguments("k v -- --ttl 1", "k v --ttl 1");
        refused("-v k", "flag provided but not defined: -v");
        refused("---x", "bad flag syntax: ---x");
    }

    #[test]
    fn what_follows_a_truth_value_moves_with_it() {
        arguments("a b -r c", "c a b");
        assert_eq!(read("k -- c d").unwrap().2, Some(1));
    }

    /// `exec-watch --recursive /dir -- echo` watched the key `echo`: `/dir` moves with the flag, so
    /// no argument seemed to stand before `--`.
    #[test]
    fn dashes_behind_an_argument_that_moved_are_seen() {
        for line in ["-r k -- c d", "--ttl 5 -r k -- c d"] {
            let (arguments, _, dash) = read(line).unwrap();
            assert_eq!((arguments.as_str(), dash), ("k -- c d", Some(1)), "{line}");
        }
    }

    #[test]
    fn wrong_values() {
        refused("k --ttl", "invalid value \"k\" for flag -ttl: parse error");
        refused("--ttl", "flag needs an argument: -ttl");
        refused("k v --ttl x", "invalid value \"x\" for flag -ttl: parse error");
        refused("--ttl= k", "invalid value \"\" for flag -ttl: parse error");
        let huge = "99999999999999999999";
        let message = format!("invalid value \"{huge}\" for flag -ttl: value out of range");
        refused(&format!("--ttl {huge}"), &message);
        refused("--timeout 5", "invalid value \"5\" for flag -timeout: parse error");
        refused("-r=x", "invalid boolean value \"x\" for -r: parse error");
        refused("--rw --readwrite", "Cannot use two forms of the same flag: rw readwrite");
    }

    #[test]
    fn lists_grow_and_keep_their_commas() {
        let (_, values, _) = read("bob --roles a,b --roles c").unwrap();
        assert_eq!(values.list("roles"), ["a,b", "c"]);
    }
}
