//! Where fuzzing begins: for each target some inputs that go deep.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::{Compare, PutRequest, RequestOp, TxnRequest};
use quoin_bolt::{Layout, WriteError};
use quoin_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_vfs::{FileSystem, MemFs};
use quoin_wal::{Metadata, Options, Wal};

use crate::bolt::exported;
use crate::checkpoint::content_of;
use crate::files::files_of;
use crate::input::with_length;
use crate::log::CUT;
use crate::sample::{Sample, entries, txn};
use crate::segment::all_at;

/// The seeds of a target; none if there is no such target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "apply" => vec![apply()],
        "bolt_open" => both_ways(&[database(), small_file()]),
        "checkpoint" => checkpoint(),
        "database" => both_ways(&[database()]),
        "http2" => crate::http2::seeds(),
        #[cfg(feature = "peer")]
        "peer_codec" => crate::peer::seeds(),
        "segment" => vec![vec![0], vec![0, 30, 0, 1, 0, 9], vec![1, 100, 0, 0, 0]],
        "txn_check" => txn_check(),
        #[cfg(feature = "peer")]
        "v2_request" => crate::v2_request::seeds(),
        "v2_store" => crate::v2::seeds(),
        "wal_replay" => wal_replay(),
        _ => Vec::new(),
    }
}

/// Inputs with and without checksums to be made right.
fn both_ways(files: &[Vec<u8>]) -> Vec<Vec<u8>> {
    files.iter().flat_map(|file| [0, 1].map(|seals| [&[seals], &file[..]].concat())).collect()
}

fn apply() -> Vec<u8> {
    let parts = entries().into_iter().map(|(entry, changes_members)| {
        let kind = if changes_members { 3 } else { 0 };
        [&[kind], &with_length(&entry)[..]].concat()
    });
    parts.collect::<Vec<_>>().concat()
}

fn database() -> Vec<u8> {
    let mut store = Sample::store();
    let conf = store.view().conf();
    exported(&store.checkpoint(conf)).expect("the sample fits into a database")
}

/// A file with a branch and an overflow.
fn small_file() -> Vec<u8> {
    let pairs: Vec<(Bytes, Bytes)> = (0..90_u8)
        .map(|n| {
            let length = if n == 40 { 5_000 } else { 60 };
            (Bytes::from(vec![n; 30]), Bytes::from(vec![n; length]))
        })
        .collect();
    let lengths = pairs.iter().map(|(key, value)| Ok(("key", key.len(), value.len())));
    let layout = Layout::of::<_, WriteError>(&["key"], lengths).expect("bbolt takes these");
    let pairs = pairs.into_iter().map(|(key, value)| Ok(("key", key, value)));
    let chunks: Result<Vec<Bytes>, WriteError> = layout.write(pairs).collect();
    chunks.expect("the layout was made of these").concat()
}

fn checkpoint() -> Vec<Vec<u8>> {
    let mut store = Sample::store();
    let conf = store.view().conf();
    let whole: Vec<Bytes> =
        store.checkpoint(conf).stream().map(|piece| piece.expect("it is in memory")).collect();
    let name = Sample::shared().checkpoint.to_string();
    let index = Sample::shared().files.iter().find(|(other, _)| *other == name);
    let (_, index) = index.expect("the sample has a checkpoint");
    let files = [whole.concat(), index.clone()];
    let plain = files.iter().map(|file| [&[0], &file[..]].concat());
    let contents = files.iter().map(|file| [&[1], &content_of(file)[..]].concat());
    plain.chain(contents).collect()
}

fn txn_check() -> Vec<Vec<u8>> {
    let op = |request| RequestOp { request: Some(request) };
    let reads = TxnRequest {
        compare: vec![Compare { key: Bytes::from_static(b"a"), ..Compare::default() }],
        success: vec![op(Request::RequestRange(all_at(0)))],
        failure: vec![op(Request::RequestRange(all_at(9)))],
    };
    let put = PutRequest { key: Bytes::from_static(b"k"), lease: 7, ..PutRequest::default() };
    vec![
        [&[0], &all_at(9).encode_to_vec()[..]].concat(),
        [&[1], &put.encode_to_vec()[..]].concat(),
        [&[3], &reads.encode_to_vec()[..]].concat(),
        [&[3], &txn().encode_to_vec()[..]].concat(),
    ]
}

/// A real log, and the records of one.
fn wal_replay() -> Vec<Vec<u8>> {
    let fs = MemFs::new();
    let (dir, handle): (_, Arc<dyn FileSystem>) = (Path::new("/wal"), Arc::new(fs.clone()));
    let metadata = Metadata { node: NodeId(0xa), cluster: 0xc };
    let options = Options { segment_bytes: 1 << 16, fill_bytes: 512 };
    let mut wal = Wal::create(handle, dir, &metadata, &options).expect("memory has room");
    let mut payloads = Vec::new();
    for index in 1..=5 {
        let (term, data) = (Term(1 + index / 4), Bytes::from(vec![b'e'; 40]));
        let entry = Entry { kind: EntryKind::Normal, term, index: Index(index), data };
        let state = HardState { term, vote: NodeId(0xa), commit: Index(index - 1) };
        wal.append(Some(&state), std::slice::from_ref(&entry)).expect("memory has room");
        payloads.push((2, encoded(|out| quoin_wal::encode_entry(out, &entry))));
        let (term, commit) = (term.0 as u8, index as u8);
        payloads.push((3, vec![1 << 3, term, 2 << 3, 0xa, 3 << 3, commit]));
    }
    let conf = ConfState { voters: vec![NodeId(0xa)], learners: Vec::new() };
    let snapshot = SnapshotMeta { index: Index(3), term: Term(1), conf };
    wal.append_snapshot(&snapshot).expect("memory has room");
    wal.sync().expect("memory can be synced");
    drop(wal);
    let segment = files_of(&fs, dir).into_iter().find(|(name, _)| name.ends_with(".wal"));
    let (_, segment) = segment.expect("the log has a segment");
    let mut records = vec![1, 4, 0, 0, 1];
    records.extend([&[1], &with_length(&[1 << 3, 0xa, 2 << 3, 0xc])[..]].concat());
    records.extend([&[5], &with_length(&[1 << 3, 0, 2 << 3, 0])[..]].concat());
    // The kind and no payload of a checksum come first.
    records.splice(1..5, [4, 0, 0]);
    for (position, (kind, payload)) in payloads.iter().enumerate() {
        if position == 6 {
            records.extend([&[CUT], &with_length(&4_u32.to_le_bytes())[..]].concat());
        }
        records.extend([&[*kind], &with_length(payload)[..]].concat());
    }
    records.extend(
        [&[5], &with_length(&[1 << 3, 3, 2 << 3, 1, 3 << 3 | 2, 2, 1 << 3, 0xa])[..]].concat(),
    );
    vec![[&[0], &segment[..]].concat(), records]
}

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}
