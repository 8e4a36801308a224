//! Whether a branch of a transaction would write a key twice: two puts, or a put inside a range
//! that is deleted. Two deletions may overlap, and so may the two branches of a transaction
//! inside, of which only one runs.
//!
//! A deletion whose end is the byte 0, which means "to the end of the keys" everywhere else, is
//! taken literally here and so overlaps with nothing, as in etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::RequestOp;
use quoin_api::etcdserverpb::request_op::Request;

type Puts<'a> = BTreeSet<&'a [u8]>;

/// Checks a branch with all the transactions inside it.
pub(super) fn check_branch(operations: &[RequestOp]) -> Result<(), Error> {
    writes(operations).map(|_| ())
}

/// What a branch writes.
fn writes(operations: &[RequestOp]) -> Result<(Puts<'_>, Deletes), Error> {
    let mut deletes = Deletes::default();
    for operation in operations {
        if let Some(Request::RequestDeleteRange(delete)) = &operation.request {
            let end = match delete.range_end.is_empty() {
                true => [&delete.key[..], &[0]].concat(),
                false => delete.range_end.to_vec(),
            };
            deletes.add(delete.key.to_vec(), end);
        }
    }
    let mut puts = Puts::new();
    for operation in operations {
        if let Some(Request::RequestTxn(inner)) = &operation.request {
            let (puts_then, deletes_then) = writes(&inner.success)?;
            let (puts_else, deletes_else) = writes(&inner.failure)?;
            let again = puts_then.iter().any(|key| puts.contains(key))
                || puts_else.iter().any(|key| puts.contains(key))
                || puts_then.iter().chain(&puts_else).any(|key| deletes.cover(key));
            if again {
                return Err(Error::DuplicateKey);
            }
            puts.extend(puts_then);
            puts.extend(puts_else);
            deletes.join(deletes_then);
            deletes.join(deletes_else);
        }
    }
    for operation in operations {
        if let Some(Request::RequestPut(put)) = &operation.request
            && (!puts.insert(&put.key) || deletes.cover(&put.key))
        {
            return Err(Error::DuplicateKey);
        }
    }
    Ok((puts, deletes))
}

/// Ranges of keys that are deleted, as disjoint ranges by where they begin.
#[derive(Default)]
struct Deletes {
    ends: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Deletes {
    fn add(&mut self, mut begin: Vec<u8>, mut end: Vec<u8>) {
        if begin >= end {
            return;
        }
        while let Some((before, before_end)) = self.ends.range(..=end.clone()).next_back() {
            if *before_end < begin {
                break;
            }
            let before = before.clone();
            let before_end = self.ends.remove(&before).expect("the range was just found");
            end = end.max(before_end);
            begin = begin.min(before);
        }
        self.ends.insert(begin, end);
    }

    fn join(&mut self, other: Self) {
        for (begin, end) in other.ends {
            self.add(begin, end);
        }
    }

    fn cover(&self, key: &[u8]) -> bool {
        let before =
            self.ends.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        before.is_some_and(|(_, end)| key < end.as_slice())
    }
}
