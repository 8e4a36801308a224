//! What a run consists of: its size, its limits, and which faults strike how often.
//!
//! Every seed draws its own. A fault that is always there hides others, so most are off in most
//! runs; limits are small, so that what is rare in production happens all the time.

use crate::queue::{MS, SECOND, Time};
use crate::rng::Rng;

/// A rule that the simulator breaks on purpose, to show that its checks can fail. Only the
/// simulator's own driver breaks it; the members are as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Work for the log counts as durable when it is begun.
    AckBeforeSync,
    /// The disk says that it has synced, and has not.
    LyingDisk,
    /// The vote is not written with the hard state.
    ForgetVote,
    /// A state that is taken over lacks one entry's effect.
    SkipEntry,
    /// Linearizable reads are answered at once.
    UnconfirmedRead,
    /// A forwarded proposal may arrive twice.
    DuplicateProposal,
    /// A new view is not published at once.
    StaleView,
    /// Renewals are answered and not made.
    PhantomRenewal,
    /// Responses to watchers get lost.
    LostEvents,
}

impl Sabotage {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::AckBeforeSync,
        Self::LyingDisk,
        Self::ForgetVote,
        Self::SkipEntry,
        Self::UnconfirmedRead,
        Self::DuplicateProposal,
        Self::StaleView,
        Self::PhantomRenewal,
        Self::LostEvents,
    ];
}

/// Everything about a run that is not decided while it runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many members the cluster has.
    pub members: usize,
    /// Prints every step as it happens.
    pub print: bool,
    /// A rule to break.
    pub sabotage: Option<Sabotage>,
    /// Checks only what follows from a broken rule, and not what is on which disk. To show that
    /// the remaining checks suffice.
    pub only_consequences: bool,
    /// How long faults strike, in microseconds.
    pub(crate) duration: Time,
    pub(crate) load: Load,
    pub(crate) limits: Limits,
    pub(crate) network: NetworkPlan,
    pub(crate) disk: DiskPlan,
    pub(crate) faults: Faults,
}

/// What clients do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    /// The pause between two requests of a client.
    pub(crate) think: Time,
    /// How long a client waits for an answer.
    pub(crate) patience: Time,
}

/// The settings of the members.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) election_ticks: u32,
    pub(crate) request_timeout_ticks: u64,
    pub(crate) read_retry_ticks: u64,
    pub(crate) lease_checkpoint_ticks: u64,
    pub(crate) snapshot_count: u64,
    pub(crate) memory_budget: usize,
    pub(crate) catchup_entries: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) fill_bytes: u64,
    pub(crate) pre_vote: bool,
    /// Ticks are longer or shorter by up to so many thousandths.
    pub(crate) drift: u64,
}

/// How messages travel. Chances are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NetworkPlan {
    pub(crate) delay: Time,
    pub(crate) lost: u64,
    pub(crate) twice: u64,
    pub(crate) late: u64,
    pub(crate) lateness: Time,
    /// Messages of one link may overtake each other.
    pub(crate) overtaking: bool,
    pub(crate) snapshot_delay: Time,
    pub(crate) snapshot_broken: u64,
}

/// How disks work. Chances are in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskPlan {
    pub(crate) sync: Time,
    /// What is synced was written some time before, so that a crash can tear it.
    pub(crate) written_early: u64,
    pub(crate) checkpoint: Time,
    /// Writing a checkpoint or a leader's state fails, which a member must survive.
    pub(crate) file_fails: u64,
    /// A segment that is asked for ahead of time is prepared.
    pub(crate) spare: u64,
}

/// The mean time between two faults of a kind; none if the kind is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    pub(crate) crash: Option<Time>,
    pub(crate) crash_all: Option<Time>,
    pub(crate) crash_in_write: Option<Time>,
    pub(crate) partition: Option<Time>,
    pub(crate) exile: Option<Time>,
    pub(crate) flapping: Option<Time>,
    pub(crate) pause: Option<Time>,
    pub(crate) slow_disk: Option<Time>,
    /// A disk takes nothing for many election timeouts.
    pub(crate) hung_disk: Option<Time>,
    pub(crate) transfer: Option<Time>,
    /// Somebody sends a state of another history, in a term that is over.
    pub(crate) stale_state: Option<Time>,
    /// Somebody who is no member sends a message.
    pub(crate) stranger: Option<Time>,
    /// A member forwards a proposal that nobody can apply.
    pub(crate) bad_proposal: Option<Time>,
    /// So many starts of a thousand are first tried without the log, which must be refused.
    pub(crate) lost_log: u64,
    /// So many new leaders of a thousand fall soon.
    pub(crate) downfall: u64,
    /// So many members of a thousand crash as soon as they have stored a leader's state.
    pub(crate) crash_at_snapshot: u64,
}

impl Plan {
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(seed: u64, members: usize) -> Self {
        let mut rng = Rng::new(seed ^ ((members as u64) << 56));
        Self {
            members,
            print: false,
            sabotage: None,
            only_consequences: false,
            duration: rng.between(15, 30) * SECOND,
            load: Load::draw(&mut rng),
            limits: Limits::draw(&mut rng),
            network: NetworkPlan::draw(&mut rng),
            disk: DiskPlan::draw(&mut rng),
            faults: Faults::draw(&mut rng),
        }
    }

    /// Breaks a rule, and makes sure that it can matter.
    #[must_use]
    pub fn sabotaged(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = Some(sabotage);
        match sabotage {
            Sabotage::AckBeforeSync => {
                self.disk.sync = self.disk.sync.max(200 * MS);
                self.disk.written_early = 0;
                self.faults.crash = Some(SECOND);
            }
            Sabotage::ForgetVote => {
                self.network.late = self.network.late.max(100);
                self.faults.crash = Some(SECOND);
            }
            Sabotage::DuplicateProposal => self.network.twice = self.network.twice.max(100),
            Sabotage::LyingDisk
            | Sabotage::SkipEntry
            | Sabotage::UnconfirmedRead
            | Sabotage::StaleView
            | Sabotage::PhantomRenewal
            | Sabotage::LostEvents => {}
        }
        self
    }
}

impl Load {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            clients: rng.below(5) + 2,
            keys: rng.below(5) + 2,
            think: *rng.pick(&[5, 5, 20, 50, 100]) * MS,
            patience: rng.between(500, 4000) * MS,
        }
    }
}

impl Limits {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            election_ticks: u32::try_from(rng.between(5, 15)).expect("it is small"),
            request_timeout_ticks: rng.between(10, 60),
            read_retry_ticks: rng.between(2, 6),
            lease_checkpoint_ticks: rng.between(5, 60),
            snapshot_count: rng.between(5, 100),
            memory_budget: usize::try_from(rng.between(0, 2) * 4096).expect("it is small"),
            catchup_entries: rng.between(5, 50),
            segment_bytes: rng.between(4, 64) * 1024,
            fill_bytes: rng.between(1, 16) * 1024,
            pre_vote: rng.chance(800),
            drift: if rng.chance(500) { rng.between(10, 100) } else { 0 },
        }
    }
}

impl NetworkPlan {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            delay: rng.between(1, 30) * MS,
            lost: sometimes(rng, 400, 1, 150),
            twice: sometimes(rng, 400, 1, 150),
            late: sometimes(rng, 400, 1, 80),
            lateness: rng.between(200, 2000) * MS,
            overtaking: rng.chance(600),
            snapshot_delay: rng.between(5, 800) * MS,
            snapshot_broken: sometimes(rng, 600, 50, 500),
        }
    }
}

impl DiskPlan {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            sync: rng.between(1, 15) * MS,
            written_early: rng.between(0, 1000),
            checkpoint: rng.between(1, 500) * MS,
            file_fails: sometimes(rng, 300, 50, 500),
            spare: *rng.pick(&[0, 500, 1000]),
        }
    }
}

impl Faults {
    fn draw(rng: &mut Rng) -> Self {
        let downfall = sometimes(rng, 300, 200, 800);
        let crash_at_snapshot = sometimes(rng, 500, 100, 500);
        let mut every =
            |chance, low, high| rng.chance(chance).then(|| rng.between(low, high) * SECOND);
        Self {
            crash: every(600, 3, 12),
            crash_all: every(200, 6, 16),
            crash_in_write: every(500, 3, 12),
            partition: every(500, 3, 12),
            exile: every(500, 4, 10),
            flapping: every(250, 3, 12),
            pause: every(400, 3, 12),
            slow_disk: every(300, 3, 12),
            transfer: every(300, 1, 8),
            stale_state: every(400, 2, 8),
            stranger: every(400, 1, 6),
            bad_proposal: every(400, 1, 6),
            lost_log: 200,
            hung_disk: every(500, 3, 12),
            downfall,
            crash_at_snapshot,
        }
    }
}

/// Returns 0, or in some runs (of a thousand) something between `low` and `high`.
fn sometimes(rng: &mut Rng, runs: u64, low: u64, high: u64) -> u64 {
    if rng.chance(runs) { rng.between(low, high) } else { 0 }
}
