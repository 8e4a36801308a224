//! Random requests to the store and to the model. In between garbage is collected, checkpoints are
//! written while the store goes on, records leave memory and files are rewritten, and the store is
//! read back. Answers, history and hashes must be the same.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use quoin_api::etcdserverpb::compare::TargetUnion;
use quoin_vfs::{FileSystem, MemFs};

use super::model::Model;
use super::*;
use crate::bbolt::DbImport;
use crate::checkpoint::{Checkpoint, ConfState, WriteOptions, Written};
use crate::view::View;
use crate::{Bound, PendingReply};
use quoin_api::etcdserverpb::range_request::SortTarget;
use quoin_api::etcdserverpb::{Compare, RangeResponse};
use quoin_api::mvccpb::KeyValue;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Put(PutRequest),
    Delete(DeleteRangeRequest),
    Txn(TxnRequest),
    /// Compacts this many revisions before the newest one.
    Compact(i64),
    Grant(i64),
    Revoke(i64),
    Range(RangeRequest),
    Collect(usize),
    /// Takes a checkpoint to be written later.
    Take,
    /// Writes the checkpoint that was taken.
    Write,
    /// Takes over what was written, for so many chunks.
    Place(usize),
    Budget(usize),
    Reload,
    ReloadDatabase,
    View,
}

fn key() -> impl Strategy<Value = Bytes> {
    const KEYS: [&[u8]; 8] = [b"a", b"a\0", b"ab", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"];
    prop::sample::select(&KEYS[..]).prop_map(Bytes::from_static)
}

/// The end of a range: none, all keys, or some key.
fn end() -> impl Strategy<Value = Bytes> {
    prop_oneof![3 => Just(Bytes::new()), 2 => Just(Bytes::from_static(&[0])), 3 => key()]
}

fn flag() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.25)
}

fn value() -> impl Strategy<Value = Bytes> {
    const VALUES: [&[u8]; 4] = [b"", b"x", b"y", b"zz"];
    prop::sample::select(&VALUES[..]).prop_map(Bytes::from_static)
}

prop_compose! {
    fn a_put()(
        key in key(), value in value(), lease in 0_i64..4, has_lease in flag(), prev_kv in flag(),
        ignore_value in prop::bool::weighted(0.1), ignore_lease in prop::bool::weighted(0.1),
    ) -> PutRequest {
        PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if has_lease && !ignore_lease { lease } else { 0 },
            prev_kv,
            ignore_value,
            ignore_lease,
        }
    }
}

prop_compose! {
    fn a_delete()(key in key(), range_end in end(), prev_kv in flag()) -> DeleteRangeRequest {
        DeleteRangeRequest { key, range_end, prev_kv }
    }
}

fn filter() -> impl Strategy<Value = i64> {
    prop_oneof![6 => Just(0), 1 => 1_i64..40]
}

prop_compose! {
    fn a_range()(
        key in key(), range_end in end(), limit in -1_i64..6,
        revision in prop_oneof![3 => Just(0), 1 => -2_i64..60],
        sort_order in 0..3, sort_target in 0..5, keys_only in flag(),
        count_only in prop::bool::weighted(0.1),
        filters in [filter(), filter(), filter(), filter()],
    ) -> RangeRequest {
        let [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision] =
            filters;
        RangeRequest {
            key, range_end, limit, revision, sort_order, sort_target, serializable: false,
            keys_only, count_only, min_mod_revision, max_mod_revision, min_create_revision,
            max_create_revision,
        }
    }
}

prop_compose! {
    fn a_compare()(
        key in key(), range_end in end(), result in 0..4, target in 0..5, number in 0_i64..12,
        value in value(),
    ) -> Compare {
        let target_union = Some(match target {
            0 => TargetUnion::Version(number),
            1 => TargetUnion::CreateRevision(number),
            2 => TargetUnion::ModRevision(number),
            3 => TargetUnion::Value(value),
            _ => TargetUnion::Lease(number),
        });
        Compare { result, target, key, range_end, target_union }
    }
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => a_put().prop_map(Operation::RequestPut),
        2 => a_delete().prop_map(Operation::RequestDeleteRange),
        2 => a_range().prop_map(Operation::RequestRange),
    ]
}

fn wrap(operations: Vec<Operation>) -> Vec<RequestOp> {
    operations.into_iter().map(|request| RequestOp { request: Some(request) }).collect()
}

/// A transaction with others inside, up to a depth.
fn a_txn(depth: u32) -> BoxedStrategy<TxnRequest> {
    let lists = (vec(a_compare(), 0..3), vec(operation(), 0..4), vec(operation(), 0..3));
    let leaf = lists.prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success: wrap(success),
        failure: wrap(failure),
    });
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = vec((any::<bool>(), a_txn(depth - 1)), 0..3);
    let nested = (leaf, inner).prop_map(|(mut outer, inner)| {
        for (succeeds, txn) in inner {
            let branch = if succeeds { &mut outer.success } else { &mut outer.failure };
            let request = Some(Operation::RequestTxn(txn));
            branch.insert(branch.len() / 2, RequestOp { request });
        }
        outer
    });
    nested.boxed()
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => a_put().prop_map(Step::Put),
        4 => a_delete().prop_map(Step::Delete),
        6 => a_txn(2).prop_map(Step::Txn),
        2 => (-1_i64..20).prop_map(Step::Compact),
        1 => (0_i64..4).prop_map(Step::Grant),
        1 => (0_i64..4).prop_map(Step::Revoke),
        6 => a_range().prop_map(Step::Range),
        1 => (1_usize..9).prop_map(Step::Collect),
        1 => Just(Step::Take),
        1 => Just(Step::Write),
        2 => (1_usize..4).prop_map(Step::Place),
        1 => prop_oneof![Just(0), Just(100_000)].prop_map(Step::Budget),
        1 => Just(Step::Reload),
        1 => Just(Step::ReloadDatabase),
        1 => Just(Step::View),
    ]
}

/// No key is put that the same transaction deleted before or put before: clients cannot ask for
/// it, but for one way that has a test of its own, and etcd does not survive it.
fn is_allowed(step: &Step) -> bool {
    match step {
        Step::Txn(txn) => {
            let mut literal = txn.clone();
            make_ends_literal(&mut literal);
            crate::check::check_txn(&literal, 128).is_ok()
        }
        _ => true,
    }
}

/// Replaces the end that means all keys by one that the check understands.
fn make_ends_literal(txn: &mut TxnRequest) {
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match operation.request.as_mut() {
            Some(Operation::RequestDeleteRange(delete)) if delete.range_end[..] == [0] => {
                delete.range_end = Bytes::from_static(&[0xff, 0xff, 0xff]);
            }
            Some(Operation::RequestTxn(inner)) => make_ends_literal(inner),
            _ => {}
        }
    }
}

/// Writes the store to a file of etcd and reads it back.
fn reload_database(store: &mut Store) -> Store {
    let fs = MemFs::new();
    let path = Path::new("db");
    let export = store.checkpoint(ConfState::default()).export().unwrap();
    let bytes: Result<Vec<Bytes>, _> = export.collect();
    fs.create(path).unwrap().write_at(&bytes.unwrap().concat(), 0).unwrap();
    let import = DbImport::read(&fs, path).unwrap();
    let (index, term) = store.applied();
    assert_eq!(import.index(), index);
    import.into_loaded_with_members(term, store.membership().clone()).store
}

/// The files of the store, and the job that writes them.
pub(super) struct Files {
    fs: MemFs,
    taken: Option<Checkpoint>,
    written: Option<Written>,
    /// Replies that were not made yet, and what they will be.
    replies: Vec<(PendingReply, Reply)>,
}

const DIR: &str = "/store";

impl Files {
    pub(super) fn new() -> Self {
        let fs = MemFs::new();
        fs.create_dir_all(Path::new(DIR)).unwrap();
        Self { fs, taken: None, written: None, replies: Vec::new() }
    }

    fn write(&mut self, store: &mut Store) {
        let Some(checkpoint) = self.taken.take() else { return };
        // The work of one job is taken over before the next one begins.
        self.place(store, usize::MAX);
        let options = WriteOptions { segment_bytes: 200 };
        let written = checkpoint.write_paced(&self.fs, Path::new(DIR), &options, &mut |_| ());
        self.written = Some(written.unwrap());
    }

    fn place(&mut self, store: &mut Store, chunks: usize) -> bool {
        if let Some(written) = self.written.take() {
            store.placed(written);
        }
        store.place(chunks)
    }

    pub(super) fn reload(&mut self, store: &mut Store) {
        self.taken.get_or_insert_with(|| store.checkpoint(ConfState::default()));
        self.write(store);
        self.place(store, usize::MAX);
        self.taken = Some(store.checkpoint(ConfState::default()));
        self.write(store);
        let newest = Checkpoint::list(&self.fs, Path::new(DIR)).unwrap();
        assert_eq!(newest.len(), 1);
        Checkpoint::scrub(&self.fs, Path::new(DIR), newest[0], &mut |_| ()).unwrap();
        *store = Checkpoint::load_newest(&self.fs, Path::new(DIR)).unwrap().unwrap().store;
        (self.taken, self.written) = (None, None);
    }
}

/// Applies a request, whose reply is made at once, or when everything else has happened.
fn check(
    store: &mut Store,
    files: &mut Files,
    request: InternalRaftRequest,
    expected: Result<Reply, Error>,
) {
    let entry = Bytes::from(request.encode_to_vec());
    let (index, _) = store.applied();
    let applied = store.apply_for(index + 1, 1, EntryData::Normal(&entry), |_| true).unwrap();
    match (applied.result, expected) {
        (Ok(pending), Ok(expected)) if index % 2 == 0 => files.replies.push((pending, expected)),
        (result, expected) => assert_eq!(result.and_then(|it| it.make()), expected),
    }
}

pub(super) fn run(store: &mut Store, model: &mut Model, files: &mut Files, step: &Step) {
    match step.clone() {
        Step::Put(put) => {
            let expected = model.put(&put).map(Reply::Put);
            check(store, files, put_request(put), expected);
        }
        Step::Delete(delete) => {
            let expected = Ok(Reply::DeleteRange(model.delete(&delete)));
            let delete_range = Some(delete);
            let request = InternalRaftRequest { delete_range, ..Default::default() };
            check(store, files, request, expected);
        }
        Step::Txn(txn) => {
            let expected = model.txn(&txn).map(Reply::Txn);
            if crate::check::is_txn_readonly(&txn) {
                assert_eq!(store.view().txn_readonly(&txn).map(Reply::Txn), expected);
            }
            let request = InternalRaftRequest { txn: Some(txn), ..Default::default() };
            check(store, files, request, expected);
        }
        Step::Compact(back) => {
            let revision = model.revision() - back;
            let expected = model.compact(revision);
            assert_eq!(apply(store, compact_request(revision)).map(|_| ()), expected);
        }
        Step::Grant(id) => {
            let fresh = id != 0 && model.leases.insert(id);
            assert_eq!(apply(store, grant_request(id, 60)).is_ok(), fresh);
        }
        Step::Revoke(id) => {
            let expected = model.revoke(id);
            assert_eq!(apply(store, revoke_request(id)).map(|_| ()), expected);
        }
        Step::Range(range) => {
            let expected = model.range(&range);
            assert_eq!(store.view().range(&range), expected);
            check_bytes(&store.view(), &range, expected.as_ref());
            let request = InternalRaftRequest { range: Some(range), ..Default::default() };
            check(store, files, request, expected.map(Reply::Range));
        }
        Step::Collect(limit) => {
            store.collect(limit);
        }
        // Only one job at a time.
        Step::Take if files.written.is_none() && files.taken.is_none() && !store.place(0) => {
            files.taken = Some(store.checkpoint(ConfState::default()));
        }
        Step::Take => {}
        Step::Write => files.write(store),
        Step::Place(chunks) => drop(files.place(store, chunks)),
        Step::Budget(bytes) => store.set_memory_budget(bytes),
        Step::Reload => files.reload(store),
        Step::ReloadDatabase => {
            *store = reload_database(store);
            let replies = std::mem::take(&mut files.replies);
            *files = Files { replies, ..Files::new() };
        }
        Step::View => {}
    }
}

/// Compares what an answer is measured to take with what it takes.
fn check_bytes(view: &View, range: &RangeRequest, expected: Result<&RangeResponse, &Error>) {
    let measured = view.range_bytes(range);
    let response = match expected {
        Ok(response) => response,
        Err(error) => return assert_eq!(measured.as_ref(), Err(error)),
    };
    let kvs = response.kvs.clone();
    let held = kvs.len() * size_of::<KeyValue>();
    let encoded = RangeResponse { kvs, ..RangeResponse::default() }.encoded_len();
    let measured = measured.unwrap();
    let holds_more = range.keys_only || range.sort_target == SortTarget::Value as i32;
    assert!(measured == encoded + held || (holds_more && measured > encoded + held));
    let bytes_max = |bytes| {
        let mut bound = Bound { keys: 1000, bytes };
        view.range_within(range, &mut bound)
    };
    assert_eq!(bytes_max(1 << 20).unwrap().as_ref(), Some(response));
    if encoded > 0 {
        assert_eq!(bytes_max(encoded - 1), Ok(None), "{range:?}");
    }
}

/// Compares everything that a view shows.
pub(super) fn compare(view: &View, model: &Model) {
    assert_eq!(view.revision(), model.revision());
    assert_eq!(view.compact_revision(), model.compacted);
    assert_eq!(view.keys(), model.now().len());
    for revision in model.compacted.max(1)..=model.revision() {
        let (key, range_end) = (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
        let all = RangeRequest { key, range_end, revision, ..RangeRequest::default() };
        assert_eq!(view.range(&all), model.range(&all));
        let hash = view.hash_kv(revision).unwrap();
        assert_eq!(hash.hash, model.hash(revision), "the hash at {revision}");
        assert_eq!((hash.compact_revision, hash.hash_revision), (model.compacted, revision));
    }
    let from = (model.compacted + 1).max(0);
    let events: Vec<_> = view.events_from(from).unwrap().map(Result::unwrap).collect();
    let changes = model.changes.iter().filter(|change| change.0.main >= from);
    let expected: Vec<_> = changes
        .map(|(revision, is_delete, pair)| {
            let mut pair = pair.clone();
            if *is_delete {
                pair.mod_revision = revision.main;
            }
            crate::view::Event { revision: *revision, is_delete: *is_delete, pair }
        })
        .collect();
    assert_eq!(events, expected);
    for id in 0..4 {
        let keys = view.lease(id).map(|lease| lease.keys().collect::<Vec<_>>());
        let attached = model.now().values().filter(|pair| pair.lease == id);
        let expected = attached.map(|pair| pair.key.to_vec()).collect();
        assert_eq!(keys, model.leases.contains(&id).then_some(expected));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn behaves_like_the_model(steps in vec(step().prop_filter("allowed", is_allowed), 1..80)) {
        let (mut store, mut model, mut files) = (Store::new(), Model::new(), Files::new());
        let mut views = Vec::new();
        for step in &steps {
            run(&mut store, &mut model, &mut files, step);
            if matches!(step, Step::View | Step::Reload | Step::ReloadDatabase) {
                compare(&store.view(), &model);
                views.push((store.view(), model.clone()));
            }
        }
        views.push((store.view(), model.clone()));
        while store.collect(3) {}
        compare(&store.view(), &model);
        for (view, model) in views {
            compare(&view, &model);
        }
        files.reload(&mut store);
        compare(&store.view(), &model);
        for (pending, expected) in &files.replies {
            let reply = pending.make();
            assert_eq!(reply.as_ref(), Ok(expected));
            assert_eq!(pending.make(), reply, "it is made again as it was");
        }
        compare(&reload_database(&mut store).view(), &model);
    }
}
