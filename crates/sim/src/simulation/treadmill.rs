//! A member that has taken the state of a leader must not need the next one before it has caught up.
//!
//! Not here: a state that never arrived, which is sent again.

use quoin_raft::NodeId;

use super::Simulation;
use crate::check::{Checked, ensure};
use crate::coverage::Mark;

impl Simulation {
    /// A leader is about to send the state at an index to another member.
    pub(super) fn check_state_sent(&mut self, from: usize, to: NodeId, index: u64) -> Checked {
        let process = self.process(from);
        let status = process.node.raft().status();
        let matched = status.progress.get(&to).map_or(0, |peer| peer.matched.0);
        let before = process.states_sent.insert(to, (status.term, index));
        let before = before.filter(|(term, _)| *term == status.term);
        ensure(before.is_none_or(|(_, before)| matched < before), || {
            format!(
                "member {from} sends {to} the state at {index}, which has {matched} from {before:?}"
            )
        })
    }

    /// Forgets the states of a leader whose receivers have caught up.
    pub(super) fn look_for_caught_up(&mut self, member: usize) {
        let catchup = self.plan.limits.catchup_entries;
        let process = self.process(member);
        if process.states_sent.is_empty() {
            return;
        }
        let status = process.node.raft().status();
        let applied = process.node.status().applied.0;
        let before = process.states_sent.len();
        process.states_sent.retain(|node, (term, index)| {
            let matched = status.progress.get(node).map_or(0, |peer| peer.matched.0);
            *term == status.term && (matched < *index || matched + catchup < applied)
        });
        let caught_up = before - process.states_sent.len();
        (0..caught_up).for_each(|_| self.coverage.hit(Mark::CaughtUp));
    }
}
