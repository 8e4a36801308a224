//! The log line about a call that took longer than `--warning-unary-request-duration`, with etcd's
//! message and fields; at the level debug, about every call.
//!
//! Values are not shown, and of keys and operations no more than fits a line.
//!
//! Not here: streams; reads and entries that took long on their own (`slow`, `driver`).

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use prost::Message;
use quoin_api::etcdserverpb::compare::TargetUnion;
use quoin_api::etcdserverpb::request_op::Request as Operation;
use quoin_api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use time::OffsetDateTime;
use time::macros::format_description;
use tonic::{Request, Response, Status};

use super::Services;
use super::slow::{OPERATIONS_SHOWN, bytes_text, range_text};
use crate::config::Config;
use crate::log::{self, Level};
use crate::record;

#[cfg(test)]
mod tests;

/// Methods whose handlers describe their requests.
pub(super) const RANGE: &str = "/etcdserverpb.KV/Range";
pub(super) const PUT: &str = "/etcdserverpb.KV/Put";
pub(super) const DELETE_RANGE: &str = "/etcdserverpb.KV/DeleteRange";
pub(super) const TXN: &str = "/etcdserverpb.KV/Txn";
/// The number of what nobody counts.
const UNKNOWN: i64 = -1;

/// Who sent a request, as its connection knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remote(pub(crate) SocketAddr);

/// A call that was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stats {
    began: Instant,
    remote: Option<SocketAddr>,
}

/// What a line says of a request.
#[derive(Debug, PartialEq)]
struct Described {
    count: i64,
    bytes: i64,
    content: String,
}

/// What a line says of a response.
#[derive(Debug)]
struct Answered {
    count: i64,
    bytes: i64,
}

/// What is kept of a write for its line. The request itself becomes an entry.
#[derive(Debug)]
pub(super) enum Kept {
    Put { request: PutRequest, value_bytes: usize, bytes: usize },
    DeleteRange(DeleteRangeRequest),
    Txn { request: TxnRequest, success_bytes: usize, failure_bytes: usize, counts: [usize; 2] },
}

impl Stats {
    /// Begins a call whose request came with these extensions.
    pub(super) fn begin(remote: Option<&Remote>) -> Self {
        Self { began: Instant::now(), remote: remote.map(|remote| remote.0) }
    }

    /// Begins the call of a handler.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Self::begin(request.extensions().get())
    }

    /// Ends a call of which only the method is known.
    pub(super) fn end_unknown(self, config: &Config, method: &str) {
        if let Some(level) = self.level(config) {
            let described = Described { count: UNKNOWN, bytes: UNKNOWN, content: String::new() };
            self.write(level, method, described, &Answered { count: UNKNOWN, bytes: UNKNOWN });
        }
    }

    /// Ends a range.
    pub(super) fn end_range<T: Message>(
        self,
        services: &Services,
        request: &RangeRequest,
        reply: &Result<Response<T>, Status>,
        count: fn(&T) -> i64,
    ) {
        if let Some(level) = self.level(&services.config) {
            let mut content = String::new();
            range_text(&mut content, request);
            let described = Described { count: 0, bytes: size(request), content };
            self.write(level, RANGE, described, &answered(reply, count));
        }
    }

    /// Ends a write, or a transaction. `count` tells what a response counts, and whether a transaction
    /// succeeded.
    pub(super) fn end<T: Message>(
        self,
        services: &Services,
        kept: &Kept,
        reply: &Result<Response<T>, Status>,
        count: fn(&T) -> (i64, bool),
    ) {
        let Some(level) = self.level(&services.config) else { return };
        let succeeded = reply.as_ref().ok().map(|response| count(response.get_ref()).1);
        let (method, described) = kept.describe(succeeded);
        let answered = Answered {
            count: reply.as_ref().map_or(0, |response| count(response.get_ref()).0),
            bytes: reply.as_ref().map_or(0, |response| size(response.get_ref())),
        };
        self.write(level, method, described, &answered);
    }

    /// Returns the level of the line, if there is to be one.
    fn level(self, config: &Config) -> Option<Level> {
        let is_slow = self.began.elapsed() > config.warning_unary_request_duration.std();
        let level = if is_slow { Level::Warn } else { Level::Debug };
        log::logger().enabled(level).then_some(level)
    }

    fn write(self, level: Level, method: &str, request: Described, response: &Answered) {
        let took = self.began.elapsed();
        let began = OffsetDateTime::from(SystemTime::now() - took);
        let format = format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
        );
        let remote = self.remote.map(|remote| remote.to_string());
        let mut record = record!(
            Warn, "request stats",
            "start time" => began.format(format).unwrap_or_default(),
            "time spent" => took,
            "remote" => remote.unwrap_or_else(|| "No remote client info.".to_owned()),
            "response type" => method.to_owned(),
            "request count" => request.count,
            "request size" => request.bytes,
            "response count" => response.count,
            "response size" => response.bytes,
            "request content" => request.content,
        );
        record.level = level;
        log::write(&record);
    }
}

fn size(message: &impl Message) -> i64 {
    i64::try_from(message.encoded_len()).unwrap_or(i64::MAX)
}

fn answered<T: Message>(reply: &Result<Response<T>, Status>, count: fn(&T) -> i64) -> Answered {
    // etcd counts what is not there as nothing.
    let response = reply.as_ref().ok().map(Response::get_ref);
    Answered { count: response.map_or(0, count), bytes: response.map_or(0, size) }
}

impl Kept {
    /// Keeps a put without its value.
    pub(super) fn put(request: &PutRequest) -> Self {
        let (value_bytes, bytes) = (request.value.len(), request.encoded_len());
        Self::Put { request: without_value(request), value_bytes, bytes }
    }

    /// Keeps a delete.
    pub(super) fn delete_range(request: &DeleteRangeRequest) -> Self {
        Self::DeleteRange(request.clone())
    }

    /// Keeps the operations of a transaction that a line shows, without values.
    pub(super) fn txn(request: &TxnRequest) -> Self {
        let bytes = |operations: &[RequestOp]| operations.iter().map(Message::encoded_len).sum();
        let operations = |operations: &[RequestOp]| {
            operations.iter().take(OPERATIONS_SHOWN).map(shown_operation).collect()
        };
        Self::Txn {
            success_bytes: bytes(&request.success),
            failure_bytes: bytes(&request.failure),
            counts: [request.success.len(), request.failure.len()],
            request: TxnRequest {
                compare: request.compare.iter().take(OPERATIONS_SHOWN).cloned().collect(),
                success: operations(&request.success),
                failure: operations(&request.failure),
            },
        }
    }

    /// Returns the method and what its line says of the request. Of a transaction, the branch counts
    /// that was taken.
    fn describe(&self, succeeded: Option<bool>) -> (&'static str, Described) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let mut content = String::new();
        match self {
            Self::Put { request, value_bytes, bytes } => {
                put_text(&mut content, request, Some(*value_bytes));
                (PUT, Described { count: 1, bytes: number(*bytes), content })
            }
            Self::DeleteRange(request) => {
                delete_text(&mut content, request);
                (DELETE_RANGE, Described { count: 0, bytes: size(request), content })
            }
            Self::Txn { request, success_bytes, failure_bytes, counts } => {
                let (count, bytes) = match succeeded {
                    Some(true) => (number(counts[0]), number(*success_bytes)),
                    Some(false) => (number(counts[1]), number(*failure_bytes)),
                    None => (0, 0),
                };
                txn_text(&mut content, request);
                (TXN, Described { count, bytes, content })
            }
        }
    }
}

fn without_value(request: &PutRequest) -> PutRequest {
    let PutRequest { key, value: _, lease, prev_kv, ignore_value, ignore_lease } = request;
    PutRequest {
        key: key.clone(),
        value: bytes::Bytes::new(),
        lease: *lease,
        prev_kv: *prev_kv,
        ignore_value: *ignore_value,
        ignore_lease: *ignore_lease,
    }
}

/// An operation as a line shows it: a put keeps no value, a transaction inside nothing.
fn shown_operation(operation: &RequestOp) -> RequestOp {
    let request = match &operation.request {
        Some(Operation::RequestPut(put)) => Some(Operation::RequestPut(without_value(put))),
        Some(Operation::RequestTxn(_)) => Some(Operation::RequestTxn(TxnRequest::default())),
        Some(Operation::RequestRange(range)) => Some(Operation::RequestRange(range.clone())),
        Some(Operation::RequestDeleteRange(delete)) => {
            Some(Operation::RequestDeleteRange(delete.clone()))
        }
        None => None,
    };
    RequestOp { request }
}

fn put_text(text: &mut String, request: &PutRequest, value_bytes: Option<usize>) {
    bytes_text(text, "key", &request.key);
    if let Some(value_bytes) = value_bytes {
        text.push_str(&format!("value_size:{value_bytes} "));
    }
    if request.lease != 0 {
        text.push_str(&format!("lease:{} ", request.lease));
    }
    flags_text(
        text,
        &[
            ("prev_kv", request.prev_kv),
            ("ignore_value", request.ignore_value),
            ("ignore_lease", request.ignore_lease),
        ],
    );
}

fn delete_text(text: &mut String, request: &DeleteRangeRequest) {
    bytes_text(text, "key", &request.key);
    bytes_text(text, "range_end", &request.range_end);
    flags_text(text, &[("prev_kv", request.prev_kv)]);
}

fn flags_text(text: &mut String, flags: &[(&str, bool)]) {
    for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
        text.push_str(&format!("{name}:true "));
    }
}

fn txn_text(text: &mut String, request: &TxnRequest) {
    let compares: Vec<String> = request.compare.iter().map(compare_text).collect();
    text.push_str(&format!("compare:<{}>", compares.join(" ")));
    for (name, operations) in [("success", &request.success), ("failure", &request.failure)] {
        let operations: Vec<String> = operations.iter().map(operation_text).collect();
        text.push_str(&format!(" {name}:<{}>", operations.join(" ")));
    }
}

fn operation_text(operation: &RequestOp) -> String {
    let mut text = String::new();
    let name = match &operation.request {
        Some(Operation::RequestRange(range)) => {
            range_text(&mut text, range);
            "request_range"
        }
        Some(Operation::RequestPut(put)) => {
            put_text(&mut text, put, None);
            "request_put"
        }
        Some(Operation::RequestDeleteRange(delete)) => {
            delete_text(&mut text, delete);
            "request_delete_range"
        }
        Some(Operation::RequestTxn(_)) => "request_txn",
        None => return String::new(),
    };
    format!("{name}:<{}>", text.trim_end())
}

fn compare_text(compare: &Compare) -> String {
    let mut text = format!(
        "result:{} target:{} ",
        compare.result().as_str_name(),
        compare.target().as_str_name()
    );
    bytes_text(&mut text, "key", &compare.key);
    bytes_text(&mut text, "range_end", &compare.range_end);
    text.push_str(&match &compare.target_union {
        Some(TargetUnion::Version(version)) => format!("version:{version}"),
        Some(TargetUnion::CreateRevision(revision)) => format!("create_revision:{revision}"),
        Some(TargetUnion::ModRevision(revision)) => format!("mod_revision:{revision}"),
        Some(TargetUnion::Value(value)) => format!("value_size:{}", value.len()),
        Some(TargetUnion::Lease(lease)) => format!("lease:{lease}"),
        None => String::new(),
    });
    text.trim_end().to_owned()
}
