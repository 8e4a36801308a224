//! What a crash may and may not leave.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{CrashMode, File, FileSystem, MemFs, OpenMode};

fn read(fs: &MemFs, path: &str) -> Option<Vec<u8>> {
    let file = fs.open(Path::new(path), OpenMode::Read).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn create(fs: &MemFs, path: &str, content: &[u8]) -> Box<dyn File> {
    let file = fs.create(Path::new(path)).unwrap();
    file.write_at(content, 0).unwrap();
    file
}

/// A file of three blocks of 'a', durable with its name.
fn synced_file(fs: &MemFs) -> Box<dyn File> {
    let file = create(fs, "/f", &[b'a'; 1536]);
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    file
}

/// Every content of `/f` that some seed leaves.
fn outcomes(fs: &MemFs) -> BTreeSet<Option<Vec<u8>>> {
    (0..500).map(|seed| read(&fs.crash(CrashMode::Subset { seed }), "/f")).collect()
}

#[test]
fn synced_bytes_survive_and_blocks_tear_independently() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    file.write_at(&[b'b'; 1000], 300).unwrap();

    assert_eq!(read(&fs.crash(CrashMode::KeepSynced), "/f"), Some(vec![b'a'; 1536]));
    assert_eq!(read(&fs.crash(CrashMode::KeepAll), "/f"), read(&fs, "/f"));
    let outcomes = outcomes(&fs);
    assert_eq!(outcomes.len(), 8, "three blocks, each old or new");
    for bytes in outcomes.into_iter().flatten() {
        assert!(bytes[..300].iter().chain(&bytes[1300..]).all(|byte| *byte == b'a'));
        for block in [&bytes[300..512], &bytes[512..1024], &bytes[1024..1300]] {
            assert!(block.iter().all(|byte| *byte == block[0]), "a block is whole");
        }
    }
}

#[test]
fn a_block_survives_in_any_of_its_versions() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    file.write_at(b"1", 0).unwrap();
    file.write_at(b"2", 1).unwrap();
    let starts: BTreeSet<_> =
        outcomes(&fs).into_iter().flatten().map(|bytes| bytes[..2].to_vec()).collect();
    assert_eq!(starts, BTreeSet::from([b"aa".to_vec(), b"1a".to_vec(), b"12".to_vec()]));
}

#[test]
fn after_a_sync_only_later_writes_are_in_doubt() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    file.write_at(b"1", 0).unwrap();
    file.set_len(2000).unwrap();
    file.sync_data().unwrap();
    let kept = read(&fs, "/f");
    assert_eq!(read(&fs.crash(CrashMode::KeepSynced), "/f"), kept);
    file.write_at(b"2", 1990).unwrap();
    for seed in 0..50 {
        let bytes = read(&fs.crash(CrashMode::Subset { seed }), "/f").unwrap();
        assert_eq!((bytes[0], bytes.len()), (b'1', 2000));
    }
}

#[test]
fn an_unsynced_length_is_one_of_those_in_between_and_cut_bytes_stay_cut() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    file.set_len(100).unwrap();
    file.set_len(600).unwrap();
    file.write_at(b"z", 599).unwrap();
    let mut lengths = BTreeSet::new();
    for bytes in outcomes(&fs).into_iter().flatten() {
        lengths.insert(bytes.len());
        if bytes.len() == 600 {
            assert!(bytes[100..599].iter().all(|byte| *byte == 0));
        }
    }
    assert_eq!(lengths, BTreeSet::from([100, 600, 1536]));
    assert_eq!(read(&fs.crash(CrashMode::KeepAll), "/f"), read(&fs, "/f"));
    file.sync_data().unwrap();
    assert_eq!(read(&fs.crash(CrashMode::KeepSynced), "/f"), read(&fs, "/f"));
}

#[test]
fn names_count_only_after_their_directory_is_synced() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    let file = create(&fs, "/d/1", b"one");
    file.sync_all().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    assert!(!fs.crash(CrashMode::KeepSynced).exists(Path::new("/d")).unwrap());
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&fs.crash(CrashMode::KeepSynced), "/d/1"), Some(b"one".to_vec()));

    fs.rename(Path::new("/d/1"), Path::new("/d/2")).unwrap();
    fs.create(Path::new("/d/3")).unwrap();
    fs.remove(Path::new("/d/2")).unwrap();
    let seen: BTreeSet<_> = (0..100)
        .map(|seed| fs.crash(CrashMode::Subset { seed }).list(Path::new("/d")).unwrap())
        .collect();
    let expected = [vec!["1"], vec!["2"], vec!["2", "3"], vec!["3"]];
    let expected = expected.map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(seen, BTreeSet::from(expected), "a prefix of what was done");
    assert_eq!(fs.crash(CrashMode::KeepSynced).list(Path::new("/d")).unwrap(), ["1"]);
}

#[test]
fn a_file_that_moves_between_directories_is_never_lost() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/x")).unwrap();
    fs.create_dir_all(Path::new("/y")).unwrap();
    synced_file(&fs);
    let mut seen = BTreeSet::new();
    for path in ["/x/f", "/y/g", "/f"] {
        let from = ["/f", "/x/f", "/y/g"].into_iter().find(|path| read(&fs, path).is_some());
        fs.rename(Path::new(from.unwrap()), Path::new(path)).unwrap();
        for seed in 0..200 {
            let after = fs.crash(CrashMode::Subset { seed });
            let places = ["/f", "/x/f", "/y/g"].map(|path| read(&after, path).is_some());
            assert_ne!(places, [false; 3], "seed {seed}");
            seen.insert(places);
        }
    }
    assert!(seen.len() > 3, "the choices differ: {seen:?}");
}

#[test]
fn a_crash_depends_on_history_and_seed_alone() {
    let build = || {
        let fs = MemFs::new();
        let file = synced_file(&fs);
        for step in 0..20 {
            file.write_at(&[step; 700], u64::from(step) * 100).unwrap();
            fs.create(Path::new(&format!("/n{step}"))).unwrap();
        }
        fs
    };
    let (one, two) = (build(), build());
    for seed in 0..50 {
        let (one, two) =
            (one.crash(CrashMode::Subset { seed }), two.crash(CrashMode::Subset { seed }));
        assert_eq!(one.list(Path::new("/")).unwrap(), two.list(Path::new("/")).unwrap());
        assert_eq!(read(&one, "/f"), read(&two, "/f"), "seed {seed}");
    }
}

#[test]
fn the_world_stops_after_the_given_number_of_changes() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    let before = fs.ops();
    fs.stop_after(before + 1);
    file.write_at(b"x", 0).unwrap();
    file.read_exact_at(&mut [0], 0).unwrap();
    assert!(!fs.stopped());
    file.write_at(b"y", 0).unwrap_err();
    file.read_at(&mut [0], 0).unwrap_err();
    fs.list(Path::new("/")).unwrap_err();
    assert!(fs.stopped());
    let after = fs.crash(CrashMode::KeepAll);
    assert_eq!(read(&after, "/f").unwrap()[0], b'x');
    assert!(!after.stopped());
}

#[test]
fn what_a_failed_sync_lost_is_seen_until_the_crash() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    file.write_at(b"lost", 0).unwrap();
    fs.fail_sync(1);
    file.sync_data().unwrap_err();
    file.write_at(b"kept", 1000).unwrap();
    file.sync_data().unwrap();
    assert_eq!(&read(&fs, "/f").unwrap()[..4], b"lost");
    for mode in [CrashMode::KeepSynced, CrashMode::Subset { seed: 1 }] {
        let bytes = read(&fs.crash(mode), "/f").unwrap();
        assert_eq!((&bytes[..4], &bytes[1000..1004]), (&b"aaaa"[..], &b"kept"[..]));
    }
}

#[test]
fn locks_end_with_the_machine_and_old_handles_do_not_reach_the_new_one() {
    let fs = MemFs::new();
    let file = synced_file(&fs);
    let _lock = fs.lock(Path::new("/f")).unwrap();
    let after = fs.crash(CrashMode::KeepAll);
    file.write_at(b"late", 0).unwrap();
    assert_eq!(read(&after, "/f").unwrap()[0], b'a');
    drop(after.lock(Path::new("/f")).unwrap());
}
