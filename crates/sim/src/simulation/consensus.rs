//! The consensus thread of a member: inputs, turns, and what a turn asks for.

use std::collections::BTreeMap;

use quoin_node::{Event, Status, Turn};
use quoin_raft::{Body, EntryId, Index, StepError};
use quoin_store::{V2Action, V2Changes, V2Notice, View};

use super::{Inside, Note, Simulation};
use crate::check::watches::Scene;
use crate::check::{Checked, Violation, ensure};
use crate::coverage::Mark;
use crate::member::{Input, Process};
use crate::plan::Sabotage;
use crate::queue::MS;
use crate::workload::{Ask, v2};

/// Turns taken at once, at most. The server takes them until nothing moves; being interrupted
/// earlier is what happens to a thread that loses its processor.
const TURNS_AT_ONCE: u64 = 8;

/// Ticks between two looks at what ends in the tree of the v2 API.
const V2_SYNC_TICKS: u64 = 5;

impl Simulation {
    /// Queues an input and wakes the consensus thread.
    pub(super) fn input(&mut self, member: usize, input: Input) {
        let Some(process) = &mut self.members[member].process else { return };
        process.inbox.push_back(input);
        self.wake(member);
    }

    pub(super) fn wake(&mut self, member: usize) {
        let Some(process) = &mut self.members[member].process else { return };
        if process.awake {
            return;
        }
        process.awake = true;
        // Now and then the thread is busy, and inputs gather.
        let after = if self.rng.chance(100) { self.rng.between(0, 50 * MS) } else { MS / 10 };
        self.inside(member, after, Inside::Turn);
    }

    pub(super) fn process(&mut self, member: usize) -> &mut Process {
        let process = self.members[member].process.as_mut();
        process.expect("what happens inside happens to a process that runs")
    }

    pub(super) fn take_turns(&mut self, member: usize) -> Checked {
        self.process(member).awake = false;
        while let Some(input) = self.process(member).inbox.pop_front() {
            self.react(member, input)?;
        }
        let turns = self.rng.between(1, TURNS_AT_ONCE);
        for _ in 0..turns {
            let process = self.process(member);
            if process.durable > process.told {
                process.told = process.durable;
                process.node.persisted(process.durable);
            }
            self.compare(member)?;
            let node = &mut self.process(member).node;
            let turn = node.turn();
            let idle = turn.idle && !node.wants_turn();
            self.carry_out(member, turn)?;
            if self.members[member].process.is_none() {
                return Ok(());
            }
            self.compare(member)?;
            if idle {
                return Ok(());
            }
        }
        self.wake(member);
        Ok(())
    }

    fn react(&mut self, member: usize, input: Input) -> Checked {
        if matches!(input, Input::Tick) {
            self.look_for_leader(member);
            self.sync_v2(member);
            self.check_hung_leader(member)?;
            self.look_for_caught_up(member);
        }
        let process = self.process(member);
        let node = &mut process.node;
        match input {
            Input::Tick => {
                process.ticks += 1;
                node.tick();
            }
            Input::Propose { id, data, waiter } => node.propose(id, data, waiter),
            Input::Read(waiter) => node.read(waiter),
            Input::Lease(call, waiter) => node.lease(call, waiter),
            Input::Message(message) => {
                let is_proposal = matches!(message.body, Body::Propose { .. });
                let stepped = node.step(message);
                match &stepped {
                    Err(StepError::UnknownSender(_)) => self.coverage.hit(Mark::StrangerRefused),
                    Err(StepError::Malformed(_)) if is_proposal => {
                        self.coverage.hit(Mark::BadProposalRefused);
                    }
                    Ok(()) | Err(_) => {}
                }
                return survive(stepped);
            }
            Input::Snapshot(message, store) => {
                return survive(node.step_snapshot(message, *store));
            }
            Input::Unreachable(peer) => node.report_unreachable(peer),
            Input::SnapshotSent(peer, ok) => node.report_snapshot(peer, ok),
            Input::Checkpointed(written) => node.checkpointed(written.map(|written| *written)),
            Input::Transfer(to) => node.transfer_leader(to),
            Input::Campaign => node.campaign(),
        }
        Ok(())
    }

    /// Tells a member whether its leader can be reached, as its transport would: late, while
    /// faults strike.
    fn look_for_leader(&mut self, member: usize) {
        let looks = self.ending.is_some() || self.rng.chance(300);
        let leader = self.process(member).node.status().leader;
        let Some(leader) = self.position(leader).filter(|_| looks) else { return };
        let runs = self.members[leader].process.is_some();
        let reachable = runs && !self.network.is_cut(member, leader);
        self.process(member).node.set_leader_reachable(reachable);
    }

    /// Proposes what ends nodes of the v2 API, as a leader's process does while there are any.
    fn sync_v2(&mut self, member: usize) {
        let process = self.process(member);
        let due = process.ticks.is_multiple_of(V2_SYNC_TICKS);
        if due && process.node.status().is_leader && process.view.v2().has_expiring() {
            self.ask(member, Ask::V2(Box::new(v2::sync(self.now))), None);
        }
    }

    /// The events of the v2 API leave no gap, and the last one is that of the view.
    fn check_v2_events(&mut self, changes: &V2Changes, view: &View) -> Checked {
        let indexes: Vec<u64> = changes.notices.iter().map(|notice| notice.event.index()).collect();
        let whole = indexes.windows(2).all(|pair| pair[1] == pair[0] + 1);
        let last = indexes.last().is_none_or(|last| *last == view.v2().index());
        ensure(whole && last, || {
            format!("events {indexes:?} lead to the v2 index {}", view.v2().index())
        })?;
        let expired = |notice: &&V2Notice| notice.event.action == V2Action::Expire;
        let expired = changes.notices.iter().filter(expired).count();
        (0..expired).for_each(|_| self.coverage.hit(Mark::V2Expired));
        Ok(())
    }

    fn carry_out(&mut self, member: usize, turn: Turn<u64>) -> Checked {
        let Turn {
            messages,
            log,
            passed,
            view,
            answers,
            events,
            v2: changes,
            notices: _,
            counts: _,
            idle: _,
        } = turn;
        let id = self.members[member].id;
        for entry in &log.entries {
            self.agreement.writes(id, entry)?;
        }
        for message in messages {
            self.send(member, message)?;
        }
        if let Some(meta) = log.snapshot.as_ref().filter(|_| log.ready.is_some())
            && meta.index.0 == self.process(member).node.store().applied().0
            && meta.index > self.members[member].shadow.durable().last().index
        {
            self.process(member).installed = meta.index;
            self.coverage.hit(Mark::SnapshotInstalled);
            self.note(Note::SnapshotInstalled { member, index: meta.index.0 });
        }
        for _ in &log.discard {
            self.coverage.hit(Mark::SnapshotStale);
        }
        if !log.is_empty() {
            self.process(member).work.push_back(log);
            self.begin_sync(member)?;
            if self.members[member].process.is_none() {
                return Ok(());
            }
        }
        if let Some(view) = view {
            self.check_v2_events(&changes, &view)?;
            self.publish(member, passed, view)?;
        }
        self.note_turn(member);
        for (request, answer) in answers {
            self.answered(member, request, answer)?;
        }
        for event in events {
            self.tell(member, event)?;
        }
        Ok(())
    }

    fn note_turn(&mut self, member: usize) {
        let Status { term, leader, commit, applied, .. } = self.process(member).node.status();
        let (term, leader, commit, applied) = (term.0, leader.0, commit.0, applied.0);
        self.note(Note::Turn { member, term, leader, commit, applied });
    }

    /// Publishes a view, and checks that it is the state that everybody has after that entry.
    fn publish(&mut self, member: usize, passed: Vec<View>, view: View) -> Checked {
        let (id, applied) = (self.members[member].id, view.applied().0);
        let durable = self.members[member].shadow.durable().last().index;
        let unchecked = self.plan.only_consequences;
        let process = self.process(member);
        let safe = durable.max(process.installed);
        ensure(applied <= safe.0 || unchecked, || {
            format!("{id} applied entry {applied}, but only {safe} is durable there")
        })?;
        let before = process.view.clone();
        self.states.shown(id, &view, Some(&before), self.history.model())?;
        let life = (member, self.members[member].life);
        let lossy = self.plan.sabotage == Some(Sabotage::LostEvents);
        let (model, coverage) = (self.history.model(), &mut self.coverage);
        let mut scene = Scene { model, coverage, lossy };
        self.watches.published(life, passed, &view, &mut scene)?;
        let stale = self.plan.sabotage == Some(Sabotage::StaleView) && self.rng.chance(300);
        if !stale {
            self.process(member).view = view;
        }
        Ok(())
    }

    fn tell(&mut self, member: usize, event: Event) -> Checked {
        match event {
            Event::Leader(_) | Event::Members => Ok(()),
            Event::Removed => Err("a member was removed that nobody removed".to_owned().into()),
            Event::Checkpoint(meta, checkpoint) => {
                let after = self.rng.around(self.plan.disk.checkpoint);
                self.inside(member, after, Inside::WriteCheckpoint(meta, Box::new(checkpoint)));
                Ok(())
            }
            Event::SendSnapshot(message, checkpoint) => {
                self.check_state_sent(member, message.to, checkpoint.id().index)?;
                self.send_snapshot(member, message, &checkpoint)
            }
            Event::Compacted(hash) => self.states.compacted(self.members[member].id, &hash),
            Event::Fatal(reason) => self.disk_failed(member, &reason),
        }
    }

    /// Compares what a member says about terms and committed entries with what is known.
    pub(super) fn compare(&mut self, member: usize) -> Checked {
        let id = self.members[member].id;
        let Some(process) = &mut self.members[member].process else { return Ok(()) };
        let status = process.node.status();
        let raft = process.node.raft();
        let new = if status.commit > process.compared {
            let mut entries = raft.entries_from(process.compared.next(), u64::MAX);
            entries.retain(|entry| entry.index <= status.commit);
            entries
        } else {
            Vec::new()
        };
        process.compared = process.compared.max(status.commit);
        if status.is_leader && self.agreement.leads(id, status.term)? {
            let must_hold = self.agreement.last_before(status.term);
            let holds = must_hold.is_none_or(|must| {
                raft.term_at(must.index)
                    .map_or(must.index < raft.last_entry().index, |term| term == must.term)
            });
            ensure(holds, || format!("{id} leads {} without {must_hold:?}", status.term))?;
            self.coverage.hit(Mark::LeaderElected);
            self.doom_leader(member);
            self.note(Note::Elected { member, term: status.term.0 });
        }
        for entry in new {
            if self.agreement.committed(id, status.term, &entry)? {
                self.check_quorum(entry.id())?;
                self.history.committed(entry.kind, &entry.data)?;
                let (now, coverage) = (self.now, &mut self.coverage);
                self.leases.committed(entry.kind, &entry.data, now, coverage)?;
            }
        }
        Ok(())
    }

    /// An entry is committed only if a majority has it on disk.
    fn check_quorum(&self, entry: EntryId) -> Checked {
        // Every member begins with the entries that add the members.
        let is_first = entry.index <= Index(self.members.len() as u64);
        if is_first || self.plan.only_consequences {
            return Ok(());
        }
        let holds = |member: &&crate::member::Member| member.shadow.durable().holds(entry);
        let holders = self.members.iter().filter(holds).count();
        ensure(holders > self.members.len() / 2, || {
            let logs: BTreeMap<_, _> = self
                .members
                .iter()
                .map(|member| (member.id, member.shadow.durable().last()))
                .collect();
            format!("{entry:?} is committed, but durable on {holders} only: {logs:?}")
        })
    }
}

/// Errors that a member survives are part of life.
fn survive(result: Result<(), StepError>) -> Checked {
    match result {
        Err(error) if error.is_fatal() => Err(Violation::from(error.to_string())),
        Ok(()) | Err(_) => Ok(()),
    }
}
