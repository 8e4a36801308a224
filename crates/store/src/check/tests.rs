use bytes::Bytes;
use prost::Message;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{
    Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};

use super::{
    MAX_TXN_DEPTH, check_delete, check_put, check_range, check_range_stream, check_txn,
    is_txn_readonly, is_txn_serializable,
};

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(key: &'static str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: Bytes::from(key), ..PutRequest::default() }))
}

fn delete(key: &'static str, end: &'static str) -> RequestOp {
    let (key, range_end) = (Bytes::from(key), Bytes::from(end));
    op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false }))
}

fn get(key: &'static str) -> RequestOp {
    op(Request::RequestRange(RangeRequest { key: Bytes::from(key), ..RangeRequest::default() }))
}

fn txn(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
}

/// Checks a transaction with these operations in either branch.
fn check(operations: Vec<RequestOp>, expected: Result<(), Error>) {
    let then = TxnRequest { success: operations.clone(), ..TxnRequest::default() };
    let otherwise = TxnRequest { failure: operations, ..TxnRequest::default() };
    assert_eq!(check_txn(&then, 128), expected, "{then:?}");
    assert_eq!(check_txn(&otherwise, 128), expected, "{otherwise:?}");
}

const AGAIN: Result<(), Error> = Err(Error::DuplicateKey);

#[test]
fn a_key_is_written_once() {
    check(vec![put("a"), put("b")], Ok(()));
    check(vec![put("a"), put("a")], AGAIN);
    check(vec![put("a"), delete("a", "")], AGAIN);
    check(vec![delete("a", ""), put("a")], AGAIN);
    check(vec![delete("a", "c"), put("b")], AGAIN);
    check(vec![delete("a", "c"), put("c")], Ok(()));
    check(vec![delete("b", "c"), put("a")], Ok(()));
    check(vec![delete("a", "d"), delete("b", "c"), delete("a", "")], Ok(()));
    check(vec![delete("a", "b"), delete("c", "d"), put("bb")], Ok(()));
    check(vec![delete("a", "b"), delete("c", "d"), delete("aa", "cc"), put("bb")], AGAIN);
    check(vec![put("a"), get("a"), get("a")], Ok(()));
}

#[test]
fn inner_transactions_count() {
    check(vec![put("a"), txn(vec![put("a")], vec![])], AGAIN);
    check(vec![put("a"), txn(vec![], vec![put("a")])], AGAIN);
    check(vec![txn(vec![put("a")], vec![put("a")])], Ok(()));
    check(vec![txn(vec![put("a")], vec![]), txn(vec![put("a")], vec![])], AGAIN);
    check(vec![txn(vec![put("a")], vec![]), txn(vec![], vec![put("a")])], AGAIN);
    check(vec![delete("a", "c"), txn(vec![put("b")], vec![])], AGAIN);
    check(vec![put("b"), txn(vec![delete("a", "c")], vec![])], AGAIN);
    check(vec![txn(vec![delete("a", "c")], vec![put("b")])], Ok(()));
    check(vec![txn(vec![delete("b", "")], vec![]), txn(vec![put("b")], vec![])], AGAIN);
    check(vec![txn(vec![txn(vec![put("b")], vec![])], vec![]), put("b")], AGAIN);
}

/// etcd compares a put with the deletions of the transactions before it only, and takes the end
/// that means "all keys" for an end before all keys. Clients get through with both.
#[test]
fn what_etcd_lets_through() {
    check(vec![txn(vec![put("b")], vec![]), txn(vec![delete("b", "")], vec![])], Ok(()));
    check(vec![delete("a", "\0"), put("b")], Ok(()));
    check(vec![delete("c", "a"), put("b")], Ok(()));
}

#[test]
fn too_many_operations() {
    let request = |compare, success, failure| TxnRequest {
        compare: vec![Compare { key: Bytes::from("k"), ..Compare::default() }; compare],
        success: vec![get("k"); success],
        failure: vec![get("k"); failure],
    };
    assert_eq!(check_txn(&request(3, 3, 3), 3), Ok(()));
    for (compare, success, failure) in [(4, 0, 0), (0, 4, 0), (0, 0, 4)] {
        let request = request(compare, success, failure);
        assert_eq!(check_txn(&request, 3), Err(Error::TooManyOps));
    }
    let inner = |count| vec![txn(vec![get("k"); count], vec![])];
    let outer = |count| TxnRequest { success: inner(count), ..TxnRequest::default() };
    assert_eq!(check_txn(&outer(2), 3), Ok(()));
    assert_eq!(check_txn(&outer(3), 3), Err(Error::TooManyOps));
}

/// A transaction as deep as a client may send it still decodes as an entry, where it is one level
/// deeper; the decoder's own limit would stop every member.
#[test]
fn what_is_let_through_can_be_decoded_as_an_entry() {
    let nested = |depth: usize| {
        let mut request = TxnRequest { success: vec![put("k")], ..TxnRequest::default() };
        for _ in 1..depth {
            let inner = op(Request::RequestTxn(request));
            request = TxnRequest { success: vec![inner], ..TxnRequest::default() };
        }
        request
    };
    let deepest = nested(MAX_TXN_DEPTH);
    assert_eq!(check_txn(&deepest, 128), Ok(()));
    let entry = InternalRaftRequest { txn: Some(deepest), ..InternalRaftRequest::default() };
    assert_eq!(InternalRaftRequest::decode(&entry.encode_to_vec()[..]), Ok(entry));
    assert_eq!(check_txn(&nested(MAX_TXN_DEPTH + 1), 128), Err(Error::TooManyOps));
}

#[test]
fn faults_of_single_requests() {
    assert_eq!(check_put(&PutRequest::default()), Err(Error::EmptyKey));
    let key = Bytes::from("k");
    let keeps = PutRequest { key: key.clone(), ignore_value: true, ..PutRequest::default() };
    assert_eq!(check_put(&keeps), Ok(()));
    let brings = PutRequest { value: Bytes::from("v"), ..keeps };
    assert_eq!(check_put(&brings), Err(Error::ValueProvided));
    let lease =
        PutRequest { key: key.clone(), ignore_lease: true, lease: 1, ..PutRequest::default() };
    assert_eq!(check_put(&lease), Err(Error::LeaseProvided));
    assert_eq!(check_delete(&DeleteRangeRequest::default()), Err(Error::EmptyKey));
    assert_eq!(check_range(&RangeRequest::default()), Err(Error::EmptyKey));
    let range = RangeRequest { key, ..RangeRequest::default() };
    assert_eq!(check_range(&range), Ok(()));
    let order = RangeRequest { sort_order: 3, ..range.clone() };
    assert_eq!(check_range(&order), Err(Error::InvalidSortOption));
    let target = RangeRequest { sort_target: -1, ..range.clone() };
    assert_eq!(check_range(&target), Err(Error::InvalidSortOption));
    let sorted = RangeRequest { sort_order: 2, ..range.clone() };
    assert_eq!(check_range_stream(&sorted), Err(Error::RangeStreamSort));
    let filtered = RangeRequest { min_mod_revision: 1, ..range.clone() };
    assert_eq!(check_range_stream(&filtered), Err(Error::RangeStreamFilter));
    assert_eq!(check_range_stream(&range), Ok(()));
}

#[test]
fn faults_inside_transactions() {
    check(vec![RequestOp { request: None }], Err(Error::KeyNotFound));
    check(vec![put("")], Err(Error::EmptyKey));
    check(vec![get("")], Err(Error::EmptyKey));
    check(vec![delete("", "")], Err(Error::EmptyKey));
    check(vec![txn(vec![], vec![put("")])], Err(Error::EmptyKey));
    let compare = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
    assert_eq!(check_txn(&compare, 128), Err(Error::EmptyKey));
}

#[test]
fn which_transactions_read_only() {
    let with = |success| TxnRequest { success, ..TxnRequest::default() };
    assert!(is_txn_readonly(&with(vec![])));
    assert!(is_txn_readonly(&with(vec![get("a")])));
    assert!(!is_txn_readonly(&with(vec![get("a"), put("b")])));
    assert!(!is_txn_readonly(&with(vec![txn(vec![get("a")], vec![])])));
    assert!(is_txn_serializable(&with(vec![])));
    assert!(!is_txn_serializable(&with(vec![get("a")])));
    let range = RangeRequest { serializable: true, ..RangeRequest::default() };
    assert!(is_txn_serializable(&with(vec![op(Request::RequestRange(range))])));
}
