//! How the leader's log gets to the followers and becomes committed.
//!
//! A leader composes its appends when messages are collected, so that everything proposed and
//! committed since the last time travels in one message per follower.
//!
//! Invariants:
//! - An acknowledgement leaves only after what it acknowledges is durable.
//! - Only entries of the leader's own term are committed by counting copies; the entries before
//!   them follow.

use bytes::Bytes;

use crate::log::Appended;
use crate::notice::Notice;
use crate::progress::Progress;
use crate::quorum;
use crate::raft::Raft;
use crate::status::Role;
use crate::{
    Body, Entry, EntryId, Index, NodeId, ProgressState, Rejection, Snapshot, SnapshotMeta,
    StepError, Term,
};

impl Raft {
    /// Reports that messages to a follower are being lost, so that the leader stops sending
    /// ahead.
    pub fn report_unreachable(&mut self, id: NodeId) {
        if let Some(progress) = self.leader_progress(id)
            && progress.state() == ProgressState::Replicate
        {
            progress.become_probe();
        }
    }

    /// Reports what became of a [`Body::Snapshot`] for a follower. Every one must be reported,
    /// because the leader sends nothing else to that follower until it knows.
    pub fn report_snapshot(&mut self, id: NodeId, ok: bool) {
        if let Some(progress) = self.leader_progress(id) {
            progress.snapshot_ended(ok);
        }
    }

    /// Sends to every follower what it lacks and may get.
    pub(crate) fn send_appends(&mut self) {
        let commit = self.log.commit();
        for node in self.others() {
            let bump = self.progress.get(&node).is_some_and(|it| it.can_bump_commit(commit));
            let mut sent = self.send_append(node, bump);
            while sent {
                sent = self.send_append(node, false);
            }
        }
    }

    /// Sends a heartbeat to every follower, with the latest read round if reads wait.
    pub(crate) fn broadcast_heartbeat(&mut self) {
        if self.leaving.is_some() {
            self.reads.start_round();
        }
        let wanted = self.leaving.is_some() || self.reads.is_waiting();
        let round = self.reads.round();
        let context =
            if wanted { Bytes::copy_from_slice(&round.to_le_bytes()) } else { Bytes::new() };
        for node in self.others() {
            let Some(progress) = self.progress.get_mut(&node) else { continue };
            // The follower must not commit what it is not known to hold.
            let commit = progress.matched.min(self.log.commit());
            progress.sent_heartbeat(commit);
            if let Some(leaving) = &mut self.leaving {
                leaving.told(node, commit, round);
            }
            self.send(node, Body::Heartbeat { commit, context: context.clone() });
        }
        self.reads.round_sent();
    }

    /// Takes entries from the leader, or tells it where the logs might match.
    pub(crate) fn handle_append(
        &mut self,
        from: NodeId,
        prev: EntryId,
        entries: Vec<Entry>,
        commit: Index,
    ) -> Result<(), StepError> {
        let committed = self.log.commit();
        if prev.index <= committed && self.log.term(prev.index).is_some_and(|it| it != prev.term) {
            return Err(StepError::CommittedConflict { index: prev.index });
        }
        if prev.index < committed {
            self.acknowledge(from, committed);
            return Ok(());
        }
        // What follows a snapshot is taken when the snapshot is installed; until then the
        // append is as good as lost.
        if self.log.is_installing() && !entries.is_empty() {
            return Ok(());
        }
        match self.log.take(prev, entries) {
            Appended::Matched(last) => {
                self.log.commit_to(commit.min(last));
                self.acknowledge(from, last);
            }
            Appended::Mismatch => {
                let known = prev.index.min(self.log.last_index());
                let (hint_index, hint_term) = self.log.last_possible_match(known, prev.term);
                let hint_term = hint_term.unwrap_or(Term::ZERO);
                let reject = Some(Rejection { hint_index, hint_term });
                let body = Body::AppendResponse { index: prev.index, reject };
                self.send_after_sync(from, self.term, body);
            }
            Appended::Contradiction(index) => return Err(StepError::CommittedConflict { index }),
        }
        Ok(())
    }

    /// Takes a sign of life from the leader.
    pub(crate) fn handle_heartbeat(
        &mut self,
        from: NodeId,
        commit: Index,
        context: Bytes,
    ) -> Result<(), StepError> {
        let last_index = self.log.last_index();
        if commit > last_index {
            return Err(StepError::LogLost { commit, last_index });
        }
        self.log.commit_to(commit);
        self.send(from, Body::HeartbeatResponse { context });
        Ok(())
    }

    /// Takes a snapshot from the leader, unless the log holds it already.
    pub(crate) fn handle_snapshot(&mut self, from: NodeId, mut snapshot: Snapshot) {
        snapshot.meta.conf.normalize();
        let meta = &snapshot.meta;
        // A second snapshot can wait for the first; and one that does not know this node as a
        // member was not meant for it.
        let usable = meta.index > self.log.commit()
            && meta.conf.contains(self.id)
            && !self.log.is_installing();
        let (id, taken) = (meta.id(), usable && !self.log.holds(meta.id()));
        if usable && !taken {
            self.log.commit_to(meta.index);
        } else if taken {
            let overtaken = std::mem::replace(&mut self.conf, meta.conf.clone());
            self.overtaken_conf = Some(overtaken);
            self.log.install(snapshot);
            self.reset_progress();
            self.notice_conf();
        }
        let commit = self.log.commit();
        self.notice(Notice::SnapshotReceived { taken, id, commit });
        self.acknowledge(from, commit);
    }

    /// Takes a follower's answer to an append or a snapshot.
    pub(crate) fn handle_append_response(
        &mut self,
        from: NodeId,
        index: Index,
        reject: Option<Rejection>,
    ) -> Result<(), StepError> {
        if reject.is_none() && index > self.log.last_index() {
            return Err(StepError::Malformed("it acknowledges entries that were never sent"));
        }
        let hint = reject.map(|it| self.probe_hint(it));
        let available = self.log.first_index();
        let Some(progress) = self.leader_progress(from) else { return Ok(()) };
        progress.recent_active = true;
        match hint {
            Some(hint) => {
                progress.reject(index, hint);
            }
            None => {
                if progress.accept(index, available) {
                    self.advance_commit();
                    self.hand_over_if_caught_up(from, false);
                }
            }
        }
        Ok(())
    }

    /// Takes a follower's answer to a heartbeat.
    pub(crate) fn handle_heartbeat_response(&mut self, from: NodeId, context: &[u8]) {
        let last_index = self.log.last_index();
        let Some(progress) = self.leader_progress(from) else { return };
        progress.heard();
        // An append, even an empty one, finds out whether earlier ones were lost.
        if progress.matched < last_index || progress.state() == ProgressState::Probe {
            self.send_append(from, true);
        }
        if let Some(round) = self.reads.answer(from, context) {
            self.confirm_reads();
            self.note_farewell(from, round);
        }
    }

    /// Counts this leader's own durable log.
    pub(crate) fn acknowledge_own_log(&mut self) {
        let persisted = self.log.persisted();
        let Some(own) = self.progress.get_mut(&self.id) else { return };
        own.matched = persisted;
        own.become_replicate();
        own.next = self.log.last_index().next();
        own.recent_active = true;
    }

    /// Commits what a majority holds, if it ends with an entry of this term.
    pub(crate) fn advance_commit(&mut self) {
        let matched = |node: NodeId| {
            self.progress.get(&node).map_or(Index::ZERO, |progress| progress.matched)
        };
        let Some(index) = quorum::agreed(&self.conf.voters, matched) else { return };
        if index > self.log.commit() && self.log.term(index) == Some(self.term) {
            self.log.commit_to(index);
            self.start_early_reads();
        }
    }

    /// Returns all members but this node.
    pub(crate) fn others(&self) -> Vec<NodeId> {
        self.progress.keys().copied().filter(|&node| node != self.id).collect()
    }

    /// Returns the progress of a follower, on a leader.
    fn leader_progress(&mut self, node: NodeId) -> Option<&mut Progress> {
        match self.role {
            Role::Leader if node != self.id => self.progress.get_mut(&node),
            Role::Leader | Role::Follower | Role::PreCandidate | Role::Candidate => None,
        }
    }

    fn acknowledge(&mut self, to: NodeId, index: Index) {
        self.send_after_sync(to, self.term, Body::AppendResponse { index, reject: None });
    }

    /// Returns where to probe next. The follower's entry at the hint has a certain term; our
    /// entries with later terms cannot be in its log at or before the hint, so they are skipped.
    fn probe_hint(&self, rejection: Rejection) -> Index {
        let Rejection { hint_index, hint_term } = rejection;
        if hint_term == Term::ZERO {
            return hint_index;
        }
        self.log.last_possible_match(hint_index, hint_term).0
    }

    /// Sends one append, or a snapshot if the log no longer holds what the follower needs.
    /// Returns false if nothing was sent: the flow is paused, or there is no entry to send and
    /// `may_be_empty` is not set.
    fn send_append(&mut self, to: NodeId, may_be_empty: bool) -> bool {
        let Some(progress) = self.progress.get_mut(&to).filter(|it| !it.is_paused()) else {
            return false;
        };
        let prev_index = progress.next.prev();
        let Some(prev_term) = self.log.term(prev_index) else { return self.send_snapshot(to) };
        let entries = if progress.has_room() {
            self.log.slice(progress.next, self.config.max_size_per_message)
        } else {
            Vec::new()
        };
        if entries.is_empty() && !may_be_empty {
            return false;
        }
        let commit = self.log.commit();
        progress.sent_append(entries.len() as u64, commit);
        self.send(to, Body::Append { prev_index, prev_term, entries, commit });
        true
    }

    fn send_snapshot(&mut self, to: NodeId) -> bool {
        let index = self.log.applied();
        let (Some(progress), Some(term)) = (self.progress.get_mut(&to), self.log.term(index))
        else {
            return false;
        };
        // It would be wasted on a node that is down.
        if !progress.recent_active {
            return false;
        }
        progress.become_snapshot(index);
        let meta = SnapshotMeta { index, term, conf: self.conf.clone() };
        self.send(to, Body::Snapshot(Snapshot { meta, data: Bytes::new() }));
        true
    }
}
