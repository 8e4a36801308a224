//! Golden scripts: commands above `---`, what happens below, until a blank line.
//!
//! `UPDATE_SCRIPTS=1 cargo test -p quoin-raft` rewrites what happens; read the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use quoin_raft::{
    Body, ConfChangeKind, ConfState, Entry, EntryKind, Index, Message, NodeId, ProgressState,
};

use crate::harness::{Member, conf, config, decode_conf_change, encode_conf_change};

#[test]
fn scripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "the scripts are there");
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut failed = Vec::new();
    for path in paths {
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = run(&expected);
        if update {
            std::fs::write(&path, actual).unwrap();
        } else if actual != expected {
            println!("{}:\n{}", path.display(), difference(&expected, &actual));
            failed.push(path);
        }
    }
    assert!(failed.is_empty(), "scripts differ: {failed:?}");
}

/// Returns the script with what really happens.
fn run(script: &str) -> String {
    let mut world = World::default();
    let mut output = String::new();
    let mut expecting = false;
    let mut happened = String::new();
    for line in script.lines() {
        if expecting {
            if line.is_empty() {
                expecting = false;
                output.push('\n');
            }
            continue;
        }
        output.push_str(line);
        output.push('\n');
        if line == "---" {
            expecting = true;
            output.push_str(if happened.is_empty() { "nothing\n" } else { &happened });
            happened.clear();
        } else if !line.is_empty() && !line.starts_with('#') {
            world.output.clear();
            let words: Vec<&str> = line.split_whitespace().collect();
            world.command(&words);
            happened.push_str(&world.output);
        }
    }
    output
}

fn difference(expected: &str, actual: &str) -> String {
    let line = expected.lines().zip(actual.lines()).position(|(left, right)| left != right);
    let from = line.unwrap_or(0).saturating_sub(3);
    let show = |text: &str| {
        text.lines().skip(from).take(12).fold(String::new(), |all, line| all + "  " + line + "\n")
    };
    format!("at line {}, expected:\n{}actual:\n{}", from + 4, show(expected), show(actual))
}

/// A few nodes whose network and storage a script controls.
#[derive(Default)]
struct World {
    members: BTreeMap<u64, Member>,
    first_conf: ConfState,
    network: Vec<Message>,
    /// Nodes whose storage waits for `persist`.
    slow_disk: BTreeSet<u64>,
    /// Nodes whose state machine waits for `apply`.
    slow_apply: BTreeSet<u64>,
    down: BTreeSet<u64>,
    output: String,
}

impl World {
    fn command(&mut self, words: &[&str]) {
        let (verb, arguments) = (words[0], &words[1..]);
        let number = |at: usize| -> u64 {
            let word: &str = arguments.get(at).unwrap_or_else(|| panic!("{words:?}"));
            word.parse().unwrap_or_else(|_| panic!("no number: {words:?}"))
        };
        match verb {
            "nodes" => self.start(number(0), &arguments[1..]),
            "join" => self.add_member(number(0), self.first_conf.clone(), &[]),
            "slow-disk" => drop(self.slow_disk.insert(number(0))),
            "slow-apply" => drop(self.slow_apply.insert(number(0))),
            "persist" => {
                if !self.member(number(0)).persist() {
                    self.output.push_str(
                        "nothing to persist
",
                    );
                }
                self.drive(number(0));
            }
            "apply" => {
                self.apply(number(0));
                self.drive(number(0));
            }
            "deliver" => self.deliver(arguments),
            "settle" => self.settle(),
            "drop" | "duplicate" => self.tamper(verb, arguments),
            "network" => self.show_network(),
            "status" => self.show_status(number(0)),
            "log" => self.show_log(number(0)),
            "crash" => {
                self.down.insert(number(0));
                self.network.retain(|message| message.to != NodeId(number(0)));
            }
            "restart" => {
                self.down.remove(&number(0));
                self.member(number(0)).restart();
                self.drive(number(0));
            }
            _ => self.node_command(verb, number(0), &arguments[1..]),
        }
    }

    fn node_command(&mut self, verb: &str, id: u64, arguments: &[&str]) {
        let bytes = |at: usize| Bytes::copy_from_slice(arguments[at].as_bytes());
        let number = |at: usize| arguments[at].parse::<u64>().unwrap();
        let mut refused = None;
        let member = self.member(id);
        let raft = &mut member.raft;
        match verb {
            "tick" => (0..arguments.first().map_or(1, |_| number(0))).for_each(|_| raft.tick()),
            "campaign" => raft.campaign(),
            "propose" => {
                let payloads = (0..arguments.len()).map(bytes).collect();
                refused = raft.propose(payloads).err().map(|error| error.to_string());
            }
            "conf" => {
                let kind = match arguments[0] {
                    "add" => ConfChangeKind::AddVoter,
                    "learner" => ConfChangeKind::AddLearner,
                    "remove" => ConfChangeKind::Remove,
                    other => panic!("unknown change {other}"),
                };
                let data = encode_conf_change(kind, number(1));
                refused = raft.propose_conf_change(data).err().map(|error| error.to_string());
            }
            "read" => refused = raft.read_index(bytes(0)).err().map(|error| error.to_string()),
            "transfer" => raft.transfer_leader(NodeId(number(0))),
            "unreachable" => raft.report_unreachable(NodeId(number(0))),
            "report-snapshot" => {
                raft.report_snapshot(NodeId(number(0)), arguments[1] == "ok");
            }
            "compact" => member.checkpoint(Index(number(0))),
            other => panic!("unknown command {other}"),
        }
        if let Some(error) = refused {
            writeln!(self.output, "error: {error}").unwrap();
        }
        self.drive(id);
    }

    fn start(&mut self, count: u64, options: &[&str]) {
        let learners: Vec<u64> = options
            .iter()
            .filter_map(|option| option.strip_prefix("learner="))
            .map(|id| id.parse().unwrap())
            .collect();
        let voters: Vec<u64> = (1..=count).filter(|id| !learners.contains(id)).collect();
        *self = Self { first_conf: conf(&voters, &learners), ..Self::default() };
        for id in 1..=count {
            self.add_member(id, self.first_conf.clone(), options);
        }
    }

    fn add_member(&mut self, id: u64, conf: ConfState, options: &[&str]) {
        let mut config = config(id);
        for option in options {
            match option.split_once('=') {
                Some(("pre-vote", value)) => config.pre_vote = value == "on",
                Some(("check-quorum", value)) => config.check_quorum = value == "on",
                Some(("inflight", value)) => config.max_inflight_messages = value.parse().unwrap(),
                Some(("message-bytes", value)) => {
                    config.max_size_per_message = value.parse().unwrap();
                }
                Some(("heartbeat", value)) => config.heartbeat_ticks = value.parse().unwrap(),
                Some(("learner", _)) => {}
                other => panic!("unknown option {other:?}"),
            }
        }
        self.members.insert(id, Member::new(config, conf));
    }

    fn member(&mut self, id: u64) -> &mut Member {
        self.members.get_mut(&id).unwrap_or_else(|| panic!("no node {id}"))
    }

    /// Takes what a node has to say, and lets its disk and state machine work unless they are
    /// slow.
    fn drive(&mut self, id: u64) {
        loop {
            let slow_disk = self.slow_disk.contains(&id);
            let member = self.member(id);
            member.drive();
            let mut busy = false;
            while !slow_disk && member.persist() {
                busy = true;
            }
            let sent = std::mem::take(&mut member.outbox);
            let reads = std::mem::take(&mut member.reads);
            let soft_states = std::mem::take(&mut member.soft_states);
            let term = member.raft.term();
            for soft in soft_states {
                let leader = soft.leader;
                writeln!(self.output, "{id} is {} in term {term}, leader {leader}", soft.role)
                    .unwrap();
            }
            for read in reads {
                let context = text(&read.context);
                writeln!(self.output, "{id} may read {context} at {}", read.index).unwrap();
            }
            self.network.extend(sent);
            while !self.slow_apply.contains(&id) && self.apply(id) {
                busy = true;
            }
            if !busy {
                return;
            }
        }
    }

    fn apply(&mut self, id: u64) -> bool {
        let member = self.member(id);
        let Some(entry) = member.apply() else { return false };
        let conf = &member.app.conf;
        let mut line = format!("{id} applies {}", describe_entry(&entry));
        if entry.kind == EntryKind::ConfChange {
            write!(line, " -> voters {} learners {}", list(&conf.voters), list(&conf.learners))
                .unwrap();
        }
        writeln!(self.output, "{line}").unwrap();
        true
    }

    /// Delivers the messages that are on their way now, in order; what they cause waits.
    fn deliver(&mut self, between: &[&str]) {
        for message in self.take_messages(between) {
            writeln!(self.output, "{}", describe(&message)).unwrap();
            self.deliver_one(message);
        }
    }

    fn deliver_one(&mut self, message: Message) {
        let (id, from) = (message.to.0, message.from.0);
        let is_snapshot = matches!(message.body, Body::Snapshot(_));
        if self.down.contains(&id) || !self.members.contains_key(&id) {
            return;
        }
        if let Err(error) = self.member(id).raft.step(message) {
            writeln!(self.output, "{id} refuses: {error}").unwrap();
        }
        self.drive(id);
        if is_snapshot {
            self.member(from).raft.report_snapshot(NodeId(id), true);
            self.drive(from);
        }
    }

    /// Delivers everything until nothing is on its way, without a word about messages.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.network.is_empty() {
                return;
            }
            let message = self.network.remove(0);
            self.deliver_one(message);
        }
        panic!("the network does not come to rest");
    }

    fn tamper(&mut self, verb: &str, between: &[&str]) {
        let messages = self.take_messages(between);
        for message in messages {
            writeln!(self.output, "{verb} {}", describe(&message)).unwrap();
            if verb == "duplicate" {
                self.network.push(message.clone());
                self.network.push(message);
            }
        }
    }

    /// Takes the messages that match `FROM TO`, where `*` or nothing is everybody.
    fn take_messages(&mut self, between: &[&str]) -> Vec<Message> {
        let matches = |at: usize, node: NodeId| {
            between.get(at).is_none_or(|word| *word == "*" || word.parse() == Ok(node.0))
        };
        let (taken, left) = std::mem::take(&mut self.network)
            .into_iter()
            .partition(|message| matches(0, message.from) && matches(1, message.to));
        self.network = left;
        taken
    }

    fn show_network(&mut self) {
        for message in &self.network {
            writeln!(self.output, "{}", describe(message)).unwrap();
        }
    }

    fn show_status(&mut self, id: u64) {
        let status = self.member(id).raft.status();
        writeln!(
            self.output,
            "{id} {} term={} vote={} leader={} commit={} applied={} last={} persisted={}",
            status.role,
            status.term,
            status.vote,
            status.leader,
            status.commit,
            status.applied,
            status.last_index,
            status.persisted,
        )
        .unwrap();
        for (node, peer) in status.progress {
            let state = match peer.state {
                ProgressState::Probe => "probe",
                ProgressState::Replicate => "replicate",
                ProgressState::Snapshot => "snapshot",
            };
            let flags = [
                if peer.is_learner { " learner" } else { "" },
                if peer.paused { " paused" } else { "" },
                if peer.recent_active { "" } else { " inactive" },
            ];
            let (matched, next) = (peer.matched, peer.next);
            writeln!(
                self.output,
                "  {node} {state} matched={matched} next={next}{}",
                flags.concat()
            )
            .unwrap();
        }
    }

    fn show_log(&mut self, id: u64) {
        let raft = &self.member(id).raft;
        let status = raft.status();
        let entries = raft.entries_from(Index(1), u64::MAX);
        let entries: Vec<String> = entries.iter().map(describe_entry).collect();
        let line = format!("{id} after {}: {}", status.compacted, entries.join(" "));
        writeln!(self.output, "{}", line.trim_end()).unwrap();
    }
}

fn list(nodes: &[NodeId]) -> String {
    let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    format!("[{}]", nodes.join(" "))
}

fn text(bytes: &[u8]) -> String {
    if let Ok(round) = bytes.try_into() {
        return format!("#{}", u64::from_le_bytes(round));
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn describe_entry(entry: &Entry) -> String {
    let id = format!("{}@{}", entry.index, entry.term);
    match entry.kind {
        EntryKind::Normal if entry.data.is_empty() => id,
        EntryKind::Normal => format!("{id}={}", text(&entry.data)),
        EntryKind::ConfChange | EntryKind::ConfChangeV2 => {
            let change = decode_conf_change(&entry.data);
            format!("{id}={:?}({})", change.kind, change.node)
        }
    }
}

fn describe(message: &Message) -> String {
    let Message { to, from, term, body } = message;
    let body = match body {
        Body::Append { prev_index, prev_term, entries, commit } => {
            let entries: Vec<String> = entries.iter().map(describe_entry).collect();
            let entries = entries.join(" ");
            format!("append after {prev_index}@{prev_term} [{entries}] commit={commit}")
        }
        Body::AppendResponse { index, reject: None } => format!("appended {index}"),
        Body::AppendResponse { index, reject: Some(rejection) } => {
            let (hint_index, hint_term) = (rejection.hint_index, rejection.hint_term);
            format!("mismatch at {index}, try {hint_index}@{hint_term}")
        }
        Body::Heartbeat { commit, context } => {
            format!("heartbeat commit={commit} {}", text(context))
        }
        Body::HeartbeatResponse { context } => format!("heartbeat response {}", text(context)),
        Body::Vote { last_index, last_term, transfer } => {
            let why = if *transfer { " by order" } else { "" };
            format!("vote? last={last_index}@{last_term}{why}")
        }
        Body::PreVote { last_index, last_term } => {
            format!("pre-vote? last={last_index}@{last_term}")
        }
        Body::VoteResponse { reject } => format!("vote {}", if *reject { "no" } else { "yes" }),
        Body::PreVoteResponse { reject } => {
            format!("pre-vote {}", if *reject { "no" } else { "yes" })
        }
        Body::Snapshot(snapshot) => {
            let meta = &snapshot.meta;
            format!("snapshot {}@{} voters {}", meta.index, meta.term, list(&meta.conf.voters))
        }
        Body::Propose { entries } => {
            let payloads: Vec<String> = entries.iter().map(|(_, data)| text(data)).collect();
            format!("propose [{}]", payloads.join(" "))
        }
        Body::TransferLeader { transferee } => format!("transfer leader to {transferee}"),
        Body::TimeoutNow => "timeout now".to_owned(),
        Body::ReadIndex { context } => format!("read index {}", text(context)),
        Body::ReadIndexResponse { index, context } => {
            format!("read {} at {index}", text(context))
        }
    };
    format!("{from}->{to} t{term} {body}").trim_end().to_owned()
}
