//! The end of a run: all faults stop, and the cluster must become well by itself.
//!
//! Well means: a write and a linearizable read succeed on every member, short leases have ended, and
//! then all members have applied the same log and have the same state.

use std::collections::BTreeMap;

use super::clients::read_everything;
use super::{Happening, Note, Simulation, TICK};
use crate::check::states::describe;
use crate::check::watches::Scene;
use crate::check::{Checked, ensure};
use crate::queue::{MS, Time};
use crate::workload::v2::unix_ns;

/// How long the cluster may take to become well.
const HEALING_MAX: Time = 300 * TICK;
/// The time between two looks at it.
const PROBE_EVERY: Time = 100 * MS;
/// A probe without an answer is repeated after this time.
const PATIENCE: Time = 30 * TICK;

/// The state of the end.
#[derive(Debug)]
pub(crate) struct Ending {
    since: Time,
    probes: BTreeMap<usize, Probe>,
}

/// What a member has shown.
#[derive(Debug, Default)]
struct Probe {
    waits_for: Option<(u64, Time)>,
    /// A write, then a read.
    succeeded: usize,
}

/// A write and a read.
const STEPS: usize = 2;

impl Simulation {
    pub(super) fn heal(&mut self) -> Checked {
        self.note(Note::Healed);
        let members = self.members.len();
        let probes = (0..members).map(|member| (member, Probe::default())).collect();
        self.ending = Some(Ending { since: self.now, probes });
        self.network.heal();
        for member in 0..members {
            self.members[member].disk.stop_after(u64::MAX);
            self.members[member].slow_until = 0;
            self.members[member].hung_until = 0;
            self.members[member].doomed = false;
            let life = self.members[member].life;
            self.resume(member, life);
        }
        self.queue.push(self.now + PROBE_EVERY, Happening::Probe);
        Ok(())
    }

    pub(super) fn probe(&mut self) -> Checked {
        let Some(ending) = &self.ending else { return Ok(()) };
        let late = self.now - ending.since > HEALING_MAX;
        ensure(!late, || format!("the cluster does not become well: {}", self.diagnosis()))?;
        for member in 0..self.members.len() {
            self.probe_member(member);
        }
        if self.is_well()? {
            self.finish_watches()?;
            self.well = true;
            self.note(Note::Well);
            return Ok(());
        }
        self.queue.push(self.now + PROBE_EVERY, Happening::Probe);
        Ok(())
    }

    fn probe_member(&mut self, member: usize) {
        let now = self.now;
        let Some(probe) = self.probe_of(member) else { return };
        let waits = probe.waits_for.is_some_and(|(_, since)| now - since < PATIENCE);
        if waits || probe.succeeded == STEPS {
            return;
        }
        let ask = if probe.succeeded == 0 { self.workload.plain_put() } else { read_everything() };
        let request = self.ask(member, ask, None);
        if let Some(probe) = self.probe_of(member) {
            probe.waits_for = Some((request, now));
        }
    }

    fn probe_of(&mut self, member: usize) -> Option<&mut Probe> {
        self.ending.as_mut()?.probes.get_mut(&member)
    }

    /// A request succeeded on a member.
    pub(super) fn probed(&mut self, member: usize, request: u64) {
        let Some(probe) = self.probe_of(member) else { return };
        if probe.waits_for.take_if(|(waits_for, _)| *waits_for == request).is_some() {
            probe.succeeded += 1;
        }
    }

    /// A request failed on a member.
    pub(super) fn probe_failed(&mut self, member: usize, request: u64) {
        if let Some(probe) = self.probe_of(member) {
            probe.waits_for.take_if(|(waits_for, _)| *waits_for == request);
        }
    }

    fn is_well(&self) -> Result<bool, crate::check::Violation> {
        let probed = self
            .ending
            .as_ref()
            .is_some_and(|ending| ending.probes.values().all(|probe| probe.succeeded == STEPS));
        let last = self.agreement.last();
        let stands = |member: &crate::member::Member| {
            member.process.as_ref().is_some_and(|process| {
                let status = process.node.status();
                status.applied == last && status.commit == last
            })
        };
        if !probed
            || !self.members.iter().all(stands)
            || self.leases.due().is_some()
            || self.v2_due()
        {
            return Ok(false);
        }
        let mut states = Vec::new();
        for process in self.members.iter().filter_map(|member| member.process.as_ref()) {
            let view = process.node.store().view();
            self.check_content(&view)?;
            states.push(describe(&view)?);
        }
        ensure(states.windows(2).all(|pair| pair[0] == pair[1]), || {
            format!("equal logs made different states: {states:#?}")
        })?;
        Ok(true)
    }

    /// Whether a node of the v2 API should have ended by now.
    fn v2_due(&self) -> bool {
        self.history.model().v2().due(unix_ns(self.now)).is_some()
    }

    /// In the end every watcher has been told everything.
    fn finish_watches(&mut self) -> Checked {
        for (position, member) in self.members.iter().enumerate() {
            let Some(process) = &member.process else { continue };
            let view = process.node.store().view();
            let (model, coverage) = (self.history.model(), &mut self.coverage);
            let mut scene = Scene { model, coverage, lossy: false };
            self.watches.finish((position, member.life), &view, &mut scene)?;
        }
        Ok(())
    }

    fn diagnosis(&self) -> String {
        let (last, due) = (self.agreement.last(), self.leases.due());
        let mut text = format!("committed {last}, lease that does not end: {due:?}");
        for (position, member) in self.members.iter().enumerate() {
            let probe = self.ending.as_ref().and_then(|ending| ending.probes.get(&position));
            let status = member.process.as_ref().map(|process| process.node.raft().status());
            text += &format!("\n{position}: {probe:?} {status:?}");
        }
        text
    }
}
