//! Single cases.

use std::sync::Arc;

use bytes::Bytes;
use quoin_raft::{Entry, Index};
use quoin_vfs::{CrashMode, Fault, FaultFs, FileSystem, OpKind, OpenMode};

use super::{METADATA, create, dir, entry, handle, new_fs, open, options, snapshot, state};
use crate::segment::{self, SegmentName};
use crate::{Wal, WalError};

fn names(fs: &dyn FileSystem) -> Vec<String> {
    segment::list(fs, dir()).unwrap().iter().map(SegmentName::to_string).collect()
}

#[test]
fn a_new_log_is_empty_and_cannot_be_made_twice() {
    let fs = new_fs();
    assert!(!Wal::exists(&fs, dir()).unwrap());
    let missing = open(&fs, None).unwrap_err();
    assert!(matches!(missing, WalError::NoSegment { .. }), "{missing}");
    drop(create(&fs));
    assert!(Wal::exists(&fs, dir()).unwrap());
    let again = Wal::create(handle(&fs), dir(), &METADATA, &options()).unwrap_err();
    assert!(matches!(again, WalError::Exists { .. }), "{again}");
    let (_, replay) = open(&fs, None).unwrap();
    assert_eq!((replay.metadata, replay.entries.len(), replay.repaired), (METADATA, 0, None));
    assert_eq!(names(&fs), ["0000000000000000-0000000000000000.wal"]);
}

#[test]
fn a_log_is_opened_once_at_a_time() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let locked = open(&fs, None).unwrap_err();
    assert!(matches!(locked, WalError::Locked { .. }), "{locked}");
    // An unfinished job may still write to the directory.
    let job = wal.spare_job().unwrap();
    drop(wal);
    let locked = open(&fs, None).unwrap_err();
    assert!(matches!(locked, WalError::Locked { .. }), "{locked}");
    drop(job);
    open(&fs, None).unwrap();
}

#[test]
fn segments_are_cut_when_full_and_released_when_not_needed() {
    let fs = new_fs();
    let mut wal = create(&fs);
    for index in 1..=30 {
        wal.append(Some(&state(1, 3, index)), &[entry(index, 1, 900)]).unwrap();
        wal.sync().unwrap();
    }
    let all = names(&fs);
    assert_eq!(all[1], "0000000000000001-0000000000000008.wal");
    assert!(all.len() > 4);
    wal.release_to(Index(7)).unwrap();
    assert_eq!(names(&fs), all);
    wal.release_to(Index(8)).unwrap();
    assert_eq!(names(&fs), all[1..]);
    wal.release_to(Index(1_000)).unwrap();
    assert_eq!(names(&fs), all[all.len() - 1..]);
    drop(wal);

    let gone = open(&fs, Some(&snapshot(8, 1))).unwrap_err();
    assert!(matches!(gone, WalError::NoSegment { .. }), "{gone}");
    let (wal, replay) = open(&fs, Some(&snapshot(29, 1))).unwrap();
    assert_eq!((replay.entries.len(), wal.last_index()), (1, Index(30)));
}

#[test]
fn a_spare_segment_is_used_and_then_asked_for_again() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let job = wal.spare_job().unwrap();
    assert!(wal.spare_job().is_none(), "one at a time");
    wal.install_spare(job.run().unwrap());
    assert!(wal.spare_job().is_none(), "one is enough");
    let big: Vec<_> = (1..=8).map(|index| entry(index, 1, 900)).collect();
    wal.append(None, &big).unwrap();
    wal.sync().unwrap();
    let path = dir().join("0000000000000001-0000000000000009.wal");
    assert_eq!(fs.open(&path, OpenMode::Read).unwrap().len().unwrap(), options().segment_bytes);
    assert!(!fs.exists(&dir().join("spare.tmp")).unwrap());

    // A job that fails is not handed out again at once, but when some more was written.
    drop(wal.spare_job().unwrap());
    assert!(wal.spare_job().is_none());
    wal.append(None, &[entry(9, 1, 900)]).unwrap();
    wal.sync().unwrap();
    assert!(wal.spare_job().is_some());
}

#[test]
fn records_are_written_over_synced_zeros() {
    let fs = new_fs();
    let counting = FaultFs::new(handle(&fs));
    let options = crate::Options { segment_bytes: 50_000, fill_bytes: 20_000 };
    let mut wal = Wal::create(Arc::new(counting.clone()), dir(), &METADATA, &options).unwrap();
    counting.count_only(&[OpKind::Write, OpKind::Sync, OpKind::SetLen]);
    let mut most = 0;
    for index in 1..=300 {
        let before = counting.count();
        wal.append(None, &[entry(index, 1, 300)]).unwrap();
        wal.flush().unwrap();
        let synced = fs.crash(CrashMode::KeepSynced);
        let file = synced.open(&wal.tail.path, OpenMode::Read).unwrap();
        assert!(file.len().unwrap() >= wal.tail.end, "entry {index}");
        wal.sync().unwrap();
        // Records, sync, mark. Only now and then there is something to extend.
        most += u64::from(counting.count() - before == 3);
    }
    assert!(most > 290, "{most}");
}

/// etcd's first sync after a segment is full may extend the file.
#[test]
fn a_record_that_ends_after_the_file_is_torn() {
    let fs = new_fs();
    let mut wal = create(&fs);
    wal.append(None, &[entry(1, 1, 10), entry(2, 1, 900)]).unwrap();
    wal.flush().unwrap();
    let (path, end) = (wal.tail.path.clone(), wal.tail.end);
    drop(wal);
    fs.open(&path, OpenMode::ReadWrite).unwrap().set_len(end - 100).unwrap();
    let (_, replay) = open(&fs, None).unwrap();
    assert_eq!(replay.entries, [entry(1, 1, 10)]);
    assert!(replay.repaired.is_some());
}

/// A sync that fails and then succeeds has lost bytes that the operating system believes to be
/// on disk; whoever tries again acknowledges what is not there.
#[test]
fn after_a_failed_write_or_sync_nothing_works_any_more() {
    for kind in [OpKind::Write, OpKind::Sync, OpKind::Rename, OpKind::SyncDir] {
        let fs = new_fs();
        let faulty = FaultFs::new(handle(&fs));
        let mut wal = Wal::create(Arc::new(faulty.clone()), dir(), &METADATA, &options()).unwrap();
        wal.append(Some(&state(1, 3, 1)), &[entry(1, 1, 10)]).unwrap();
        wal.sync().unwrap();
        faulty.count_only(&[kind]);
        faulty.fail_nth(1, Fault::Device);
        let big: Vec<_> = (2..=8).map(|index| entry(index, 1, 900)).collect();
        wal.append(None, &big).unwrap();
        let error = wal.sync().unwrap_err();
        assert!(matches!(error, WalError::Io { .. }), "{kind:?}: {error}");
        assert_eq!(faulty.failed(), 1);
        faulty.heal();
        let results = [
            wal.sync(),
            wal.flush(),
            wal.append(None, &[]),
            wal.append_snapshot(&snapshot(1, 1)),
            wal.release_to(Index(1)),
        ];
        for result in results {
            assert!(matches!(result, Err(WalError::Failed)), "{kind:?}");
        }
        assert!(wal.spare_job().is_none());
        drop(wal);
        let (_, replay) = open(&fs.crash(CrashMode::KeepSynced), None).unwrap();
        assert_eq!(replay.entries[0], entry(1, 1, 10));
    }
}

#[test]
fn every_failing_operation_is_reported() {
    let run = |faulty: &FaultFs| -> Result<(), WalError> {
        let mut wal = Wal::create(Arc::new(faulty.clone()), dir(), &METADATA, &options())?;
        for index in 1..=9 {
            wal.append(Some(&state(1, 3, index)), &[entry(index, 1, 900)])?;
            wal.sync()?;
        }
        wal.release_to(Index(9))?;
        drop(wal);
        let from = snapshot(9, 1);
        Wal::open(Arc::new(faulty.clone()), dir(), Some(&from), &options()).map(drop)
    };
    let healthy = FaultFs::new(handle(&new_fs()));
    run(&healthy).unwrap();
    for n in 1..=healthy.count() {
        let faulty = FaultFs::new(handle(&new_fs()));
        faulty.fail_nth(n, Fault::Device);
        run(&faulty).expect_err("the failure was swallowed");
        assert_eq!(faulty.failed(), 1);
    }
}

/// A member whose disk filled up must be able to start, to make room.
#[test]
fn a_full_disk_does_not_keep_a_log_from_opening() {
    let fs = new_fs();
    let mut wal = create(&fs);
    wal.append(None, &[entry(1, 1, 10)]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    fs.remove(&dir().join("synced")).unwrap();
    let full = FaultFs::new(handle(&fs));
    full.count_only(&[OpKind::Create, OpKind::SetLen]);
    full.fail_after(0, Fault::NoSpace);
    let (mut wal, replay) = Wal::open(Arc::new(full.clone()), dir(), None, &options()).unwrap();
    assert_eq!((replay.entries.len(), full.failed()), (1, 1));
    wal.append(None, &[entry(2, 1, 10)]).unwrap();
    wal.sync().unwrap();
    wal.spare_job().unwrap().run().unwrap_err();
    wal.append(None, &[entry(3, 1, 10)]).unwrap();
    wal.sync().unwrap();
}

#[test]
fn a_commit_index_beyond_the_log_is_an_error() {
    let fs = new_fs();
    let mut wal = create(&fs);
    wal.append(Some(&state(1, 3, 3)), &[entry(1, 1, 10), entry(2, 1, 10)]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let error = open(&fs, None).unwrap_err();
    assert_eq!(error.to_string(), "index 3 is committed, but the log ends at 2: entries were lost");
}

/// The story of etcd's issue 22442: the log is read from the snapshot at 3, and entry 3 of term 2
/// has replaced entry 3 and all after it. Entries 4 and 5 of term 1 must not reappear.
#[test]
fn an_entry_at_the_snapshot_index_removes_what_came_after_it() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let old: Vec<_> = (1..=5).map(|index| entry(index, 1, 10)).collect();
    wal.append(Some(&state(1, 3, 2)), &old).unwrap();
    wal.append(Some(&state(2, 3, 3)), &[entry(3, 2, 10)]).unwrap();
    wal.append_snapshot(&snapshot(3, 2)).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let (wal, replay) = open(&fs, Some(&snapshot(3, 2))).unwrap();
    assert_eq!((replay.entries, wal.last_index()), (vec![], Index(3)));
}

/// A follower had entries of a failed leader, and got a snapshot that replaces them. If the
/// machine stops before any entry follows, those entries must not reappear after the snapshot.
#[test]
fn an_installed_snapshot_replaces_a_log_that_disagrees_with_it() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let old: Vec<_> = (1..=9).map(|index| entry(index, 5, 10)).collect();
    wal.append(Some(&state(5, 3, 0)), &old).unwrap();
    wal.append_snapshot(&snapshot(6, 4)).unwrap();
    wal.append(Some(&state(7, 0, 6)), &[]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(crate::snapshots(&fs, dir()).unwrap().last(), Some(&snapshot(6, 4)));
    let stale = open(&fs, None).unwrap_err();
    assert!(matches!(stale, WalError::StaleSnapshot { needed: Index(6), .. }), "{stale}");
    let (mut wal, replay) = open(&fs, Some(&snapshot(6, 4))).unwrap();
    assert_eq!((replay.entries, replay.hard_state), (vec![], state(7, 0, 6)));
    wal.append(None, &[entry(7, 7, 10)]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(open(&fs, Some(&snapshot(6, 4))).unwrap().1.entries, [entry(7, 7, 10)]);
}

/// A state of a host that was no member lay beside the log, which did not know it: consensus had
/// refused it. At the next start the log began anew after it, and the member's own data were gone.
#[test]
fn a_snapshot_that_the_log_does_not_name_is_refused() {
    let fs = new_fs();
    let mut wal = create(&fs);
    wal.append(Some(&state(1, 3, 2)), &[entry(1, 1, 10), entry(2, 1, 10), entry(3, 1, 9)]).unwrap();
    wal.sync().unwrap();
    for foreign in [snapshot(50, 3), snapshot(50, 1), snapshot(4, 1)] {
        drop(wal);
        let error = open(&fs, Some(&foreign)).unwrap_err();
        assert!(matches!(error, WalError::SnapshotMissing { .. }), "{error}");
        wal = open(&fs, None).unwrap().0;
    }
    // A record without a hard state that commits it is half of an installation.
    wal.append_snapshot(&snapshot(50, 3)).unwrap();
    wal.sync().unwrap();
    assert_eq!(crate::snapshots(&fs, dir()).unwrap().len(), 1);
    wal.append(Some(&state(3, 0, 50)), &[]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(crate::snapshots(&fs, dir()).unwrap().last(), Some(&snapshot(50, 3)));
    let (wal, replay) = open(&fs, Some(&snapshot(50, 3))).unwrap();
    assert_eq!((replay.entries, wal.last_index()), (vec![], Index(50)));
}

#[test]
fn a_snapshot_needs_no_record_if_the_log_has_its_entry() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let entries: Vec<_> = (1..=4).map(|index| entry(index, 1, 10)).collect();
    wal.append(Some(&state(1, 3, 4)), &entries).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(open(&fs, Some(&snapshot(2, 1))).unwrap().1.entries, entries[2..]);
    let error = open(&fs, Some(&snapshot(2, 2))).unwrap_err();
    assert!(matches!(error, WalError::SnapshotMismatch { .. }), "{error}");
}

#[test]
fn what_a_torn_write_left_is_reported_and_cleared() {
    let fs = new_fs();
    let mut wal = create(&fs);
    wal.append(None, &[entry(1, 1, 10)]).unwrap();
    wal.sync().unwrap();
    let end = wal.tail.end;
    let entries: Vec<_> = (2..=4).map(|index| entry(index, 1, 900)).collect();
    wal.append(None, &entries).unwrap();
    wal.flush().unwrap();
    drop(wal);
    // The first sector of the write is lost, the others are not.
    let path = dir().join("0000000000000000-0000000000000000.wal");
    let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
    let lost = vec![0; (512 - end % 512) as usize];
    file.write_at(&lost, end).unwrap();

    let (mut wal, replay) = open(&fs, None).unwrap();
    let repair = replay.repaired.unwrap();
    assert_eq!((repair.file, repair.offset), (path, end));
    assert!(repair.dropped_bytes > 2_000);
    assert_eq!(replay.entries, [entry(1, 1, 10)]);
    // A record that ends just where an old one began would bring the old ones back.
    wal.append(None, &[entry(2, 2, 908)]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    let (_, replay) = open(&fs, None).unwrap();
    assert_eq!((replay.entries.len(), replay.repaired), (2, None));
}

#[test]
fn large_entries_are_written_and_larger_ones_refused() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let large = entry(1, 1, 9 * 1024 * 1024);
    wal.append(None, std::slice::from_ref(&large)).unwrap();
    assert!(wal.encoder.buffer.capacity() < 6 * 1024 * 1024, "the memory is given back");
    wal.sync().unwrap();
    let mut huge = entry(2, 1, 0);
    huge.data = vec![0; 512 * 1024 * 1024].into();
    let error = wal.append(None, &[huge]).unwrap_err();
    assert!(matches!(error, WalError::TooLarge { index: Index(2), .. }), "{error}");
    wal.append(None, &[entry(2, 1, 1)]).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert_eq!(open(&fs, None).unwrap().1.entries, [large, entry(2, 1, 1)]);
}

/// All data of a long log filled the memory of a start that looked for members in it.
#[test]
fn data_that_is_not_wanted_is_not_kept() {
    let fs = new_fs();
    let mut wal = create(&fs);
    let entries: Vec<_> = (1..=20).map(|index| entry(index, 1, 900)).collect();
    wal.append(None, &entries).unwrap();
    wal.sync().unwrap();
    let wanted = |entry: &Entry| entry.index.0.is_multiple_of(5);
    let found = crate::read_data_of(&fs, dir(), None, &wanted).unwrap().entries;
    let bytes: usize = found.iter().map(|entry| entry.data.len()).sum();
    assert_eq!((found.len(), bytes), (20, 4 * 900));
    for (found, entry) in found.iter().zip(entries) {
        let data = if wanted(&entry) { entry.data.clone() } else { Bytes::new() };
        assert_eq!(*found, Entry { data, ..entry });
    }
}

#[test]
#[should_panic(expected = "entry 3 cannot follow 1")]
fn a_gap_is_never_written() {
    let mut wal = create(&new_fs());
    wal.append(None, &[entry(1, 1, 1), entry(3, 1, 1)]).unwrap();
}
