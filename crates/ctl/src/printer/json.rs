//! Answers as JSON, in the shape that Go's encoder gives etcd's structures.
//!
//! - Fields stand in the order of the structure; those that are zero or empty are left out.
//! - Bytes are base64, numbers are numbers however large they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quoin_api::etcdserverpb as pb;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::mvccpb::{Event, KeyValue};

use crate::command::endpoint::{Hash, Health, Status};
use crate::text::json_string;

/// A JSON object under construction.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a field with a value that is JSON already.
    fn with(mut self, name: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&format!("\"{name}\":{json}"));
        self
    }

    fn with_some(self, name: &str, json: Option<String>) -> Self {
        match json {
            Some(json) => self.with(name, &json),
            None => self,
        }
    }

    fn number(self, name: &str, number: impl Into<i128>) -> Self {
        let number: i128 = number.into();
        self.with_some(name, (number != 0).then(|| number.to_string()))
    }

    fn bool(self, name: &str, value: bool) -> Self {
        self.with_some(name, value.then(|| "true".to_owned()))
    }

    fn text(self, name: &str, text: &str) -> Self {
        self.with_some(name, (!text.is_empty()).then(|| json_string(text.as_bytes())))
    }

    fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.with_some(name, (!bytes.is_empty()).then(|| format!("\"{}\"", STANDARD.encode(bytes))))
    }

    fn list(self, name: &str, items: Vec<String>) -> Self {
        self.with_some(name, (!items.is_empty()).then(|| array(&items)))
    }

    fn texts(self, name: &str, texts: &[String]) -> Self {
        self.list(name, texts.iter().map(|text| json_string(text.as_bytes())).collect())
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// A list of what servers said; one that was never begun is null.
fn answers(items: Vec<String>) -> String {
    if items.is_empty() { "null".to_owned() } else { array(&items) }
}

fn header(header: Option<&pb::ResponseHeader>) -> Option<String> {
    header.map(|_| headed(header).end())
}

/// An object that begins with what a header says.
fn headed(header: Option<&pb::ResponseHeader>) -> Object {
    let header = header.copied().unwrap_or_default();
    Object::new()
        .number("cluster_id", header.cluster_id)
        .number("member_id", header.member_id)
        .number("revision", header.revision)
        .number("raft_term", header.raft_term)
}

fn pair(pair: &KeyValue) -> String {
    Object::new()
        .bytes("key", &pair.key)
        .number("create_revision", pair.create_revision)
        .number("mod_revision", pair.mod_revision)
        .number("version", pair.version)
        .bytes("value", &pair.value)
        .number("lease", pair.lease)
        .end()
}

fn pairs(pairs: &[KeyValue]) -> Vec<String> {
    pairs.iter().map(pair).collect()
}

pub(super) fn range(r: &pb::RangeResponse) -> String {
    Object::new()
        .with_some("header", header(r.header.as_ref()))
        .list("kvs", pairs(&r.kvs))
        .bool("more", r.more)
        .number("count", r.count)
        .end()
}

pub(super) fn put(r: &pb::PutResponse) -> String {
    Object::new()
        .with_some("header", header(r.header.as_ref()))
        .with_some("prev_kv", r.prev_kv.as_ref().map(pair))
        .end()
}

pub(super) fn delete_range(r: &pb::DeleteRangeResponse) -> String {
    Object::new()
        .with_some("header", header(r.header.as_ref()))
        .number("deleted", r.deleted)
        .list("prev_kvs", pairs(&r.prev_kvs))
        .end()
}

pub(super) fn txn(r: &pb::TxnResponse) -> String {
    let response = |op: &pb::ResponseOp| {
        let inner = match &op.response {
            Some(Response::ResponseRange(r)) => Object::new().with("response_range", &range(r)),
            Some(Response::ResponsePut(r)) => Object::new().with("response_put", &put(r)),
            Some(Response::ResponseDeleteRange(r)) => {
                Object::new().with("response_delete_range", &delete_range(r))
            }
            Some(Response::ResponseTxn(r)) => Object::new().with("response_txn", &txn(r)),
            None => Object::new(),
        };
        Object::new().with("Response", &inner.end()).end()
    };
    Object::new()
        .with_some("header", header(r.header.as_ref()))
        .bool("succeeded", r.succeeded)
        .list("responses", r.responses.iter().map(response).collect())
        .end()
}

/// The structure of etcd's client, whose fields all have their Go names and are all there.
pub(super) fn watch(r: &pb::WatchResponse) -> String {
    let event = |event: &Event| {
        Object::new()
            .number("type", event.r#type)
            .with_some("kv", event.kv.as_ref().map(pair))
            .with_some("prev_kv", event.prev_kv.as_ref().map(pair))
            .end()
    };
    Object::new()
        .with("Header", &headed(r.header.as_ref()).end())
        .with("Events", &answers(r.events.iter().map(event).collect()))
        .with("CompactRevision", &r.compact_revision.to_string())
        .with("Canceled", &r.canceled.to_string())
        .with("Created", &r.created.to_string())
        .with("CancelReason", &json_string(r.cancel_reason.as_bytes()))
        .end()
}

pub(super) fn grant(r: &pb::LeaseGrantResponse) -> String {
    headed(r.header.as_ref())
        .with("ID", &r.id.to_string())
        .with("TTL", &r.ttl.to_string())
        .with("Error", &json_string(r.error.as_bytes()))
        .end()
}

pub(super) fn revoke(r: &pb::LeaseRevokeResponse) -> String {
    Object::new().with_some("header", header(r.header.as_ref())).end()
}

pub(super) fn keep_alive(r: &pb::LeaseKeepAliveResponse) -> String {
    headed(r.header.as_ref()).with("ID", &r.id.to_string()).with("TTL", &r.ttl.to_string()).end()
}

pub(super) fn time_to_live(r: &pb::LeaseTimeToLiveResponse) -> String {
    let key = |key: &Bytes| format!("\"{}\"", STANDARD.encode(key));
    headed(r.header.as_ref())
        .with("id", &r.id.to_string())
        .with("ttl", &r.ttl.to_string())
        .with("granted-ttl", &r.granted_ttl.to_string())
        .with("keys", &answers(r.keys.iter().map(key).collect()))
        .end()
}

pub(super) fn leases(r: &pb::LeaseLeasesResponse) -> String {
    let lease = |lease: &pb::LeaseStatus| Object::new().with("id", &lease.id.to_string()).end();
    let leases: Vec<String> = r.leases.iter().map(lease).collect();
    headed(r.header.as_ref()).with("leases", &array(&leases)).end()
}

pub(super) fn alarms(r: &pb::AlarmResponse) -> String {
    let alarm = |alarm: &pb::AlarmMember| {
        Object::new().number("memberID", alarm.member_id).number("alarm", alarm.alarm).end()
    };
    Object::new()
        .with_some("header", header(r.header.as_ref()))
        .list("alarms", r.alarms.iter().map(alarm).collect())
        .end()
}

/// Of all answers, only those about members know hexadecimal IDs.
pub(super) fn member_list(r: &pb::MemberListResponse, hex: bool) -> String {
    let member = |m: &pb::Member| {
        let object = if hex {
            Object::new().with("ID", &hex_id(m.id))
        } else {
            Object::new().number("ID", m.id)
        };
        object
            .text("name", &m.name)
            .texts("peerURLs", &m.peer_ur_ls)
            .texts("clientURLs", &m.client_ur_ls)
            .bool("isLearner", m.is_learner)
            .end()
    };
    let members: Vec<String> = r.members.iter().map(member).collect();
    if !hex {
        let object = Object::new().with_some("header", header(r.header.as_ref()));
        return object.list("members", members).end();
    }
    let header = r.header.map_or("null".to_owned(), |header| {
        Object::new()
            .with("cluster_id", &hex_id(header.cluster_id))
            .with("member_id", &hex_id(header.member_id))
            .number("revision", header.revision)
            .number("raft_term", header.raft_term)
            .end()
    });
    Object::new().with("header", &header).with("members", &array(&members)).end()
}

fn hex_id(id: u64) -> String {
    format!("\"{id:x}\"")
}

pub(super) fn health(list: &[Health]) -> String {
    let item = |health: &Health| {
        Object::new()
            .with("endpoint", &json_string(health.endpoint.as_bytes()))
            .with("health", &health.healthy.to_string())
            .with("took", &json_string(health.took.as_bytes()))
            .text("error", &health.error)
            .end()
    };
    answers(list.iter().map(item).collect())
}

pub(super) fn status(list: &[Status]) -> String {
    let item = |Status { endpoint, response: r }: &Status| {
        let downgrade = r.downgrade_info.as_ref().map(|info| {
            Object::new()
                .bool("enabled", info.enabled)
                .text("targetVersion", &info.target_version)
                .end()
        });
        let status = Object::new()
            .with_some("header", header(r.header.as_ref()))
            .text("version", &r.version)
            .number("dbSize", r.db_size)
            .number("leader", r.leader)
            .number("raftIndex", r.raft_index)
            .number("raftTerm", r.raft_term)
            .number("raftAppliedIndex", r.raft_applied_index)
            .texts("errors", &r.errors)
            .number("dbSizeInUse", r.db_size_in_use)
            .bool("isLearner", r.is_learner)
            .text("storageVersion", &r.storage_version)
            .number("dbSizeQuota", r.db_size_quota)
            .with_some("downgradeInfo", downgrade)
            .end();
        let endpoint = json_string(endpoint.as_bytes());
        Object::new().with("Endpoint", &endpoint).with("Status", &status).end()
    };
    answers(list.iter().map(item).collect())
}

pub(super) fn hash(list: &[Hash]) -> String {
    let item = |Hash { endpoint, response: r }: &Hash| {
        let hash = Object::new()
            .with_some("header", header(r.header.as_ref()))
            .number("hash", r.hash)
            .number("compact_revision", r.compact_revision)
            .number("hash_revision", r.hash_revision)
            .end();
        let endpoint = json_string(endpoint.as_bytes());
        Object::new().with("Endpoint", &endpoint).with("HashKV", &hash).end()
    };
    answers(list.iter().map(item).collect())
}
