mod packed;
mod segments;
mod twins;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use quoin_api::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    PutRequest, RangeRequest, Request as V2Request,
};
use quoin_api::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use quoin_api::raftpb::ConfChange;
use quoin_vfs::{CrashMode, FaultFs, FileSystem, MemFs, OpKind, OpenMode};

use super::encode::{block, last_block};
use super::{
    BLOCK_BYTES, Checkpoint, CheckpointError, CheckpointId, ConfState, Loaded, ReceivedId,
    WriteOptions,
};
use crate::{EntryData, Member, Store, View};

const DIR: &str = "/store";

fn new_fs() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs
}

fn apply(store: &mut Store, request: &InternalRaftRequest) {
    let entry = Bytes::from(request.encode_to_vec());
    store.apply(store.applied().0 + 1, 2, EntryData::Normal(&entry)).unwrap();
}

fn put(store: &mut Store, key: &str, value: &[u8], lease: i64) {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::copy_from_slice(value));
    let put = Some(PutRequest { key, value, lease, ..PutRequest::default() });
    apply(store, &InternalRaftRequest { put, ..Default::default() });
}

/// A store with something of everything.
pub(crate) fn full_store() -> Store {
    let mut store = Store::new();
    for id in [1_u64, 2] {
        let name = if id == 1 { "one" } else { "" };
        let peer_urls = vec![format!("http://h{id}:1")];
        let member = Member { id, peer_urls, name: name.to_owned(), ..Member::default() };
        let context = Bytes::from(member.to_json(Some(false)));
        let change = ConfChange { id: 0, r#type: 0, node_id: id, context };
        let entry = Bytes::from(change.encode_to_vec());
        store.apply(id, 1, EntryData::ConfChange(&entry)).unwrap();
    }
    let remove = ConfChange { r#type: 1, node_id: 2, ..ConfChange::default() };
    let entry = Bytes::from(remove.encode_to_vec());
    store.apply(3, 1, EntryData::ConfChange(&entry)).unwrap();
    let ver = || "3.7.0".to_owned();
    let downgrade_info_set = Some(DowngradeInfoSetRequest { enabled: true, ver: ver() });
    apply(&mut store, &InternalRaftRequest { downgrade_info_set, ..Default::default() });
    let cluster_version_set = Some(ClusterVersionSetRequest { ver: ver() });
    apply(&mut store, &InternalRaftRequest { cluster_version_set, ..Default::default() });
    let alarm = Some(AlarmRequest { action: 1, member_id: 1, alarm: 9 });
    apply(&mut store, &InternalRaftRequest { alarm, ..Default::default() });
    for id in [-7, 7] {
        let lease_grant = Some(LeaseGrantRequest { id, ttl: 60 });
        apply(&mut store, &InternalRaftRequest { lease_grant, ..Default::default() });
    }
    put(&mut store, "a", b"1", 7);
    put(&mut store, "a", b"2", 7);
    put(&mut store, "long", &[b'x'; 3 * BLOCK_BYTES], 0);
    put(&mut store, "a", b"3", -7);
    let compaction = Some(CompactionRequest { revision: 3, physical: false });
    apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
    store
}

fn conf() -> ConfState {
    ConfState { voters: vec![1, 3], learners: vec![4] }
}

pub(crate) fn check_same(found: &View, expected: &View) {
    assert_eq!(found.applied(), expected.applied());
    assert_eq!(found.revision(), expected.revision());
    assert_eq!(found.compact_revision(), expected.compact_revision());
    assert_eq!(found.hash_kv(0), expected.hash_kv(0));
    assert_eq!(found.membership(), expected.membership());
    assert_eq!(found.alarms, expected.alarms);
    let leases = |view: &View| -> Vec<_> {
        let leases = view.leases();
        leases.map(|l| (l.id, l.ttl_s, l.remaining_ttl_s, l.keys().collect::<Vec<_>>())).collect()
    };
    assert_eq!(leases(found), leases(expected));
    let events = |view: &View| -> Vec<_> {
        view.events_from(view.compact_revision() + 1).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(events(found), events(expected));
    let all = Bytes::from_static(&[0]);
    let all = RangeRequest { key: all.clone(), range_end: all, ..RangeRequest::default() };
    assert_eq!(found.range(&all), expected.range(&all));
}

fn check_loaded(loaded: &Loaded, expected: &Store) {
    assert_eq!((loaded.index, loaded.term), expected.applied());
    assert_eq!(loaded.conf, conf());
    check_same(&loaded.store.view(), &expected.view());
    let v2 = |store: &Store| store.view().v2().to_json();
    assert_eq!(v2(&loaded.store), v2(expected));
}

fn apply_v2(store: &mut Store, method: &str, path: &str, request: V2Request) {
    let (method, path) = (method.to_owned(), Bytes::from(path.to_owned()));
    let entry = Bytes::from(V2Request { method, path, ..request }.encode_to_vec());
    store.apply(store.applied().0 + 1, 2, EntryData::Normal(&entry)).unwrap();
}

/// Directories, values that are no text, times to live, and a history that has dropped events; all of
/// it larger than a block.
#[test]
fn the_v2_store_comes_back() {
    let mut store = full_store();
    let value = |val: &'static [u8]| V2Request { val: val.into(), ..V2Request::default() };
    for number in 0..1100 {
        let large = V2Request { val: vec![b'x'; 200].into(), ..V2Request::default() };
        apply_v2(&mut store, "PUT", &format!("/1/many/{}", number % 500), large);
    }
    apply_v2(&mut store, "PUT", "/1/d/\u{1}bytes", value(b"\xff\x00"));
    apply_v2(&mut store, "PUT", "/1/empty", value(b""));
    let expiration = 2_000_000_000_000_000_000;
    apply_v2(&mut store, "PUT", "/1/ends", V2Request { expiration, ..value(b"1") });
    apply_v2(&mut store, "PUT", "/1/dir", V2Request { dir: true, expiration, ..value(b"") });
    apply_v2(&mut store, "POST", "/1/dir", value(b"&"));
    apply_v2(&mut store, "DELETE", "/1/none", value(b""));
    let refresh = Some(true);
    apply_v2(&mut store, "PUT", "/1/ends", V2Request { expiration, refresh, ..value(b"") });
    for whole in [false, true] {
        let fs = new_fs();
        if whole {
            let bytes = streamed(&store.checkpoint(conf()));
            let id = CheckpointId { index: store.applied().0 };
            replace(&fs, &id.path(Path::new(DIR)), &bytes);
        } else {
            store.checkpoint(conf()).write(&fs, Path::new(DIR)).unwrap();
        }
        let mut loaded = load_newest(&fs).unwrap().unwrap();
        check_loaded(&loaded, &store);
        // What is derived when it is read, too: the order in which nodes end.
        apply_v2(&mut loaded.store, "SYNC", "", V2Request { time: expiration, ..value(b"") });
        let view = loaded.store.view();
        assert!(!view.v2().has_expiring() && view.v2().get(b"/1/ends", false).is_err());
    }
}

fn load_newest(fs: &dyn FileSystem) -> Result<Option<Loaded>, CheckpointError> {
    Checkpoint::load_newest(fs, Path::new(DIR))
}

/// Small segments, so that there are some.
const OPTIONS: WriteOptions = WriteOptions { segment_bytes: 150 };

fn write(fs: &dyn FileSystem, store: &mut Store) -> Result<CheckpointId, CheckpointError> {
    let checkpoint = store.checkpoint(conf());
    let written = checkpoint.write_paced(fs, Path::new(DIR), &OPTIONS, &mut |_| ())?;
    let id = written.id;
    store.placed(written);
    while store.place(1) {}
    Ok(id)
}

fn replace(fs: &MemFs, path: &Path, bytes: &[u8]) {
    fs.create(path).unwrap().write_at(bytes, 0).unwrap();
}

/// The whole state as it goes to another member.
fn bytes_of(store: &mut Store) -> Vec<u8> {
    streamed(&store.checkpoint(conf()))
}

fn streamed(checkpoint: &Checkpoint) -> Vec<u8> {
    checkpoint.stream().map(Result::unwrap).collect::<Vec<_>>().concat()
}

#[test]
fn comes_back_as_it_was_written() {
    for mut store in [Store::new(), full_store()] {
        let fs = new_fs();
        assert!(load_newest(&fs).unwrap().is_none());
        let id = write(&fs, &mut store).unwrap();
        assert_eq!(id.index, store.applied().0);
        check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
    }
}

/// The checkpoint was taken before the store went on, and is written afterwards.
#[test]
fn shows_the_state_at_which_it_was_taken() {
    let fs = new_fs();
    let mut store = full_store();
    let checkpoint = store.checkpoint(conf());
    for n in 0..3000 {
        put(&mut store, &format!("later{}", n % 7), b"v", 0);
    }
    let compaction = Some(CompactionRequest { revision: 2000, physical: false });
    apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
    while store.collect(100) {}
    checkpoint.write(&fs, Path::new(DIR)).unwrap();
    check_loaded(&load_newest(&fs).unwrap().unwrap(), &full_store());
}

/// A store of the v2 API that nothing was done to: its directories.
const EMPTY_V2_STORE: &str = concat!(
    "0000000000000000",                         // index
    "0000000000000000000000000000000000000000", // counts
    "0000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000",
    "00000000", // events
    "01",       // a node: path, no value, no end, indexes
    "010000002f",
    "0000",
    "00000000000000000000000000000000",
    "01",
    "020000002f30",
    "0000",
    "00000000000000000000000000000000",
    "01",
    "020000002f31",
    "0000",
    "00000000000000000000000000000000",
    "00",
);

/// Directories of builds that kept nothing of the v2 API are started on, too.
#[test]
fn the_form_before_the_v2_store_is_read() {
    let content = [
        "51554f494e434b50",
        "01000000", // version
        "0200000000000000",
        "0200000000000000",
        "01000000",
        "0100000000000000",
        "00000000",
        "0200000000000000",
        "ffffffffffffffff",
        "01000000", // a member
        "0100000000000000",
        "00",
        "00000000",
        "01000000",
        "0400000075726c31",
        "00000000",
        "00000000", // removed
        "00",
        "00",
        "00000000",
        "00", // no lease
        "01", // a put
        "0200000000000000",
        "00000000",
        "0e000000",
        "0a016b1002180220012a01763005",
        "00",
    ]
    .concat();
    let digits: Vec<char> = content.chars().collect();
    let bytes = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap());
    let payload: Vec<u8> = bytes.collect();
    let first = block(0, &payload);
    let fs = new_fs();
    let path = CheckpointId { index: 2 }.path(Path::new(DIR));
    replace(&fs, &path, &[first.clone(), last_block(first.len() as u64)].concat());
    let loaded = load_newest(&fs).unwrap().unwrap();
    assert_eq!(loaded.store.view().revision(), 2);
    // What the v2 store shows of the members is made from them.
    let view = loaded.store.view();
    let shown = view.v2().get(b"/0/members/1/raftAttributes", false).unwrap();
    assert_eq!(shown.node.value.as_deref(), Some(&br#"{"peerURLs":["url1"]}"#[..]));
}

/// The bytes are a format, not an accident of the code: a change of them needs a new version.
#[test]
fn golden_bytes_of_a_whole_state() {
    let mut store = Store::new();
    let lease_grant = Some(LeaseGrantRequest { id: 5, ttl: 60 });
    apply(&mut store, &InternalRaftRequest { lease_grant, ..Default::default() });
    put(&mut store, "k", b"v", 5);
    let conf = ConfState { voters: vec![1], learners: vec![] };
    let bytes = streamed(&store.checkpoint(conf));
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let content = [
        "51554f494e434b50", // QUOINCKP
        "03000000",         // version
        "0200000000000000", // index
        "0200000000000000", // term
        "01000000",         // voters
        "0100000000000000",
        "00000000",         // learners
        "0200000000000000", // revision
        "ffffffffffffffff", // compacted
        "00000000",         // members
        "00000000",         // removed
        "00",               // version of the cluster
        "00",               // downgrade
        "00000000",         // alarms
        "01",               // a lease
        "0500000000000000",
        "3c00000000000000",
        "0000000000000000",
        "00",
        EMPTY_V2_STORE,
        "01", // a put
        "0200000000000000",
        "00000000",
        "0e000000",
        "0a016b1002180220012a01763005",
        "00",
    ]
    .concat();
    let expected = format!("530100001e87dcaa{content}00000000aca321176b01000000000000");
    assert_eq!(text, expected);
}

#[test]
fn goes_to_another_member_as_a_stream() {
    let mut store = full_store();
    let bytes = bytes_of(&mut store);
    let pieces = store.checkpoint(conf()).stream().map(Result::unwrap);
    assert!(pieces.into_iter().all(|piece| piece.len() <= BLOCK_BYTES + 8));
    let fs = new_fs();
    replace(&fs, &store.checkpoint(conf()).id().path(Path::new(DIR)), &bytes);
    check_loaded(&load_newest(&fs).unwrap().unwrap(), &store);
}

/// One bit of any byte, or any number of bytes at the end.
#[test]
fn no_damage_goes_unseen() {
    let mut store = full_store();
    put(&mut store, "long", b"", 0);
    let compaction = Some(CompactionRequest { revision: 6, physical: false });
    apply(&mut store, &InternalRaftRequest { compaction, ..Default::default() });
    let bytes = bytes_of(&mut store);
    assert!(bytes.len() < 3000);
    let fs = new_fs();
    let path = CheckpointId { index: 99 }.path(Path::new(DIR));
    let check_damaged = |bytes: &[u8], what: &str| {
        replace(&fs, &path, bytes);
        match load_newest(&fs) {
            Err(CheckpointError::Damaged { path: found, .. }) => assert_eq!(found, path),
            Err(error) => panic!("{what}: {error}"),
            Ok(_) => panic!("{what} is not seen"),
        }
    };
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        check_damaged(&damaged, &format!("a bit at {at}"));
        check_damaged(&bytes[..at], &format!("a cut at {at}"));
    }
    check_damaged(&[&bytes[..], b"\0"].concat(), "a byte too many");
    replace(&fs, &path, &bytes);
    assert!(load_newest(&fs).unwrap().is_some());
}

/// Blocks that are right in themselves but in each other's place.
#[test]
fn exchanged_blocks_are_seen() {
    let mut bytes = bytes_of(&mut full_store());
    let block = BLOCK_BYTES + 8;
    let (first, rest) = bytes.split_at_mut(2 * block);
    first[block..].swap_with_slice(&mut rest[..block]);
    let fs = new_fs();
    replace(&fs, &CheckpointId { index: 1 }.path(Path::new(DIR)), &bytes);
    assert!(matches!(load_newest(&fs), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn a_later_format_is_refused_by_name() {
    let fs = new_fs();
    let mut content = b"QUOINCKP".to_vec();
    content.extend([5, 0, 0, 0]);
    let checksum = super::encode::block_checksum(0, &content);
    let block = [&[12, 0, 0, 0], &checksum.to_le_bytes()[..], &content].concat();
    replace(&fs, &CheckpointId { index: 1 }.path(Path::new(DIR)), &block);
    assert!(matches!(load_newest(&fs), Err(CheckpointError::Version { version: 5, .. })));
}

/// The state that a leader sent was written while the job of a checkpoint ran. Both took the next
/// free number for a segment, and one wrote over the records of the other.
#[test]
fn two_jobs_never_share_the_directory() {
    let fs = new_fs();
    let mut store = full_store();
    let mut other = full_store();
    put(&mut other, "other", b"v", 0);
    let (checkpoint, other) = (store.checkpoint(conf()), other.checkpoint(conf()));
    let mut refused = 0;
    let written =
        checkpoint.write_paced(&fs, Path::new(DIR), &WriteOptions::default(), &mut |_| {
            refused += usize::from(other.write(&fs, Path::new(DIR)).is_err());
        });
    assert!(written.is_ok() && refused > 0);
    let loaded = load_newest(&fs).unwrap().unwrap();
    check_loaded(&loaded, &store);
    other.write(&fs, Path::new(DIR)).unwrap();
    assert_eq!(load_newest(&fs).unwrap().unwrap().index, other.id().index);
}
