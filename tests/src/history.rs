//! What the clients of a run did and saw, and what the store says happened.
//!
//! Every value is written by at most one operation, so a value found in the store names its
//! writer. Not here: judging any of it (`checker`).

use std::collections::BTreeMap;

use quoin_api::etcdserverpb::RangeRequest;
use quoin_api::mvccpb::KeyValue;
use tokio::task::JoinSet;

use crate::rpc::Kv;

/// Reads of the history that are under way at once.
const LANES: i64 = 16;

/// Nanoseconds since the run began; one clock for all clients.
pub type Nanos = u64;

/// One request of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which client.
    pub client: usize,
    /// What it asked for.
    pub call: Call,
    /// When it asked.
    pub called_at: Nanos,
    /// What came of it.
    pub outcome: Outcome,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Writes a value.
    Put {
        /// The key.
        key: String,
        /// The value, which no other operation writes.
        value: String,
    },
    /// A linearizable read.
    Get {
        /// The key.
        key: String,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Writes two keys in one transaction if the first was last modified at the given revision
    /// (0: does not exist), or else reads the first.
    Swap {
        /// The key that is compared and written.
        key: String,
        /// The key that is written with it.
        twin: String,
        /// The revision that the key must have been modified at.
        modified: i64,
        /// The value, which no other operation writes.
        value: String,
    },
}

/// What a client learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing: an error or no answer in time. It may have happened, or may yet happen.
    Unknown,
    /// The answer.
    Done {
        /// When it came.
        returned_at: Nanos,
        /// The revision in its header.
        revision: i64,
        /// The rest of it.
        seen: Seen,
    },
}

/// The part of an answer that depends on the operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The operation wrote or deleted.
    Changed,
    /// The operation changed nothing and found this.
    Found(Option<Entry>),
}

/// One key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its value.
    pub value: String,
    /// The revision that created it.
    pub created: i64,
    /// The revision that modified it last.
    pub modified: i64,
    /// How often it was written since it was created.
    pub version: i64,
}

impl From<&KeyValue> for Entry {
    fn from(kv: &KeyValue) -> Self {
        Self {
            value: String::from_utf8_lossy(&kv.value).into_owned(),
            created: kv.create_revision,
            modified: kv.mod_revision,
            version: kv.version,
        }
    }
}

/// All keys at one revision.
pub type State = BTreeMap<String, Entry>;

/// Reads every revision from the first to the current one through one member. The state at
/// revision `r` is at position `r - 1`.
///
/// # Errors
/// If a read fails or does not answer for the revision it was asked for.
pub async fn read_all(kv: &mut Kv, prefix: &str) -> Result<Vec<State>, String> {
    let (current, last) = read(kv, prefix, 0).await?;
    let mut lanes = JoinSet::new();
    for lane in 1..=LANES {
        let mut kv = kv.clone();
        let prefix = prefix.to_owned();
        lanes.spawn(async move {
            let mut states = Vec::new();
            for revision in (lane..=last).step_by(usize::try_from(LANES).unwrap_or(1)) {
                states.push((revision, read(&mut kv, &prefix, revision).await?.0));
            }
            Ok::<Vec<(i64, State)>, String>(states)
        });
    }
    let mut states = BTreeMap::new();
    while let Some(lane) = lanes.join_next().await {
        states.extend(lane.map_err(|error| error.to_string())??);
    }
    let states: Vec<State> = states.into_values().collect();
    if states.last() != Some(&current) {
        return Err(format!("revision {last} and the current state differ"));
    }
    Ok(states)
}

/// Reads the keys with a prefix at a revision (0: now, linearizable), with the current revision.
async fn read(kv: &mut Kv, prefix: &str, revision: i64) -> Result<(State, i64), String> {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().ok_or("an empty prefix")? += 1;
    let request = RangeRequest {
        key: prefix.to_owned().into(),
        range_end: end.into(),
        revision,
        ..RangeRequest::default()
    };
    let answer = kv.range(request).await;
    let answer = answer.map_err(|status| format!("read at {revision}: {status}"))?.into_inner();
    let header = answer.header.ok_or("an answer without header")?;
    let named = |kv: &KeyValue| (String::from_utf8_lossy(&kv.key).into_owned(), Entry::from(kv));
    Ok((answer.kvs.iter().map(named).collect(), header.revision))
}
