//! Which faults strike, when, and whom.

use quoin_vfs::CrashMode;

use super::{Happening, Note, Simulation};
use crate::check::Checked;
use crate::coverage::Mark;
use crate::member::Input;
use crate::network::Cut;
use crate::queue::{MS, SECOND, Time};
use crate::trace::hash_of;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Crash,
    CrashAll,
    CrashInWrite,
    Partition,
    /// Somebody is cut off for so long that a state must be sent.
    Exile,
    Flapping,
    Pause,
    SlowDisk,
    Transfer,
    /// A member is sent a state of another history, in a term that is over.
    StaleState,
    /// A member hears from somebody who is no member.
    Stranger,
    /// A member is handed a proposal that nobody can apply.
    BadProposal,
    HungDisk,
}

/// All kinds, in the order in which they are scheduled.
const KINDS: [Fault; 13] = [
    Fault::Crash,
    Fault::CrashAll,
    Fault::CrashInWrite,
    Fault::Partition,
    Fault::Exile,
    Fault::Flapping,
    Fault::Pause,
    Fault::SlowDisk,
    Fault::Transfer,
    Fault::StaleState,
    Fault::Stranger,
    Fault::BadProposal,
    Fault::HungDisk,
];

impl Simulation {
    pub(super) fn schedule_faults(&mut self) {
        KINDS.into_iter().for_each(|fault| self.schedule(fault));
    }

    fn schedule(&mut self, fault: Fault) {
        if let Some(mean) = self.interval(fault) {
            let after = self.misfortune.around(mean);
            self.queue.push(self.now + after, Happening::Fault(fault));
        }
    }

    fn interval(&self, fault: Fault) -> Option<Time> {
        let faults = &self.plan.faults;
        match fault {
            Fault::Crash => faults.crash,
            Fault::CrashAll => faults.crash_all,
            Fault::CrashInWrite => faults.crash_in_write,
            Fault::Partition => faults.partition,
            Fault::Exile => faults.exile,
            Fault::Flapping => faults.flapping,
            Fault::Pause => faults.pause,
            Fault::SlowDisk => faults.slow_disk,
            Fault::Transfer => faults.transfer,
            Fault::StaleState => faults.stale_state,
            Fault::Stranger => faults.stranger,
            Fault::BadProposal => faults.bad_proposal,
            Fault::HungDisk => faults.hung_disk,
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) -> Checked {
        if self.ending.is_some() {
            return Ok(());
        }
        self.schedule(fault);
        let victim = self.victim();
        match fault {
            Fault::Crash => {
                if self.members[victim].process.is_some() {
                    self.coverage.hit(Mark::Crash);
                    let mode = self.crash_mode();
                    self.crash(victim, mode);
                }
            }
            Fault::CrashAll => self.crash_all(),
            Fault::CrashInWrite => self.stop_disk(victim),
            Fault::Partition => self.partition(victim),
            Fault::Exile => self.exile(victim),
            Fault::Flapping => self.flap(victim),
            Fault::Pause => self.pause(victim),
            Fault::SlowDisk => {
                self.coverage.hit(Mark::SlowDisk);
                self.note(Note::SlowDisk { member: victim });
                let until = self.now + self.misfortune.around(3 * SECOND);
                self.members[victim].slow_until = until;
            }
            Fault::Transfer => self.disturb(victim),
            Fault::StaleState => self.send_stale_state(victim)?,
            Fault::Stranger => self.send_as_stranger(victim),
            Fault::BadProposal => self.send_bad_proposal(victim),
            Fault::HungDisk => self.hang_disk(),
        }
        Ok(())
    }

    /// Returns a member, rather the leader than another one.
    fn victim(&mut self) -> usize {
        let leader = self.leader();
        match leader {
            Some(leader) if self.misfortune.chance(400) => leader,
            Some(_) | None => self.misfortune.below(self.members.len()),
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let status = |member: &crate::member::Member| {
            member.process.as_ref().map(|process| process.node.status())
        };
        let leaders = self.members.iter().enumerate().filter_map(|(position, member)| {
            let status = status(member).filter(|status| status.is_leader)?;
            Some((status.term, position))
        });
        leaders.max().map(|(_, position)| position)
    }

    fn crash_all(&mut self) {
        self.coverage.hit(Mark::CrashOfAll);
        let same = self.misfortune.chance(500);
        for member in 0..self.members.len() {
            let mode = if same { CrashMode::KeepSynced } else { self.crash_mode() };
            if self.members[member].process.is_some() {
                self.crash(member, mode);
            }
        }
    }

    /// Has the machine of a member stop in the middle of what it writes next.
    fn stop_disk(&mut self, member: usize) {
        if self.members[member].process.is_none() {
            return;
        }
        if self.misfortune.chance(600) {
            self.members[member].doomed = true;
            self.note(Note::Doomed { member });
            return;
        }
        let operations = self.misfortune.between(0, 30);
        let disk = &self.members[member].disk;
        disk.stop_after(disk.ops() + operations);
        self.note(Note::DiskWillStop { member });
    }

    /// Has the disk of the leader, or of somebody if nobody leads, take nothing for a long time.
    fn hang_disk(&mut self) {
        let member = self.leader().unwrap_or_else(|| self.misfortune.below(self.members.len()));
        self.coverage.hit(Mark::HungDisk);
        self.note(Note::HungDisk { member });
        self.members[member].hung_until = self.now + self.misfortune.between(4, 12) * SECOND;
    }

    fn partition(&mut self, victim: usize) {
        let members = self.members.len();
        let others = |member: usize| (0..members).filter(move |&other| other != member);
        let cut: Cut = match self.misfortune.between(0, 4) {
            0 => {
                self.coverage.hit(Mark::PartitionSplit);
                let side: Vec<bool> = (0..members).map(|_| self.misfortune.chance(500)).collect();
                pairs(members).filter(|&(from, to)| side[from] != side[to]).collect()
            }
            1 => {
                // Two halves that one member can still reach.
                self.coverage.hit(Mark::PartitionSplit);
                let apart = |from: usize, to: usize| from != victim && to != victim;
                let side: Vec<bool> = (0..members).map(|_| self.misfortune.chance(500)).collect();
                let halves = pairs(members).filter(|&(from, to)| side[from] != side[to]);
                halves.filter(|&(from, to)| apart(from, to)).collect()
            }
            2 => {
                self.coverage.hit(Mark::PartitionOneWay);
                others(victim).map(|other| (other, victim)).collect()
            }
            3 => {
                self.coverage.hit(Mark::PartitionOneWay);
                others(victim).map(|other| (victim, other)).collect()
            }
            _ => {
                let victim = self.leader().unwrap_or(victim);
                self.coverage.hit(Mark::PartitionLeader);
                others(victim).flat_map(|other| [(victim, other), (other, victim)]).collect()
            }
        };
        let length = self.misfortune.around(2 * SECOND);
        self.cut(&cut);
        self.queue.push(self.now + length, Happening::Mend(cut));
    }

    fn exile(&mut self, victim: usize) {
        self.coverage.hit(Mark::Exile);
        let length = self.misfortune.around(6 * SECOND);
        self.cut_off(victim, length);
    }

    /// Has a new leader fall soon, so that what it began is left half done.
    pub(super) fn doom_leader(&mut self, member: usize) {
        if self.ending.is_none() && self.misfortune.chance(self.plan.faults.downfall) {
            let life = self.members[member].life;
            let after = self.misfortune.between(0, 300 * MS);
            self.queue.push(self.now + after, Happening::Downfall { member, life });
        }
    }

    /// A leader dies, stands still or is cut off.
    pub(super) fn fall(&mut self, member: usize, life: u32) {
        let machine = &self.members[member];
        if self.ending.is_some() || machine.life != life || machine.process.is_none() {
            return;
        }
        self.coverage.hit(Mark::Downfall);
        match self.misfortune.between(0, 3) {
            0 | 1 => {
                let mode = self.crash_mode();
                self.crash(member, mode);
            }
            2 => self.pause(member),
            _ => {
                let length = self.misfortune.around(2 * SECOND);
                self.cut_off(member, length);
            }
        }
    }

    fn cut_off(&mut self, member: usize, length: Time) {
        let ways = pairs(self.members.len());
        let cut: Cut = ways.filter(|&(from, to)| from == member || to == member).collect();
        self.cut(&cut);
        self.queue.push(self.now + length, Happening::Mend(cut));
    }

    /// Cuts a link and mends it again many times.
    fn flap(&mut self, victim: usize) {
        let members = self.members.len();
        if members == 1 {
            return;
        }
        self.coverage.hit(Mark::Flapping);
        let other = (victim + self.misfortune.below(members - 1) + 1) % members;
        let both = self.misfortune.chance(500);
        let cut = if both { vec![(victim, other), (other, victim)] } else { vec![(victim, other)] };
        let mut at = self.now;
        for _ in 0..self.misfortune.between(5, 20) {
            at += self.misfortune.around(100 * MS);
            self.queue.push(at, Happening::Cut(cut.clone()));
            at += self.misfortune.around(150 * MS);
            self.queue.push(at, Happening::Mend(cut.clone()));
        }
    }

    pub(super) fn cut(&mut self, cut: &Cut) {
        if self.ending.is_none() {
            self.note(Note::Cut { links: cut.len(), hash: hash_of_cut(cut) });
            self.network.cut(cut);
        }
    }

    pub(super) fn mend(&mut self, cut: &Cut) {
        self.note(Note::Mended { links: cut.len(), hash: hash_of_cut(cut) });
        self.network.mend(cut);
    }

    fn pause(&mut self, member: usize) {
        if !self.members[member].is_working() {
            return;
        }
        self.coverage.hit(Mark::Pause);
        self.note(Note::Paused { member });
        self.members[member].held = Some(Vec::new());
        let life = self.members[member].life;
        let length = self.misfortune.around(2 * SECOND);
        self.queue.push(self.now + length, Happening::Resume { member, life });
    }

    pub(super) fn resume(&mut self, member: usize, life: u32) {
        if self.members[member].life != life {
            return;
        }
        let Some(held) = self.members[member].held.take() else { return };
        self.note(Note::Resumed { member, held: held.len() });
        for happening in held {
            self.queue.push(self.now, happening);
        }
    }

    /// Moves leadership, or has a member campaign against the leader.
    fn disturb(&mut self, victim: usize) {
        if self.misfortune.chance(300) {
            self.coverage.hit(Mark::Campaign);
            self.note(Note::Campaign { member: victim });
            self.input(victim, Input::Campaign);
            return;
        }
        // A member that does not lead hands the wish on.
        let to = self.members[self.misfortune.below(self.members.len())].id;
        self.coverage.hit(Mark::Transfer);
        self.note(Note::Transfer { member: victim, to: to.0 });
        self.input(victim, Input::Transfer(to));
    }
}

fn pairs(members: usize) -> impl Iterator<Item = (usize, usize)> {
    let pairs = (0..members).flat_map(move |from| (0..members).map(move |to| (from, to)));
    pairs.filter(|(from, to)| from != to)
}

fn hash_of_cut(cut: &Cut) -> u64 {
    hash_of(format!("{cut:?}").as_bytes())
}
