//! The rows of a view in the order of the file, a batch at a time.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::AlarmType;
use quoin_api::leasepb;
use serde::{Deserialize, Serialize};

use super::{
    ALARM, AUTH, AUTH_REVISION, CLUSTER, CLUSTER_VERSION, CONF_STATE, CONSISTENT_INDEX, DOWNGRADE,
    FINISHED_COMPACT, FIRST_AUTH_REVISION, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META,
    SCHEDULED_COMPACT, STORAGE_VERSION, STORAGE_VERSION_SINCE, TERM, is_of_old_cluster,
};
use crate::checkpoint::ConfState;
use crate::history::Record;
use crate::lease::Lease;
use crate::revision::Revision;
use crate::view::View;

/// Records or leases that are looked at for one batch.
const BATCH_ROWS: usize = 256;

/// A row of the file.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) bucket: &'static str,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// Who votes and who learns, as JSON of Go.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct ConfStateRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) voters: Option<Vec<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) learners: Option<Vec<u64>>,
    #[serde(skip_serializing)]
    pub(super) voters_outgoing: Option<Vec<u64>>,
    #[serde(skip_serializing)]
    pub(super) learners_next: Option<Vec<u64>>,
    auto_leave: bool,
}

/// A downgrade as JSON of Go.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct DowngradeRow {
    #[serde(rename = "target-version")]
    pub(super) target_version: String,
    pub(super) enabled: bool,
}

/// All rows of a view. Cloning it begins another walk over the same view.
#[derive(Clone)]
pub(super) struct Rows {
    view: View,
    conf: ConfState,
    next: Next,
}

/// What the next batch begins with.
#[derive(Clone, Copy)]
enum Next {
    BeforeRecords,
    Records(Revision),
    /// Leases from this ID on, as an unsigned number.
    Leases(u64),
    AfterLeases,
    End,
}

impl Rows {
    pub(super) fn new(view: View, conf: &ConfState) -> Self {
        Self { view, conf: conf.clone(), next: Next::BeforeRecords }
    }

    /// The next rows; none at the end.
    pub(super) fn next_batch(&mut self) -> Result<Vec<Row>, Error> {
        loop {
            let batch = match self.next {
                Next::BeforeRecords => {
                    self.next = Next::Records(Revision::first_of(0));
                    self.before_records()
                }
                Next::Records(from) => self.records(from)?,
                Next::Leases(from) => self.leases(from),
                Next::AfterLeases => {
                    self.next = Next::End;
                    self.after_leases()
                }
                Next::End => return Ok(Vec::new()),
            };
            if !batch.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// The cluster's version, if it is one that the file names.
    pub(super) fn storage_version(&self) -> String {
        let version = self.view.membership().version();
        let named = version.filter(|v| (v.major, v.minor) >= (3, STORAGE_VERSION_SINCE));
        named.map(|version| version.to_string()).unwrap_or_default()
    }

    fn before_records(&self) -> Vec<Row> {
        let membership = self.view.membership();
        let alarms = self.view.alarms(AlarmType::None).into_iter();
        let mut rows: Vec<Row> =
            alarms.map(|alarm| row(ALARM, alarm.encode_to_vec(), "")).collect();
        rows.sort_by(|left, right| left.key.cmp(&right.key));
        rows.push(row(AUTH, AUTH_REVISION, FIRST_AUTH_REVISION.to_be_bytes()));
        if let Some(version) = membership.version() {
            rows.push(row(CLUSTER, CLUSTER_VERSION, version.to_string()));
        }
        if let Some(target) = &membership.downgrade().target_version {
            let downgrade = DowngradeRow { target_version: target.clone(), enabled: true };
            rows.push(row(CLUSTER, DOWNGRADE, json(&downgrade)));
        }
        rows
    }

    fn records(&mut self, from: Revision) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::with_capacity(BATCH_ROWS);
        let mut visited = 0;
        for record in records(&self.view, from) {
            let Record { revision, tombstone, bytes } = record?;
            visited += 1;
            if visited > BATCH_ROWS {
                self.next = Next::Records(revision);
                return Ok(rows);
            }
            let key = Bytes::copy_from_slice(revision.row_key(tombstone).as_bytes());
            rows.push(Row { bucket: KEY, key, value: bytes });
        }
        self.next = Next::Leases(0);
        Ok(rows)
    }

    fn leases(&mut self, from: u64) -> Vec<Row> {
        let mut rows = Vec::new();
        for Lease { id, ttl_s, remaining_ttl_s, .. } in leases(&self.view, from) {
            if rows.len() == BATCH_ROWS {
                self.next = Next::Leases(id as u64);
                return rows;
            }
            let lease = leasepb::Lease { id, ttl: ttl_s, remaining_ttl: remaining_ttl_s };
            rows.push(row(LEASE, id.to_be_bytes(), lease.encode_to_vec()));
        }
        self.next = Next::AfterLeases;
        rows
    }

    fn after_leases(&self) -> Vec<Row> {
        let membership = self.view.membership();
        let members = membership.members();
        let members = members.map(|m| row(MEMBERS, format!("{:x}", m.id), m.to_json(None)));
        let mut rows: Vec<Row> = members.collect();
        let removed = membership.removed();
        rows.extend(removed.map(|id| row(MEMBERS_REMOVED, format!("{id:x}"), "removed")));
        rows.extend(self.meta());
        rows.sort_by(|left, right| (left.bucket, &left.key).cmp(&(right.bucket, &right.key)));
        rows
    }

    fn meta(&self) -> Vec<Row> {
        let is_old = is_of_old_cluster(self.view.membership().version());
        let ids = |ids: &[u64]| Some(ids.to_vec()).filter(|ids| !ids.is_empty());
        let conf = ConfStateRow {
            voters: ids(&self.conf.voters),
            learners: ids(&self.conf.learners),
            ..ConfStateRow::default()
        };
        let mut rows = Vec::new();
        if !is_old {
            rows.push(row(META, CONF_STATE, json(&conf)));
        }
        let (index, term) = self.view.applied();
        // etcd takes index 0 for none.
        if index > 0 {
            rows.push(row(META, CONSISTENT_INDEX, index.to_be_bytes()));
            if !is_old {
                rows.push(row(META, TERM, term.to_be_bytes()));
            }
        }
        let compacted = self.view.compact_revision();
        if compacted >= 0 {
            let revision = Revision::first_of(compacted).row_key(false);
            let bytes = Bytes::copy_from_slice(revision.as_bytes());
            rows.push(row(META, FINISHED_COMPACT, bytes.clone()));
            rows.push(row(META, SCHEDULED_COMPACT, bytes));
        }
        let version = self.storage_version();
        if !version.is_empty() {
            rows.push(row(META, STORAGE_VERSION, version));
        }
        rows
    }
}

/// The records that no compaction has made unreachable, in order.
fn records(view: &View, from: Revision) -> impl Iterator<Item = Result<Record, Error>> + '_ {
    let records = view.history.iter_from(from).map(|record| record.map_err(|_| Error::Corrupt));
    records.filter(|record| record.as_ref().map_or(true, |record| view.is_kept(record)))
}

/// The leases from an ID on, in the order of the IDs as unsigned numbers.
fn leases(view: &View, from: u64) -> impl Iterator<Item = Lease> + '_ {
    let from = from as i64;
    let positive = (from >= 0).then(|| view.leases.iter_from(from));
    let negative = view.leases.iter_from(if from >= 0 { i64::MIN } else { from });
    positive.into_iter().flatten().chain(negative.take_while(|lease| lease.id < 0))
}

fn row(bucket: &'static str, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Row {
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    Row { bucket, key: copy(key.as_ref()), value: copy(value.as_ref()) }
}

fn json(row: &impl Serialize) -> String {
    serde_json::to_string(row).expect("the row has only strings, numbers and lists")
}
