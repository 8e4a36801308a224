//! The log line about a read that took too long, with etcd's fields.
//!
//! Not here: slow writes, whose entries are applied many at a time (`driver`).

use std::fmt::Write as _;
use std::time::Duration;

use prost::Message as _;
use quoin_api::etcdserverpb::request_op::Request;
use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};

use crate::log::{self, Record};
use crate::record;

/// Bytes of a key that a line shows; a key may be as long as a request.
const KEY_BYTES_SHOWN: usize = 256;
/// Operations of a transaction that a line shows.
pub(super) const OPERATIONS_SHOWN: usize = 16;

/// What is said about every slow read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slow {
    pub(super) took: Duration,
    pub(super) expected: Duration,
}

impl Slow {
    /// Logs a range, with its answer or why it has none.
    pub(super) fn log_range(self, request: &RangeRequest, response: Result<&RangeResponse, &str>) {
        let mut text = String::new();
        range_text(&mut text, request);
        let response = response.map(|response| {
            let (count, size) = (response.kvs.len(), response.encoded_len());
            format!("range_response_count:{count} size:{size}")
        });
        log::write(&self.record(text, response));
    }

    /// Logs a transaction that only reads.
    pub(super) fn log_txn(self, request: &TxnRequest, response: Result<&TxnResponse, &str>) {
        let mut text = format!("compare_count:{} ", request.compare.len());
        operations(&mut text, "success", request.success.iter().map(|it| &it.request));
        operations(&mut text, "failure", request.failure.iter().map(|it| &it.request));
        let response = response.map(|response| {
            let counts = response.responses.iter().map(|it| match &it.response {
                Some(Response::ResponseRange(range)) => {
                    format!("range_response_count:{}", range.kvs.len())
                }
                Some(
                    Response::ResponsePut(_)
                    | Response::ResponseDeleteRange(_)
                    | Response::ResponseTxn(_),
                )
                | None => "range_response:nil".to_owned(),
            });
            let counts: Vec<String> = counts.take(OPERATIONS_SHOWN).collect();
            format!("responses:<{}> size:{}", counts.join(" "), response.encoded_len())
        });
        log::write(&self.record(text, response));
    }

    fn record(self, request: String, response: Result<String, &str>) -> Record {
        let record = record!(
            Warn, "apply request took too long",
            "took" => self.took,
            "expected-duration" => self.expected,
            "prefix" => "read-only range ",
            "request" => request,
        );
        match response {
            Ok(response) => record.with("response", response),
            Err(error) => record.with("response", "").with("error", error.to_owned()),
        }
    }
}

fn operations<'a>(
    text: &mut String,
    name: &str,
    requests: impl Iterator<Item = &'a Option<Request>>,
) {
    for request in requests.take(OPERATIONS_SHOWN) {
        if let Some(Request::RequestRange(range)) = request {
            text.push_str(name);
            text.push_str(":<request_range:<");
            range_text(text, range);
            text.push_str("> > ");
        }
    }
}

/// Appends a request as protocol buffers write it as text: what is set, in the order of the fields.
pub(super) fn range_text(text: &mut String, request: &RangeRequest) {
    bytes_text(text, "key", &request.key);
    bytes_text(text, "range_end", &request.range_end);
    let mut put = |name: &str, value: &dyn std::fmt::Display| {
        write!(text, "{name}:{value} ").expect("writing to a string cannot fail");
    };
    let (order, target) = (request.sort_order(), request.sort_target());
    let numbers = [("limit", request.limit), ("revision", request.revision)];
    numbers.iter().filter(|it| it.1 != 0).for_each(|it| put(it.0, &it.1));
    if request.sort_order != 0 {
        put("sort_order", &order.as_str_name());
    }
    if request.sort_target != 0 {
        put("sort_target", &target.as_str_name());
    }
    let flags = [
        ("serializable", request.serializable),
        ("keys_only", request.keys_only),
        ("count_only", request.count_only),
    ];
    flags.iter().filter(|it| it.1).for_each(|it| put(it.0, &it.1));
    let revisions = [
        ("min_mod_revision", request.min_mod_revision),
        ("max_mod_revision", request.max_mod_revision),
        ("min_create_revision", request.min_create_revision),
        ("max_create_revision", request.max_create_revision),
    ];
    revisions.iter().filter(|it| it.1 != 0).for_each(|it| put(it.0, &it.1));
}

/// Appends bytes as protocol buffers write them as text, as far as they fit a line.
pub(super) fn bytes_text(text: &mut String, name: &str, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    text.push_str(name);
    text.push_str(":\"");
    for &byte in bytes.iter().take(KEY_BYTES_SHOWN) {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b' '..=b'~' => text.push(char::from(byte)),
            other => write!(text, "\\{other:03o}").expect("writing to a string cannot fail"),
        }
    }
    text.push_str(if bytes.len() > KEY_BYTES_SHOWN { "...\" " } else { "\" " });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_request_reads_as_in_etcd() {
        let request = RangeRequest {
            key: Bytes::from_static(b"a\"\x01\xff"),
            range_end: Bytes::from_static(b"b"),
            limit: 5,
            sort_order: 2,
            sort_target: 3,
            serializable: true,
            max_mod_revision: 7,
            ..RangeRequest::default()
        };
        let mut text = String::new();
        range_text(&mut text, &request);
        let expected = "key:\"a\\\"\\001\\377\" range_end:\"b\" limit:5 sort_order:DESCEND \
                        sort_target:MOD serializable:true max_mod_revision:7 ";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_long_key_is_cut() {
        let mut text = String::new();
        bytes_text(&mut text, "key", &[b'x'; 1000]);
        assert_eq!(text.len(), "key:\"...\" ".len() + KEY_BYTES_SHOWN);
    }

    #[test]
    fn an_answer_is_counted() {
        let slow = Slow { took: Duration::from_secs(1), expected: Duration::from_millis(100) };
        let record = slow.record("key:\"a\" ".to_owned(), Err("no"));
        let keys: Vec<&str> = record.fields.iter().map(|(key, _)| *key).collect();
        let expected = ["took", "expected-duration", "prefix", "request", "response", "error"];
        assert_eq!(keys, expected);
    }
}
