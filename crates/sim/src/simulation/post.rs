//! What goes between members: messages as raftpb bytes, and states as files.
//!
//! A message is checked when it leaves, because it may be a promise: votes and acknowledgements
//! are about bytes on disk.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb;
use quoin_node::wire;
use quoin_raft::{Body, Message, NodeId};
use quoin_store::{Announced, Checkpoint, ExportError, Loaded, ReceiveError, ReceivedDatabase};
use quoin_vfs::FileSystem;

use super::{Happening, Inside, Note, Simulation, data_dir};
use crate::check::{Checked, Violation, ensure};
use crate::coverage::Mark;
use crate::member::Input;
use crate::network::Fate;
use crate::plan::Sabotage;
use crate::queue::{MS, SECOND};
use crate::trace::hash_of;

/// A state on its way.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(super) from: usize,
    pub(super) from_life: u32,
    /// The message that announces the state.
    pub(super) header: Bytes,
    pub(super) chunks: Vec<Bytes>,
    /// The end is missing.
    pub(super) broken: bool,
}

impl Simulation {
    /// Sends a message, after a check of what it promises.
    pub(super) fn send(&mut self, from: usize, message: Message) -> Checked {
        self.check_promise(from, &message)?;
        let Some(to) = self.position(message.to) else {
            return Err(format!("a message for {}, which is no member", message.to).into());
        };
        let kind = kind_of(&message.body);
        let peer = message.to;
        // A proposal that arrives twice would be committed twice. Connections do not repeat.
        let may_repeat = !matches!(message.body, Body::Propose { .. })
            || self.plan.sabotage == Some(Sabotage::DuplicateProposal);
        let bytes = Bytes::from(wire::encode(message).encode_to_vec());
        let fate = self.network.send((from, to), self.now, may_repeat, &mut self.coverage);
        let Fate { arrivals, noticed } = fate;
        let (hash, copies) = (hash_of(&bytes), arrivals.len());
        self.note(Note::Sent { from, to, kind, hash, copies });
        for at in arrivals {
            self.queue.push(at, Happening::Arrival { to, message: bytes.clone() });
        }
        if noticed {
            self.inside(from, MS, Inside::Unreachable(peer));
        }
        Ok(())
    }

    fn check_promise(&mut self, from: usize, message: &Message) -> Checked {
        let id = self.members[from].id;
        let log = self.members[from].shadow.durable();
        let (hard_state, last) = (log.hard_state(), log.last().index);
        let Message { to, term, body, .. } = message;
        // A promise of an earlier term may be sent late: whoever it is for will not count it.
        let overtaken = hard_state.term > *term || self.plan.only_consequences;
        match body {
            Body::VoteResponse { reject: false } => {
                self.agreement.votes(id, *term, *to)?;
                let durable = hard_state.term == *term && hard_state.vote == *to;
                ensure(durable || overtaken, || {
                    format!("{id} votes for {to} in term {term} with {hard_state:?} on disk")
                })
            }
            Body::Vote { .. } => {
                self.agreement.votes(id, *term, id)?;
                let durable = hard_state.term == *term && hard_state.vote == id;
                ensure(durable || overtaken, || {
                    format!("{id} campaigns in term {term} with {hard_state:?} on disk")
                })
            }
            Body::AppendResponse { index, reject: None } => {
                ensure(*index <= last || overtaken, || {
                    format!("{id} acknowledges entry {index} to {to} with {last} on disk")
                })
            }
            Body::Append { .. }
            | Body::AppendResponse { .. }
            | Body::Heartbeat { .. }
            | Body::HeartbeatResponse { .. }
            | Body::VoteResponse { .. }
            | Body::PreVote { .. }
            | Body::PreVoteResponse { .. }
            | Body::Snapshot(_)
            | Body::Propose { .. }
            | Body::TransferLeader { .. }
            | Body::TimeoutNow
            | Body::ReadIndex { .. }
            | Body::ReadIndexResponse { .. } => Ok(()),
        }
    }

    pub(super) fn receive(&mut self, to: usize, bytes: Bytes) -> Checked {
        if self.members[to].process.is_none() {
            return Ok(());
        }
        let hash = hash_of(&bytes);
        let message = read(bytes)?;
        self.note(Note::Received { to, from: message.from.0, hash });
        self.input(to, Input::Message(message));
        Ok(())
    }

    /// Sends a state, which takes a while and may be broken off.
    pub(super) fn send_snapshot(
        &mut self,
        from: usize,
        message: Message,
        checkpoint: &Checkpoint,
    ) -> Checked {
        let Body::Snapshot(snapshot) = &message.body else {
            return Err("a state is to be sent with another message".to_owned().into());
        };
        let (peer, index) = (message.to, snapshot.meta.index.0);
        let Some(to) = self.position(peer) else {
            return Err(format!("a state for {peer}, which is no member").into());
        };
        let export = checkpoint.export().map_err(|error| error.to_string())?;
        let chunks: Result<Vec<Bytes>, ExportError> = export.collect();
        let mut chunks = chunks.map_err(|error| error.to_string())?;
        let (at, broken) = self.network.transfer(self.now);
        let bytes = chunks.iter().map(Bytes::len).sum();
        self.coverage.hit(Mark::SnapshotSent);
        self.note(Note::SnapshotSent { from, to: peer.0, index, bytes, broken });
        if broken {
            break_off(&mut chunks, self.rng.between(0, 999));
        }
        let header = Bytes::from(wire::encode(message).encode_to_vec());
        let from_life = self.members[from].life;
        let parcel = Parcel { from, from_life, header, chunks, broken };
        self.queue.push(at, Happening::Delivery { to, parcel });
        Ok(())
    }

    /// Takes a state that a leader has sent, as the server does: into a file, from there into a
    /// store, and with its message into the node.
    pub(super) fn receive_snapshot(&mut self, to: usize, parcel: Parcel) -> Checked {
        let Parcel { from, from_life, header, chunks, broken } = parcel;
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        let receives = self.members[to].process.as_ref().is_some_and(|it| !it.receiving);
        if cut || !receives {
            self.coverage.hit(Mark::SnapshotBroken);
            self.report_snapshot(to, (from, from_life), false);
            return Ok(());
        }
        let disk = self.failing_disk(to);
        let message = read(header)?;
        let Body::Snapshot(snapshot) = &message.body else {
            return Err("a state came with another message".to_owned().into());
        };
        match store(Arc::new(disk.clone()), &chunks, &wire::announced(snapshot)) {
            Ok(_) if broken => Err("a state was accepted without its end".to_owned().into()),
            Ok(loaded) => {
                self.note(Note::SnapshotStored { member: to, index: loaded.index });
                let store = self.sabotaged(loaded.store)?;
                self.report_snapshot(to, (from, from_life), true);
                let crashes = self.misfortune.chance(self.plan.faults.crash_at_snapshot);
                if crashes && self.ending.is_none() {
                    self.coverage.hit(Mark::CrashAtSnapshot);
                    let mode = self.crash_mode();
                    self.crash(to, mode);
                    return Ok(());
                }
                self.process(to).receiving = true;
                let after = self.rng.between(0, 50 * MS);
                self.inside(to, after, Inside::SnapshotStored(message, Box::new(store)));
                Ok(())
            }
            Err(_) if (broken || disk.failed() > 0) && !self.members[to].disk.stopped() => {
                let failed = disk.failed() > 0;
                self.coverage.hit(if failed { Mark::FileFailed } else { Mark::SnapshotBroken });
                self.note(Note::SnapshotRefused { member: to });
                self.report_snapshot(to, (from, from_life), false);
                Ok(())
            }
            Err(error) => {
                self.report_snapshot(to, (from, from_life), false);
                self.disk_failed(to, &error)
            }
        }
    }

    /// Tells the sender of a state, if it still runs, how the transfer ended.
    fn report_snapshot(&mut self, peer: usize, (from, life): (usize, u32), ok: bool) {
        let peer = self.members[peer].id;
        let at = self.now + self.rng.between(0, SECOND / 10);
        let what = Inside::SnapshotSent(peer, ok);
        self.queue.push(at, Happening::Inside { member: from, life, what });
    }

    /// Returns the store that a member takes over; with the sabotage, one that missed an entry.
    fn sabotaged(&mut self, store: quoin_store::Store) -> Result<quoin_store::Store, Violation> {
        if self.plan.sabotage != Some(Sabotage::SkipEntry) {
            return Ok(store);
        }
        let (applied, _) = store.applied();
        let first = self.members.len() as u64 + 1;
        let skipped = if applied > first { self.rng.between(first, applied) } else { 0 };
        self.agreement.replay(applied, skipped)
    }
}

/// Writes a database to a file and makes a checkpoint of it.
fn store(
    disk: Arc<dyn FileSystem>,
    chunks: &[Bytes],
    announced: &Announced,
) -> Result<Loaded, ReceiveError> {
    let mut received = ReceivedDatabase::begin(disk, &data_dir().store())?;
    chunks.iter().try_for_each(|chunk| received.push(chunk))?;
    received.finish(announced)
}

/// Drops the end of a stream, after so many thousandths of its bytes.
fn break_off(chunks: &mut Vec<Bytes>, kept: u64) {
    let total: usize = chunks.iter().map(Bytes::len).sum();
    let mut left = total * usize::try_from(kept).expect("it is small") / 1000;
    for chunk in chunks.iter_mut() {
        chunk.truncate(left);
        left -= chunk.len();
    }
    chunks.retain(|chunk| !chunk.is_empty());
}

fn read(bytes: Bytes) -> Result<Message, Violation> {
    let message = raftpb::Message::decode(bytes).map_err(|error| error.to_string())?;
    let message = wire::decode(message).map_err(|error| error.to_string())?;
    ensure(message.from != NodeId::NONE, || "a message from nobody".to_owned())?;
    Ok(message)
}

fn kind_of(body: &Body) -> &'static str {
    match body {
        Body::Append { entries, .. } if entries.is_empty() => "probe",
        Body::Append { .. } => "append",
        Body::AppendResponse { reject: None, .. } => "appended",
        Body::AppendResponse { .. } => "append refused",
        Body::Heartbeat { .. } => "heartbeat",
        Body::HeartbeatResponse { .. } => "heartbeat response",
        Body::Vote { .. } => "vote",
        Body::VoteResponse { reject: false } => "vote granted",
        Body::VoteResponse { .. } => "vote refused",
        Body::PreVote { .. } => "pre-vote",
        Body::PreVoteResponse { reject: false } => "pre-vote granted",
        Body::PreVoteResponse { .. } => "pre-vote refused",
        Body::Snapshot(_) => "snapshot",
        Body::Propose { .. } => "propose",
        Body::TransferLeader { .. } => "transfer leader",
        Body::TimeoutNow => "timeout now",
        Body::ReadIndex { .. } => "read index",
        Body::ReadIndexResponse { .. } => "read index response",
    }
}
