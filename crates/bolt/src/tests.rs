use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use quoin_vfs::{FileSystem, MemFs};

use crate::format::{FLAG_BRANCH, Header};
use crate::{BoltError, Db, Layout, PAGE_BYTES, Pair, WriteError};

mod hostile;

/// The content of a file.
type Content = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

const PATH: &str = "db";

fn path() -> &'static Path {
    Path::new(PATH)
}

fn layout(content: &Content) -> Layout {
    let names: Vec<&str> = content.keys().map(String::as_str).collect();
    let lengths = content.iter().flat_map(|(name, pairs)| {
        pairs.iter().map(move |(key, value)| Ok((name, key.len(), value.len())))
    });
    Layout::of::<_, WriteError>(&names, lengths).unwrap()
}

fn encode(content: &Content) -> Vec<u8> {
    let layout = layout(content);
    let pairs = content.iter().flat_map(|(name, pairs)| {
        pairs.iter().map(move |(key, value)| {
            Ok((name, Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))
        })
    });
    let chunks: Result<Vec<Bytes>, WriteError> = layout.write(pairs).collect();
    let bytes = chunks.unwrap().concat();
    assert_eq!(bytes.len() as u64, layout.file_bytes());
    bytes
}

fn open(bytes: &[u8]) -> Result<Db, BoltError> {
    let fs = MemFs::new();
    fs.create(path()).unwrap().write_at(bytes, 0).unwrap();
    Db::open(&fs, path())
}

/// Reads everything, by walks.
fn decode(db: &Db) -> Result<Content, BoltError> {
    let mut content = Content::new();
    for bucket in db.buckets() {
        let (name, bucket) = bucket?;
        let pairs =
            bucket.pairs().map(|pair| pair.map(|pair| (pair.key.into(), pair.value.into())));
        let name = String::from_utf8_lossy(&name).into_owned();
        content.insert(name, pairs.collect::<Result<_, _>>()?);
    }
    Ok(content)
}

/// Small pairs, a few that need pages of their own, and long keys that need large branches.
fn pairs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    let key = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 1..40),
        1 => prop::collection::vec(any::<u8>(), 1..6000),
    ];
    let value = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 0..20_000),
    ];
    prop::collection::btree_map(key, value, 0..300)
}

fn content() -> impl Strategy<Value = Content> {
    prop::collection::btree_map("[a-z]{1,8}", pairs(), 0..4)
}

/// Every branch of a file written in one go must have two children: when bbolt deletes what is
/// below a branch with one, it panics.
fn check_branches(bytes: &[u8]) {
    let mut at = 2 * PAGE_BYTES;
    while at < bytes.len() {
        let header = Header::read(&bytes[at..]).unwrap();
        assert_eq!(header.page, (at / PAGE_BYTES) as u64);
        assert!(header.flags != FLAG_BRANCH || header.count >= 2, "page {}", header.page);
        at += (header.overflow as usize + 1) * PAGE_BYTES;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_written_is_read(content in content(), probe in prop::collection::vec(any::<u8>(), 0..3)) {
        let bytes = encode(&content);
        check_branches(&bytes);
        let db = open(&bytes).unwrap();
        prop_assert_eq!(&decode(&db).unwrap(), &content);
        for (name, pairs) in &content {
            let bucket = db.bucket(name.as_bytes()).unwrap().unwrap();
            for (key, value) in pairs {
                prop_assert_eq!(bucket.get(key).unwrap().unwrap(), value);
            }
            for pair in bucket.pairs().map(Result::unwrap) {
                let at = usize::try_from(pair.value_at).unwrap();
                prop_assert_eq!(&bytes[at..at + pair.value.len()], &pair.value[..]);
            }
            let rest: Vec<_> = bucket.pairs_from(&probe).map(|pair| pair.unwrap().key).collect();
            let expected: Vec<_> = pairs.range(probe.clone()..).map(|(key, _)| key).collect();
            prop_assert_eq!(rest, expected);
            let found = bucket.get(&probe).unwrap();
            prop_assert_eq!(found.as_deref(), pairs.get(&probe).map(Vec::as_slice));
        }
        prop_assert!(db.bucket(b"A").unwrap().is_none());
    }
}

fn numbered(count: u32, value_len: usize) -> Content {
    let pairs = (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![n as u8; value_len]));
    [("key".to_owned(), pairs.collect())].into()
}

/// Sizes around those at which a level of the tree needs one page, two, or a parent.
#[test]
fn trees_of_all_shapes() {
    for count in (0..40).chain(200..215).chain([1000, 3000]) {
        for value_len in [0, 1300, 1999, 4000] {
            let content = numbered(count, value_len);
            let bytes = encode(&content);
            check_branches(&bytes);
            let db = open(&bytes).unwrap();
            assert_eq!(decode(&db).unwrap(), content, "{count} values of {value_len} bytes");
        }
    }
}

#[test]
fn long_keys_make_branches_with_overflow() {
    for count in 1..12_u8 {
        let pairs = (0..count).map(|n| (vec![n + 1; 32_768], vec![n]));
        let content: Content = [("key".to_owned(), pairs.collect())].into();
        let bytes = encode(&content);
        check_branches(&bytes);
        assert_eq!(decode(&open(&bytes).unwrap()).unwrap(), content);
    }
}

/// The smallest files, byte for byte: what bbolt reads is not for us to change.
#[test]
fn golden() {
    let bytes = encode(&[("b".to_owned(), [(b"k".to_vec(), b"v".to_vec())].into())].into());
    assert_eq!(bytes.len(), 4 * PAGE_BYTES);
    let head = |page: usize, length: usize| &bytes[page * PAGE_BYTES..page * PAGE_BYTES + length];
    let meta = |page: u8, checksum: [u8; 8]| {
        let mut meta = vec![page, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        meta.extend([0xed, 0xda, 0x0c, 0xed, 2, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0]);
        meta.extend([3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        meta.extend([0xff; 8]);
        meta.extend([4, 0, 0, 0, 0, 0, 0, 0, page, 0, 0, 0, 0, 0, 0, 0]);
        meta.extend(checksum);
        meta
    };
    assert_eq!(head(0, 80), meta(0, head(0, 80)[72..].try_into().unwrap()));
    assert_eq!(head(1, 80), meta(1, head(1, 80)[72..].try_into().unwrap()));
    let mut leaf = vec![2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0];
    leaf.extend([0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'k', b'v']);
    assert_eq!(head(2, leaf.len()), leaf);
    let mut root = vec![3, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0];
    root.extend([1, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, b'b']);
    root.extend([2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(head(3, root.len()), root);
}

/// bbolt keeps a small bucket within the value of its parent's element.
#[test]
fn a_bucket_within_a_page_knows_where_its_values_are() {
    let mut bytes = encode(&[("b".to_owned(), [(b"k".to_vec(), b"v".to_vec())].into())].into());
    let leaf = bytes[2 * PAGE_BYTES..][..34].to_vec();
    let root = &mut bytes[3 * PAGE_BYTES..];
    // The bucket has no page, and its value goes on with what that page had.
    root[28..32].copy_from_slice(&(16 + leaf.len() as u32).to_le_bytes());
    root[33..41].fill(0);
    root[49..][..leaf.len()].copy_from_slice(&leaf);
    let db = open(&bytes).unwrap();
    let pair = db.bucket(b"b").unwrap().unwrap().pairs().next().unwrap().unwrap();
    assert_eq!((&pair.key[..], &pair.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!(pair.value_at, 3 * PAGE_BYTES as u64 + 49 + 33);
    let mut value = [0];
    db.file().read_exact_at(&mut value, pair.value_at).unwrap();
    assert_eq!(value, *b"v");
}

#[test]
fn what_bbolt_does_not_take_is_refused() {
    let of = |names: &[&str], rows: &[(&str, usize, usize)]| {
        Layout::of::<_, WriteError>(names, rows.iter().copied().map(Ok)).map(|_| ())
    };
    assert_eq!(of(&["a", "b"], &[("a", 1, 0), ("b", 32_768, 0)]), Ok(()));
    assert_eq!(of(&["b", "a"], &[]), Err(WriteError::Order));
    assert_eq!(of(&["a", "a"], &[]), Err(WriteError::Order));
    assert_eq!(of(&[""], &[]), Err(WriteError::Key(0)));
    assert_eq!(of(&["a"], &[("a", 0, 1)]), Err(WriteError::Key(0)));
    assert_eq!(of(&["a"], &[("a", 32_769, 1)]), Err(WriteError::Key(32_769)));
    assert_eq!(of(&["a"], &[("a", 1, 1 << 31)]), Err(WriteError::Value(1 << 31)));
    assert_eq!(of(&["a", "b"], &[("b", 1, 1), ("a", 1, 1)]), Err(WriteError::NoBucket));
    assert_eq!(of(&["a", "c"], &[("b", 1, 1)]), Err(WriteError::NoBucket));
}

#[test]
fn other_pairs_than_planned_are_refused() {
    let content = numbered(1000, 100);
    let layout = layout(&content);
    let pair = |n: u32, length| {
        Ok(("key", Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![1; length])))
    };
    let write = |pairs: Vec<Result<(&'static str, Bytes, Bytes), WriteError>>| {
        layout.write(pairs).collect::<Result<Vec<Bytes>, WriteError>>().map(|_| ())
    };
    assert_eq!(write((0..1000).map(|n| pair(n, 100)).collect()), Ok(()));
    let wrong = Err(WriteError::NotAsPlanned);
    assert_eq!(write((0..500).map(|n| pair(n, 100)).collect()), wrong);
    assert_eq!(write((0..2000).map(|n| pair(n, 100)).collect()), wrong);
    assert_eq!(write((0..1000).map(|n| pair(n, 300)).collect()), wrong);
    assert_eq!(write(vec![pair(2, 100), pair(1, 100)]), Err(WriteError::Order));
    assert_eq!(write(vec![pair(2, 100), pair(2, 100)]), Err(WriteError::Order));
    let failed: Result<Pair, WriteError> = Err(WriteError::Key(7));
    assert_eq!(write(vec![pair(1, 100), failed.map(|_| unreachable!())]), Err(WriteError::Key(7)));
}
