//! The types a setting can have: how each is read from a flag and from the configuration file, and
//! how it is shown.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::go::{GoDuration, NumberError, parse_bool, parse_int, parse_uint, quote};
use super::url::Url;
use super::yaml::Node;

/// Why the configuration file was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The value has another type. Holds the name of the type that was found.
    Type(String),
    /// An element of a list of strings has another type. Holds the name of what was found.
    Element(String),
    /// The value has the right type and is wrong.
    Value(String),
    /// The value is a list of URLs and one is wrong.
    Urls(String),
}

/// The type of a setting.
pub(super) trait Setting {
    /// The name of the type in Go, for error texts.
    const GO_TYPE: &'static str;

    /// Whether a flag of this type may stand without a value.
    const IS_BOOL: bool = false;

    /// Whether etcd reads the type from the file through its second structure, which error texts
    /// show.
    const IS_INDIRECT: bool = false;

    /// Reads the value of a flag or of an environment variable.
    fn set(&mut self, text: &str) -> Result<(), String>;

    /// Reads a value of the configuration file; never called with null, which changes nothing.
    fn load(&mut self, node: &Node) -> Result<(), Refusal>;

    /// Returns the value as a flag would be given it.
    fn show(&self) -> String;
}

fn load_text(node: &Node) -> Result<&str, Refusal> {
    match node {
        Node::Text(text) => Ok(text),
        other => Err(Refusal::Type(other.type_name().to_owned())),
    }
}

/// Reads a list of texts. A null leaves what stood at its place before, or nothing.
fn load_texts(node: &Node, before: &[&String]) -> Result<Vec<String>, Refusal> {
    let Node::List(nodes) = node else {
        return Err(Refusal::Type(node.type_name().to_owned()));
    };
    let text = |(place, node): (usize, &Node)| match node {
        Node::Text(text) => Ok(text.clone()),
        Node::Null => Ok(before.get(place).map(|text| (*text).clone()).unwrap_or_default()),
        other => Err(Refusal::Element(other.type_name().to_owned())),
    };
    nodes.iter().enumerate().map(text).collect()
}

/// Reads an integer. Its digits are JSON's, which Go parses anew for the type it wants, so a float
/// without a fraction is one as long as JSON writes it without an exponent.
fn load_number<T: FromStr>(node: &Node) -> Result<T, Refusal> {
    let fits = match node {
        Node::Number(digits) => digits.parse().ok(),
        _ => None,
    };
    fits.ok_or_else(|| Refusal::Type(node.number_name()))
}

impl Setting for String {
    const GO_TYPE: &'static str = "string";

    fn set(&mut self, text: &str) -> Result<(), String> {
        text.clone_into(self);
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        load_text(node)?.clone_into(self);
        Ok(())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Setting for bool {
    const GO_TYPE: &'static str = "bool";
    const IS_BOOL: Self = true;

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_bool(text).ok_or_else(|| NumberError::Syntax.flag_text())?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = match node {
            Node::Bool(value) => *value,
            other => return Err(Refusal::Type(other.type_name().to_owned())),
        };
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Go's `uint` is as wide as a pointer, and so is `usize`.
impl Setting for usize {
    const GO_TYPE: &'static str = "uint";

    fn set(&mut self, text: &str) -> Result<(), String> {
        let value = parse_uint(text).map_err(NumberError::flag_text)?;
        *self = Self::try_from(value).map_err(|_| NumberError::Range.flag_text())?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_number(node)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Go's `int` is as wide as a pointer, and so is `isize`.
impl Setting for isize {
    const GO_TYPE: &'static str = "int";

    fn set(&mut self, text: &str) -> Result<(), String> {
        let value = parse_int(text).map_err(NumberError::flag_text)?;
        *self = Self::try_from(value).map_err(|_| NumberError::Range.flag_text())?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_number(node)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u64 {
    const GO_TYPE: &'static str = "uint64";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_uint(text).map_err(NumberError::flag_text)?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_number(node)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for i64 {
    const GO_TYPE: &'static str = "int64";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = parse_int(text).map_err(NumberError::flag_text)?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_number(node)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Setting for u32 {
    const GO_TYPE: &'static str = "uint32";

    fn set(&mut self, text: &str) -> Result<(), String> {
        let value = parse_uint(text)
            .and_then(|value| Self::try_from(value).map_err(|_| NumberError::Range))
            .map_err(|error| error.strconv_text("ParseUint", text))?;
        *self = value;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_number(node)?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A duration is text in a flag and a number of nanoseconds in the file.
impl Setting for GoDuration {
    const GO_TYPE: &'static str = "time.Duration";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Self::parse(text).map_err(|_| NumberError::Syntax.flag_text())?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = Self::from_nanos(load_number(node)?);
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// An ordered list: commas divide it in a flag, and it is a list in the file.
impl Setting for Vec<String> {
    const GO_TYPE: &'static str = "[]string";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = text.split(',').map(str::to_owned).collect();
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_texts(node, &self.iter().collect::<Vec<_>>())?;
        Ok(())
    }

    fn show(&self) -> String {
        self.join(",")
    }
}

/// A list without order or repetition: commas divide it in a flag, and it is a list in the file.
impl Setting for BTreeSet<String> {
    const GO_TYPE: &'static str = "[]string";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = text.split(',').map(str::to_owned).collect();
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        *self = load_texts(node, &self.iter().collect::<Vec<_>>())?.into_iter().collect();
        Ok(())
    }

    fn show(&self) -> String {
        join(self)
    }
}

/// Commas divide the URLs in flag and file alike. An empty value changes nothing.
impl Setting for Vec<Url> {
    const GO_TYPE: &'static str = "string";
    const IS_INDIRECT: bool = true;

    fn set(&mut self, text: &str) -> Result<(), String> {
        if !text.is_empty() {
            *self = Url::parse_list(text)?;
            self.dedup();
        }
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        let text = load_text(node)?;
        if !text.is_empty() {
            *self = Url::parse_list(text).map_err(Refusal::Urls)?;
        }
        Ok(())
    }

    fn show(&self) -> String {
        let texts: Vec<&str> = self.iter().map(Url::as_str).collect();
        texts.join(",")
    }
}

/// Host names, or `*` for any: commas divide them in flag and file alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts(pub BTreeSet<String>);

impl Hosts {
    /// Returns the value that admits every host.
    pub fn any() -> Self {
        Self(BTreeSet::from(["*".to_owned()]))
    }

    /// Returns whether requests to a host of this name are answered. No names at all admit every host.
    pub fn admits(&self, host: &str) -> bool {
        self.0.is_empty() || self.0.contains("*") || self.0.contains(host)
    }
}

impl Setting for Hosts {
    const GO_TYPE: &'static str = "string";
    const IS_INDIRECT: bool = true;

    fn set(&mut self, text: &str) -> Result<(), String> {
        self.0.set(text)
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        match load_text(node)? {
            "" => Ok(()),
            text => self.0.set(text).map_err(Refusal::Value),
        }
    }

    fn show(&self) -> String {
        join(&self.0)
    }
}

/// Origins for cross-origin requests: URLs, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins(pub BTreeSet<String>);

impl Origins {
    /// Returns the value that admits every origin.
    pub fn any() -> Self {
        Self(BTreeSet::from(["*".to_owned()]))
    }

    /// Returns whether every origin is admitted, which is also so if none is named.
    pub fn admits_all(&self) -> bool {
        self.0.is_empty() || self.0.contains("*")
    }
}

impl Setting for Origins {
    const GO_TYPE: &'static str = "string";
    const IS_INDIRECT: bool = true;

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = match text {
            "*" => Self::any(),
            _ => Self(Url::parse_list(text)?.iter().map(Url::to_string).collect()),
        };
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        match load_text(node)? {
            "" => Ok(()),
            text => self.set(text).map_err(Refusal::Value),
        }
    }

    fn show(&self) -> String {
        join(&self.0)
    }
}

/// What a member without a data directory does: found a cluster or join one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Found the cluster together with the other members of `--initial-cluster`.
    New,
    /// Join a cluster that has added this member.
    Existing,
}

impl ClusterState {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "new" => Some(Self::New),
            "existing" => Some(Self::Existing),
            _ => None,
        }
    }
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Existing => "existing",
        })
    }
}

impl Setting for ClusterState {
    const GO_TYPE: &'static str = "string";

    fn set(&mut self, text: &str) -> Result<(), String> {
        *self = Self::parse(text).ok_or_else(|| "invalid value".to_owned())?;
        Ok(())
    }

    fn load(&mut self, node: &Node) -> Result<(), Refusal> {
        let text = load_text(node)?;
        if !text.is_empty() {
            let wrong = || Refusal::Value(format!("unexpected clusterState {}", quote(text)));
            *self = Self::parse(text).ok_or_else(wrong)?;
        }
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

fn join(texts: &BTreeSet<String>) -> String {
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.join(",")
}
