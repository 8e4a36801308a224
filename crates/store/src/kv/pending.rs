//! Replies that are not made yet.
//!
//! Apply makes effects. Where somebody waits for the reply it keeps what cannot be found out later: the
//! revision, how many keys were deleted, and the index as the operation found it, which costs a
//! pointer. What is stored is read by whoever makes the reply, on another thread.
//!
//! Invariants:
//! - A reply says what its operation found, however much happens until it is made: what compaction takes
//!   from the store stays in the index and the history that are kept here.
//! - Making it again says the same.

use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutResponse, RangeRequest, ResponseHeader, ResponseOp,
    TxnResponse,
};
use quoin_api::mvccpb::KeyValue;

use super::bound::{Bound, Halt};
use super::pick::pair_bytes;
use super::{Failure, Reader, Span};
use crate::history::HistoryView;
use crate::index::Index;
use crate::revision::Revision;

/// What an operation has found, as far as its reply needs it.
#[derive(Clone)]
pub(crate) enum Pending {
    /// Nobody waits for it, or it was none.
    Nothing,
    /// A range, to be read in the state after the changes before it.
    Range(Box<PendingRange>),
    /// A put, and the change before it if that is wanted and there is one.
    Put { revision: i64, previous: Option<Revision> },
    /// A deletion.
    Delete(Box<PendingDelete>),
    /// A transaction; only the outermost one tells a revision.
    Txn { revision: i64, succeeded: bool, operations: Vec<Self> },
}

#[derive(Clone)]
pub(crate) struct PendingRange {
    pub(crate) index: Index,
    pub(crate) revision: i64,
    pub(crate) request: RangeRequest,
}

#[derive(Clone)]
pub(crate) struct PendingDelete {
    pub(crate) revision: i64,
    pub(crate) deleted: i64,
    /// The index before the deletion, if what was deleted is wanted.
    pub(crate) before: Option<(Index, DeleteRangeRequest)>,
}

/// Where what was found is stored.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) history: HistoryView,
    pub(crate) compacted: i64,
}

impl Stored {
    fn reader<'a>(&'a self, index: &'a Index, revision: i64) -> Reader<'a> {
        Reader { index, history: &self.history, revision, compacted: self.compacted }
    }
}

impl Pending {
    /// Makes the response, unless that takes more than is left of the bound. There is none for what
    /// was no operation.
    pub(crate) fn response(
        &self,
        stored: &Stored,
        bound: &mut Bound,
    ) -> Result<Option<Response>, Halt> {
        Ok(Some(match self {
            Self::Nothing => return Ok(None),
            Self::Range(range) => {
                let reader = stored.reader(&range.index, range.revision);
                Response::ResponseRange(reader.range_within(&range.request, bound)?)
            }
            Self::Put { revision, previous } => {
                let pairs = pairs(stored, previous.iter().copied(), bound)?;
                let prev_kv = pairs.into_iter().next();
                Response::ResponsePut(PutResponse { header: header(*revision), prev_kv })
            }
            Self::Delete(delete) => {
                let (header, deleted) = (header(delete.revision), delete.deleted);
                let prev_kvs = pairs(stored, delete.previous(stored), bound)?;
                Response::ResponseDeleteRange(DeleteRangeResponse { header, deleted, prev_kvs })
            }
            Self::Txn { revision, succeeded, operations } => {
                let mut responses = Vec::with_capacity(operations.len());
                for operation in operations {
                    let response = operation.response(stored, bound)?;
                    responses.push(ResponseOp { response });
                }
                let (header, succeeded) = (header(*revision), *succeeded);
                Response::ResponseTxn(TxnResponse { header, succeeded, responses })
            }
        }))
    }

    /// Bytes that the response takes while it is made, from the lengths of what is stored.
    pub(crate) fn bytes(&self, stored: &Stored) -> Result<usize, Failure> {
        let bytes_of = |revision| held_bytes(stored, revision);
        Ok(match self {
            Self::Nothing => 0,
            Self::Range(range) => {
                stored.reader(&range.index, range.revision).range_bytes(&range.request)?
            }
            Self::Put { previous, .. } => previous.map_or(0, bytes_of),
            Self::Delete(delete) => {
                delete.previous(stored).map(bytes_of).fold(0, usize::saturating_add)
            }
            Self::Txn { operations, .. } => {
                let mut bytes = 0_usize;
                for operation in operations {
                    bytes = bytes.saturating_add(operation.bytes(stored)?);
                }
                bytes
            }
        })
    }
}

impl PendingDelete {
    /// The changes that were current before the deletion, if they are wanted.
    fn previous<'a>(&'a self, stored: &'a Stored) -> impl Iterator<Item = Revision> + 'a {
        let before = self.before.iter();
        before.flat_map(|(index, request)| {
            let span = Span::new(&request.key, &request.range_end);
            stored.reader(index, self.revision).live(span).map(|state| state.modified)
        })
    }
}

/// Reads what some changes stored.
fn pairs(
    stored: &Stored,
    revisions: impl Iterator<Item = Revision>,
    bound: &mut Bound,
) -> Result<Vec<KeyValue>, Halt> {
    let mut located = Vec::new();
    for revision in revisions {
        bound.look(1)?;
        let at = stored.history.locate(revision);
        bound.take(pair_bytes(at.bytes))?;
        located.push(at);
    }
    let index = Index::default();
    Ok(stored.reader(&index, 0).located_pairs(&located)?)
}

fn held_bytes(stored: &Stored, revision: Revision) -> usize {
    pair_bytes(stored.history.locate(revision).bytes) + size_of::<KeyValue>()
}

/// A transaction inside another tells no revision.
fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}
