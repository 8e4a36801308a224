use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget};

use super::*;

fn put(key: &'static str, value: &str) -> PutRequest {
    let value = value.to_owned().into();
    PutRequest { key: key.into(), value, lease: 5, prev_kv: true, ..Default::default() }
}

#[test]
fn a_put_is_shown_without_its_value() {
    let request = put("k", "secret");
    let (method, described) = Kept::put(&request).describe(Some(true));
    let content = "key:\"k\" value_size:6 lease:5 prev_kv:true ".to_owned();
    assert_eq!(method, PUT);
    assert_eq!(described, Described { count: 1, bytes: size(&request), content });
}

#[test]
fn a_transaction_is_shown_as_far_as_it_fits() {
    let operation = |request| RequestOp { request: Some(request) };
    let range = RangeRequest { key: "k".into(), ..Default::default() };
    let delete = DeleteRangeRequest { key: "d".into(), prev_kv: true, ..Default::default() };
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Value.into(),
        key: "k".into(),
        target_union: Some(TargetUnion::Value("secret".into())),
        ..Default::default()
    };
    let puts = (0..1000).map(|_| operation(Operation::RequestPut(put("p", "secret"))));
    let request = TxnRequest {
        compare: vec![compare],
        success: puts.collect(),
        failure: vec![
            operation(Operation::RequestRange(range)),
            operation(Operation::RequestDeleteRange(delete)),
            operation(Operation::RequestTxn(TxnRequest::default())),
        ],
    };
    let kept = Kept::txn(&request);
    let (method, described) = kept.describe(Some(true));
    assert_eq!((method, described.count), (TXN, 1000));
    assert!(described.bytes > 1000 * 6, "{described:?}");
    assert!(!described.content.contains("secret"), "{}", described.content);
    assert!(described.content.len() < 2000, "{}", described.content.len());
    let compare =
        "compare:<result:GREATER target:VALUE key:\"k\" value_size:6> success:<request_put:";
    assert!(described.content.starts_with(compare), "{}", described.content);
    let failure = "failure:<request_range:<key:\"k\"> request_delete_range:<key:\"d\" prev_kv:true> \
                   request_txn:<>>";
    assert!(described.content.ends_with(failure), "{}", described.content);
    assert_eq!(kept.describe(Some(false)).1.count, 3);
    assert_eq!(kept.describe(None).1.bytes, 0);
}
