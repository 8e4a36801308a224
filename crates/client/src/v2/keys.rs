//! `/v2/keys`: reading, changing and watching the tree of keys.
//!
//! Not here: the tree's rules; the server has them.

mod json;

use serde::Deserialize;

use super::url::escape_query;
use super::{Call, Client, Deadline, Error, Response, Tries};

const PREFIX: &str = "/v2/keys";
const FORM: &str = "application/x-www-form-urlencoded";
const OK: u16 = 200;
const CREATED: u16 = 201;

/// What a request on keys did or found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What was done: get, set, delete, update, create, compareAndSwap, compareAndDelete or expire.
    pub action: String,
    /// The node that it was done to.
    pub node: Option<Node>,
    /// The node as it was before, if it was there and has changed.
    pub prev_node: Option<Node>,
    /// The index of the store when the answer was made.
    pub index: u64,
}

/// A key with its value, or a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The whole path; empty for the root.
    pub key: String,
    /// Whether it is a directory.
    pub dir: bool,
    /// The value; empty for a directory.
    pub value: String,
    /// What a directory holds; none if nothing was listed.
    pub nodes: Option<Vec<Self>>,
    /// The index at which the node was made.
    pub created_index: u64,
    /// The index of its last change.
    pub modified_index: u64,
    /// When it ends, in RFC 3339; none if it does not.
    pub expiration: Option<String>,
    /// How long it has to live, in seconds; zero if it does not end.
    pub ttl: i64,
}

/// How a node is changed.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The value to store, any bytes.
    pub value: Vec<u8>,
    /// Whether the node is a directory; its value is not sent.
    pub dir: bool,
    /// Only if the node has this value; empty for any.
    pub prev_value: String,
    /// Only if the last change of the node has this index; zero for any.
    pub prev_index: u64,
    /// Only if the node exists, or does not.
    pub prev_exist: Option<bool>,
    /// Time to live in seconds; zero or less for ever.
    pub ttl_s: i64,
}

/// How a node is removed.
#[derive(Clone, Debug, Default)]
pub struct Removal {
    /// Only if the node has this value; empty for any.
    pub prev_value: String,
    /// Only if the last change of the node has this index; zero for any.
    pub prev_index: u64,
    /// A directory too, if it is empty.
    pub dir: bool,
    /// A directory with all it holds.
    pub recursive: bool,
}

/// What a watch waits for.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    /// The first index that counts; zero for what comes next.
    pub index: u64,
    /// Below the key as well.
    pub recursive: bool,
}

impl Client {
    /// Reads a node; `quorum` asks the whole cluster instead of the endpoint alone.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn get(
        &mut self,
        key: &[u8],
        recursive: bool,
        sorted: bool,
        quorum: bool,
        deadline: Deadline,
    ) -> Result<Event, Error> {
        let mut call = key_call("GET", key);
        call.query = format!("quorum={quorum}&recursive={recursive}&sorted={sorted}");
        event(&self.call(&call, Tries::All, deadline).await?)
    }

    /// Stores a node. A node that must be new is tried at one endpoint alone: had the first one
    /// made it, the second would say that it exists.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn set(
        &mut self,
        key: &[u8],
        change: &Change,
        deadline: Deadline,
    ) -> Result<Event, Error> {
        let mut call = key_call("PUT", key);
        let mut query = Vec::new();
        if change.dir {
            query.push("dir=true".to_owned());
        }
        if let Some(exists) = change.prev_exist {
            query.push(format!("prevExist={exists}"));
        }
        if change.prev_index != 0 {
            query.push(format!("prevIndex={}", change.prev_index));
        }
        if !change.dir && !change.prev_value.is_empty() {
            query.push(format!("prevValue={}", escape_query(change.prev_value.as_bytes())));
        }
        call.query = query.join("&");
        call.body = Some((FORM, form((!change.dir).then_some(&change.value), change.ttl_s)));
        let tries = if change.prev_exist == Some(false) { Tries::One } else { Tries::All };
        event(&self.call(&call, tries, deadline).await?)
    }

    /// Stores a value under a new key in a directory; later ones sort behind earlier ones.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn create_in_order(
        &mut self,
        dir: &[u8],
        value: &[u8],
        ttl_s: i64,
        deadline: Deadline,
    ) -> Result<Event, Error> {
        let mut call = key_call("POST", dir);
        call.body = Some((FORM, form(Some(value), ttl_s)));
        event(&self.call(&call, Tries::All, deadline).await?)
    }

    /// Removes a node, at one endpoint alone.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn delete(
        &mut self,
        key: &[u8],
        removal: &Removal,
        deadline: Deadline,
    ) -> Result<Event, Error> {
        let mut call = key_call("DELETE", key);
        let mut query = Vec::new();
        if removal.dir {
            query.push("dir=true".to_owned());
        }
        if removal.prev_index != 0 {
            query.push(format!("prevIndex={}", removal.prev_index));
        }
        if !removal.prev_value.is_empty() {
            query.push(format!("prevValue={}", escape_query(removal.prev_value.as_bytes())));
        }
        if removal.recursive {
            query.push("recursive=true".to_owned());
        }
        call.query = query.join("&");
        event(&self.call(&call, Tries::One, deadline).await?)
    }

    /// Waits for the next event and moves `waiting` behind it.
    ///
    /// # Errors
    /// If the server refuses, or none answers.
    pub async fn next_event(&mut self, key: &[u8], waiting: &mut Waiting) -> Result<Event, Error> {
        loop {
            let mut call = key_call("GET", key);
            let (recursive, index) = (waiting.recursive, waiting.index);
            call.query = format!("recursive={recursive}&wait=true&waitIndex={index}");
            call.waits = true;
            match event(&self.call(&call, Tries::All, None).await?) {
                // A server that stops ends its watches without an event.
                Err(Error::EmptyBody) => {}
                Err(error) => return Err(error),
                Ok(event) => {
                    let seen = event.node.as_ref().map_or(index, |node| node.modified_index);
                    waiting.index = seen.saturating_add(1);
                    return Ok(event);
                }
            }
        }
    }
}

fn key_call(method: &'static str, key: &[u8]) -> Call {
    let slash: &[u8] = if key.is_empty() || key.starts_with(b"/") { b"" } else { b"/" };
    let path = [PREFIX.as_bytes(), slash, key].concat();
    Call { keeps_slash: true, ..Call::new(method, path) }
}

/// The fields of a form in the order of their names.
fn form(value: Option<impl AsRef<[u8]>>, ttl_s: i64) -> String {
    let ttl = (ttl_s > 0).then(|| format!("ttl={ttl_s}"));
    let value = value.map(|value| format!("value={}", escape_query(value.as_ref())));
    let fields: Vec<String> = ttl.into_iter().chain(value).collect();
    fields.join("&")
}

/// The body of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Refusal {
    error_code: i64,
    message: String,
    cause: String,
    index: u64,
}

fn event(response: &Response) -> Result<Event, Error> {
    if !matches!(response.status, OK | CREATED) {
        let refusal: Result<Refusal, _> = serde_json::from_slice(&response.body);
        let Refusal { error_code: code, message, cause, index } =
            refusal.map_err(|_| Error::InvalidJson)?;
        return Err(Error::Keys { code, message, cause, index });
    }
    if response.body.is_empty() {
        return Err(Error::EmptyBody);
    }
    let mut event = json::event(&response.body).ok_or(Error::InvalidJson)?;
    let index = response.header("x-etcd-index");
    if !index.is_empty() {
        let wrong = |_| Error::Text(format!("parsing {index:?}: invalid syntax"));
        event.index = index.parse().map_err(wrong)?;
    }
    Ok(event)
}
