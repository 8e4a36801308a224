//! Random histories without a crash: what is read back is what was appended.

use super::model::{Member, View};
use super::{METADATA, cases, create, handle, new_fs, open};

/// A log that replays differently from what the node had in memory loses votes and committed
/// entries. etcd's issue 22442 is of this kind: its replay skips an entry that overwrites the
/// index of the snapshot to start from, and with it the removal of what came after, so that
/// entries reappear that the member had given up.
#[test]
fn replay_gives_what_was_appended() {
    for seed in 0..cases(250) {
        check(seed, 60);
    }
    for seed in 0..cases(4) {
        check(seed, 800);
    }
}

fn check(seed: u64, steps: u64) {
    let fs = new_fs();
    let mut wal = create(&fs);
    let mut member = Member::new(seed);
    for step in 0..steps {
        member.step(&mut wal).unwrap_or_else(|error| panic!("seed {seed} step {step}: {error}"));
        if member.random.below(15) != 0 {
            continue;
        }
        // The process ends in order, and starts again.
        member.sync(&mut wal).unwrap();
        drop(wal);
        let from = member.any_snapshot();
        let looked = crate::read(&*handle(&fs), super::dir(), Some(&from)).unwrap();
        let (opened, replay) = open(&fs, Some(&from))
            .unwrap_or_else(|error| panic!("seed {seed} step {step} from {from:?}: {error}"));
        assert_eq!(looked, replay, "seed {seed} step {step}");
        assert_eq!(Some(View::from(&replay)), member.log.view(&from), "seed {seed} step {step}");
        assert_eq!((replay.metadata, &replay.repaired), (METADATA, &None), "seed {seed}");
        assert!(member.restart(&from, &replay), "seed {seed} step {step}");
        wal = opened;
    }
}
