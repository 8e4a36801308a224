//! A leader whose disk hangs must hand over while the others could go on without it.
//!
//! Only what it does in a calm world is checked: with lost messages, or other members that are slow or
//! gone, its attempts may fail as often as they like.

use super::Simulation;
use crate::check::{Checked, ensure};
use crate::coverage::Mark;

/// Election timeouts, after the first, until a leader whose disk hangs must be one no longer.
const PATIENCE: u64 = 4;

impl Simulation {
    /// Counts the ticks of a leader that should hand over, and makes sure that it does.
    pub(super) fn check_hung_leader(&mut self, member: usize) -> Checked {
        let must = self.must_hand_over(member);
        let leads = self.process(member).node.status().is_leader;
        let machine = &mut self.members[member];
        let before = machine.hung_ticks;
        machine.hung_ticks = if must && leads { before + 1 } else { 0 };
        if before > 0 && must && !leads {
            self.coverage.hit(Mark::HungLeaderLeft);
        }
        let ticks = self.members[member].hung_ticks;
        let most = PATIENCE * u64::from(self.plan.limits.election_ticks);
        ensure(ticks <= most, || {
            format!("member {member} leads on for {ticks} ticks although its disk hangs")
        })
    }

    /// Whether the disk of a member has hung for longer than an election timeout, and a majority of
    /// others, which are well, has what that disk has not.
    fn must_hand_over(&mut self, member: usize) -> bool {
        let Some(process) = &self.members[member].process else { return false };
        let (members, election_ticks) = (self.members.len(), self.plan.limits.election_ticks);
        let timeout = self.members[member].tick * u64::from(election_ticks);
        let hangs = process.syncing.is_some() && self.now > process.syncing_since + timeout;
        let network = self.plan.network;
        let is_calm = network.lost == 0 && network.late == 0;
        if !hangs || !is_calm || self.ending.is_some() {
            return false;
        }
        let last = self.members[member].shadow.durable().last().index;
        let mut well = 0;
        for other in (0..members).filter(|&other| other != member) {
            let machine = &self.members[other];
            let is_fast = self.now >= machine.slow_until && self.now >= machine.hung_until;
            let is_ahead = machine.shadow.durable().last().index > last;
            if !machine.is_working() || !is_fast || machine.doomed {
                return false;
            }
            well += usize::from(is_ahead);
        }
        let mut links = (0..members).flat_map(|from| (0..members).map(move |to| (from, to)));
        let is_whole = !links.any(|(from, to)| from != to && self.network.is_cut(from, to));
        is_whole && well > members / 2
    }
}
