//! Transactions: compare, check, then execute.
//!
//! All comparisons, also those of transactions inside, are decided on the state before the
//! transaction, and so are the checks of the operations that will run. Nothing is refused after
//! the first change. Reads see the changes made before them in the same transaction: the index is kept
//! as they find it, and their replies are made later (`pending`).

use std::cmp::Ordering;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{Compare, RangeRequest, RequestOp, TxnRequest};

use super::bound::{Bound, Halt};
use super::{Failure, Pending, Reader, Span, Write};
use crate::index::Latest;

/// Which branch of a transaction runs, and the same for each transaction in that branch, in order.
struct Path {
    succeeded: bool,
    inner: Vec<Self>,
    /// How many comparisons were looked at.
    compared: u64,
}

impl Path {
    /// The same of this transaction and those inside.
    fn compared(&self) -> u64 {
        self.compared + self.inner.iter().map(Self::compared).sum::<u64>()
    }
}

/// Runs a transaction that may write. What its reply needs is kept if it is wanted.
pub(crate) fn run_txn(
    write: &mut Write<'_>,
    request: &TxnRequest,
    is_wanted: bool,
) -> Result<Pending, Failure> {
    let mut bound = Bound::NONE;
    let path = decide(write.reader(), request, &mut bound).map_err(Halt::unbounded)?;
    write.note_compared(path.compared());
    check(write, request, &path)?;
    let (succeeded, operations) = execute(request, &path, &mut |operation| match operation {
        Operation::Range(range) => write.range(range, is_wanted),
        Operation::Put(put) => write.put(put, is_wanted),
        Operation::Delete(delete) => Ok(write.delete_range(delete, is_wanted)),
    })?;
    Ok(Pending::Txn { revision: write.revision(), succeeded, operations })
}

/// Decides what a transaction that only reads will read, unless that takes more than is left of the
/// bound; one that writes is refused. Returns also how often it reads.
pub(crate) fn plan_readonly(
    reader: Reader<'_>,
    request: &TxnRequest,
    bound: &mut Bound,
) -> Result<(Pending, u64), Halt> {
    let path = decide(reader, request, bound)?;
    let mut ranges = path.compared();
    check_ranges(reader, request, &path)?;
    let (succeeded, operations) = execute(request, &path, &mut |operation| match operation {
        Operation::Range(range) => {
            ranges += 1;
            reader.check_range(range)?;
            Ok(reader.pending_range(range))
        }
        Operation::Put(_) | Operation::Delete(_) => Err(Error::UnknownMethod.into()),
    })?;
    Ok((Pending::Txn { revision: reader.revision, succeeded, operations }, ranges))
}

/// An operation that is not a transaction.
enum Operation<'a> {
    Range(&'a RangeRequest),
    Put(&'a quoin_api::etcdserverpb::PutRequest),
    Delete(&'a quoin_api::etcdserverpb::DeleteRangeRequest),
}

fn branch<'a>(request: &'a TxnRequest, path: &Path) -> &'a [RequestOp] {
    if path.succeeded { &request.success } else { &request.failure }
}

fn decide(reader: Reader<'_>, request: &TxnRequest, bound: &mut Bound) -> Result<Path, Halt> {
    let mut path = Path { succeeded: true, inner: Vec::new(), compared: 0 };
    for compare in &request.compare {
        path.compared += u64::from(path.succeeded);
        path.succeeded = path.succeeded && holds(reader, compare, bound)?;
    }
    for operation in branch(request, &path) {
        if let Some(Request::RequestTxn(inner)) = &operation.request {
            path.inner.push(decide(reader, inner, bound)?);
        }
    }
    Ok(path)
}

/// Checks the operations that will run, in order.
fn check(write: &Write<'_>, request: &TxnRequest, path: &Path) -> Result<(), Error> {
    let mut paths = path.inner.iter();
    for operation in branch(request, path) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_revision(write.reader(), range)?,
            Some(Request::RequestPut(put)) => write.check_put(put)?,
            Some(Request::RequestTxn(inner)) => {
                let path = paths.next().expect("every inner transaction has its path");
                check(write, inner, path)?;
            }
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Checks the ranges of a transaction without writes.
fn check_ranges(reader: Reader<'_>, request: &TxnRequest, path: &Path) -> Result<(), Error> {
    let mut paths = path.inner.iter();
    for operation in branch(request, path) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_revision(reader, range)?,
            Some(Request::RequestTxn(inner)) => {
                let path = paths.next().expect("every inner transaction has its path");
                check_ranges(reader, inner, path)?;
            }
            Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Within a transaction a revision below 0 is not the newest one but one that was compacted.
fn check_revision(reader: Reader<'_>, range: &RangeRequest) -> Result<(), Error> {
    match range.revision {
        0 => Ok(()),
        revision if revision > reader.revision => Err(Error::FutureRevision),
        revision if revision < reader.compacted => Err(Error::Compacted),
        _ => Ok(()),
    }
}

/// Runs the operations of the branch that was decided on, in order.
fn execute(
    request: &TxnRequest,
    path: &Path,
    run: &mut impl FnMut(Operation<'_>) -> Result<Pending, Failure>,
) -> Result<(bool, Vec<Pending>), Failure> {
    let operations = branch(request, path);
    let mut pending = Vec::with_capacity(operations.len());
    let mut paths = path.inner.iter();
    for operation in operations {
        pending.push(match &operation.request {
            Some(Request::RequestRange(range)) => run(Operation::Range(range))?,
            Some(Request::RequestPut(put)) => run(Operation::Put(put))?,
            Some(Request::RequestDeleteRange(delete)) => run(Operation::Delete(delete))?,
            Some(Request::RequestTxn(inner)) => {
                let path = paths.next().expect("every inner transaction has its path");
                let (succeeded, operations) = execute(inner, path, run)?;
                Pending::Txn { revision: 0, succeeded, operations }
            }
            None => Pending::Nothing,
        });
    }
    Ok((path.succeeded, pending))
}

/// Whether a comparison holds for every key that it names. A key that does not exist has no value
/// to compare with; its numbers are 0.
fn holds(reader: Reader<'_>, compare: &Compare, bound: &mut Bound) -> Result<bool, Halt> {
    let by_value = compare.target == CompareTarget::Value as i32;
    let mut keys = reader.live(Span::new(&compare.key, &compare.range_end)).peekable();
    if keys.peek().is_none() {
        return Ok(!by_value && holds_for(compare, &Latest::default(), &[]));
    }
    for state in keys {
        bound.look(1)?;
        if !by_value {
            if !holds_for(compare, &state, &[]) {
                return Ok(false);
            }
            continue;
        }
        // One value at a time is in memory, whatever the comparison names.
        let located = reader.history.locate(state.modified);
        bound.take(located.bytes)?;
        let pairs = reader.located_pairs(&[located])?;
        if !pairs.iter().all(|pair| holds_for(compare, &state, &pair.value)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A target without an operand compares with 0 or with the empty value, and so does an operand of
/// another kind than the target. An unknown target is equal to everything, and an unknown
/// comparison holds.
fn holds_for(compare: &Compare, state: &Latest, value: &[u8]) -> bool {
    let operand = compare.target_union.as_ref();
    let number = |pick: fn(&TargetUnion) -> Option<i64>| operand.and_then(pick).unwrap_or(0);
    let ordering = match CompareTarget::try_from(compare.target) {
        Ok(CompareTarget::Version) => state.version.cmp(&number(version_of)),
        Ok(CompareTarget::Create) => state.created.cmp(&number(create_of)),
        Ok(CompareTarget::Mod) => state.modified.main.cmp(&number(modified_of)),
        Ok(CompareTarget::Lease) => state.lease.cmp(&number(lease_of)),
        Ok(CompareTarget::Value) => match operand {
            Some(TargetUnion::Value(operand)) => value.cmp(operand),
            Some(_) | None => value.cmp(&[]),
        },
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering.is_eq(),
        Ok(CompareResult::NotEqual) => ordering.is_ne(),
        Ok(CompareResult::Greater) => ordering.is_gt(),
        Ok(CompareResult::Less) => ordering.is_lt(),
        Err(_) => true,
    }
}

fn version_of(operand: &TargetUnion) -> Option<i64> {
    if let TargetUnion::Version(number) = operand { Some(*number) } else { None }
}

fn create_of(operand: &TargetUnion) -> Option<i64> {
    if let TargetUnion::CreateRevision(number) = operand { Some(*number) } else { None }
}

fn modified_of(operand: &TargetUnion) -> Option<i64> {
    if let TargetUnion::ModRevision(number) = operand { Some(*number) } else { None }
}

fn lease_of(operand: &TargetUnion) -> Option<i64> {
    if let TargetUnion::Lease(number) = operand { Some(*number) } else { None }
}
