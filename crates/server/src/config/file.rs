//! The configuration file: YAML, or JSON, which is a part of YAML.
//!
//! It replaces flags and environment altogether. Keys are looked up without regard to case; a key
//! given twice counts as given last; null changes nothing; unknown keys are logged and ignored.
//! The values are typed as JSON is, so a number is not a string, and durations are nanoseconds.
//!
//! Not here: how the text of the file becomes values (`yaml`).

use std::collections::BTreeMap;

use super::legacy;
use super::settings::{Config, ROWS, Row};
use super::value::Refusal;
use super::yaml::{self, Node};
use crate::log::Record;
use crate::record;

/// Why the configuration file ends the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FileError {
    /// The text goes to the log.
    Logged(String),
    /// The text goes to standard error as it is.
    Plain(String),
}

/// Reads the file into `config`. Returns what is to be logged, and the keys at its top.
pub(super) fn load(
    config: &mut Config,
    bytes: &[u8],
) -> Result<(Vec<Record>, Vec<String>), FileError> {
    let file = yaml::read(bytes)
        .map_err(|reason| FileError::Logged(format!("error converting YAML to JSON: {reason}")))?;
    let entries = match file.root {
        Node::Null => BTreeMap::new(),
        Node::Map(entries) => entries,
        other @ (Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_)) => {
            let found = other.type_name();
            let text = format!("cannot unmarshal {found} into Go value of type embed.configYAML");
            return Err(mismatch(&text));
        }
    };
    let mut keys: Vec<String> = entries.keys().map(|key| fold(key)).collect();
    keys.sort();
    if entries.get("peer-transport-security") == Some(&Node::Null) {
        return Err(FileError::Logged("invalid peer-transport-security".to_owned()));
    }
    let mut leaves = Vec::new();
    flatten("", entries, &mut leaves)?;
    let mut notes = Vec::new();
    if file.has_more_documents {
        notes.push(record!(Warn, "only the first document of the configuration file is read"));
    }
    // Old names first, so that the names of today win.
    for (path, node) in &leaves {
        if let Some(old) = legacy::find(path) {
            notes.push(old.load(config, node).map_err(|refusal| refused_old(path, refusal))?);
        }
    }
    for (path, node) in leaves {
        if let Some(row) = ROWS.iter().find(|row| row.key == path && !path.is_empty()) {
            (row.load)(config, &node).map_err(|refusal| refused(row, refusal))?;
        } else if legacy::find(&path).is_none() && !TOLERATED.contains(&path.as_str()) {
            let message = "unrecognized key in the configuration file";
            notes.push(record!(Warn, message, "key" => path));
        }
    }
    Ok((notes, keys))
}

/// Keys that are known and have no effect.
const TOLERATED: [&str; 1] = ["v2-deprecation"];

/// The mappings that hold settings, and the names of their types in Go.
const BLOCKS: [(&str, &str); 7] = [
    ("client-transport-security", "embed.securityConfig"),
    ("peer-transport-security", "embed.securityConfig"),
    ("socket-options", "transport.SocketOpts"),
    ("discovery-config", "v3discovery.DiscoveryConfig"),
    ("discovery-config.client", "clientv3.ConfigSpec"),
    ("discovery-config.client.secure", "clientv3.SecureConfig"),
    ("discovery-config.client.auth", "clientv3.AuthConfig"),
];

fn block(path: &str) -> Option<&'static str> {
    BLOCKS.iter().find(|(name, _)| *name == path).map(|(_, go_type)| *go_type)
}

/// Lists the values below a mapping by their dotted paths; nulls are left out. Keys that differ in
/// case only name the same place, and of two the one counts that is sorted behind the other.
fn flatten(
    prefix: &str,
    entries: BTreeMap<String, Node>,
    leaves: &mut Vec<(String, Node)>,
) -> Result<(), FileError> {
    for (key, node) in entries {
        let key = fold(&key);
        let path = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        match (block(&path), node) {
            (_, Node::Null) => {}
            (Some(_), Node::Map(inner)) => flatten(&path, inner, leaves)?,
            (Some(go_type), other) => {
                let (found, field) = (other.type_name(), go_field(&path, is_security(&path)));
                let text = format!(
                    "cannot unmarshal {found} into Go struct field {field} of type {go_type}"
                );
                return Err(mismatch(&text));
            }
            (None, node) => leaves.push((path, node)),
        }
    }
    Ok(())
}

fn refused(row: &Row, refusal: Refusal) -> FileError {
    let field = go_field(row.key, row.is_indirect || is_security(row.key));
    let wrong_type = |found: &str, go_type: &str| {
        mismatch(&format!(
            "cannot unmarshal {found} into Go struct field {field} of type {go_type}"
        ))
    };
    match refusal {
        Refusal::Type(found) => wrong_type(&found, row.go_type),
        Refusal::Element(found) => wrong_type(&found, "string"),
        Refusal::Value(reason) => FileError::Logged(reason),
        Refusal::Urls(reason) => {
            let name = row.flag;
            FileError::Plain(format!("unexpected error setting up {name}: {reason}\n"))
        }
    }
}

fn refused_old(path: &str, refusal: Refusal) -> FileError {
    match refusal {
        Refusal::Type(found) | Refusal::Element(found) => {
            let field = go_field(path, false);
            mismatch(&format!("cannot unmarshal {found} into Go struct field {field}"))
        }
        Refusal::Value(reason) | Refusal::Urls(reason) => {
            FileError::Logged(format!("invalid value for {path}: {reason}"))
        }
    }
}

fn mismatch(text: &str) -> FileError {
    FileError::Logged(format!("error unmarshaling JSON: while decoding JSON: json: {text}"))
}

fn is_security(path: &str) -> bool {
    path.contains("-transport-security")
}

/// Returns the name that Go's decoder gives the place: the innermost structure, the embedded one
/// of the two at the top, and the path.
fn go_field(path: &str, is_indirect: bool) -> String {
    let innermost = match path.rsplit_once('.').and_then(|(parent, _)| block(parent)) {
        Some(go_type) => go_type.rsplit('.').next().unwrap_or(go_type),
        None => "configYAML",
    };
    let embedded = if is_indirect { "configJSON" } else { "Config" };
    format!("{innermost}.{embedded}.{path}")
}

/// Returns a key as it is looked up. Go takes two letters outside ASCII for those that they become
/// in upper or lower case.
fn fold(key: &str) -> String {
    key.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase()
}
