//! Crashes: everything synced survives, and the log always opens.

use std::sync::Arc;

use quoin_vfs::{CrashMode, Fault, FaultFs, FileSystem, MemFs};

use super::model::{Member, Random};
use super::{METADATA, cases, dir, handle, new_fs, open, options};
use crate::{Wal, WalError};

/// Opens what a crash left, as a member does that has durable states of its own.
fn reopen(member: &mut Member, fs: &MemFs, what: &str) -> Option<Wal> {
    if !Wal::exists(&*handle(fs), dir()).unwrap() {
        assert_eq!(member.synced, 0, "{what}: the log is gone");
        return None;
    }
    let from = member.start(fs);
    let (wal, replay) = open(fs, Some(&from)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(replay.metadata, METADATA, "{what}");
    assert!(member.restart(&from, &replay), "{what}: found {replay:?}");
    Some(wal)
}

/// Creates a log and does things at random until the world stops.
fn run(
    member: &mut Member,
    fs: Arc<dyn FileSystem>,
    wal: Option<Wal>,
    steps: u64,
) -> Result<(), WalError> {
    let mut wal = match wal {
        Some(wal) => wal,
        None => Wal::create(fs, dir(), &METADATA, &options())?,
    };
    for _ in 0..steps {
        member.step(&mut wal)?;
    }
    member.sync(&mut wal)
}

#[test]
fn a_script_survives_a_crash_at_each_of_its_operations() {
    let script = |fs: &MemFs| {
        let mut member = Member::new(4);
        let result = run(&mut member, handle(fs), None, 320);
        (member, result)
    };
    let fs = new_fs();
    let before = fs.ops();
    script(&fs).1.unwrap();
    let total = fs.ops();
    assert!(total - before > 300, "the script is long enough: {}", total - before);
    for stop in before..total {
        let fs = new_fs();
        fs.stop_after(stop);
        let (stopped, result) = script(&fs);
        result.expect_err("the world has stopped");
        let subset = |seed| CrashMode::Subset { seed: stop * 100 + seed };
        let modes = [CrashMode::KeepSynced, CrashMode::KeepAll].into_iter();
        let modes = modes.chain((0..cases(1)).map(subset));
        for mode in modes {
            let mut member = stopped.clone();
            let after = fs.crash(mode);
            let what = format!("stop {stop} {mode:?}");
            let wal = reopen(&mut member, &after, &what);
            // Leftovers of the crash must not come back once the log goes on.
            member.random = Random(stop);
            run(&mut member, handle(&after), wal, 6)
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            reopen(&mut member, &after, &format!("{what}, second start")).expect("there is a log");
        }
    }
}

#[test]
fn a_log_survives_one_crash_after_another() {
    for seed in 0..cases(120) {
        let mut fs = new_fs();
        let mut member = Member::new(seed);
        let mut random = Random(!seed);
        let mut wal = None;
        for crash in 0..5 {
            let what = format!("seed {seed} crash {crash}");
            fs.stop_after(fs.ops() + random.below(150));
            match run(&mut member, handle(&fs), wal.take(), 60) {
                Ok(()) => {}
                Err(error) => assert!(fs.stopped(), "{what}: {error}"),
            }
            let mode = match random.below(6) {
                0 => CrashMode::KeepSynced,
                1 => CrashMode::KeepAll,
                _ => CrashMode::Subset { seed: random.next() },
            };
            fs = fs.crash(mode);
            wal = reopen(&mut member, &fs, &what);
        }
    }
}

/// A process can die while its last writes are only in the page cache. The next process reads
/// them, and Raft takes what the log contains for durable: it acknowledges those entries without
/// writing them again. If the machine then loses power, acknowledged entries are gone, unless
/// opening the log has made them durable. The same goes for the name of a new segment.
#[test]
fn what_a_dead_process_left_unsynced_is_durable_once_it_is_read() {
    for seed in 0..cases(120) {
        let what = format!("seed {seed}");
        let fs = new_fs();
        let mut member = Member::new(seed);
        let faulty = FaultFs::new(handle(&fs));
        faulty.fail_after(100 + seed % 200, Fault::Device);
        run(&mut member, Arc::new(faulty), None, 500).expect_err("the process has died");
        let wal = reopen(&mut member, &fs, &what);
        let mode = if seed % 2 == 0 { CrashMode::KeepSynced } else { CrashMode::Subset { seed } };
        drop(reopen(&mut member.clone(), &fs.crash(mode), &format!("{what}, power cut")));
        run(&mut member, handle(&fs), wal, 5).unwrap();
        reopen(&mut member, &fs.crash(mode), &format!("{what}, later power cut"));
    }
}

/// After a failed sync, Linux takes the lost pages for written. The process must stop; the next
/// one finds them in the page cache, and a sync that succeeds proves nothing. (CockroachDB's
/// issue 37216 lost acknowledged writes in this way.)
#[test]
fn what_a_failed_sync_lost_is_written_again_when_it_is_read() {
    for seed in 0..cases(100) {
        let fs = new_fs();
        let mut member = Member::new(seed);
        fs.fail_sync(10 + seed % 30);
        run(&mut member, handle(&fs), None, 1_000).expect_err("a sync has failed");
        let wal = reopen(&mut member, &fs, &format!("seed {seed}"));
        let after = fs.crash(CrashMode::KeepSynced);
        drop(wal);
        reopen(&mut member, &after, &format!("seed {seed}, after the power cut"));
    }
}

/// A crash while a log is repaired, or while it is created again, must not make it worse.
#[test]
fn recovery_itself_can_be_interrupted_anywhere() {
    for seed in 0..100 {
        let fs = new_fs();
        fs.stop_after(40 + seed);
        let mut member = Member::new(seed);
        run(&mut member, handle(&fs), None, 400).expect_err("the world has stopped");
        let crashed = fs.crash(CrashMode::Subset { seed });
        for stop in 0.. {
            let again = crashed.crash(CrashMode::KeepAll);
            again.stop_after(stop);
            let from = member.start(&again);
            let interrupted = open(&again, Some(&from));
            let after = again.crash(CrashMode::Subset { seed: stop });
            if interrupted.is_ok() {
                reopen(&mut member, &after, &format!("seed {seed}"));
                break;
            }
            if !Wal::exists(&*handle(&after), dir()).unwrap() {
                break;
            }
            open(&after, Some(&from)).unwrap_or_else(|error| panic!("{seed} {stop}: {error}"));
        }
    }
}
