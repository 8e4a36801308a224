//! The database of a copy: none of the old members, and the one new one.
//!
//! | bucket | what becomes of it |
//! |---|---|
//! | `members` | the new member |
//! | `members_removed`, `cluster` | empty |
//! | `meta` | `confState`, if there is one, has the new member |
//! | all others | stay, rows that this release does not know included |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quoin_bolt::{BoltError, Db, Layout, WriteError};
use quoin_raft::{Index, Term};
use quoin_store::{DbExport, View};
use quoin_vfs::{FileSystem, Lock};

use super::members::NewCluster;

const CLUSTER: &str = "cluster";
const KEY: &str = "key";
const MEMBERS: &str = "members";
const MEMBERS_REMOVED: &str = "members_removed";
const META: &str = "meta";
const CONF_STATE: &str = "confState";
const CONSISTENT_INDEX: &str = "consistent_index";
const TERM: &str = "term";

/// Where the keys of the v3 API come from.
pub(super) enum Database {
    /// They are not wanted.
    Empty,
    /// The database of an etcd.
    File {
        path: PathBuf,
        /// The file must not change until it was copied.
        _lock: Box<dyn Lock>,
    },
    /// A member of ours.
    State(Box<View>),
}

/// A row: its bucket, key and value.
type Row = (String, Bytes, Bytes);

/// The index of the last entry in the database of an etcd.
pub(super) fn index(fs: &dyn FileSystem, path: &Path) -> Result<u64, String> {
    let read = || -> Result<Option<Bytes>, BoltError> {
        let db = Db::open(fs, path)?;
        let meta = db.bucket(META.as_bytes())?;
        meta.map_or(Ok(None), |meta| meta.get(CONSISTENT_INDEX.as_bytes()))
    };
    let Some(value) = read().map_err(|error| error.to_string())? else { return Ok(0) };
    let bytes = value.as_ref().try_into();
    let bytes = bytes.map_err(|_| format!("{} has an index that is no number", path.display()))?;
    Ok(u64::from_be_bytes(bytes))
}

/// A database without keys at an entry.
pub(super) fn empty(
    (index, term): (Index, Term),
    cluster: &NewCluster,
) -> Result<Vec<Result<Bytes, String>>, String> {
    let number = |number: u64| Bytes::copy_from_slice(&number.to_be_bytes());
    let rows = [
        member_row(cluster),
        row(META, CONF_STATE, Bytes::from(conf_state(cluster))),
        row(META, CONSISTENT_INDEX, number(index.0)),
        row(META, TERM, number(term.0)),
    ];
    // An etcd makes the buckets that it misses, but a database without keys is taken for none.
    let names = [CLUSTER, KEY, MEMBERS, MEMBERS_REMOVED, META];
    let lengths = rows.iter().map(|(bucket, key, value)| Ok((bucket, key.len(), value.len())));
    let layout: Result<Layout, WriteError> = Layout::of(&names, lengths);
    let layout = layout.map_err(|error| error.to_string())?;
    let chunks = layout.write(rows.into_iter().map(Ok));
    Ok(chunks.map(|chunk: Result<Bytes, WriteError>| chunk.map_err(|e| e.to_string())).collect())
}

/// Gives the bytes of a copy of a database to `write`.
pub(super) fn copy(
    fs: &dyn FileSystem,
    path: &Path,
    cluster: &NewCluster,
    write: impl FnOnce(&mut dyn Iterator<Item = Result<Bytes, String>>) -> Result<(), String>,
) -> Result<(), String> {
    let db = Db::open(fs, path).map_err(|error| error.to_string())?;
    let names = names(&db)?;
    let refs: Vec<&str> = names.iter().map(String::as_str).collect();
    let lengths = rows(&db, &names, cluster)
        .map(|row| row.map(|(bucket, key, value)| (bucket, key.len(), value.len())));
    let layout = Layout::of(&refs, lengths).map_err(|Failure(text)| text)?;
    let chunks = layout.write(rows(&db, &names, cluster));
    write(&mut chunks.map(|chunk| chunk.map_err(|Failure(text)| text)))
}

/// The bytes of a database with the keys of a member of ours.
pub(super) fn of_state(
    view: &View,
    cluster: &NewCluster,
) -> Result<impl Iterator<Item = Result<Bytes, String>> + use<>, String> {
    let view = view.clone().with_members(vec![cluster.member()]);
    let export = DbExport::new(view, &cluster.conf()).map_err(|error| error.to_string())?;
    Ok(export.map(|chunk| chunk.map_err(|error| error.to_string())))
}

/// An error of either side.
struct Failure(String);

impl From<BoltError> for Failure {
    fn from(error: BoltError) -> Self {
        Self(error.to_string())
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        Self(error.to_string())
    }
}

/// The buckets of the copy in ascending order.
fn names(db: &Db) -> Result<Vec<String>, String> {
    let mut names = vec![MEMBERS.to_owned(), META.to_owned()];
    for bucket in db.buckets() {
        let (name, _) = bucket.map_err(|error| error.to_string())?;
        let name = String::from_utf8(name.to_vec());
        names.push(name.map_err(|_| format!("{} has an odd bucket", db.path().display()))?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The rows of the copy in ascending order.
fn rows<'a>(
    db: &'a Db,
    names: &'a [String],
    cluster: &'a NewCluster,
) -> impl Iterator<Item = Result<Row, Failure>> + 'a {
    names.iter().flat_map(move |name| -> Box<dyn Iterator<Item = Result<Row, Failure>> + 'a> {
        match name.as_str() {
            MEMBERS => Box::new(std::iter::once(Ok(member_row(cluster)))),
            CLUSTER | MEMBERS_REMOVED => Box::new(std::iter::empty()),
            META => match meta(db, cluster) {
                Ok(rows) => Box::new(rows.into_iter().map(Ok)),
                Err(error) => Box::new(std::iter::once(Err(error))),
            },
            name => Box::new(bucket_rows(db, name)),
        }
    })
}

/// The rows of one bucket as they are.
fn bucket_rows<'a>(db: &'a Db, name: &str) -> impl Iterator<Item = Result<Row, Failure>> + 'a {
    let owned = name.to_owned();
    let (found, error) = match db.bucket(name.as_bytes()) {
        Ok(bucket) => (bucket, None),
        Err(error) => (None, Some(Err(error.into()))),
    };
    let pairs = found.map(|bucket| bucket.pairs()).into_iter().flatten();
    let rows = pairs.map(move |pair| Ok(pair.map(|pair| (owned.clone(), pair.key, pair.value))?));
    error.into_iter().chain(rows)
}

fn meta(db: &Db, cluster: &NewCluster) -> Result<Vec<Row>, Failure> {
    let mut rows = BTreeMap::new();
    for row in bucket_rows(db, META) {
        let (_, key, value) = row?;
        rows.insert(key, value);
    }
    if let Some(value) = rows.get_mut(CONF_STATE.as_bytes()) {
        *value = Bytes::from(conf_state(cluster));
    }
    Ok(rows.into_iter().map(|(key, value)| (META.to_owned(), key, value)).collect())
}

fn conf_state(cluster: &NewCluster) -> String {
    format!("{{\"voters\":[{}],\"auto_leave\":false}}", cluster.node)
}

fn member_row(cluster: &NewCluster) -> Row {
    let member = cluster.member();
    row(MEMBERS, &format!("{:x}", member.id), Bytes::from(member.to_json(None)))
}

fn row(bucket: &str, key: &str, value: Bytes) -> Row {
    (bucket.to_owned(), Bytes::copy_from_slice(key.as_bytes()), value)
}
