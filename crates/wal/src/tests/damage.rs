//! Damage: no bit can change unnoticed.

use std::path::Path;

use quoin_vfs::{FileSystem, MemFs, OpenMode};

use super::model::Random;
use super::{cases, create, dir, entry, handle, new_fs, open, snapshot, state};
use crate::segment::{self, SegmentName};
use crate::{Replay, WalError, reader};

/// A log of several segments, synced to its end, and what it contains.
fn build() -> (MemFs, Replay) {
    let fs = new_fs();
    let mut wal = create(&fs);
    let mut index = 0;
    for round in 0..40 {
        let entries: Vec<_> = (0..3)
            .map(|_| {
                index += 1;
                // One holds empty sectors, as a torn record does.
                let mut entry = entry(index, 1 + round / 10, 120);
                if index % 7 == 0 {
                    entry.data = vec![0; 1_100].into();
                }
                entry
            })
            .collect();
        wal.append(Some(&state(1 + round / 10, 3, index - 1)), &entries).unwrap();
        if round % 10 == 9 {
            wal.append_snapshot(&snapshot(index - 1, 1 + round / 10)).unwrap();
        }
        wal.sync().unwrap();
    }
    drop(wal);
    let replay = crate::read(&fs, dir(), None).unwrap();
    assert_eq!(replay.entries.len() as u64, index);
    assert!(segments(&fs).len() > 2);
    (fs, replay)
}

fn segments(fs: &MemFs) -> Vec<SegmentName> {
    segment::list(fs, dir()).unwrap()
}

fn flip(fs: &MemFs, path: &Path, offset: u64, bit: u32) {
    let file = fs.open(path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << bit;
    file.write_at(&byte, offset).unwrap();
}

#[test]
fn a_flipped_bit_in_a_synced_record_is_always_reported() {
    let (fs, _) = build();
    let mut random = Random(1);
    for name in segments(&fs) {
        let path = name.path(dir());
        let file = fs.open(&path, OpenMode::Read).unwrap();
        let end = reader::end_of_bytes(&*file, &path, 0, file.len().unwrap()).unwrap();
        // The last record may end in zeros, and its padding is checked, too.
        let end = end.unwrap().next_multiple_of(8);
        for _ in 0..cases(300) {
            let (offset, bit) = (random.below(end), random.below(8) as u32);
            flip(&fs, &path, offset, bit);
            let error = crate::read(&fs, dir(), None).expect_err("the damage was not noticed");
            let named = match &error {
                WalError::Corrupt { path: named, offset: at, .. } => {
                    *named == path && *at <= offset
                }
                _ => false,
            };
            assert!(named, "{name} {offset} {bit}: {error}");
            flip(&fs, &path, offset, bit);
        }
    }
}

#[test]
fn without_the_mark_damage_is_reported_or_ends_the_log() {
    let (fs, intact) = build();
    fs.remove(&dir().join("synced")).unwrap();
    let last = *segments(&fs).last().unwrap();
    let path = last.path(dir());
    let mut random = Random(2);
    let mut ended = 0;
    for _ in 0..1_000 {
        let offset = random.below(6_000);
        let bit = random.below(8) as u32;
        flip(&fs, &path, offset, bit);
        match crate::read(&fs, dir(), None) {
            Ok(replay) => {
                ended += u64::from(replay.entries.len() < intact.entries.len());
                assert!(intact.entries.starts_with(&replay.entries), "offset {offset} bit {bit}");
            }
            Err(WalError::Corrupt { .. } | WalError::CommitBeyondLog { .. }) => {}
            Err(error) => panic!("offset {offset} bit {bit}: {error}"),
        }
        flip(&fs, &path, offset, bit);
    }
    assert!(ended > 0, "some damage looks like a torn write");
}

#[test]
fn opening_a_damaged_log_changes_nothing() {
    let (fs, intact) = build();
    let path = segments(&fs)[1].path(dir());
    flip(&fs, &path, 1_000, 3);
    let ops = fs.ops();
    let error = open(&fs, None).unwrap_err();
    assert!(error.to_string().contains("0000000000000001"), "{error}");
    assert_eq!(fs.ops(), ops);
    flip(&fs, &path, 1_000, 3);
    assert_eq!(open(&fs, None).unwrap().1, intact);
}

#[test]
fn a_missing_segment_is_named() {
    let (fs, _) = build();
    let names = segments(&fs);
    for (position, name) in names.iter().enumerate() {
        let path = name.path(dir());
        let aside = Path::new("/aside");
        fs.rename(&path, aside).unwrap();
        match crate::read(&fs, dir(), None) {
            Err(WalError::NoSegment { index, .. }) => assert_eq!((position, index.0), (0, 0)),
            Err(WalError::MissingSegment { sequence, .. }) => assert_eq!(sequence, name.sequence),
            other => panic!("{name}: {other:?}"),
        }
        fs.rename(aside, &path).unwrap();
    }
}

/// A zeroed length word ends a log. Followed by other records it hides them, and etcd then wipes
/// them: acknowledged entries are lost without a word.
#[test]
fn a_zeroed_length_word_before_synced_records_is_damage() {
    let (fs, _) = build();
    let last = *segments(&fs).last().unwrap();
    let path = last.path(dir());
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    // The metadata begins after the checksum; its frame says where the next record begins.
    let mut word = [0; 8];
    file.read_exact_at(&mut word, 16).unwrap();
    let record = u64::from(word[0]).next_multiple_of(8) + 24;
    file.write_at(&[0; 8], record).unwrap();
    let error = open(&fs, None).unwrap_err();
    let WalError::Corrupt { offset, reason, .. } = error else { panic!("{error}") };
    assert_eq!((offset, reason), (record, "a record that was synced is not there"));
}

#[test]
fn hostile_bytes_are_refused_without_large_allocations() {
    let words = [u64::MAX, 1 << 40, 0x8000_0000_0000_0001, 1 << 63, 0x00ff_ffff_ffff_fff8, 8];
    for word in words {
        for offset in [0, 16] {
            let fs = new_fs();
            drop(create(&fs));
            let path = segments(&fs)[0].path(dir());
            let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
            file.write_at(&word.to_le_bytes(), offset).unwrap();
            assert!(open(&fs, None).is_err(), "{word:x} at {offset}");
        }
    }
    let fs = new_fs();
    drop(create(&fs));
    let mut random = Random(3);
    for _ in 0..200 {
        let path = segments(&fs)[0].path(dir());
        let file = fs.create(&path).unwrap();
        let garbage: Vec<_> = (0..random.below(4_000)).map(|_| random.next() as u8).collect();
        file.write_at(&garbage, 0).unwrap();
        assert!(crate::read(&*handle(&fs), dir(), None).is_err());
    }
}
