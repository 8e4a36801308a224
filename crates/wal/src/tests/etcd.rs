//! Bytes that etcd wrote, read and written again.

use quoin_raft::{EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_vfs::{FileSystem, MemFs, OpenMode};

use super::{create, dir, new_fs, open};
use crate::Metadata;
use crate::record::Encoder;

/// By etcd 3.7.1: the head of the first segment of a new cluster of one member: checksum, metadata, empty
/// snapshot, the member itself, the first election, two requests by which it publishes itself.
const SEGMENT_3_7: &str = "\
040000000000008408041000000000001f00000000000081080110c1e6b5c3091a1508f69db99cbeccf6c86510d4ac\
aacbdb86c1bc8601000e0000000000008208051086a2e59b011a040800100000007100000000000087080210cc9c92\
d5031a67080110011801225f100018f69db99cbeccf6c86522517b226964223a373331383837303939323030383133\
383438362c227065657255524c73223a5b22687474703a2f2f3132372e302e302e393a3332333830225d2c226e616d\
65223a2264656661756c74227d000000000000001000000000000000080310898da7ce041a06080110001801180000\
0000000000080310cff5fae0061a0e080210f69db99cbeccf6c86518010e00000000000082080210e18a808d031a04\
1002180200004d00000000000083080210acb1afae021a4310021803223da2060a0881d283abdbc0a8fb4eaa512d08\
f69db99cbeccf6c86512210a0764656661756c741216687474703a2f2f3132372e302e302e393a3332333739000000\
1800000000000000080310b7e48bc10a1a0e080210f69db99cbeccf6c86518022600000000000082080210909bf432\
1a1d100218042217a2060a0882d283abdbc0a8fb4ea251070a05332e372e30000018000000000000000803109de2da\
b20c1a0e080210f69db99cbeccf6c8651803";

/// By etcd 3.4.23, which writes numbers also when they are 0, as we do.
const SEGMENT_3_4: &str = "\
040000000000008408041000000000001f00000000000081080110c1e6b5c3091a1508f69db99cbeccf6c86510d4ac\
aacbdb86c1bc8601000e0000000000008208051086a2e59b011a040800100000007300000000000085080210bac7cf\
ca031a6908011001180122610800100018f69db99cbeccf6c86522517b226964223a37333138383730393932303038\
3133383438362c227065657255524c73223a5b22687474703a2f2f3132372e302e302e393a3332333830225d2c226e\
616d65223a2264656661756c74227d0000000000100000000000000008031090aa9f97071a06080110001801100000\
0000000000080210bba9ae94031a060800100218029e00000000000082080210d9f5acd3061a930108001002180322\
8a010882fce298dec0a8fb4e12035055541a262f302f6d656d626572732f363539316461363365333865346566362f\
61747472696275746573223a7b226e616d65223a2264656661756c74222c22636c69656e7455524c73223a5b226874\
74703a2f2f3132372e302e302e393a3332333739225d7d280032003800480050005800600068007000780080010000\
001800000000000000080310ea81aee8051a0e080210f69db99cbeccf6c8651803";

const NODE: NodeId = NodeId(0x6591_da63_e38e_4ef6);

fn bytes(segment: &str) -> Vec<u8> {
    let digits = segment.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn log_of(segment: &str) -> MemFs {
    let fs = new_fs();
    fs.create_dir_all(dir()).unwrap();
    let file = fs.create(&dir().join("0000000000000000-0000000000000000.wal")).unwrap();
    file.write_at(&bytes(segment), 0).unwrap();
    file.set_len(640_000).unwrap();
    fs
}

#[test]
fn a_segment_of_etcd_is_read_and_continued() {
    let fs = log_of(SEGMENT_3_7);
    let (mut wal, replay) = open(&fs, None).unwrap();
    assert_eq!(replay.metadata, Metadata { node: NODE, cluster: 0x8679_0435_b96a_9654 });
    assert_eq!(replay.hard_state, HardState { term: Term(2), vote: NODE, commit: Index(3) });
    assert_eq!(replay.snapshots, [SnapshotMeta::default()]);
    let found: Vec<_> = replay.entries.iter().map(|e| (e.kind, e.term.0, e.index.0)).collect();
    let normal = EntryKind::Normal;
    let expected = [(EntryKind::ConfChange, 1, 1), (normal, 2, 2), (normal, 2, 3), (normal, 2, 4)];
    assert_eq!(found, expected);
    assert_eq!(replay.entries.iter().map(|e| e.data.len()).collect::<Vec<_>>(), [95, 0, 61, 23]);
    assert_eq!(replay.repaired, None);

    let more: Vec<_> = (5..20).map(|index| super::entry(index, 2, 900)).collect();
    wal.append(None, &more).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let again = crate::read(&fs, dir(), None).unwrap();
    assert_eq!((&again.entries[..4], &again.entries[4..]), (&replay.entries[..], &more[..]));
}

/// etcd compares the metadata of segments byte by byte and refuses to start if they differ. A
/// member that comes to us and goes back has segments from both.
#[test]
fn metadata_is_carried_on_as_it_was_written() {
    let fs = new_fs();
    drop(create(&fs));
    // The same numbers in another order, as no version writes them today.
    let payload = [0x10, 9, 0x08, 8];
    let mut encoder = Encoder::new(0);
    encoder.put_checksum();
    encoder.put_metadata(&payload);
    encoder.put_snapshot(&SnapshotMeta::default());
    let first = dir().join("0000000000000000-0000000000000000.wal");
    fs.create(&first).unwrap().write_at(&encoder.buffer, 0).unwrap();
    fs.remove(&dir().join("synced")).unwrap();

    let (mut wal, replay) = open(&fs, None).unwrap();
    assert_eq!(replay.metadata, Metadata { node: NodeId(8), cluster: 9 });
    let entries: Vec<_> = (1..=8).map(|index| super::entry(index, 1, 900)).collect();
    wal.append(None, &entries).unwrap();
    wal.sync().unwrap();
    let second = dir().join("0000000000000001-0000000000000009.wal");
    let mut head = [0; 40];
    fs.open(&second, OpenMode::Read).unwrap().read_exact_at(&mut head, 0).unwrap();
    assert!(head.windows(4).any(|bytes| bytes == payload));
}

#[test]
fn the_same_content_is_written_as_the_same_bytes() {
    let replay = crate::read(&log_of(SEGMENT_3_4), dir(), None).unwrap();
    let mut encoder = Encoder::new(0);
    encoder.put_checksum();
    encoder.put_metadata(&crate::record::encode_metadata(&replay.metadata));
    encoder.put_snapshot(&SnapshotMeta::default());
    encoder.put_entry(&replay.entries[0]);
    encoder.put_state(&HardState { term: Term(1), vote: NodeId::NONE, commit: Index(1) });
    encoder.put_entry(&replay.entries[1]);
    encoder.put_entry(&replay.entries[2]);
    encoder.put_state(&replay.hard_state);
    assert_eq!(encoder.buffer, bytes(SEGMENT_3_4));
}
