//! Clients: they ask members, wait for a while, and give up.

use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse};
use quoin_api::mvccpb::KeyValue;
use quoin_node::{Answer, Failure, LeaseCall, LeaseTime};
use quoin_store::{Applied, Reply, V2Outcome};

use super::{Happening, Inside, Note, Simulation};
use crate::check::{Checked, ensure};
use crate::coverage::Mark;
use crate::member::Input;
use crate::plan::Sabotage;
use crate::queue::{MS, Time};
use crate::workload::{Ask, Knowledge, entry, v2};

/// What a member says that answers renewals and does not make them.
const PHANTOM: LeaseTime = LeaseTime { granted_s: 600, left_s: 600 };

/// A client with at most one request at a time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    waits_for: Option<u64>,
    knowledge: Knowledge,
    /// The member that it asks, until that fails it.
    member: usize,
}

/// A request that may still be answered.
#[derive(Debug)]
pub(crate) struct Request {
    /// None for the probes of the end.
    client: Option<usize>,
    pub(super) member: usize,
    ask: Ask,
    /// The request ID of a write that reached its member.
    id: u64,
    /// The ticks of the member when it was asked.
    asked_at: u64,
    /// When the member was asked.
    asked: Time,
}

impl Simulation {
    /// A client makes its next request, unless the run is about to end.
    pub(super) fn next_request(&mut self, client: usize) {
        if self.ending.is_some() {
            return;
        }
        let Client { knowledge, member, .. } = &mut self.clients[client];
        if self.rng.chance(100) {
            *member = self.rng.below(self.members.len());
        }
        let (ask, mut member) = (self.workload.next(knowledge, self.now), *member);
        // Members pass questions about leases on to the leader that they know.
        if matches!(ask, Ask::Lease(_)) && self.rng.chance(800) {
            member = self.leader().unwrap_or(member);
        }
        let request = self.ask(member, ask, Some(client));
        self.clients[client].waits_for = Some(request);
        let patience = self.plan.load.patience;
        self.queue.push(self.now + patience, Happening::GiveUp { client, request });
    }

    /// Sends a request to a member. Returns its number.
    pub(super) fn ask(&mut self, member: usize, ask: Ask, client: Option<usize>) -> u64 {
        self.next_request += 1;
        let number = self.next_request;
        self.requests.insert(number, Request { client, member, ask, id: 0, asked_at: 0, asked: 0 });
        let after = self.rng.between(MS / 10, 3 * MS);
        self.queue.push(self.now + after, Happening::Asked { member, request: number });
        number
    }

    pub(super) fn give_up(&mut self, client: usize, request: u64) {
        if self.clients[client].waits_for == Some(request) {
            // Perhaps another member does better.
            self.clients[client].member = self.rng.below(self.members.len());
            self.go_on(Some(client), request);
        }
    }

    /// A request reaches its member.
    pub(super) fn asked(&mut self, member: usize, number: u64) -> Checked {
        let Some(request) = self.requests.get_mut(&number) else { return Ok(()) };
        let Some(process) = &mut self.members[member].process else {
            let client = request.client;
            self.requests.remove(&number);
            if let Some(client) = client {
                self.clients[client].member = self.rng.below(self.members.len());
            }
            self.go_on(client, number);
            return Ok(());
        };
        request.asked_at = process.ticks;
        request.asked = self.now;
        let (what, input) = match &request.ask {
            Ask::Write(write) => {
                request.id = process.ids.next();
                self.history.write_asked(request.id)?;
                let data = entry(write, request.id);
                ("write", Input::Propose { id: request.id, data, waiter: number })
            }
            Ask::V2(write) => {
                request.id = process.ids.next();
                self.history.write_asked(request.id)?;
                let data = v2::entry(write, request.id);
                ("v2 request", Input::Propose { id: request.id, data, waiter: number })
            }
            Ask::Read(_) => {
                self.history.read_asked(number);
                if self.plan.sabotage == Some(Sabotage::UnconfirmedRead) {
                    return self.serve(member, number);
                }
                ("read", Input::Read(number))
            }
            Ask::SerializableRead(_) => return self.serve_serializable(member, number),
            Ask::Lease(LeaseCall::Renew(_))
                if self.plan.sabotage == Some(Sabotage::PhantomRenewal) =>
            {
                return self.lease_answered(member, number, Some(PHANTOM));
            }
            Ask::Lease(call) => ("lease", Input::Lease(*call, number)),
        };
        self.note(Note::Asked { member, request: number, what });
        self.input(member, input);
        Ok(())
    }

    /// A member answers a request.
    pub(super) fn answered(&mut self, member: usize, number: u64, answer: Answer) -> Checked {
        match answer {
            Answer::Applied(applied) => self.applied(member, number, &applied),
            Answer::Readable => {
                if self.rng.chance(200) {
                    // The thread that answers is another one, and may be slow.
                    let after = self.rng.between(0, 20 * MS);
                    self.inside(member, after, Inside::Serve(number));
                    return Ok(());
                }
                self.serve(member, number)
            }
            Answer::Lease(time) => self.lease_answered(member, number, time),
            Answer::Leases(_) => Err(format!("request {number} is for no list").into()),
            Answer::Failed(failure) => self.failed(member, number, failure),
        }
    }

    fn lease_answered(&mut self, member: usize, number: u64, time: Option<LeaseTime>) -> Checked {
        let Some(request) = self.requests.remove(&number) else {
            return Err(format!("request {number} was answered again").into());
        };
        let Ask::Lease(call) = request.ask else {
            return Err(format!("request {number} is not about a lease").into());
        };
        self.leases.answered(call, time, (request.asked, self.now))?;
        if matches!(call, LeaseCall::Renew(_)) && time.is_some() {
            self.coverage.hit(Mark::LeaseRenewed);
        }
        self.note(Note::Answered { member, request: number, what: "lease" });
        self.go_on(request.client, number);
        Ok(())
    }

    fn applied(&mut self, member: usize, number: u64, applied: &Applied) -> Checked {
        let Some(request) = self.requests.remove(&number) else {
            return Err(format!("request {number} was answered again").into());
        };
        ensure(applied.request_id == request.id, || {
            format!("request {:x} got the answer of {:x}", request.id, applied.request_id)
        })?;
        let result = applied.reply();
        self.history.write_answered(request.id, &result)?;
        self.note(Note::Answered { member, request: number, what: "applied" });
        self.coverage.hit(Mark::WriteAnswered);
        match &result {
            Ok(reply) => {
                self.count_reply(reply);
                if let Some(client) = request.client {
                    learn_from_reply(&mut self.clients[client].knowledge, reply);
                }
            }
            Err(_) => self.coverage.hit(Mark::WriteRefused),
        }
        self.probed(request.member, number);
        self.go_on(request.client, number);
        Ok(())
    }

    fn count_reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Compaction(_) => self.coverage.hit(Mark::Compacted),
            Reply::Txn(txn) if !txn.succeeded => self.coverage.hit(Mark::TxnFailed),
            Reply::V2(Ok(V2Outcome::Event(_))) => self.coverage.hit(Mark::V2Changed),
            Reply::V2(Err(_)) => self.coverage.hit(Mark::V2Refused),
            Reply::None
            | Reply::Range(_)
            | Reply::Put(_)
            | Reply::DeleteRange(_)
            | Reply::Txn(_)
            | Reply::LeaseGrant(_)
            | Reply::LeaseRevoke(_)
            | Reply::LeaseCheckpoint(_)
            | Reply::Alarm(_)
            | Reply::Members(_)
            | Reply::V2(Ok(V2Outcome::Read | V2Outcome::None)) => {}
        }
    }

    /// Answers a linearizable read from the published view.
    pub(super) fn serve(&mut self, member: usize, number: u64) -> Checked {
        let Some(request) = self.requests.remove(&number) else {
            return Err(format!("read {number} was answered again").into());
        };
        let Ask::Read(range) = &request.ask else {
            return Err(format!("request {number} is no read").into());
        };
        let view = &self.process(member).view;
        let response = view.range(range);
        let index = usize::try_from(view.applied().0).expect("a log fits in memory");
        self.history.read_answered(number, index, range, &response)?;
        self.coverage.hit(Mark::ReadAnswered);
        let waited = self.process(member).ticks - request.asked_at;
        if waited > self.plan.limits.read_retry_ticks {
            self.coverage.hit(Mark::ReadRetried);
        }
        self.note(Note::Answered { member, request: number, what: "read" });
        self.learn_range(request.client, response.ok());
        self.probed(request.member, number);
        self.go_on(request.client, number);
        Ok(())
    }

    fn serve_serializable(&mut self, member: usize, number: u64) -> Checked {
        let Some(request) = self.requests.remove(&number) else { return Ok(()) };
        let Ask::SerializableRead(range) = &request.ask else { return Ok(()) };
        let view = &self.process(member).view;
        let response = view.range(range);
        let index = usize::try_from(view.applied().0).expect("a log fits in memory");
        if self.history.state_shown(index, range, &response)? {
            self.coverage.hit(Mark::StaleRead);
        }
        self.note(Note::Answered { member, request: number, what: "serializable read" });
        self.learn_range(request.client, response.ok());
        self.go_on(request.client, number);
        Ok(())
    }

    fn failed(&mut self, member: usize, number: u64, failure: Failure) -> Checked {
        let Some(request) = self.requests.remove(&number) else {
            return Err(format!("request {number} failed after its answer").into());
        };
        let what = match failure {
            Failure::NeverProposed => "never proposed",
            Failure::Timeout => "timeout",
            Failure::LeaderFailed => "leader failed",
            Failure::LeaderChanged => "leader changed",
            Failure::NotLeader => "not leader",
            Failure::Overloaded => "overloaded",
            Failure::Stopped => "stopped",
        };
        self.note(Note::Answered { member, request: number, what });
        match (&request.ask, failure) {
            (Ask::Write(_) | Ask::V2(_), Failure::NeverProposed | Failure::Overloaded) => {
                self.coverage.hit(Mark::NeverProposed);
                self.history.write_refused(request.id)?;
            }
            (Ask::Read(_), Failure::LeaderChanged) => self.coverage.hit(Mark::ReadRefused),
            (Ask::Lease(_), Failure::NotLeader) => self.coverage.hit(Mark::LeaseElsewhere),
            (
                Ask::Write(_)
                | Ask::V2(_)
                | Ask::Read(_)
                | Ask::SerializableRead(_)
                | Ask::Lease(_),
                _,
            ) => {}
        }
        if let Some(client) = request.client {
            self.clients[client].member = self.rng.below(self.members.len());
        }
        self.probe_failed(request.member, number);
        self.go_on(request.client, number);
        Ok(())
    }

    fn learn_range(&mut self, client: Option<usize>, response: Option<RangeResponse>) {
        if let (Some(client), Some(response)) = (client, response) {
            learn_from_range(&mut self.clients[client].knowledge, &response);
        }
    }

    /// Lets a client that waited for this request make its next one after a pause.
    fn go_on(&mut self, client: Option<usize>, request: u64) {
        let Some(client) = client else { return };
        if self.clients[client].waits_for == Some(request) {
            self.clients[client].waits_for = None;
            let pause = self.rng.around(self.plan.load.think);
            self.queue.push(self.now + pause, Happening::Next { client });
        }
    }

    /// Counts what became of writes without an answer.
    pub(super) fn count_outcomes(&mut self) {
        let unknown = self.history.unknown();
        (0..unknown.committed).for_each(|_| self.coverage.hit(Mark::UnknownCommitted));
        (0..unknown.lost).for_each(|_| self.coverage.hit(Mark::UnknownLost));
    }
}

fn learn_from_reply(knowledge: &mut Knowledge, reply: &Reply) {
    match reply {
        Reply::Put(put) => {
            learn_pair(knowledge, put.prev_kv.as_ref());
            learn_revision(knowledge, put.header.map_or(0, |header| header.revision));
        }
        Reply::Txn(txn) => {
            learn_revision(knowledge, txn.header.map_or(0, |header| header.revision));
            for operation in &txn.responses {
                if let Some(Response::ResponseRange(range)) = &operation.response {
                    learn_from_range(knowledge, range);
                }
            }
        }
        Reply::Range(range) => learn_from_range(knowledge, range),
        Reply::V2(Ok(V2Outcome::Event(event))) if event.node.value.is_some() => {
            knowledge.file = Some(event.node.clone());
        }
        Reply::None
        | Reply::DeleteRange(_)
        | Reply::Compaction(_)
        | Reply::LeaseGrant(_)
        | Reply::LeaseRevoke(_)
        | Reply::LeaseCheckpoint(_)
        | Reply::Alarm(_)
        | Reply::Members(_)
        | Reply::V2(_) => {}
    }
}

fn learn_from_range(knowledge: &mut Knowledge, range: &RangeResponse) {
    learn_revision(knowledge, range.header.map_or(0, |header| header.revision));
    learn_pair(knowledge, range.kvs.last());
}

fn learn_revision(knowledge: &mut Knowledge, revision: i64) {
    knowledge.revision = knowledge.revision.max(revision);
}

fn learn_pair(knowledge: &mut Knowledge, pair: Option<&KeyValue>) {
    if let Some(pair) = pair {
        knowledge.pair = Some(pair.clone());
    }
}

/// Returns the read of everything by which the end is probed.
pub(super) fn read_everything() -> Ask {
    let range: RangeRequest = crate::workload::Workload::everything();
    Ask::Read(range)
}
