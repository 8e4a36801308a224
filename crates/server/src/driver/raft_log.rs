//! What consensus did, as log lines of the part called `raft`.
//!
//! The texts are etcd's, letter by letter: operators and tools look for them. Only of a disk that hangs
//! etcd has none.
//!
//! Not here: when such a thing happens (`quoin_raft::Notice`).

use quoin_node::raft::{Index, NodeId, Notice, Poll, Role, Term, VoteAnswer};

use crate::log::Record;
use crate::record;

/// The name of the part that speaks.
const LOGGER: &str = "raft";

/// Returns the line about something that happened to this node.
pub(super) fn notice_record(id: NodeId, notice: &Notice) -> Record {
    let text = text(id, notice);
    let record = match notice {
        Notice::QuorumLost | Notice::DiskStalled { .. } => record!(Warn, text),
        Notice::Started { .. }
        | Notice::ElectionStarted { .. }
        | Notice::Became { .. }
        | Notice::VoteRequested { .. }
        | Notice::VoteReceived { .. }
        | Notice::VotesCounted { .. }
        | Notice::VoteAnswered { .. }
        | Notice::LaterTerm { .. }
        | Notice::EarlierTerm { .. }
        | Notice::Configured { .. }
        | Notice::TransferStarted { .. }
        | Notice::TimeoutNowSent { .. }
        | Notice::TimeoutNowReceived { .. }
        | Notice::SnapshotReceived { .. } => record!(Info, text),
    };
    record.named(LOGGER)
}

/// Returns the line about another leader, or none.
pub(super) fn leader_record(id: NodeId, before: NodeId, now: NodeId, term: Term) -> Record {
    let text = if now.is_none() {
        format!("raft.node: {id} lost leader {before} at term {term}")
    } else if before.is_none() {
        format!("raft.node: {id} elected leader {now} at term {term}")
    } else {
        format!("raft.node: {id} changed leader from {before} to {now} at term {term}")
    };
    record!(Info, text).named(LOGGER)
}

fn text(id: NodeId, notice: &Notice) -> String {
    match notice {
        Notice::Started { peers, term, commit, applied, last } => {
            let peers: Vec<String> = peers.iter().map(NodeId::to_string).collect();
            format!(
                "newRaft {id} [peers: [{}], term: {term}, commit: {commit}, applied: {applied}, \
                 lastindex: {}, lastterm: {}]",
                peers.join(","),
                last.index,
                last.term,
            )
        }
        Notice::ElectionStarted { term } => {
            format!("{id} is starting a new election at term {term}")
        }
        Notice::Became { role, term } => format!("{id} became {} at term {term}", role_name(*role)),
        Notice::VoteRequested { poll, to, last, term } => format!(
            "{id} [logterm: {}, index: {}] sent {} request to {to} at term {term}",
            last.term,
            last.index,
            request(*poll),
        ),
        Notice::VoteReceived { poll, from, granted, term } => {
            let rejection = if *granted { "" } else { " rejection" };
            format!("{id} received {}Resp{rejection} from {from} at term {term}", request(*poll))
        }
        Notice::VotesCounted { poll, granted, rejected } => format!(
            "{id} has received {granted} {}Resp votes and {rejected} vote rejections",
            request(*poll),
        ),
        Notice::VoteAnswered { .. } => answered(id, notice).unwrap_or_default(),
        Notice::LaterTerm { kind, from, message_term, term } => format!(
            "{id} [term: {term}] received a {kind} message with higher term from {from} \
             [term: {message_term}]"
        ),
        Notice::EarlierTerm { kind, from, message_term, term } => format!(
            "{id} [term: {term}] ignored a {kind} message with lower term from {from} \
             [term: {message_term}]"
        ),
        Notice::QuorumLost => {
            format!("{id} stepped down to follower since quorum is not active")
        }
        Notice::Configured { voters, learners } => configured(id, voters, learners),
        Notice::TransferStarted { to, term } => {
            format!("{id} [term {term}] starts to transfer leadership to {to}")
        }
        Notice::DiskStalled { to, term } => format!(
            "{id} [term {term}] takes no proposals and hands over to {to}, for its log was not written \
             within an election timeout"
        ),
        Notice::TimeoutNowSent { to, at_once: true } => {
            format!(
                "{id} sends MsgTimeoutNow to {to} immediately as {to} already has up-to-date log"
            )
        }
        Notice::TimeoutNowSent { to, at_once: false } => {
            format!("{id} sent MsgTimeoutNow to {to} after received MsgAppResp")
        }
        Notice::TimeoutNowReceived { from, term } => format!(
            "{id} [term {term}] received MsgTimeoutNow from {from} and starts an election to get \
             leadership."
        ),
        Notice::SnapshotReceived { taken, id: last, commit } => {
            let what = if *taken { "restored" } else { "ignored" };
            let (index, term): (Index, Term) = (last.index, last.term);
            format!("{id} [commit: {commit}] {what} snapshot [index: {index}, term: {term}]")
        }
    }
}

/// Returns what this node answered to a candidate.
fn answered(id: NodeId, notice: &Notice) -> Option<String> {
    let Notice::VoteAnswered { poll, answer, candidate, candidate_last, last, vote, term } = notice
    else {
        return None;
    };
    let (what, preposition, reason) = match answer {
        VoteAnswer::Cast => ("cast", "for", String::new()),
        VoteAnswer::Rejected => ("rejected", "from", String::new()),
        VoteAnswer::InLease { remaining_ticks } => {
            let reason = format!(": lease is not expired (remaining ticks: {remaining_ticks})");
            ("ignored", "from", reason)
        }
    };
    Some(format!(
        "{id} [logterm: {}, index: {}, vote: {vote}] {what} {} {preposition} {candidate} \
         [logterm: {}, index: {}] at term {term}{reason}",
        last.term,
        last.index,
        request(*poll),
        candidate_last.term,
        candidate_last.index,
    ))
}

/// The only place where etcd writes IDs as decimal numbers.
fn configured(id: NodeId, voters: &[NodeId], learners: &[NodeId]) -> String {
    let decimal = |nodes: &[NodeId]| {
        let ids: Vec<String> = nodes.iter().map(|node| node.0.to_string()).collect();
        ids.join(" ")
    };
    let voters = decimal(voters);
    let learners = match learners {
        [] => String::new(),
        some => format!(" learners=({})", decimal(some)),
    };
    format!("{id} switched to configuration voters=({voters}){learners}")
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn request(poll: Poll) -> &'static str {
    match poll {
        Poll::Pre => "MsgPreVote",
        Poll::Real => "MsgVote",
    }
}

#[cfg(test)]
mod tests {
    use quoin_node::raft::EntryId;

    use super::*;
    use crate::log::Level;

    const ID: NodeId = NodeId(0x68628aa0eea41998);
    const OTHER: NodeId = NodeId(0x286e74436b83a06a);

    fn entry(term: u64, index: u64) -> EntryId {
        EntryId { index: Index(index), term: Term(term) }
    }

    #[track_caller]
    fn check(notice: Notice, text: &str) {
        let record = notice_record(ID, &notice);
        assert_eq!((record.message.as_ref(), record.logger), (text, "raft"));
    }

    /// The texts were printed by etcd 3.4.23 and 3.7.1.
    #[test]
    fn elections_read_as_in_etcd() {
        let (term, poll) = (Term(2), Poll::Real);
        check(
            Notice::ElectionStarted { term },
            "68628aa0eea41998 is starting a new election at term 2",
        );
        for (role, name) in [
            (Role::Follower, "follower"),
            (Role::PreCandidate, "pre-candidate"),
            (Role::Candidate, "candidate"),
            (Role::Leader, "leader"),
        ] {
            let text = format!("68628aa0eea41998 became {name} at term 2");
            check(Notice::Became { role, term }, &text);
        }
        check(
            Notice::VoteRequested { poll, to: OTHER, last: entry(1, 2), term },
            "68628aa0eea41998 [logterm: 1, index: 2] sent MsgVote request to 286e74436b83a06a at \
             term 2",
        );
        check(
            Notice::VoteReceived { poll: Poll::Pre, from: OTHER, granted: true, term },
            "68628aa0eea41998 received MsgPreVoteResp from 286e74436b83a06a at term 2",
        );
        check(
            Notice::VoteReceived { poll, from: OTHER, granted: false, term },
            "68628aa0eea41998 received MsgVoteResp rejection from 286e74436b83a06a at term 2",
        );
        check(
            Notice::VotesCounted { poll, granted: 2, rejected: 0 },
            "68628aa0eea41998 has received 2 MsgVoteResp votes and 0 vote rejections",
        );
    }

    #[test]
    fn votes_read_as_in_etcd() {
        let asked = |poll, answer, vote| Notice::VoteAnswered {
            poll,
            answer,
            candidate: OTHER,
            candidate_last: entry(2, 5),
            last: entry(2, 4),
            vote,
            term: Term(3),
        };
        check(
            asked(Poll::Real, VoteAnswer::Cast, NodeId::NONE),
            "68628aa0eea41998 [logterm: 2, index: 4, vote: 0] cast MsgVote for 286e74436b83a06a \
             [logterm: 2, index: 5] at term 3",
        );
        check(
            asked(Poll::Pre, VoteAnswer::Rejected, ID),
            "68628aa0eea41998 [logterm: 2, index: 4, vote: 68628aa0eea41998] rejected MsgPreVote \
             from 286e74436b83a06a [logterm: 2, index: 5] at term 3",
        );
        check(
            asked(Poll::Real, VoteAnswer::InLease { remaining_ticks: 7 }, ID),
            "68628aa0eea41998 [logterm: 2, index: 4, vote: 68628aa0eea41998] ignored MsgVote from \
             286e74436b83a06a [logterm: 2, index: 5] at term 3: lease is not expired (remaining \
             ticks: 7)",
        );
    }

    #[test]
    fn the_rest_reads_as_in_etcd() {
        let (from, to) = (OTHER, OTHER);
        check(
            Notice::LaterTerm { kind: "MsgAppResp", from, message_term: Term(2), term: Term(1) },
            "68628aa0eea41998 [term: 1] received a MsgAppResp message with higher term from \
             286e74436b83a06a [term: 2]",
        );
        check(
            Notice::EarlierTerm { kind: "MsgVote", from, message_term: Term(8), term: Term(11) },
            "68628aa0eea41998 [term: 11] ignored a MsgVote message with lower term from \
             286e74436b83a06a [term: 8]",
        );
        check(
            Notice::Started {
                peers: vec![OTHER, ID],
                term: Term(6),
                commit: Index(9),
                applied: Index(0),
                last: entry(2, 9),
            },
            "newRaft 68628aa0eea41998 [peers: [286e74436b83a06a,68628aa0eea41998], term: 6, \
             commit: 9, applied: 0, lastindex: 9, lastterm: 2]",
        );
        check(
            Notice::Configured { voters: vec![OTHER, ID], learners: vec![NodeId(3)] },
            "68628aa0eea41998 switched to configuration \
             voters=(2913393841870708842 7521726751465281944) learners=(3)",
        );
        check(
            Notice::TransferStarted { to, term: Term(12) },
            "68628aa0eea41998 [term 12] starts to transfer leadership to 286e74436b83a06a",
        );
        check(
            Notice::DiskStalled { to, term: Term(12) },
            "68628aa0eea41998 [term 12] takes no proposals and hands over to 286e74436b83a06a, for \
             its log was not written within an election timeout",
        );
        check(
            Notice::TimeoutNowSent { to, at_once: true },
            "68628aa0eea41998 sends MsgTimeoutNow to 286e74436b83a06a immediately as \
             286e74436b83a06a already has up-to-date log",
        );
        check(
            Notice::SnapshotReceived { taken: true, id: entry(2, 7), commit: Index(7) },
            "68628aa0eea41998 [commit: 7] restored snapshot [index: 7, term: 2]",
        );
    }

    #[test]
    fn leaders_come_and_go_as_in_etcd() {
        let line = |before, now| leader_record(ID, before, now, Term(7)).message.into_owned();
        let (none, id) = (NodeId::NONE, "68628aa0eea41998");
        assert_eq!(line(none, OTHER), format!("raft.node: {id} elected leader {OTHER} at term 7"));
        assert_eq!(line(ID, none), format!("raft.node: {id} lost leader {id} at term 7"));
        let changed = format!("raft.node: {id} changed leader from {id} to {OTHER} at term 7");
        assert_eq!(line(ID, OTHER), changed);
    }

    #[test]
    fn a_lost_quorum_is_a_warning() {
        let record = notice_record(ID, &Notice::QuorumLost);
        assert_eq!(record.level, Level::Warn);
        let text = "68628aa0eea41998 stepped down to follower since quorum is not active";
        assert_eq!(record.message, text);
    }
}
