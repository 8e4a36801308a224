//! What clients asked and were told, held against the committed log: is it linearizable?
//!
//! The members' log is the order in which writes took effect, so no search is needed. Every
//! committed entry is executed by the [`Model`] as soon as it is known; then each answer is
//! compared with what the model answers:
//!
//! - A write that was answered is in the log, once, with this very answer, after everything that
//!   was answered before it was asked.
//! - A linearizable read shows the state after an entry that is not before the last one of which
//!   any client had learned when the read was asked.
//! - A serializable read shows the state after some committed entry.
//! - A write without an answer is in the log once, or not at all; one that was refused before it
//!   was proposed is not in the log. The log has nothing that nobody asked for.
//!
//! A request counts as asked when it reaches a member, and as answered when the member answers,
//! which leaves less room for excuses than the times at the client.

use std::collections::BTreeMap;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse};
use quoin_raft::EntryKind;
use quoin_store::Reply;

use crate::model::Model;
use crate::workload::Call;

/// Why a history is impossible.
pub(crate) type Impossible = String;

/// The requests of a run and the log that answers them.
#[derive(Debug)]
pub(crate) struct History {
    model: Model,
    writes: BTreeMap<u64, Write>,
    reads: BTreeMap<u64, Floor>,
    /// What some client knows.
    known: Floor,
}

/// The last entry that a client can have learned of, and the revision after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Floor {
    index: usize,
    revision: i64,
}

#[derive(Debug)]
struct Write {
    floor: Floor,
    refused: bool,
    answered: bool,
    committed: Option<Committed>,
}

#[derive(Debug)]
struct Committed {
    index: usize,
    reply: Result<Reply, Error>,
}

/// What became of the writes without an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    pub(crate) committed: usize,
    pub(crate) lost: usize,
}

impl History {
    pub(crate) fn new() -> Self {
        Self {
            model: Model::new(),
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            known: Floor::default(),
        }
    }

    /// The state that the committed log makes.
    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// A write reached a member, which proposes it under this request ID.
    pub(crate) fn write_asked(&mut self, id: u64) -> Result<(), Impossible> {
        let write = Write { floor: self.known, refused: false, answered: false, committed: None };
        match self.writes.insert(id, write) {
            None => Ok(()),
            Some(_) => Err(format!("request ID {id:x} was given out twice")),
        }
    }

    /// The next entry of the log is committed.
    pub(crate) fn committed(&mut self, kind: EntryKind, data: &Bytes) -> Result<(), Impossible> {
        if kind != EntryKind::Normal {
            self.model.add_member();
            return Ok(());
        }
        if data.is_empty() {
            self.model.skip();
            return Ok(());
        }
        let call = Call::read(data)?;
        let id = call.id();
        if let Call::V3(request) = &call
            && id == 0
            && (request.lease_revoke.is_some() || request.lease_checkpoint.is_some())
        {
            // The leader asks for this by itself; `check::leases` says whether it may.
            self.model.execute(request).ok();
            return Ok(());
        }
        let Some(write) = self.writes.get_mut(&id) else {
            return Err(format!("nobody asked for the committed request {id:x}: {call:?}"));
        };
        if write.refused {
            return Err(format!("request {id:x} was refused, and committed all the same"));
        }
        if let Some(first) = &write.committed {
            return Err(format!("request {id:x} was committed again after entry {}", first.index));
        }
        let before = self.model.now().revision;
        let reply = match &call {
            Call::V3(request) => self.model.execute(request),
            Call::V2(request) => Ok(Reply::V2(self.model.execute_v2(request))),
        };
        let index = self.model.applied();
        if index <= write.floor.index || before < write.floor.revision {
            return Err(format!(
                "request {id:x} took effect at entry {index}, before what was known when it was \
                 asked: {:?}",
                write.floor
            ));
        }
        write.committed = Some(Committed { index, reply });
        Ok(())
    }

    /// A member answered a write.
    pub(crate) fn write_answered(
        &mut self,
        id: u64,
        reply: &Result<Reply, Error>,
    ) -> Result<(), Impossible> {
        let write = self.writes.get_mut(&id).ok_or("an answer without a request")?;
        let Some(committed) = &write.committed else {
            return Err(format!("request {id:x} was answered, but is not committed"));
        };
        if write.answered {
            return Err(format!("request {id:x} was answered twice"));
        }
        if *reply != committed.reply {
            let expected = &committed.reply;
            return Err(format!("request {id:x} was answered {reply:?}, expected {expected:?}"));
        }
        write.answered = true;
        let index = committed.index;
        self.learn(index);
        Ok(())
    }

    /// A member said that it never proposed a write, and never will.
    pub(crate) fn write_refused(&mut self, id: u64) -> Result<(), Impossible> {
        let write = self.writes.get_mut(&id).ok_or("a refusal without a request")?;
        if write.committed.is_some() {
            return Err(format!("request {id:x} is committed, and was refused all the same"));
        }
        write.refused = true;
        Ok(())
    }

    /// A linearizable read reached a member.
    pub(crate) fn read_asked(&mut self, read: u64) {
        self.reads.insert(read, self.known);
    }

    /// A member answered a linearizable read from its state after entry `index`.
    pub(crate) fn read_answered(
        &mut self,
        read: u64,
        index: usize,
        request: &RangeRequest,
        response: &Result<RangeResponse, Error>,
    ) -> Result<(), Impossible> {
        let floor = self.reads.remove(&read).ok_or("an answer without a read")?;
        self.state_shown(index, request, response)?;
        let shown = self.model.moment(index).revision;
        if shown < floor.revision {
            return Err(format!(
                "a read shows revision {shown} at entry {index}, but revision {} at entry {} was \
                 known when it was asked",
                floor.revision, floor.index
            ));
        }
        self.learn(index);
        Ok(())
    }

    /// A member answered a serializable read from its state after entry `index`. Returns true if
    /// a linearizable read would have shown more.
    pub(crate) fn state_shown(
        &self,
        index: usize,
        request: &RangeRequest,
        response: &Result<RangeResponse, Error>,
    ) -> Result<bool, Impossible> {
        if index > self.model.applied() {
            return Err(format!("entry {index} was read before it was committed"));
        }
        let expected = self.model.range(request, index);
        if *response != expected {
            return Err(format!(
                "{request:?} after entry {index} was answered {response:?}, expected {expected:?}"
            ));
        }
        Ok(self.model.moment(index).revision < self.known.revision)
    }

    /// Counts what became of the writes that have no answer and were not refused.
    pub(crate) fn unknown(&self) -> Unknown {
        let mut unknown = Unknown::default();
        for write in self.writes.values().filter(|write| !write.answered && !write.refused) {
            match write.committed {
                Some(_) => unknown.committed += 1,
                None => unknown.lost += 1,
            }
        }
        unknown
    }

    fn learn(&mut self, index: usize) {
        let revision = self.model.moment(index).revision;
        self.known.index = self.known.index.max(index);
        self.known.revision = self.known.revision.max(revision);
    }
}

#[cfg(test)]
mod tests;
