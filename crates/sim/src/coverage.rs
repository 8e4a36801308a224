//! Counters of what a run met: the faults that were injected, and the paths that were taken.
//!
//! A suite that passes without having met them has shown nothing, so the suite checks the sums.

use std::fmt;
use std::ops::AddAssign;

macro_rules! marks {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Something that a run can meet.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mark {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

marks! {
    /// A member was killed between two steps.
    Crash,
    /// All members were killed at once.
    CrashOfAll,
    /// A member was killed in the middle of writing to its disk.
    CrashInWrite,
    /// A member was killed as soon as it had stored a leader's state.
    CrashAtSnapshot,
    /// A member was killed while it recovered.
    CrashInRecovery,
    /// A crash kept what was synced and nothing else.
    KeptSynced,
    /// A crash kept everything that was written.
    KeptAll,
    /// A crash kept some of the sectors that were written and not synced.
    KeptSubset,
    /// A member cut off the torn end of its log.
    TornWrite,
    /// A member started from a checkpoint.
    CheckpointRestored,
    /// A member was killed when its log named a leader's state that was not yet a checkpoint.
    CrashAtAdoption,
    /// A start finished the installation of a leader's state that the log named.
    AdoptedAtStart,
    /// A start removed a state that the log did not name.
    DiscardedAtStart,
    /// A member refused a message of somebody who is no member.
    StrangerRefused,
    /// A member refused a proposal that nobody could apply.
    BadProposalRefused,
    /// A member refused to start without its log.
    LostLogRefused,
    /// A state arrived that was not taken: it was out of date, or nobody's.
    SnapshotStale,
    /// A member wrote a checkpoint.
    CheckpointWritten,
    /// A checkpoint or a leader's state could not be written, and the member went on.
    FileFailed,
    /// The members were split in two.
    PartitionSplit,
    /// Messages were lost in one direction only.
    PartitionOneWay,
    /// The leader was cut off.
    PartitionLeader,
    /// A member was cut off for long.
    Exile,
    /// A leader fell soon after its election.
    Downfall,
    /// A link went on and off quickly.
    Flapping,
    /// A message was lost because its link was cut.
    MessageCut,
    /// A message was lost at random.
    MessageLost,
    /// A message arrived twice.
    MessageTwice,
    /// A message was overtaken by a later one.
    MessageOvertaken,
    /// A message arrived very late.
    MessageLate,
    /// A member stood still for a while.
    Pause,
    /// A disk was slow for a while.
    SlowDisk,
    /// A disk took nothing for many election timeouts.
    HungDisk,
    /// A leader whose disk hung was to hand over, and did.
    HungLeaderLeft,
    /// Several batches of log work shared a sync.
    SharedSync,
    /// A segment was prepared ahead of time.
    SpareSegment,
    /// A request was made to move leadership.
    Transfer,
    /// A member was told to campaign.
    Campaign,
    /// A member became leader.
    LeaderElected,
    /// A member's unsynced or uncommitted entries were replaced by a leader's.
    EntriesReplaced,
    /// A leader sent its state to a follower.
    SnapshotSent,
    /// The transfer of a state was lost or broken off.
    SnapshotBroken,
    /// A follower that had been sent a state caught up.
    CaughtUp,
    /// A follower took over a leader's state.
    SnapshotInstalled,
    /// A write was answered.
    WriteAnswered,
    /// A write was answered with an error.
    WriteRefused,
    /// A write has no answer and was committed all the same.
    UnknownCommitted,
    /// A write has no answer and was never committed.
    UnknownLost,
    /// A write was given up before it was proposed.
    NeverProposed,
    /// A linearizable read was answered.
    ReadAnswered,
    /// A linearizable read was answered after its first round had been given up.
    ReadRetried,
    /// A linearizable read was refused because the leader changed.
    ReadRefused,
    /// A serializable read returned an older state than a linearizable one would have.
    StaleRead,
    /// The comparison of a transaction failed.
    TxnFailed,
    /// Old revisions were compacted.
    Compacted,
    /// A lease was revoked by a client, and its keys with it.
    LeaseRevoked,
    /// A lease was ended by the leader, because its time was over.
    LeaseExpired,
    /// A lease was renewed.
    LeaseRenewed,
    /// A member that does not lead was asked about a lease.
    LeaseElsewhere,
    /// What was left of a lease was put into the log.
    LeaseCheckpointed,
    /// It was taken back, because the lease was renewed.
    LeaseCleared,
    /// A request of the v2 API changed something.
    V2Changed,
    /// A request of the v2 API was refused.
    V2Refused,
    /// A node of the v2 API ended, because its time was over.
    V2Expired,
    /// A watcher was told events.
    WatchEvent,
    /// A watcher went on elsewhere.
    WatchResumed,
    /// It went on at a member that did not have what it had seen.
    WatchAhead,
    /// A watcher fell behind because its client did not read.
    WatchBehind,
    /// A watcher was ended because compaction was faster.
    WatchCompacted,
    /// A client was told of progress.
    WatchProgress,
}

/// How often each mark was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self { counts: vec![0; Mark::ALL.len()] }
    }
}

impl Coverage {
    pub(crate) fn hit(&mut self, mark: Mark) {
        self.counts[mark as usize] += 1;
    }

    /// Returns how often a mark was met.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.counts[mark as usize]
    }

    /// Returns the marks that were never met.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.iter().copied().filter(|&mark| self.count(mark) == 0).collect()
    }
}

impl AddAssign<&Self> for Coverage {
    fn add_assign(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(&other.counts) {
            *sum += count;
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &mark in Mark::ALL {
            writeln!(f, "{:>10} {mark:?}", self.count(mark))?;
        }
        Ok(())
    }
}
