//! Requests of clients, from the checks to apply.

use bytes::Bytes;
use prost::Message;
use quoin_api::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, TxnRequest,
};
use quoin_store::{
    EntryData, Reply, check_delete, check_put, check_range, check_range_stream, check_txn,
    is_txn_readonly,
};

use crate::input::Input;
use crate::sample::Sample;

/// How long a list in a transaction may be, as a server has it unless told otherwise.
const MAX_OPS: usize = 128;

/// Puts bytes as a request through the checks. What passes is an entry that every member
/// understands: it may be refused, and never ends a member. What only reads is answered from a view
/// as from apply.
///
/// The first byte says which request it is.
pub fn txn_check(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.u8() % 8;
    let bytes = input.rest();
    let mut store = Sample::store();
    let view = store.view();
    let mut request = InternalRaftRequest::default();
    let mut read = None;
    match kind {
        0 => {
            let Ok(range) = RangeRequest::decode(bytes) else { return };
            if check_range(&range).is_err() {
                assert!(check_range_stream(&range).is_err());
                return;
            }
            read = Some(view.range(&range).map(Reply::Range));
            request.range = Some(range);
        }
        1 => {
            let Ok(put) = PutRequest::decode(bytes) else { return };
            if check_put(&put).is_err() {
                return;
            }
            request.put = Some(put);
        }
        2 => {
            let Ok(delete) = DeleteRangeRequest::decode(bytes) else { return };
            if check_delete(&delete).is_err() {
                return;
            }
            request.delete_range = Some(delete);
        }
        _ => {
            let Ok(txn) = TxnRequest::decode(bytes) else { return };
            if check_txn(&txn, MAX_OPS).is_err() {
                return;
            }
            if is_txn_readonly(&txn) {
                read = Some(view.txn_readonly(&txn).map(Reply::Txn));
            }
            request.txn = Some(txn);
        }
    }
    let entry = Bytes::from(request.encode_to_vec());
    let index = store.applied().0 + 1;
    let applied = store.apply_for(index, 1, EntryData::Normal(&entry), |_| true);
    let applied = applied.expect("what was checked is understood");
    if let Some(read) = read {
        assert_eq!(read, applied.reply());
        assert_eq!(store.view().revision(), view.revision());
    }
}
