use bytes::Bytes;
use quoin_api::etcdserverpb::DeleteRangeRequest;

use super::*;

fn put(value: usize) -> PutRequest {
    let (key, value) = (Bytes::from_static(b"key"), Bytes::from(vec![0; value]));
    PutRequest { key, value, ..PutRequest::default() }
}

fn operation(request: Operation) -> RequestOp {
    RequestOp { request: Some(request) }
}

#[test]
fn costs_are_those_of_etcd() {
    assert_eq!(put_cost(&put(100)), 256 + 3 + 100);
    let nested = TxnRequest {
        failure: vec![operation(Operation::RequestPut(put(1000)))],
        ..TxnRequest::default()
    };
    let delete = operation(Operation::RequestDeleteRange(DeleteRangeRequest::default()));
    let txn = TxnRequest {
        success: vec![operation(Operation::RequestPut(put(10))), delete.clone()],
        failure: vec![operation(Operation::RequestTxn(nested)), delete.clone()],
        ..TxnRequest::default()
    };
    assert_eq!(txn_cost(&txn), 256 + 3 + 1000);
    assert_eq!(txn_cost(&TxnRequest { success: vec![delete], ..TxnRequest::default() }), 0);
}

#[test]
fn a_write_must_leave_the_store_below_the_quota() {
    let quota = Quota::new(1000);
    assert!(quota.admit(900, 99).is_some());
    assert!(quota.admit(900, 100).is_none());
    assert!(quota.admit(900, 100).is_none(), "a refused write is not charged");
    assert!(quota.admit(900, 99).is_some(), "a finished write is not charged");
}

#[test]
fn writes_on_their_way_are_charged() {
    let quota = Quota::new(1000);
    let first = quota.admit(0, 600);
    assert!(first.is_some());
    assert!(quota.admit(0, 600).is_none());
    drop(first);
    assert!(quota.admit(0, 600).is_some());
}

#[test]
fn what_costs_nothing_always_fits() {
    assert!(Quota::new(1000).admit(5000, 0).is_some());
}

#[test]
fn less_than_zero_is_no_quota() {
    assert!(Quota::new(-5).admit(usize::MAX, i64::MAX).is_some());
}

#[test]
fn warnings_come_one_after_the_other_and_go_again() {
    let reached = |quota: &Quota, size| quota.warnings(size).map(|(_, reached)| reached);
    let quota = Quota::new(1000);
    assert_eq!(quota.warnings(0).map(|(percent, _)| percent), [75, 85, 95]);
    for (size, expected) in [
        (0, [false; 3]),
        (749, [false; 3]),
        (750, [true, false, false]),
        (850, [true, true, false]),
        (2000, [true; 3]),
        (10, [false; 3]),
    ] {
        assert_eq!(reached(&quota, size), expected, "{size}");
    }
    assert_eq!(reached(&Quota::new(-1), usize::MAX), [false; 3]);
}
