//! Sorted ranges whose keys are equal under the sort target.
//!
//! etcd sorts with an algorithm that is not stable, so the order of equal keys, and which of them
//! a limit cuts off, is nobody's promise and changes with the Go release. [`canonical`] puts equal
//! keys in the order of their names and forgets the ones that a limit chose from.

use quoin_api::etcdserverpb::range_request::SortTarget;
use quoin_api::etcdserverpb::request_op::Request as Op;
use quoin_api::etcdserverpb::response_op::Response as OpReply;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse};
use quoin_api::mvccpb::KeyValue;

use super::{Reply, Request};

/// The reply with everything undetermined about sorted ranges removed.
pub(super) fn canonical(request: &Request, reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    match (request, &mut reply) {
        (Request::Range(request), Reply::Range(reply)) => range(request, reply),
        (Request::Txn(request), Reply::Txn(reply)) => txn(request, reply, range),
        _ => {}
    }
    reply
}

/// The reply without the leases of keys that were asked for without their values.
pub(super) fn without_leases_of_keys(request: &Request, reply: &Reply) -> Reply {
    let mut reply = reply.clone();
    match (request, &mut reply) {
        (Request::Range(request), Reply::Range(reply)) => forget_leases(request, reply),
        (Request::Txn(request), Reply::Txn(reply)) => txn(request, reply, forget_leases),
        _ => {}
    }
    reply
}

fn forget_leases(request: &RangeRequest, reply: &mut RangeResponse) {
    if request.keys_only {
        reply.kvs.iter_mut().for_each(|pair| pair.lease = 0);
    }
    range(request, reply);
}

fn txn(
    request: &TxnRequest,
    reply: &mut TxnResponse,
    range: fn(&RangeRequest, &mut RangeResponse),
) {
    let ops: &[RequestOp] = if reply.succeeded { &request.success } else { &request.failure };
    for (op, answer) in ops.iter().zip(&mut reply.responses) {
        match (&op.request, &mut answer.response) {
            (Some(Op::RequestRange(request)), Some(OpReply::ResponseRange(reply))) => {
                range(request, reply);
            }
            (Some(Op::RequestTxn(request)), Some(OpReply::ResponseTxn(reply))) => {
                txn(request, reply, range);
            }
            _ => {}
        }
    }
}

fn range(request: &RangeRequest, reply: &mut RangeResponse) {
    let Ok(target) = SortTarget::try_from(request.sort_target) else { return };
    if target == SortTarget::Key {
        return;
    }
    // Without the values nothing says where a run of equal values ends: it may be all of them.
    let hidden = target == SortTarget::Value && request.keys_only;
    let equal = |one: &KeyValue, two: &KeyValue| hidden || same(target, one, two);
    for run in reply.kvs.chunk_by_mut(equal) {
        run.sort_by(|one, two| one.key.cmp(&two.key));
    }
    if reply.more
        && let Some(cut) = reply.kvs.chunk_by_mut(equal).last()
    {
        cut.fill(KeyValue::default());
    }
}

fn same(target: SortTarget, one: &KeyValue, two: &KeyValue) -> bool {
    match target {
        SortTarget::Key => one.key == two.key,
        SortTarget::Version => one.version == two.version,
        SortTarget::Create => one.create_revision == two.create_revision,
        SortTarget::Mod => one.mod_revision == two.mod_revision,
        SortTarget::Value => one.value == two.value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(keys: &[(&str, i64)], more: bool) -> Reply {
        let kv = |&(key, version): &(&str, i64)| KeyValue {
            key: key.to_owned().into(),
            version,
            ..KeyValue::default()
        };
        let kvs = keys.iter().map(kv).collect();
        Reply::Range(RangeResponse { kvs, more, ..RangeResponse::default() })
    }

    fn equal(one: &Reply, two: &Reply) -> bool {
        let sort_target = SortTarget::Version.into();
        let request = Request::Range(RangeRequest { sort_target, ..RangeRequest::default() });
        canonical(&request, one) == canonical(&request, two)
    }

    #[test]
    fn only_the_order_of_equal_keys_is_free() {
        let one = reply(&[("a", 1), ("b", 1), ("c", 2)], false);
        assert!(equal(&one, &reply(&[("b", 1), ("a", 1), ("c", 2)], false)));
        assert!(!equal(&one, &reply(&[("a", 1), ("c", 2), ("b", 1)], false)));
        assert!(!equal(&one, &reply(&[("a", 1), ("b", 1), ("d", 2)], false)));
    }

    #[test]
    fn a_limit_chooses_freely_among_the_last_equal_keys_only() {
        let one = reply(&[("a", 1), ("b", 2)], true);
        assert!(equal(&one, &reply(&[("a", 1), ("c", 2)], true)));
        assert!(!equal(&one, &reply(&[("c", 1), ("b", 2)], true)));
        assert!(!equal(&one, &reply(&[("a", 1)], true)));
    }
}
