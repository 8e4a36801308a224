//! The environment: a variable for every flag, `ETCD_` and the flag's name in upper case with
//! underscores.
//!
//! A variable and its flag together are a conflict, because nobody can tell which one was meant.

use std::collections::BTreeSet;

use super::flags::{Draft, names};
use super::go::quote;
use crate::log::Record;
use crate::record;

const PREFIX: &str = "ETCD_";

/// Why the environment ends the program.
pub(super) enum EnvError {
    /// A variable has a wrong value.
    Value(String),
    /// A variable and its flag are both set. Holds the last line of the log.
    Conflict(Record),
}

/// Returns the variable of a flag.
pub(super) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

/// Returns the value of a variable; one that is empty counts as absent.
pub(super) fn lookup<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = env.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}

/// Gives every flag that is not on the command line the value of its variable. Adds what is to be
/// logged to `notes`.
pub(super) fn apply(
    draft: &mut Draft,
    env: &[(String, String)],
    notes: &mut Vec<Record>,
) -> Result<(), EnvError> {
    let version = variable("version");
    let special = lookup(env, &version);
    if let Some(value) = special {
        let (key, value) = (version.clone(), value.to_owned());
        let message = "cannot set special environment variable";
        notes.push(record!(Warn, message, "key" => key, "value" => value));
    }
    let given: BTreeSet<String> = draft.given.iter().map(|name| variable(name)).collect();
    let mut used = BTreeSet::new();
    let mut wrong = None;
    for name in names() {
        let key = variable(name);
        let Some(value) = lookup(env, &key) else { continue };
        if given.contains(&key) || key == version {
            continue;
        }
        match draft.assign(name, value) {
            Ok(()) => notes.push(record!(
                Info,
                "recognized and used environment variable",
                "variable-name" => &key,
                "variable-value" => value.to_owned(),
            )),
            Err(reason) => {
                wrong = Some(format!("invalid value {} for {key}: {reason}", quote(value)));
            }
        }
        used.insert(key);
    }
    for (key, value) in env {
        if used.contains(key) || (special.is_some() && *key == version) {
            continue;
        }
        if given.contains(key) {
            let message = "conflicting environment variable is shadowed by corresponding \
                           command-line flag (either unset environment variable or disable flag))";
            let conflict = record!(Fatal, message, "environment-variable" => key);
            return Err(EnvError::Conflict(conflict));
        }
        if key.starts_with(PREFIX) {
            let message = "unrecognized environment variable";
            let variable = format!("{key}={value}");
            notes.push(record!(Warn, message, "environment-variable" => variable));
        }
    }
    wrong.map_or(Ok(()), |reason| Err(EnvError::Value(reason)))
}
