//! The links between members: which are cut, how long a message takes, which get lost.
//!
//! Not here: what messages mean, and who sends them.

use crate::coverage::{Coverage, Mark};
use crate::plan::NetworkPlan;
use crate::queue::{MS, Time};
use crate::rng::Rng;

/// All links, one per direction.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    plan: NetworkPlan,
    members: usize,
    links: Vec<Link>,
}

#[derive(Clone, Debug, Default)]
struct Link {
    /// How many of the present faults cut it.
    cuts: u32,
    /// When the last message so far arrives.
    last_arrival: Time,
}

/// What becomes of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    /// When it arrives; never, once, or twice.
    pub(crate) arrivals: Vec<Time>,
    /// The sender can tell that it did not arrive.
    pub(crate) noticed: bool,
}

/// Links that are cut together, as (from, to).
pub(crate) type Cut = Vec<(usize, usize)>;

impl Network {
    pub(crate) fn new(rng: Rng, plan: NetworkPlan, members: usize) -> Self {
        Self { rng, plan, members, links: vec![Link::default(); members * members] }
    }

    /// Decides about a message that is sent now. Some must not arrive twice: a connection does
    /// not repeat what it carries, and for them that matters.
    pub(crate) fn send(
        &mut self,
        (from, to): (usize, usize),
        now: Time,
        may_repeat: bool,
        coverage: &mut Coverage,
    ) -> Fate {
        if self.is_cut(from, to) {
            coverage.hit(Mark::MessageCut);
            return Fate { arrivals: Vec::new(), noticed: self.rng.chance(500) };
        }
        if self.rng.chance(self.plan.lost) {
            coverage.hit(Mark::MessageLost);
            return Fate { arrivals: Vec::new(), noticed: self.rng.chance(100) };
        }
        let mut arrivals = vec![self.arrival(from, to, now, coverage)];
        if may_repeat && self.rng.chance(self.plan.twice) {
            coverage.hit(Mark::MessageTwice);
            arrivals.push(self.arrival(from, to, now, coverage));
        }
        Fate { arrivals, noticed: false }
    }

    fn arrival(&mut self, from: usize, to: usize, now: Time, coverage: &mut Coverage) -> Time {
        let mut at = now + self.rng.around(self.plan.delay);
        if self.rng.chance(self.plan.late) {
            coverage.hit(Mark::MessageLate);
            at += self.rng.around(self.plan.lateness);
        }
        let overtaking = self.plan.overtaking;
        let link = self.link(from, to);
        if at < link.last_arrival {
            if overtaking {
                coverage.hit(Mark::MessageOvertaken);
            } else {
                at = link.last_arrival;
            }
        }
        link.last_arrival = link.last_arrival.max(at);
        at
    }

    /// Decides when the transfer of a state that begins now ends, and whether it is broken off.
    pub(crate) fn transfer(&mut self, now: Time) -> (Time, bool) {
        let at = now + MS + self.rng.around(self.plan.snapshot_delay);
        (at, self.rng.chance(self.plan.snapshot_broken))
    }

    pub(crate) fn is_cut(&mut self, from: usize, to: usize) -> bool {
        self.link(from, to).cuts > 0
    }

    pub(crate) fn cut(&mut self, cut: &Cut) {
        for &(from, to) in cut {
            self.link(from, to).cuts += 1;
        }
    }

    pub(crate) fn mend(&mut self, cut: &Cut) {
        for &(from, to) in cut {
            let link = self.link(from, to);
            link.cuts = link.cuts.saturating_sub(1);
        }
    }

    /// Ends all faults for good. What is on its way arrives.
    pub(crate) fn heal(&mut self) {
        self.links.iter_mut().for_each(|link| link.cuts = 0);
        let NetworkPlan { lost, twice, late, snapshot_broken, .. } = &mut self.plan;
        (*lost, *twice, *late, *snapshot_broken) = (0, 0, 0, 0);
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.members + to]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(plan: impl FnOnce(&mut NetworkPlan)) -> Network {
        let mut drawn = NetworkPlan {
            delay: 5 * MS,
            lost: 0,
            twice: 0,
            late: 0,
            lateness: 0,
            overtaking: false,
            snapshot_delay: MS,
            snapshot_broken: 0,
        };
        plan(&mut drawn);
        Network::new(Rng::new(1), drawn, 3)
    }

    fn arrivals(network: &mut Network, may_repeat: bool) -> Vec<Time> {
        let mut coverage = Coverage::default();
        let send = |now| network.send((0, 1), now, may_repeat, &mut coverage).arrivals;
        (0..1000).flat_map(send).collect()
    }

    #[test]
    fn a_calm_link_delivers_everything_in_order() {
        let arrivals = arrivals(&mut network(|_| ()), true);
        assert_eq!(arrivals.len(), 1000);
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn messages_overtake_only_if_they_may() {
        assert!(!arrivals(&mut network(|plan| plan.overtaking = true), true).is_sorted());
    }

    #[test]
    fn messages_are_lost_and_repeated_as_planned() {
        let lost = arrivals(&mut network(|plan| plan.lost = 300), true).len();
        assert!((600..800).contains(&lost), "{lost}");
        let twice = arrivals(&mut network(|plan| plan.twice = 300), true).len();
        assert!((1200..1400).contains(&twice), "{twice}");
        assert_eq!(arrivals(&mut network(|plan| plan.twice = 300), false).len(), 1000);
    }

    #[test]
    fn a_link_is_cut_until_every_fault_has_ended() {
        let mut network = network(|_| ());
        let (one, both) = (vec![(0, 1)], vec![(0, 1), (1, 0)]);
        network.cut(&one);
        network.cut(&both);
        network.mend(&one);
        assert!(network.is_cut(0, 1) && network.is_cut(1, 0) && !network.is_cut(0, 2));
        assert!(arrivals(&mut network, true).is_empty());
        network.mend(&both);
        assert!(!network.is_cut(0, 1) && !network.is_cut(1, 0));
    }
}
