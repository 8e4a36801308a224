//! What a request may not ask for, found out from the request alone.
//!
//! The server checks before it proposes; apply does not check again, because all members must
//! treat an entry alike whoever proposed it. The order of the checks decides which error a request
//! with several faults gets, so it is etcd's.
//!
//! Not here: what depends on the state of the store, such as a lease that does not exist.

use quoin_api::error::Error;
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

mod overlap;
#[cfg(test)]
mod tests;

/// How deep transactions may be inside one another. The decoder of entries stops at a depth too,
/// somewhat above, and an entry that cannot be decoded stops every member: so this limit must be
/// the one that a client meets.
pub const MAX_TXN_DEPTH: usize = 32;

/// Checks a range.
pub fn check_range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err()
        || SortTarget::try_from(request.sort_target).is_err()
    {
        return Err(Error::InvalidSortOption);
    }
    Ok(())
}

/// Checks a range whose answer is streamed, which cannot be sorted or filtered.
pub fn check_range_stream(request: &RangeRequest) -> Result<(), Error> {
    check_range(request)?;
    if !has_key_order(request) {
        return Err(Error::RangeStreamSort);
    }
    if has_revision_filters(request) {
        return Err(Error::RangeStreamFilter);
    }
    Ok(())
}

/// Checks a put.
pub fn check_put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

/// Checks a deletion.
pub fn check_delete(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

/// Checks a transaction and everything in it: no list may be longer than `max_ops`, and no key may
/// be written twice.
pub fn check_txn(request: &TxnRequest, max_ops: usize) -> Result<(), Error> {
    check_operations(request, max_ops, MAX_TXN_DEPTH)?;
    overlap::check_branch(&request.success)?;
    overlap::check_branch(&request.failure)?;
    Ok(())
}

/// Whether a transaction only reads, so that it need not go through the log. A transaction within
/// a transaction counts as a write.
pub fn is_txn_readonly(request: &TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|operation| matches!(operation.request, Some(Request::RequestRange(_))))
}

/// Whether all a transaction does is serializable ranges, so that one member can answer it alone.
pub fn is_txn_serializable(request: &TxnRequest) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|operation| match &operation.request {
        Some(Request::RequestRange(range)) => range.serializable,
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_) | Request::RequestTxn(_))
        | None => false,
    })
}

/// Whether the answer comes in the order of the keys without sorting it.
pub(crate) fn has_key_order(request: &RangeRequest) -> bool {
    request.sort_order == SortOrder::None as i32
        || (request.sort_target == SortTarget::Key as i32
            && request.sort_order == SortOrder::Ascend as i32)
}

/// Whether the request filters keys by their revisions.
pub(crate) fn has_revision_filters(request: &RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

/// A transaction inside another may have as many operations as the outer one left.
fn check_operations(request: &TxnRequest, max_ops: usize, max_depth: usize) -> Result<(), Error> {
    let max_depth = max_depth.checked_sub(1).ok_or(Error::TooManyOps)?;
    let longest = request.compare.len().max(request.success.len()).max(request.failure.len());
    let left = max_ops.checked_sub(longest).ok_or(Error::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        check_operation(operation, left, max_depth)?;
    }
    Ok(())
}

fn check_operation(operation: &RequestOp, max_ops: usize, max_depth: usize) -> Result<(), Error> {
    match &operation.request {
        Some(Request::RequestRange(range)) => check_range(range),
        Some(Request::RequestPut(put)) => check_put(put),
        Some(Request::RequestDeleteRange(delete)) => check_delete(delete),
        Some(Request::RequestTxn(txn)) => check_operations(txn, max_ops, max_depth),
        None => Err(Error::KeyNotFound),
    }
}
