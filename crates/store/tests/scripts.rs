//! Golden scripts: requests to a store and what it answers, as text.
//!
//! Each file in `scripts/` is a sequence of blocks: comments, commands, a line `---`, and the
//! expected output, with an empty line between blocks. A store lives as long as its file. Set
//! `UPDATE_SCRIPTS=1` to write the output that the store gives now, and read the difference.
//!
//! Commands (`key=value` options come last):
//!
//! ```text
//! put KEY=VALUE [lease=ID] [prev] [ignore_value] [ignore_lease]
//! del KEY [end=KEY|all] [prev]
//! range KEY [end=KEY|all] [rev=N] [limit=N] [sort=TARGET:ORDER] [keys_only] [count_only]
//! txn COMPARE & ... ? COMMAND ; ... : COMMAND ; ...
//! compact N          hash [N]           events N
//! grant ID TTL       revoke ID          leases
//! raise KIND ID      clear KIND ID      alarms
//! member add|learner|promote|update|remove ID [URL]       members
//! collect            reload
//! ```
//!
//! Those about watching are listed in `scripts/watch.rs`.

#![expect(clippy::unwrap_used, reason = "a script that cannot be run fails the test")]

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use bytes::Bytes;
use prost::Message;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use quoin_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
    ResponseHeader, TxnRequest, TxnResponse,
};
use quoin_api::mvccpb::KeyValue;
use quoin_api::raftpb::{ConfChange, ConfChangeType};
use quoin_store::{
    Checkpoint, ConfState, EntryData, Member, Reply, Store, check_delete, check_put, check_range,
    check_txn,
};
use quoin_vfs::{FileSystem, MemFs};

#[path = "scripts/watch.rs"]
mod watch;

#[test]
fn scripts() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut paths: Vec<_> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let script = fs::read_to_string(&path).unwrap();
        let output = run_script(&script);
        if env::var_os("UPDATE_SCRIPTS").is_some() {
            fs::write(&path, output).unwrap();
        } else {
            assert_eq!(output, script, "{}: set UPDATE_SCRIPTS=1 to accept", path.display());
        }
    }
}

/// Runs a script and returns it with the output that the store gave.
fn run_script(script: &str) -> String {
    let mut runner = Runner { store: Store::new(), watching: watch::Watching::default() };
    let blocks: Vec<String> = script
        .trim_end()
        .split("\n\n")
        .map(|block| {
            let input = block.split("\n---").next().expect("a split has a first part");
            let commands = input.lines().filter(|line| !line.starts_with('#'));
            let mut output: String = commands.map(|command| runner.run(command)).collect();
            output.truncate(output.trim_end().len());
            format!("{input}\n---\n{output}")
        })
        .collect();
    blocks.join("\n\n") + "\n"
}

struct Runner {
    store: Store,
    watching: watch::Watching,
}

impl Runner {
    fn run(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        if let Some(output) = self.watching.run(&words, self.store.view()) {
            return output;
        }
        match words[..] {
            ["hash"] => self.hash(0),
            ["hash", revision] => self.hash(number(revision)),
            ["events", from] => self.events(number(from)),
            ["leases"] => self.leases(),
            ["members"] => self.members(),
            ["alarms"] => self.apply(alarm(0, AlarmType::None, 0)),
            ["raise", kind, id] => self.apply(alarm(1, alarm_type(kind), number(id))),
            ["clear", kind, id] => self.apply(alarm(2, alarm_type(kind), number(id))),
            ["member", kind, id, ref url @ ..] => self.change_members(kind, number(id), url),
            ["collect"] => {
                while self.store.collect(1) {}
                "ok\n".to_owned()
            }
            ["reload"] => self.reload(),
            ["compact", revision] => {
                let compaction =
                    Some(CompactionRequest { revision: number(revision), physical: false });
                self.apply(InternalRaftRequest { compaction, ..Default::default() })
            }
            ["grant", id, ttl] => {
                let lease_grant = Some(LeaseGrantRequest { id: number(id), ttl: number(ttl) });
                self.apply(InternalRaftRequest { lease_grant, ..Default::default() })
            }
            ["revoke", id] => {
                let lease_revoke = Some(LeaseRevokeRequest { id: number(id) });
                self.apply(InternalRaftRequest { lease_revoke, ..Default::default() })
            }
            ["txn", ..] => self.txn(&read_txn(command)),
            _ => self.operation(read_operation(&words)),
        }
    }

    fn operation(&mut self, operation: Request) -> String {
        match operation {
            Request::RequestPut(put) => match check_put(&put) {
                Ok(()) => self.apply(InternalRaftRequest { put: Some(put), ..Default::default() }),
                Err(error) => show_error(error),
            },
            Request::RequestDeleteRange(delete) => match check_delete(&delete) {
                Ok(()) => self.apply(InternalRaftRequest {
                    delete_range: Some(delete),
                    ..Default::default()
                }),
                Err(error) => show_error(error),
            },
            Request::RequestRange(range) => {
                let result = check_range(&range).and_then(|()| self.store.view().range(&range));
                result.map_or_else(show_error, |response| show_range(&response))
            }
            Request::RequestTxn(_) => unreachable!("transactions are read on their own"),
        }
    }

    fn txn(&mut self, txn: &TxnRequest) -> String {
        match check_txn(txn, 128) {
            Ok(()) => {
                self.apply(InternalRaftRequest { txn: Some(txn.clone()), ..Default::default() })
            }
            Err(error) => show_error(error),
        }
    }

    fn apply(&mut self, request: InternalRaftRequest) -> String {
        let entry = Bytes::from(request.encode_to_vec());
        let index = self.store.applied().0 + 1;
        let applied = self.store.apply_for(index, 1, EntryData::Normal(&entry), |_| true).unwrap();
        applied.reply().map_or_else(show_error, |reply| show_reply(&reply))
    }

    fn change_members(&mut self, kind: &str, id: u64, urls: &[&str]) -> String {
        let (kind, is_learner, is_promote) = match kind {
            "add" => (ConfChangeType::ConfChangeAddNode, false, Some(false)),
            "learner" => (ConfChangeType::ConfChangeAddLearnerNode, true, Some(false)),
            "promote" => (ConfChangeType::ConfChangeAddNode, false, Some(true)),
            "update" => (ConfChangeType::ConfChangeUpdateNode, false, None),
            "remove" => (ConfChangeType::ConfChangeRemoveNode, false, None),
            other => panic!("unknown change {other}"),
        };
        let peer_urls = urls.iter().map(|&url| url.to_owned()).collect();
        let member = Member { id, peer_urls, is_learner, ..Member::default() };
        let context = Bytes::from(member.to_json(is_promote));
        let change = ConfChange { id: 0, r#type: kind as i32, node_id: id, context };
        let entry = Bytes::from(change.encode_to_vec());
        let index = self.store.applied().0 + 1;
        let applied = self.store.apply(index, 1, EntryData::ConfChange(&entry)).unwrap();
        let node = applied.conf_change.unwrap().node_id;
        applied.result.map_or_else(show_error, |_| format!("ok, to raft: {node}\n"))
    }

    fn hash(&self, revision: i64) -> String {
        let hash = self.store.view().hash_kv(revision);
        hash.map_or_else(show_error, |hash| {
            let (compacted, at) = (hash.compact_revision, hash.hash_revision);
            format!("hash={} compact={compacted} at={at}\n", hash.hash)
        })
    }

    fn events(&self, from: i64) -> String {
        let view = self.store.view();
        let events = match view.events_from(from) {
            Ok(events) => events,
            Err(error) => return show_error(error),
        };
        let lines = events.map(Result::unwrap).map(|event| {
            let (main, sub) = (event.revision.main, event.revision.sub);
            let what = if event.is_delete { "delete" } else { "put" };
            format!("{main}.{sub} {what} {}", show_pair(&event.pair))
        });
        lines.collect()
    }

    fn leases(&self) -> String {
        let view = self.store.view();
        let lines = view.leases().map(|lease| {
            let keys: Vec<_> = lease.keys().map(|key| String::from_utf8(key).unwrap()).collect();
            format!("{} ttl={} keys={}\n", lease.id, lease.ttl_s, keys.join(","))
        });
        lines.collect()
    }

    fn members(&self) -> String {
        let membership = self.store.membership();
        let lines = membership.members().map(|member| {
            let learner = if member.is_learner { " learner" } else { "" };
            format!("{} {}{learner}\n", member.id, member.peer_urls.join(","))
        });
        let removed = membership.removed().map(|id| format!("{id} removed\n"));
        lines.chain(removed).collect()
    }

    fn reload(&mut self) -> String {
        let (fs, dir) = (MemFs::new(), Path::new("/store"));
        fs.create_dir_all(dir).unwrap();
        self.store.checkpoint(ConfState::default()).write(&fs, dir).unwrap();
        self.store = Checkpoint::load_newest(&fs, dir).unwrap().unwrap().store;
        "ok\n".to_owned()
    }
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

fn text(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

fn alarm_type(name: &str) -> AlarmType {
    AlarmType::from_str_name(name).unwrap_or_else(|| panic!("unknown alarm {name}"))
}

fn alarm(action: i32, kind: AlarmType, member_id: u64) -> InternalRaftRequest {
    let alarm = Some(AlarmRequest { action, member_id, alarm: kind as i32 });
    InternalRaftRequest { alarm, ..Default::default() }
}

fn read_end(value: &str) -> Bytes {
    if value == "all" { Bytes::from_static(&[0]) } else { text(value) }
}

fn read_operation(words: &[&str]) -> Request {
    let (&name, rest) = words.split_first().expect("a command has a name");
    let (&key, options) = rest.split_first().expect("an operation has a key");
    let option =
        |name: &str| options.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let flag = |name: &str| options.contains(&name);
    let range_end = option("end").map(read_end).unwrap_or_default();
    match name {
        "put" => {
            let (key, value) = key.split_once('=').unwrap_or((key, ""));
            Request::RequestPut(PutRequest {
                key: text(key),
                value: text(value),
                lease: option("lease").map_or(0, number),
                prev_kv: flag("prev"),
                ignore_value: flag("ignore_value"),
                ignore_lease: flag("ignore_lease"),
            })
        }
        "del" => {
            let (key, prev_kv) = (text(key), flag("prev"));
            Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
        }
        "range" => {
            let sort = option("sort").map(|sort| sort.split_once(':').expect("TARGET:ORDER"));
            let target = |name: &str| SortTarget::from_str_name(name).unwrap() as i32;
            let order = |name: &str| SortOrder::from_str_name(name).unwrap() as i32;
            Request::RequestRange(RangeRequest {
                key: text(key),
                range_end,
                limit: option("limit").map_or(0, number),
                revision: option("rev").map_or(0, number),
                sort_target: sort.map_or(0, |(name, _)| target(name)),
                sort_order: sort.map_or(0, |(_, name)| order(name)),
                keys_only: flag("keys_only"),
                count_only: flag("count_only"),
                min_mod_revision: option("min_mod").map_or(0, number),
                max_mod_revision: option("max_mod").map_or(0, number),
                min_create_revision: option("min_create").map_or(0, number),
                max_create_revision: option("max_create").map_or(0, number),
                serializable: false,
            })
        }
        other => panic!("unknown command {other}"),
    }
}

/// Reads `txn a.version=1 & b.value=x ? put c=1 ; range a : del c`.
fn read_txn(command: &str) -> TxnRequest {
    let command = command.strip_prefix("txn").expect("a transaction begins with its name");
    let (compares, branches) = command.split_once('?').expect("a transaction has a `?`");
    let (success, failure) = branches.split_once(" : ").unwrap_or((branches, ""));
    let branch = |text: &str| {
        let operations = text.split(" ; ").filter(|text| !text.trim().is_empty());
        let read = |text: &str| {
            let words: Vec<_> = text.split_whitespace().collect();
            RequestOp { request: Some(read_operation(&words)) }
        };
        operations.map(read).collect()
    };
    let compares = compares.split('&').filter(|text| !text.trim().is_empty());
    TxnRequest {
        compare: compares.map(|text| read_compare(text.trim())).collect(),
        success: branch(success),
        failure: branch(failure),
    }
}

fn read_compare(compare: &str) -> Compare {
    let at = compare.find(['=', '!', '<', '>']).expect("a comparison compares");
    let (what, rest) = compare.split_at(at);
    let (result, operand) = rest.split_at(1);
    let (key, target) = what.rsplit_once('.').expect("a comparison names key and target");
    let result = match result {
        "=" => CompareResult::Equal,
        "!" => CompareResult::NotEqual,
        "<" => CompareResult::Less,
        _ => CompareResult::Greater,
    };
    let (target, union) = match target {
        "version" => (CompareTarget::Version, TargetUnion::Version(number(operand))),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number(operand))),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number(operand))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number(operand))),
        "value" => (CompareTarget::Value, TargetUnion::Value(text(operand))),
        other => panic!("unknown target {other}"),
    };
    let (result, target) = (result as i32, target as i32);
    let (key, range_end) = match key.split_once("..") {
        Some((key, end)) => (text(key), read_end(end)),
        None => (text(key), Bytes::new()),
    };
    Compare { result, target, key, range_end, target_union: Some(union) }
}

fn show_error(error: Error) -> String {
    format!("error: {error}\n")
}

fn show_pair(pair: &KeyValue) -> String {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).escape_debug().to_string();
    let mut line = format!("{}={}", text(&pair.key), text(&pair.value));
    let numbers = [
        ("create", pair.create_revision),
        ("mod", pair.mod_revision),
        ("version", pair.version),
        ("lease", pair.lease),
    ];
    for (name, number) in numbers {
        if number != 0 {
            write!(line, " {name}={number}").unwrap();
        }
    }
    line + "\n"
}

fn revision(header: Option<&ResponseHeader>) -> String {
    format!("rev={}", header.expect("a response has a header").revision)
}

fn show_range(response: &RangeResponse) -> String {
    let more = if response.more { " more" } else { "" };
    let head = format!("{} count={}{more}\n", revision(response.header.as_ref()), response.count);
    head + &response.kvs.iter().map(show_pair).collect::<String>()
}

fn show_txn(response: &TxnResponse) -> String {
    let outcome = if response.succeeded { "then" } else { "else" };
    let mut out = format!("{} {outcome}\n", revision(response.header.as_ref()));
    for operation in &response.responses {
        let text = match operation.response.clone().unwrap() {
            Response::ResponseRange(response) => show_range(&response),
            Response::ResponsePut(response) => show_reply(&Reply::Put(response)),
            Response::ResponseDeleteRange(response) => show_reply(&Reply::DeleteRange(response)),
            Response::ResponseTxn(response) => show_txn(&response),
        };
        text.lines().for_each(|line| writeln!(out, "  {line}").unwrap());
    }
    out
}

fn show_reply(reply: &Reply) -> String {
    match reply {
        Reply::None | Reply::Members(_) => "ok\n".to_owned(),
        Reply::V2(outcome) => format!("{outcome:?}\n"),
        Reply::Range(response) => show_range(response),
        Reply::Put(response) => {
            let previous = response.prev_kv.as_ref().map(show_pair).unwrap_or_default();
            format!("{}\n{previous}", revision(response.header.as_ref()))
        }
        Reply::DeleteRange(response) => {
            let previous: String = response.prev_kvs.iter().map(show_pair).collect();
            let revision = revision(response.header.as_ref());
            format!("{revision} deleted={}\n{previous}", response.deleted)
        }
        Reply::Txn(response) => show_txn(response),
        Reply::Compaction(response) => format!("{}\n", revision(response.header.as_ref())),
        Reply::LeaseGrant(response) => {
            format!("{} ttl={}\n", revision(response.header.as_ref()), response.ttl)
        }
        Reply::LeaseRevoke(response) => format!("{}\n", revision(response.header.as_ref())),
        Reply::LeaseCheckpoint(response) => format!("{}\n", revision(response.header.as_ref())),
        Reply::Alarm(response) => {
            let lines = response.alarms.iter().map(|alarm| {
                let kind = AlarmType::try_from(alarm.alarm).unwrap().as_str_name();
                format!("{kind} {}\n", alarm.member_id)
            });
            let lines: String = lines.collect();
            if lines.is_empty() { "none\n".to_owned() } else { lines }
        }
    }
}
