//! From a view to the bytes of a database file.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_bolt::{Planner, WriteError, Writer};

use super::BUCKETS;
use super::rows::{Row, Rows};
use super::v2::SnapFile;
use crate::checkpoint::{Checkpoint, ConfState};
use crate::membership::{Member, Membership};
use crate::view::View;

/// A view cannot be written as a database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Stored bytes cannot be read or are damaged.
    #[error(transparent)]
    Read(#[from] Error),
    /// A row does not fit into the format.
    #[error("the state does not fit into a database file: {0}")]
    Write(#[from] WriteError),
}

/// The bytes of a database file, in pieces of about 64 KiB. The view that it shows is kept alive
/// and the store goes on; no more than a few pieces are in memory.
pub struct DbExport {
    file_bytes: u64,
    storage_version: String,
    rows: Rows,
    batch: VecDeque<Row>,
    /// None after the last piece, or an error.
    writer: Option<Writer>,
}

impl Checkpoint {
    /// Begins to write this state as a database file of etcd.
    ///
    /// # Errors
    /// If stored bytes cannot be read.
    pub fn export(&self) -> Result<DbExport, ExportError> {
        DbExport::new(self.view().clone(), self.conf())
    }

    /// Members and v2 store of this state as a snapshot file of etcd.
    pub fn snap_file(&self) -> SnapFile {
        let (index, term) = self.view().applied();
        let v2_store = Bytes::from(self.view().v2().to_json());
        SnapFile { index, term, conf: self.conf().clone(), v2_store }
    }
}

impl View {
    /// Who votes and who learns, as the members say.
    pub fn conf(&self) -> ConfState {
        self.membership().conf()
    }

    /// The same keys with these members and no others, and without a cluster version: for the
    /// database of a copy that begins a cluster of its own.
    #[must_use]
    pub fn with_members(mut self, members: Vec<Member>) -> Self {
        let members = members.into_iter().map(|member| (member.id, member)).collect();
        self.membership = Arc::new(Membership { members, ..Membership::default() });
        self
    }
}

impl DbExport {
    /// Finds the layout of the file. This goes over all records, so it is no work for a thread
    /// that others wait for; nor is the iteration.
    ///
    /// # Errors
    /// If stored bytes cannot be read.
    pub fn new(view: View, conf: &ConfState) -> Result<Self, ExportError> {
        let rows = Rows::new(view, conf);
        let mut planner = Planner::new(&BUCKETS)?;
        let mut lengths = rows.clone();
        loop {
            let batch = lengths.next_batch()?;
            if batch.is_empty() {
                break;
            }
            for Row { bucket, key, value } in batch {
                planner.pair(bucket.as_bytes(), key.len(), value.len())?;
            }
        }
        let layout = planner.finish();
        Ok(Self {
            file_bytes: layout.file_bytes(),
            storage_version: rows.storage_version(),
            rows,
            batch: VecDeque::new(),
            writer: Some(layout.writer()),
        })
    }

    /// Returns the length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Returns the storage version that the file says it has; empty before etcd 3.6.
    pub fn storage_version(&self) -> &str {
        &self.storage_version
    }

    fn step(&mut self) -> Result<Option<Bytes>, ExportError> {
        let Some(writer) = &mut self.writer else { return Ok(None) };
        loop {
            if let Some(chunk) = writer.take_chunk() {
                return Ok(Some(chunk));
            }
            if writer.is_finished() {
                self.writer = None;
                return Ok(None);
            }
            if self.batch.is_empty() {
                self.batch = self.rows.next_batch()?.into();
            }
            match self.batch.pop_front() {
                Some(Row { bucket, key, value }) => writer.pair(bucket.as_bytes(), key, value)?,
                None => writer.finish()?,
            }
        }
    }
}

impl Iterator for DbExport {
    type Item = Result<Bytes, ExportError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.writer = None;
        }
        step.transpose()
    }
}

impl std::fmt::Debug for DbExport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DbExport").field("file_bytes", &self.file_bytes).finish_non_exhaustive()
    }
}
