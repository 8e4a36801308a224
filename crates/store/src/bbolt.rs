//! The state as etcd's database file, both ways: what comes from an etcd and what goes to one.
//!
//! [`DbExport`] streams the file of a view, with a size that is known before the first byte;
//! [`DbImport`] reads a file that an etcd 3.4 to 3.7 left, or another export. Both hold the same
//! rows:
//!
//! | bucket | key | value |
//! |---|---|---|
//! | `alarm` | `AlarmMember` | empty |
//! | `auth` | `authRevision` | 8 bytes, big endian |
//! | | `authEnabled` | 1 if requests need a user |
//! | `authRoles`, `authUsers` | name | role or user |
//! | `cluster` | `clusterVersion` | `3.7.0` |
//! | | `downgrade` | JSON: target version, enabled |
//! | `key` | main revision (8), `_`, sub revision (8), `t` for a deletion | record |
//! | `lease` | ID, 8 bytes, big endian | `Lease` |
//! | `members` | ID in hexadecimal | JSON |
//! | `members_removed` | ID in hexadecimal | `removed` |
//! | `meta` | `consistent_index`, `term` | of the last entry applied; 8 bytes, big endian |
//! | | `confState` | JSON: voters, learners |
//! | | `scheduledCompactRev`, `finishedCompactRev` | a revision as in `key` |
//! | | `storageVersion` | `3.7.0`; from 3.6 on |
//!
//! etcd 3.4 has neither `term` nor `confState`, and leaves them as they are where it finds them, so
//! they are not written and do not count while the cluster version is 3.4 or less. Its rows of members may be newer than its
//! index; a restored backup may have those of the cluster that it came from. Before 3.6 what
//! counts is the [`SnapFile`] beside the database and the log after it ([`ClusterReplay`]); so it is
//! for the store of the v2 API.
//!
//! An import reads and checks all rows, but keeps only where the records are: they stay in the file
//! until a checkpoint copies them.
//!
//! Not here: the file format (`bolt`), which files a data-dir has, the log.

mod export;
mod import;
mod keys;
mod receive;
mod replay;
mod rows;
#[cfg(test)]
mod tests;
mod v2;

pub use export::{DbExport, ExportError};
pub use import::{DbImport, ImportError};
pub use receive::{Announced, ReceiveError, ReceivedDatabase};
pub use replay::ClusterReplay;
pub use v2::SnapFile;

use crate::membership::ClusterVersion;

const ALARM: &str = "alarm";
const AUTH: &str = "auth";
const AUTH_ROLES: &str = "authRoles";
const AUTH_USERS: &str = "authUsers";
const CLUSTER: &str = "cluster";
const KEY: &str = "key";
const LEASE: &str = "lease";
const MEMBERS: &str = "members";
const MEMBERS_REMOVED: &str = "members_removed";
const META: &str = "meta";

/// All buckets, in the order of the file.
const BUCKETS: [&str; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];

const AUTH_ENABLED: &[u8] = b"authEnabled";
const AUTH_REVISION: &[u8] = b"authRevision";
const CLUSTER_VERSION: &[u8] = b"clusterVersion";
const DOWNGRADE: &[u8] = b"downgrade";
const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";
const CONF_STATE: &[u8] = b"confState";
const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
const STORAGE_VERSION: &[u8] = b"storageVersion";

/// The first minor version of etcd 3 that keeps the rows of term and voters up to date.
const TERM_SINCE: u64 = 5;
/// The first minor version of etcd 3 that writes down the version of its storage.
const STORAGE_VERSION_SINCE: u64 = 6;
/// Whether an etcd that does not know the rows of term and voters may have written the file, or
/// write to it: the cluster version says that there is one. A new cluster is at 3.0 until all of its
/// members have come.
fn is_of_old_cluster(version: Option<ClusterVersion>) -> bool {
    version.is_some_and(|v| v.major == 3 && v.minor > 0 && v.minor < TERM_SINCE)
}

/// The revision of users and roles before the first change of them.
const FIRST_AUTH_REVISION: u64 = 1;
