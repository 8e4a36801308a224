//! The configuration file as etcd reads it: YAML 1.1, and what Go makes of it as JSON.
//!
//! etcd hands the file to Go's yaml.v2, writes what it gets as JSON, and reads that into its
//! configuration. So a value has the type that YAML 1.1 gives it (`yes` is true, `010` is 8,
//! `8_589_934_592` is a number), and then the shape that JSON gives it (keys are texts and sorted,
//! a number is its decimal digits).
//!
//! Invariants:
//! - What cannot be read is an error; nothing that is written there passes as absent.
//! - Only the first document counts, and whether there are others is said.
//! - Nesting and the values that aliases multiply are bounded.
//!
//! Not here: which keys there are, and which type each wants.

mod scalar;
mod source;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::panic;

use libyaml_safer::{Error, ErrorKind, Event, EventData, Mark, Parser, ScalarStyle};

use self::scalar::Scalar;

/// How deep lists and mappings may be nested. etcd stops at 10000; its own keys need 4.
const MAX_DEPTH: usize = 100;

/// Values of the document, those that aliases repeat counted each time, beyond which the file is
/// refused.
const MAX_VALUES: usize = 400_000;

/// Values below which aliases may repeat as much as they like, as in etcd.
const FREE_VALUES: usize = 1_000;

/// A value of the file, as JSON has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// The digits, as JSON writes them.
    Number(String),
    Text(String),
    List(Vec<Self>),
    /// Sorted by the bytes of the keys, which is the order in which etcd reads them.
    Map(BTreeMap<String, Self>),
}

impl Node {
    /// Returns the name of the type, as error texts give it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::Text(_) => "string",
            Self::List(_) => "array",
            Self::Map(_) => "object",
        }
    }

    /// Returns the name of the type, with the number if it is one, as error texts give it where
    /// another number is expected.
    pub(super) fn number_name(&self) -> String {
        match self {
            Self::Number(digits) => format!("number {digits}"),
            Self::Null | Self::Bool(_) | Self::Text(_) | Self::List(_) | Self::Map(_) => {
                self.type_name().to_owned()
            }
        }
    }
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) struct File {
    /// The first document; null if there is none.
    pub(super) root: Node,
    /// Whether something follows the first document. etcd does not read it.
    pub(super) has_more_documents: bool,
}

/// Reads a file.
///
/// # Errors
///
/// Returns the reason in etcd's words, without etcd's prefix for all of them.
pub(super) fn read(bytes: &[u8]) -> Result<File, String> {
    let mut text = source::decode(bytes)?;
    let has_newline_of_ours = source::end_line(&mut text);
    // The scanner gives up on a few malformed files by a panic (a tag right before a comma).
    panic::catch_unwind(|| read_text(&text, has_newline_of_ours))
        .unwrap_or_else(|_| Err("yaml: the scanner gave up on this file".to_owned()))
}

fn read_text(text: &str, has_newline_of_ours: bool) -> Result<File, String> {
    let mut input = text.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut input);
    let cut_at = has_newline_of_ours.then_some(text.len() as u64);
    let mut tree = Tree { parser, cut_at, items: Vec::new(), anchors: BTreeMap::new() };
    let Some(root) = tree.document()? else {
        return Ok(File { root: Node::Null, has_more_documents: false });
    };
    // A later document need not even be well-formed, because nobody reads it.
    let has_more_documents =
        !matches!(tree.parser.parse(), Ok(event) if event.data == EventData::StreamEnd);
    let items = &tree.items;
    let mut reading =
        Reading { items, open_aliases: BTreeSet::new(), value_count: 0, repeated_count: 0 };
    Ok(File { root: reading.node(root)?, has_more_documents })
}

/// A place in the document, as it is written.
enum Item {
    Scalar(Written),
    List(Vec<usize>),
    Map(Vec<(usize, usize)>),
    Alias {
        anchor: String,
        target: usize,
    },
    /// A list or mapping that is still being read.
    Open,
}

/// A scalar as it is written.
struct Written {
    tag: Option<String>,
    text: String,
    /// Whether it stands without quotes and without a tag.
    is_plain: bool,
}

impl Written {
    fn is_merge(&self) -> bool {
        self.text == "<<" && (self.is_plain || self.tag.as_deref() == Some(scalar::MERGE_TAG))
    }
}

/// The document as it is written; places point to places by number, because an alias may point
/// to what it stands in.
struct Tree<'a, 'b> {
    parser: Parser<&'a mut &'b [u8]>,
    /// The end of the text if the line break there is not the file's.
    cut_at: Option<u64>,
    items: Vec<Item>,
    anchors: BTreeMap<String, usize>,
}

impl Tree<'_, '_> {
    /// Reads the first document and returns the number of its root.
    fn document(&mut self) -> Result<Option<usize>, String> {
        loop {
            match self.next()?.data {
                EventData::StreamStart { .. } => {}
                EventData::DocumentStart { version_directive: Some(version), .. }
                    if (version.major, version.minor) != (1, 1) =>
                {
                    return Err("yaml: found incompatible YAML document".to_owned());
                }
                EventData::DocumentStart { .. } => break,
                // An empty file.
                _ => return Ok(None),
            }
        }
        let first = self.next()?;
        let root = self.item(first, 0)?;
        match self.next()?.data {
            EventData::DocumentEnd { .. } => Ok(Some(root)),
            _ => Err("yaml: did not find expected <document end>".to_owned()),
        }
    }

    fn next(&mut self) -> Result<Event, String> {
        self.parser.parse().map_err(|error| format!("yaml: {}", reason(&error)))
    }

    /// Reads the place that begins with `event` and returns its number.
    fn item(&mut self, event: Event, depth: usize) -> Result<usize, String> {
        if depth > MAX_DEPTH {
            return Err(format!("yaml: exceeded max depth of {MAX_DEPTH}"));
        }
        match event.data {
            EventData::Scalar { anchor, tag, value, plain_implicit: is_plain, style, .. } => {
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let is_cut = is_block && self.cut_at == Some(event.end_mark.index);
                let text = match value.strip_suffix('\n') {
                    Some(text) if is_cut => text.to_owned(),
                    _ => value,
                };
                Ok(self.place(anchor, Item::Scalar(Written { tag, text, is_plain })))
            }
            EventData::Alias { anchor } => match self.anchors.get(&anchor) {
                Some(&target) => Ok(self.place(None, Item::Alias { anchor, target })),
                None => Err(format!("yaml: unknown anchor '{anchor}' referenced")),
            },
            EventData::SequenceStart { anchor, .. } => {
                // The anchor exists before the list ends: the list may point to itself.
                let list = self.place(anchor, Item::Open);
                let mut items = Vec::new();
                loop {
                    let event = self.next()?;
                    match event.data {
                        EventData::SequenceEnd => break,
                        _ => items.push(self.item(event, depth + 1)?),
                    }
                }
                self.close(list, Item::List(items));
                Ok(list)
            }
            EventData::MappingStart { anchor, .. } => {
                let map = self.place(anchor, Item::Open);
                let mut pairs = Vec::new();
                loop {
                    let event = self.next()?;
                    let key = match event.data {
                        EventData::MappingEnd => break,
                        _ => self.item(event, depth + 1)?,
                    };
                    let value = self.next()?;
                    pairs.push((key, self.item(value, depth + 1)?));
                }
                self.close(map, Item::Map(pairs));
                Ok(map)
            }
            EventData::StreamStart { .. }
            | EventData::StreamEnd
            | EventData::DocumentStart { .. }
            | EventData::DocumentEnd { .. }
            | EventData::SequenceEnd
            | EventData::MappingEnd => Err("yaml: did not find expected node content".to_owned()),
        }
    }

    fn place(&mut self, anchor: Option<String>, item: Item) -> usize {
        let number = self.items.len();
        self.items.push(item);
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, number);
        }
        number
    }

    fn close(&mut self, number: usize, item: Item) {
        if let Some(place) = self.items.get_mut(number) {
            *place = item;
        }
    }
}

/// Returns the reason with the line in front where etcd has one: errors of the scanner name the
/// line that they stand in, those of the parser the one before it.
fn reason(error: &Error) -> String {
    let problem = error.problem();
    let line_of = |mark: Option<Mark>| mark.map_or(0, |mark| mark.line);
    let line = match (line_of(error.problem_mark()), line_of(error.context_mark())) {
        (0, 0) => return problem.to_owned(),
        (0, context_line) => context_line,
        (line, _) if error.kind() == ErrorKind::Scanner => line + 1,
        (line, _) => line,
    };
    format!("line {line}: {problem}")
}

/// What a written document means: aliases followed, mappings merged, scalars typed.
struct Reading<'a> {
    items: &'a [Item],
    /// Aliases that are being followed.
    open_aliases: BTreeSet<usize>,
    /// Values read so far, those that aliases repeat counted each time.
    value_count: usize,
    /// Those of them that were read through an alias.
    repeated_count: usize,
}

impl Reading<'_> {
    fn node(&mut self, number: usize) -> Result<Node, String> {
        self.count()?;
        match &self.items[number] {
            Item::Scalar(written) => scalar::resolve(written)?.into_node(),
            Item::List(items) => {
                let nodes: Result<_, _> = items.iter().map(|item| self.node(*item)).collect();
                Ok(Node::List(nodes?))
            }
            Item::Map(pairs) => {
                let mut entries = BTreeMap::new();
                self.fill(pairs, &mut entries)?;
                Ok(Node::Map(entries))
            }
            Item::Alias { anchor, target } => {
                self.open(number, anchor)?;
                let node = self.node(*target)?;
                self.open_aliases.remove(&number);
                Ok(node)
            }
            Item::Open => Err("yaml: unfinished value".to_owned()),
        }
    }

    /// Aliases let a short file stand for a long one, so values count as often as they are read.
    fn count(&mut self) -> Result<(), String> {
        self.value_count += 1;
        self.repeated_count += usize::from(!self.open_aliases.is_empty());
        let is_mostly_repeated = self.repeated_count * 100 > self.value_count * 99;
        let is_excessive = self.value_count > FREE_VALUES && is_mostly_repeated;
        if is_excessive || self.value_count > MAX_VALUES {
            return Err("yaml: document contains excessive aliasing".to_owned());
        }
        Ok(())
    }

    fn open(&mut self, number: usize, anchor: &str) -> Result<(), String> {
        if self.open_aliases.insert(number) {
            return Ok(());
        }
        Err(format!("yaml: anchor '{anchor}' value contains itself"))
    }

    /// Adds the pairs to `entries`. What comes later replaces what came before, also where the
    /// one is merged and the other is not.
    fn fill(
        &mut self,
        pairs: &[(usize, usize)],
        entries: &mut BTreeMap<String, Node>,
    ) -> Result<(), String> {
        for (key, value) in pairs {
            match &self.items[*key] {
                Item::Scalar(written) if written.is_merge() => self.merge(*value, entries)?,
                _ => {
                    let key = self.key(*key)?;
                    let node = self.node(*value)?;
                    entries.insert(key, node);
                }
            }
        }
        Ok(())
    }

    /// Adds what stands behind a `<<`: a mapping, or a list of them of which the first wins.
    fn merge(&mut self, number: usize, entries: &mut BTreeMap<String, Node>) -> Result<(), String> {
        match &self.items[number] {
            Item::List(items) => {
                for item in items.iter().rev() {
                    self.merge_one(*item, entries)?;
                }
                Ok(())
            }
            Item::Scalar(_) | Item::Map(_) | Item::Alias { .. } | Item::Open => {
                self.merge_one(number, entries)
            }
        }
    }

    fn merge_one(
        &mut self,
        number: usize,
        entries: &mut BTreeMap<String, Node>,
    ) -> Result<(), String> {
        self.count()?;
        let (target, alias) = match &self.items[number] {
            Item::Alias { anchor, target } => (*target, Some(anchor)),
            Item::Scalar(_) | Item::List(_) | Item::Map(_) | Item::Open => (number, None),
        };
        let Item::Map(pairs) = &self.items[target] else {
            let reason = "map merge requires map or sequence of maps as the value";
            return Err(format!("yaml: {reason}"));
        };
        if let Some(anchor) = alias {
            self.open(number, anchor)?;
        }
        self.fill(pairs, entries)?;
        self.open_aliases.remove(&number);
        Ok(())
    }

    /// Returns a key as JSON has it: a text, whatever it is in YAML.
    fn key(&mut self, number: usize) -> Result<String, String> {
        self.count()?;
        match &self.items[number] {
            Item::Scalar(written) => scalar::resolve(written)?.into_key(),
            Item::Alias { anchor, target } => {
                self.open(number, anchor)?;
                let key = self.key(*target)?;
                self.open_aliases.remove(&number);
                Ok(key)
            }
            Item::List(_) | Item::Map(_) | Item::Open => {
                Err("yaml: invalid map key: neither list nor mapping can be one".to_owned())
            }
        }
    }
}

impl Scalar {
    fn into_node(self) -> Result<Node, String> {
        match self {
            Self::Null => Ok(Node::Null),
            Self::Bool(value) => Ok(Node::Bool(value)),
            Self::Int(value) => Ok(Node::Number(value.to_string())),
            Self::Uint(value) => Ok(Node::Number(value.to_string())),
            Self::Float(value) if value.is_finite() => Ok(Node::Number(scalar::json(value))),
            Self::Float(value) => {
                Err(format!("json: unsupported value: {}", scalar::not_finite(value).0))
            }
            Self::Text(text) => Ok(Node::Text(text)),
        }
    }

    fn into_key(self) -> Result<String, String> {
        let unsupported = |go_type: &str| Err(format!("unsupported map key of type: {go_type}"));
        match self {
            Self::Null => unsupported("%!s(<nil>)"),
            Self::Uint(_) => unsupported("uint64"),
            Self::Bool(value) => Ok(value.to_string()),
            Self::Int(value) => Ok(value.to_string()),
            Self::Float(value) if value.is_finite() => Ok((value as f32).to_string()),
            Self::Float(value) => Ok(scalar::not_finite(value).1.to_owned()),
            Self::Text(text) => Ok(text),
        }
    }
}
