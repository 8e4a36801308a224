//! Majority arithmetic: what a set of voters has agreed on.
//!
//! Configurations are small, so counting beats sorting and needs no memory.

use crate::NodeId;

/// How an election stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteResult {
    /// A majority voted yes.
    Won,
    /// A majority can no longer be reached.
    Lost,
    /// The missing votes decide.
    Pending,
}

/// Returns how many of `count` voters decide. Nobody decides where there are no voters.
pub(crate) fn majority(count: usize) -> usize {
    count / 2 + 1
}

/// Counts the votes of the voters; others do not count, whatever they said.
pub(crate) fn vote_result(voters: &[NodeId], vote: impl Fn(NodeId) -> Option<bool>) -> VoteResult {
    let (mut granted, mut missing) = (0, 0);
    for &voter in voters {
        match vote(voter) {
            Some(true) => granted += 1,
            Some(false) => {}
            None => missing += 1,
        }
    }
    let needed = majority(voters.len());
    if granted >= needed {
        VoteResult::Won
    } else if granted + missing >= needed {
        VoteResult::Pending
    } else {
        VoteResult::Lost
    }
}

/// Returns the greatest value that a majority of the voters has reached, if there are voters.
pub(crate) fn agreed<T: Copy + Ord>(voters: &[NodeId], value: impl Fn(NodeId) -> T) -> Option<T> {
    let needed = majority(voters.len());
    let reached = |level: T| voters.iter().filter(|&&voter| value(voter) >= level).count();
    voters.iter().map(|&voter| value(voter)).filter(|&level| reached(level) >= needed).max()
}

#[cfg(test)]
mod tests {
    use super::{VoteResult, agreed, majority, vote_result};
    use crate::NodeId;

    fn voters(count: u64) -> Vec<NodeId> {
        (1..=count).map(NodeId).collect()
    }

    #[test]
    fn majorities_of_one_configuration_always_overlap() {
        for count in 1..100 {
            assert!(2 * majority(count) > count);
            assert!(2 * (majority(count) - 1) <= count);
        }
    }

    /// `+` is a yes, `-` a no, `.` a missing vote.
    fn check_votes(votes: &str, expected: VoteResult) {
        let result = vote_result(&voters(votes.len() as u64), |NodeId(node)| {
            match votes.as_bytes()[node as usize - 1] {
                b'+' => Some(true),
                b'-' => Some(false),
                _ => None,
            }
        });
        assert_eq!(result, expected, "{votes}");
    }

    #[test]
    fn elections_end_as_soon_as_they_are_decided() {
        check_votes("+", VoteResult::Won);
        check_votes(".", VoteResult::Pending);
        check_votes("-", VoteResult::Lost);
        check_votes("+.", VoteResult::Pending);
        check_votes("+-", VoteResult::Lost);
        check_votes("++.", VoteResult::Won);
        check_votes("+.-", VoteResult::Pending);
        check_votes("-.-", VoteResult::Lost);
        check_votes("++--", VoteResult::Lost);
        check_votes("++.-.", VoteResult::Pending);
        check_votes("++-+-", VoteResult::Won);
    }

    #[test]
    fn nobody_wins_without_voters() {
        assert_eq!(vote_result(&[], |_| Some(true)), VoteResult::Lost);
        assert_eq!(agreed(&[], |_| 1), None);
    }

    /// All vectors over a small range, against the definition by sorting.
    #[test]
    fn the_agreed_value_is_the_median_from_below() {
        for count in 1..=5u32 {
            for code in 0..4u64.pow(count) {
                let value = |NodeId(node): NodeId| (code / 4u64.pow(node as u32 - 1)) % 4;
                let voters = voters(u64::from(count));
                let mut sorted: Vec<u64> = voters.iter().map(|&voter| value(voter)).collect();
                sorted.sort_unstable();
                let expected = sorted[sorted.len() - majority(sorted.len())];
                assert_eq!(agreed(&voters, value), Some(expected), "{sorted:?}");
            }
        }
    }
}
