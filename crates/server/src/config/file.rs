//! The configuration file: YAML, or JSON, which is a part of YAML.
//!
//! It replaces flags and environment altogether. Keys are looked up without regard to case; a key
//! given twice counts as given last; null changes nothing; unknown keys are logged and ignored.
//! The values are typed as JSON is, so a number is not a string, and durations are nanoseconds.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::legacy;
use super::settings::{Config, ROWS, Row};
use super::value::Refusal;
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

/// A value in the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    /// Returns the name of the type, as error texts give it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Float(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }

    /// Returns the name of the type, with the number if it is one, as error texts give it where
    /// another number is expected.
    pub(super) fn number_name(&self) -> String {
        match self {
            Self::Int(value) => format!("number {value}"),
            Self::Float(value) => format!("number {value}"),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => {
                self.type_name().to_owned()
            }
        }
    }
}

/// Reads the file's text into `config`. Returns what is to be logged, and the keys at its top.
pub(super) fn load(
    config: &mut Config,
    text: &str,
) -> Result<(Vec<Record>, Vec<String>), FileError> {
    let root = first_document(text).map_err(|error| {
        let reason = yaml_reason(&error);
        FileError::Logged(format!("error converting YAML to JSON: yaml: {reason}"))
    })?;
    let entries = match root {
        Node::Null => Vec::new(),
        Node::Map(entries) => entries,
        other @ (Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_)) => {
            let found = other.type_name();
            let text = format!("cannot unmarshal {found} into Go value of type embed.configYAML");
            return Err(mismatch(&text));
        }
    };
    let mut keys: Vec<String> = entries.iter().map(|(key, _)| key.to_ascii_lowercase()).collect();
    keys.sort();
    let peer_tls = entries.iter().find(|(key, _)| key == "peer-transport-security");
    if matches!(peer_tls, Some((_, Node::Null))) {
        return Err(FileError::Logged("invalid peer-transport-security".to_owned()));
    }
    let mut leaves = Vec::new();
    flatten("", entries, &mut leaves)?;
    leaves.sort_by(|a, b| a.0.cmp(&b.0));
    let mut notes = Vec::new();
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

/// Reads the first document; those after it are not looked at.
fn first_document(text: &str) -> Result<Node, serde_norway::Error> {
    match serde_norway::Deserializer::from_str(text).next() {
        Some(document) => Node::deserialize(document),
        None => Ok(Node::Null),
    }
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

/// Lists the values below a mapping by their dotted paths; nulls are left out.
fn flatten(
    prefix: &str,
    entries: Vec<(String, Node)>,
    leaves: &mut Vec<(String, Node)>,
) -> Result<(), FileError> {
    for (key, node) in entries {
        let key = key.to_ascii_lowercase();
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

/// Returns the reason with the line in front, as etcd gives it.
fn yaml_reason(error: &serde_norway::Error) -> String {
    let text = error.to_string();
    let Some(location) = error.location() else { return text };
    let reason = text.split(" at line ").next().unwrap_or(&text);
    format!("line {}: {reason}", location.line())
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        Ok(i128::try_from(value).map_or(Node::Float(value as f64), Node::Int))
    }

    /// A float without a fraction is an integer, as it is in JSON.
    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let is_integer = value.fract() == 0.0 && value.abs() < EXACT;
        Ok(if is_integer { Node::Int(value as i128) } else { Node::Float(value) })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some((key, node)) = items.next_entry::<Node, Node>()? {
            let key = match key {
                Node::Text(text) => text,
                Node::Bool(value) => value.to_string(),
                Node::Int(value) => value.to_string(),
                Node::Float(value) => value.to_string(),
                Node::Null | Node::List(_) | Node::Map(_) => {
                    return Err(A::Error::custom("a key must be a scalar"));
                }
            };
            entries.retain(|(earlier, _)| *earlier != key);
            entries.push((key, node));
        }
        Ok(Node::Map(entries))
    }
}
