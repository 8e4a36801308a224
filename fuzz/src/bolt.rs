//! Files of bbolt: as such, and as etcd's database.

use std::path::Path;

use bytes::Bytes;
use quoin_bolt::{BoltError, Db, Layout, Pair, WriteError};
use quoin_store::{Checkpoint, DbExport, DbImport};
use quoin_vfs::{FileSystem, MemFs};

use crate::files::with_files;
use crate::input::Input;
use crate::state::State;

const NAME: &str = "db";
/// Where the checksum of a meta page is, and what it covers.
const CHECKSUM_AT: usize = 72;
const COVERED_FROM: usize = 16;

/// A bucket: its name and its pairs.
type Content = Vec<(Bytes, Vec<Pair>)>;

/// Reads bytes as a file of bbolt. If all of it can be read, keys ascend, each is found by itself
/// and from itself on, and the writer makes a file of the pairs that reads the same.
pub fn bolt_open(data: &[u8]) {
    let fs = file(data);
    let Ok(db) = Db::open(&fs, Path::new(NAME)) else { return };
    let Ok(content) = walk(&db) else { return };
    for (name, pairs) in &content {
        let ascend = pairs.windows(2).all(|pair| pair[0].key < pair[1].key);
        assert!(ascend, "the keys of {name:?} do not ascend");
        let bucket = db.bucket(name).expect("it was just read").expect("it was just found");
        for pair in pairs {
            let from = bucket.pairs_from(&pair.key).next().expect("it was just found");
            assert_eq!(&from.expect("it was just read"), pair);
            let value = bucket.get(&pair.key).expect("it was just read");
            assert_eq!(value, (!pair.is_bucket).then(|| pair.value.clone()));
        }
    }
    write_again(&content);
}

/// Reads bytes as etcd's database. What it shows is the same after it was written and read again.
pub fn database(data: &[u8]) {
    let fs = file(data);
    let Ok(import) = DbImport::read(&fs, Path::new(NAME)) else { return };
    let term = import.term().unwrap_or(1);
    let mut loaded = import.into_loaded(term);
    let state = State::of(&loaded.store.view()).expect("all of it was just read");
    let checkpoint = loaded.store.checkpoint(loaded.conf.clone());
    // The writer refuses what bbolt would.
    let Some(bytes) = exported(&checkpoint) else { return };
    let fs = with_files(Path::new(""), [(NAME, &bytes[..])]);
    let again = DbImport::read(&fs, Path::new(NAME)).expect("it was just written");
    let again = again.into_loaded(term);
    assert_eq!(State::of(&again.store.view()).expect("all of it was just read"), state);
}

/// A state as etcd's database; none if the writer refuses it.
pub(crate) fn exported(checkpoint: &Checkpoint) -> Option<Vec<u8>> {
    let chunks: Result<Vec<Bytes>, _> = DbExport::collect(checkpoint.export().ok()?);
    Some(chunks.expect("all of it can be read").concat())
}

/// The file that an input describes. If the first byte is odd, the checksums of the two meta pages
/// are made right.
fn file(data: &[u8]) -> MemFs {
    let mut input = Input::new(data);
    let seals = input.u8() % 2 == 1;
    let mut bytes = input.rest().to_vec();
    if seals {
        let page_bytes =
            bytes.get(24..28).map_or(0, |at| u32::from_le_bytes(at.try_into().unwrap()));
        for at in [0, page_bytes as usize] {
            seal(&mut bytes, at);
        }
    }
    with_files(Path::new(""), [(NAME, &bytes[..])])
}

fn seal(bytes: &mut [u8], at: usize) {
    let Some(page) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..CHECKSUM_AT + 8)) else {
        return;
    };
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = page[COVERED_FROM..CHECKSUM_AT].iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    page[CHECKSUM_AT..].copy_from_slice(&hash.to_le_bytes());
}

fn walk(db: &Db) -> Result<Content, BoltError> {
    let mut content = Content::new();
    for bucket in db.buckets() {
        let (name, bucket) = bucket?;
        content.push((name, bucket.pairs().collect::<Result<_, _>>()?));
    }
    Ok(content)
}

/// Writes what was read, as far as the writer can: it has no buckets in buckets.
fn write_again(content: &Content) {
    let names: Option<Vec<&str>> =
        content.iter().map(|(name, _)| std::str::from_utf8(name).ok()).collect();
    let Some(names) = names else { return };
    let plain = || {
        content.iter().flat_map(|(name, pairs)| {
            let name = std::str::from_utf8(name).expect("the names were checked");
            pairs.iter().filter(|pair| !pair.is_bucket).map(move |pair| (name, pair))
        })
    };
    let lengths = plain().map(|(name, pair)| Ok((name, pair.key.len(), pair.value.len())));
    let Ok(layout) = Layout::of::<_, WriteError>(&names, lengths) else { return };
    let pairs = plain().map(|(name, pair)| Ok((name, pair.key.clone(), pair.value.clone())));
    let chunks: Result<Vec<Bytes>, WriteError> = layout.write(pairs).collect();
    let bytes = chunks.expect("the layout was made of these").concat();
    let fs: Box<dyn FileSystem> = Box::new(with_files(Path::new(""), [(NAME, &bytes[..])]));
    let db = Db::open(&*fs, Path::new(NAME)).expect("it was just written");
    let again = walk(&db).expect("it was just written");
    let again =
        again.iter().flat_map(|(name, pairs)| pairs.iter().map(move |pair| (&name[..], pair)));
    assert!(again.eq(plain().map(|(name, pair)| (name.as_bytes(), pair))));
}
