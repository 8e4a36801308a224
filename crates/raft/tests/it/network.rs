//! A random network: messages are lost, duplicated and reordered, links fail, disks lag, nodes
//! crash and lose what was not synced, the membership changes. The promises of Raft are checked
//! after every step, and in the end, with all faults healed, everything must commit.
//!
//! A failure names its seed; `SEED=n cargo test -p quoin-raft random` runs that one alone, and
//! `SEEDS=n` runs more of them.

mod checks;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quoin_raft::{Body, ConfChangeKind, ConfState, Config, Index, Message, NodeId, Role};

use self::checks::History;
use crate::harness::{Member, conf, config, encode_conf_change};

const SEEDS: u64 = 200;
const STEPS: usize = 1000;
const MAX_MESSAGES: usize = 150;

#[test]
fn random_networks_keep_the_promises_of_raft() {
    let number = |name| Some(std::env::var_os(name)?.to_str()?.parse::<u64>().expect(name));
    let (seed, seeds) = (number("SEED"), number("SEEDS").unwrap_or(SEEDS));
    let mut counts = BTreeMap::new();
    for seed in seed.map_or(0..seeds, |seed| seed..seed + 1) {
        let failure = FailureNote { seed };
        let mut sim = Simulation::new(seed);
        (0..STEPS).for_each(|_| sim.step());
        sim.heal();
        for (&event, &count) in &sim.counts {
            *counts.entry(event).or_insert(0) += count;
        }
        std::mem::forget(failure);
    }
    if seed.is_none() {
        check_coverage(&counts);
    }
}

/// One seed must give one run, or a failure could not be repeated.
#[test]
fn a_seed_gives_one_run() {
    let run = |seed| {
        let mut sim = Simulation::new(seed);
        (0..STEPS).for_each(|_| sim.step());
        sim.heal();
        (sim.counts, sim.history)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// A run in which nothing happened proves nothing.
fn check_coverage(counts: &BTreeMap<&'static str, u64>) {
    println!("{counts:?}");
    for event in [
        "commits",
        "crashes",
        "duplicates",
        "elections",
        "installed snapshots",
        "losses",
        "membership changes",
        "partitions",
        "reads",
        "replaced entries",
        "torn writes",
        "transfers",
    ] {
        let count = counts.get(event).copied().unwrap_or(0);
        assert!(count >= SEEDS / 8, "only {count} {event}: the test is blind to them");
    }
}

/// Prints the seed if a panic drops it.
struct FailureNote {
    seed: u64,
}

impl Drop for FailureNote {
    fn drop(&mut self) {
        println!("failed with SEED={}", self.seed);
    }
}

/// A generator of choices, seeded.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

struct Simulation {
    dice: Dice,
    members: BTreeMap<u64, Member>,
    network: Vec<Message>,
    /// Links that lose everything, by sender and receiver.
    cut: BTreeSet<(u64, u64)>,
    changes_members: bool,
    loss_percent: usize,
    next_payload: u64,
    history: History,
    counts: BTreeMap<&'static str, u64>,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..8).for_each(|_| assert!(dice.below(2) < 2));
        let changes_members = seed % 3 == 2;
        let voters: &[u64] = if seed.is_multiple_of(2) { &[1, 2, 3] } else { &[1, 2, 3, 4, 5] };
        let nodes = if changes_members { 5 } else { voters.len() as u64 };
        // Without both safeguards a removed node may depose leaders for ever.
        let is_safe = changes_members || dice.percent(50);
        let settings = Config {
            seed,
            election_ticks: 5,
            max_size_per_message: [1, 100, 1 << 20][dice.below(3)],
            max_inflight_messages: [1, 2, 16][dice.below(3)],
            max_committed_bytes_per_ready: [1, 100, 1 << 20][dice.below(3)],
            max_uncommitted_bytes: [40, 1 << 20][dice.below(2)],
            pre_vote: is_safe || dice.percent(50),
            check_quorum: is_safe || dice.percent(50),
            ..config(1)
        };
        let first_conf = conf(voters, &[]);
        let member = |id| {
            let config = Config { id: NodeId(id), ..settings };
            // A group of two that removes its leader depends on that leader until the other one
            // knows, however long it is down. Scripts cover that; here everything must go on.
            (id, Member { min_voters: 2, ..Member::new(config, first_conf.clone()) })
        };
        Self {
            members: (1..=nodes).map(member).collect(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            changes_members,
            loss_percent: dice.below(15),
            dice,
            next_payload: 0,
            history: History::default(),
            counts: BTreeMap::new(),
        }
    }

    fn step(&mut self) {
        let id = 1 + self.dice.below(self.members.len()) as u64;
        let other = 1 + self.dice.below(self.members.len()) as u64;
        (0..self.dice.below(5)).for_each(|_| self.deliver_any());
        match self.dice.below(200) {
            0..50 => self.with(id, |member| member.raft.tick()),
            50..125 => self.with(id, |member| while member.persist() {}),
            125..150 => drop(self.with(id, Member::persist)),
            150..155 => drop(self.with(id, Member::apply)),
            155..170 => self.with(id, |member| while member.apply().is_some() {}),
            170..180 => self.propose(id),
            180..186 => self.read(id),
            186 => self.crash(id),
            187..189 => self.partition(),
            189 => self.cut.clear(),
            190..194 => self.checkpoint(id),
            194 => {
                self.count("transfers");
                self.with(id, |member| member.raft.transfer_leader(NodeId(other)));
            }
            195 => self.with(id, |member| member.raft.report_unreachable(NodeId(other))),
            196 => self.with(id, |member| member.raft.campaign()),
            _ => self.change_members(id, other),
        }
        if self.dice.percent(2) {
            let disks = self.members.values().map(|member| &member.disk);
            checks::logs_match(&disks.collect::<Vec<_>>());
        }
    }

    /// Lets a node do something, takes what it has to say, and checks it.
    fn with<R>(&mut self, id: u64, act: impl FnOnce(&mut Member) -> R) -> R {
        let member = self.members.get_mut(&id).unwrap();
        let last = member.raft.last_entry();
        let result = act(member);
        member.drive();
        if member.raft.term_at(last.index).is_some_and(|term| term != last.term) {
            *self.counts.entry("replaced entries").or_insert(0) += 1;
        }
        let sent = std::mem::take(&mut member.outbox);
        let reads = std::mem::take(&mut member.reads);
        let member = &self.members[&id];
        for message in sent {
            self.history.check_promise(&message, member);
            self.network.push(message);
        }
        for read in reads {
            self.history.check_read(&read);
            *self.counts.entry("reads").or_insert(0) += 1;
        }
        if self.history.check_leader(member) {
            *self.counts.entry("elections").or_insert(0) += 1;
        }
        let commits = self.history.check_commit(member, &self.members);
        *self.counts.entry("commits").or_insert(0) += commits;
        self.history.check_applied(member);
        while self.network.len() > MAX_MESSAGES {
            let at = self.dice.below(self.network.len());
            self.lose(at);
        }
        result
    }

    fn deliver_any(&mut self) {
        if self.network.is_empty() {
            return;
        }
        // Mostly in order, sometimes anything.
        let reach = if self.dice.percent(80) { 1 } else { self.network.len() };
        let at = self.dice.below(reach);
        let message = &self.network[at];
        if self.cut.contains(&(message.from.0, message.to.0))
            || self.dice.percent(self.loss_percent)
        {
            self.lose(at);
            return;
        }
        let message = self.network.remove(at);
        if self.dice.percent(5) {
            self.count("duplicates");
            let at = self.dice.below(self.network.len() + 1);
            self.network.insert(at, message.clone());
        }
        self.deliver(message);
    }

    fn deliver(&mut self, message: Message) {
        let (to, from) = (message.to.0, message.from.0);
        let is_snapshot = matches!(message.body, Body::Snapshot(_));
        let mut installs = false;
        self.with(to, |member| {
            if let Err(error) = member.raft.step(message.clone()) {
                assert!(!error.is_fatal(), "{error}: {message:?}");
            }
            let writing = member.writes.len();
            member.drive();
            installs = member.writes.iter().skip(writing).any(|ready| ready.snapshot.is_some());
        });
        if installs {
            self.count("installed snapshots");
        }
        if is_snapshot {
            self.with(from, |member| member.raft.report_snapshot(NodeId(to), true));
        }
    }

    fn lose(&mut self, at: usize) {
        let message = self.network.remove(at);
        self.count("losses");
        if let Body::Snapshot(_) = message.body {
            let to = message.to;
            let member = self.members.get_mut(&message.from.0).unwrap();
            member.raft.report_snapshot(to, false);
        }
    }

    fn propose(&mut self, id: u64) {
        let count = 1 + self.dice.below(3);
        let payloads: Vec<Bytes> = (0..count)
            .map(|_| {
                self.next_payload += 1;
                Bytes::from(format!("payload {}", self.next_payload))
            })
            .collect();
        self.with(id, |member| member.raft.propose(payloads).is_ok());
    }

    fn read(&mut self, id: u64) {
        let context = self.history.expect_read();
        self.with(id, |member| member.raft.read_index(context).is_ok());
    }

    fn crash(&mut self, id: u64) {
        self.count("crashes");
        let member = self.members.get_mut(&id).unwrap();
        let pieces: usize = member.writes.iter().map(|ready| ready.entries.len() + 1).sum();
        let kept = self.dice.below(pieces + 2);
        if kept > 1 && kept <= pieces {
            *self.counts.entry("torn writes").or_insert(0) += 1;
        }
        self.history.forget(id);
        self.with(id, |member| member.crash(kept));
    }

    /// Cuts a random group off from the rest, sometimes in one direction only.
    fn partition(&mut self) {
        self.count("partitions");
        let both_ways = self.dice.percent(70);
        let ids: Vec<u64> = self.members.keys().copied().collect();
        self.cut.clear();
        let group: BTreeSet<u64> = ids.iter().copied().filter(|_| self.dice.percent(40)).collect();
        for &from in &ids {
            for &to in &ids {
                let crosses = group.contains(&from) && !group.contains(&to);
                if crosses {
                    self.cut.insert((from, to));
                }
                if crosses && both_ways {
                    self.cut.insert((to, from));
                }
            }
        }
    }

    fn checkpoint(&mut self, id: u64) {
        let behind = self.dice.below(2) as u64;
        self.with(id, |member| {
            // A driver does not save the old state while a snapshot waits to replace it.
            if member.writes.iter().all(|ready| ready.snapshot.is_none()) {
                let applied = member.app.applied.index;
                member.checkpoint(Index(applied.0.saturating_sub(behind)));
            }
        });
    }

    fn change_members(&mut self, id: u64, node: u64) {
        if !self.changes_members {
            return;
        }
        let kind = match self.dice.below(5) {
            0 | 1 => ConfChangeKind::AddVoter,
            2 => ConfChangeKind::AddLearner,
            3 => ConfChangeKind::Remove,
            _ => ConfChangeKind::Update,
        };
        self.count("membership changes");
        let data = encode_conf_change(kind, node);
        self.with(id, |member| member.raft.propose_conf_change(data).is_ok());
    }

    /// Ends all faults: a leader must emerge, and what it then takes must be applied by all.
    fn heal(&mut self) {
        self.cut.clear();
        let ids: Vec<u64> = self.members.keys().copied().collect();
        for &id in &ids {
            self.with(id, |member| member.crash(0));
            self.history.forget(id);
        }
        for round in 0.. {
            assert!(round < 300, "no leader emerged, or it cannot commit: {}", self.describe());
            ids.iter().for_each(|&id| self.with(id, |member| member.raft.tick()));
            self.settle(&ids);
            if round % 12 == 11
                && let Some((leader, _)) = self.leader()
            {
                self.propose(leader);
                self.settle(&ids);
            }
            if round > 25 && self.is_settled() {
                break;
            }
        }
    }

    fn settle(&mut self, ids: &[u64]) {
        for _ in 0..20_000 {
            for &id in ids {
                self.with(id, |member| while member.persist() {});
                self.with(id, |member| while member.apply().is_some() {});
            }
            if self.network.is_empty() {
                return;
            }
            let message = self.network.remove(0);
            self.deliver(message);
        }
        panic!("the network does not come to rest");
    }

    fn leader(&self) -> Option<(u64, ConfState)> {
        let leads = |member: &&Member| member.raft.role() == Role::Leader;
        let leader = self.members.values().filter(leads).max_by_key(|it| it.raft.term())?;
        Some((leader.config.id.0, leader.raft.conf().clone()))
    }

    /// Returns true if all members have applied the whole log of the leader.
    fn is_settled(&self) -> bool {
        let Some((leader, conf)) = self.leader() else { return false };
        let last = self.members[&leader].raft.last_entry();
        conf.voters.iter().chain(&conf.learners).all(|node| {
            let member = &self.members[&node.0];
            member.app.applied == last && member.app.conf == conf
        })
    }

    fn count(&mut self, event: &'static str) {
        *self.counts.entry(event).or_insert(0) += 1;
    }

    fn describe(&self) -> String {
        let status = |member: &Member| format!("\n{:?}", member.raft.status());
        self.members.values().map(status).collect()
    }
}
