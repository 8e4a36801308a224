//! Every gRPC method: calls begun and ended, messages, bytes.
//!
//! The table has the methods that etcd lists, also those of services that do not exist here yet:
//! they answer, with `Unimplemented`, and are counted. A method that is in no table is not counted,
//! so a client cannot add lines.
//!
//! Invariant: what was begun is handled once, by its code, or as `Canceled` if nobody waited.

use std::array;
use std::sync::Arc;
use std::time::Instant;

use quoin_api::error::STATUS_NAMES;

use super::Metrics;
use super::text::{Kind, Page};
use super::value::{Counter, Histogram};

const CANCELED: usize = 1;
const UNKNOWN: usize = 2;

/// How the messages of a method flow, in etcd's words.
const UNARY: &str = "unary";
const SERVER: &str = "server_stream";
const BIDI: &str = "bidi_stream";

/// Services, methods and how they flow, in ascending order.
const METHODS: [(&str, &str, &str); 45] = [
    ("etcdserverpb.Auth", "AuthDisable", UNARY),
    ("etcdserverpb.Auth", "AuthEnable", UNARY),
    ("etcdserverpb.Auth", "AuthStatus", UNARY),
    ("etcdserverpb.Auth", "Authenticate", UNARY),
    ("etcdserverpb.Auth", "RoleAdd", UNARY),
    ("etcdserverpb.Auth", "RoleDelete", UNARY),
    ("etcdserverpb.Auth", "RoleGet", UNARY),
    ("etcdserverpb.Auth", "RoleGrantPermission", UNARY),
    ("etcdserverpb.Auth", "RoleList", UNARY),
    ("etcdserverpb.Auth", "RoleRevokePermission", UNARY),
    ("etcdserverpb.Auth", "UserAdd", UNARY),
    ("etcdserverpb.Auth", "UserChangePassword", UNARY),
    ("etcdserverpb.Auth", "UserDelete", UNARY),
    ("etcdserverpb.Auth", "UserGet", UNARY),
    ("etcdserverpb.Auth", "UserGrantRole", UNARY),
    ("etcdserverpb.Auth", "UserList", UNARY),
    ("etcdserverpb.Auth", "UserRevokeRole", UNARY),
    ("etcdserverpb.Cluster", "MemberAdd", UNARY),
    ("etcdserverpb.Cluster", "MemberList", UNARY),
    ("etcdserverpb.Cluster", "MemberPromote", UNARY),
    ("etcdserverpb.Cluster", "MemberRemove", UNARY),
    ("etcdserverpb.Cluster", "MemberUpdate", UNARY),
    ("etcdserverpb.KV", "Compact", UNARY),
    ("etcdserverpb.KV", "DeleteRange", UNARY),
    ("etcdserverpb.KV", "Put", UNARY),
    ("etcdserverpb.KV", "Range", UNARY),
    ("etcdserverpb.KV", "RangeStream", SERVER),
    ("etcdserverpb.KV", "Txn", UNARY),
    ("etcdserverpb.Lease", "LeaseGrant", UNARY),
    ("etcdserverpb.Lease", "LeaseKeepAlive", BIDI),
    ("etcdserverpb.Lease", "LeaseLeases", UNARY),
    ("etcdserverpb.Lease", "LeaseRevoke", UNARY),
    ("etcdserverpb.Lease", "LeaseTimeToLive", UNARY),
    ("etcdserverpb.Maintenance", "Alarm", UNARY),
    ("etcdserverpb.Maintenance", "Defragment", UNARY),
    ("etcdserverpb.Maintenance", "Downgrade", UNARY),
    ("etcdserverpb.Maintenance", "Hash", UNARY),
    ("etcdserverpb.Maintenance", "HashKV", UNARY),
    ("etcdserverpb.Maintenance", "MoveLeader", UNARY),
    ("etcdserverpb.Maintenance", "Snapshot", SERVER),
    ("etcdserverpb.Maintenance", "Status", UNARY),
    ("etcdserverpb.Watch", "Watch", BIDI),
    ("grpc.health.v1.Health", "Check", UNARY),
    ("grpc.health.v1.Health", "List", UNARY),
    ("grpc.health.v1.Health", "Watch", SERVER),
];

/// Bounds of the time that handlers take, which are those of etcd's gRPC library.
const HANDLING_BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];

/// What is counted of all methods.
#[derive(Debug)]
pub(crate) struct Rpcs {
    methods: [Rpc; METHODS.len()],
    measures_handlers: bool,
    received_bytes: Counter,
    sent_bytes: Counter,
}

/// What is counted of one method.
#[derive(Debug)]
struct Rpc {
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: [Counter; STATUS_NAMES.len()],
    handling: Histogram,
}

impl Rpcs {
    pub(super) fn new(measures_handlers: bool) -> Self {
        let rpc = |_| Rpc {
            started: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            handled: array::from_fn(|_| Counter::default()),
            handling: Histogram::seconds_at(&HANDLING_BOUNDS_MS),
        };
        Self {
            methods: array::from_fn(rpc),
            measures_handlers,
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
        }
    }

    /// Returns the codes that calls of the method at this path ended with, for tests.
    #[cfg(test)]
    pub(crate) fn codes(&self, path: &str) -> Vec<String> {
        let rpc = &self.methods[find(path).expect("the method is known")];
        let counts = STATUS_NAMES.iter().zip(rpc.handled.iter().map(Counter::load));
        let counts = counts.filter(|(_, count)| *count > 0);
        counts.map(|(code, count)| format!("{code}={count}")).collect()
    }

    /// Writes the families.
    pub(super) fn write(&self, page: &mut Page) {
        self.write_counter(page, "grpc_server_started_total", "RPCs that clients began.", |rpc| {
            &rpc.started
        });
        let help = "Messages that came from clients.";
        self.write_counter(page, "grpc_server_msg_received_total", help, |rpc| &rpc.received);
        let help = "Messages that went to clients.";
        self.write_counter(page, "grpc_server_msg_sent_total", help, |rpc| &rpc.sent);
        let help = "RPCs that ended, by the code of their end.";
        let mut family = page.family(Kind::Counter, "grpc_server_handled_total", help);
        for ((service, method, flow), rpc) in METHODS.iter().zip(&self.methods) {
            for (code, count) in STATUS_NAMES.iter().zip(&rpc.handled) {
                let labels = [
                    ("grpc_code", *code),
                    ("grpc_method", *method),
                    ("grpc_service", *service),
                    ("grpc_type", *flow),
                ];
                family.sample(&labels, count.load() as f64);
            }
        }
        if self.measures_handlers {
            let help = "Time from the beginning of an RPC to its end.";
            let mut family = page.family(Kind::Histogram, "grpc_server_handling_seconds", help);
            for (method, rpc) in METHODS.iter().zip(&self.methods) {
                family.histogram(&labels(method), &rpc.handling);
            }
        }
        let help = "Bytes of the gRPC messages that came from clients.";
        let name = "etcd_network_client_grpc_received_bytes_total";
        page.counter(name, self.received_bytes.load(), help);
        let help = "Bytes of the gRPC messages that went to clients.";
        page.counter("etcd_network_client_grpc_sent_bytes_total", self.sent_bytes.load(), help);
    }

    fn write_counter(
        &self,
        page: &mut Page,
        name: &'static str,
        help: &'static str,
        count: fn(&Rpc) -> &Counter,
    ) {
        let mut family = page.family(Kind::Counter, name, help);
        for (method, rpc) in METHODS.iter().zip(&self.methods) {
            family.sample(&labels(method), count(rpc).load() as f64);
        }
    }
}

fn labels<'a>((service, method, flow): &(&'a str, &'a str, &'a str)) -> [(&'a str, &'a str); 3] {
    [("grpc_method", method), ("grpc_service", service), ("grpc_type", flow)]
}

/// Returns the number of the method at a path.
fn find(path: &str) -> Option<usize> {
    let wanted = path.strip_prefix('/')?.rsplit_once('/')?;
    METHODS.binary_search_by(|(service, method, _)| (*service, *method).cmp(&wanted)).ok()
}

/// A call that was begun. It is counted as handled when it ends, or is dropped.
#[derive(Debug)]
pub(crate) struct Call {
    metrics: Arc<Metrics>,
    method: usize,
    began: Option<Instant>,
    has_ended: bool,
}

/// Counts the messages that come with a call.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    metrics: Arc<Metrics>,
    method: usize,
}

impl Call {
    /// Begins a call of the method at this path, if it is known.
    pub(crate) fn begin(metrics: &Arc<Metrics>, path: &str) -> Option<Self> {
        let method = find(path)?;
        metrics.rpcs.methods[method].started.add(1);
        let began = metrics.rpcs.measures_handlers.then(Instant::now);
        Some(Self { metrics: Arc::clone(metrics), method, began, has_ended: false })
    }

    /// Returns whether more than one message may come or go.
    pub(crate) fn is_stream(&self) -> bool {
        METHODS[self.method].2 != UNARY
    }

    /// Returns who counts the messages of the client.
    pub(crate) fn received(&self) -> Received {
        Received { metrics: Arc::clone(&self.metrics), method: self.method }
    }

    /// Counts messages to the client.
    pub(crate) fn sent(&self, messages: u64, bytes: u64) {
        self.metrics.rpcs.methods[self.method].sent.add(messages);
        self.metrics.rpcs.sent_bytes.add(bytes);
    }

    /// Ends the call with the text of a code, as headers have it.
    pub(crate) fn end(mut self, code: Option<&[u8]>) {
        let code = code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        self.handled(code.filter(|code| *code < STATUS_NAMES.len()).unwrap_or(UNKNOWN));
    }

    fn handled(&mut self, code: usize) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let rpc = &self.metrics.rpcs.methods[self.method];
        rpc.handled[code].add(1);
        if let Some(began) = self.began {
            rpc.handling.observe(began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.handled(CANCELED);
    }
}

impl Received {
    /// Counts a message of the client.
    pub(crate) fn message(&self, bytes: usize) {
        self.metrics.rpcs.methods[self.method].received.add(1);
        self.metrics.rpcs.received_bytes.add(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_path_and_others_are_not() {
        for (number, (service, method, _)) in METHODS.iter().enumerate() {
            assert_eq!(find(&format!("/{service}/{method}")), Some(number));
        }
        for path in ["", "/", "/Put", "/etcdserverpb.KV/put", "/etcdserverpb.KV/Put/", "KV/Put"] {
            assert_eq!(find(path), None, "{path:?}");
        }
    }

    #[test]
    fn a_call_is_handled_once_and_one_that_nobody_waits_for_is_canceled() {
        let metrics = Arc::new(Metrics::new(false));
        let begin = || Call::begin(&metrics, "/etcdserverpb.KV/Put").unwrap();
        begin().end(Some(b"0"));
        begin().end(Some(b"8"));
        begin().end(Some(b"99"));
        begin().end(None);
        drop(begin());
        let rpc = &metrics.rpcs.methods[find("/etcdserverpb.KV/Put").unwrap()];
        let handled: Vec<u64> = rpc.handled.iter().map(Counter::load).collect();
        assert_eq!(rpc.started.load(), 5);
        assert_eq!(handled, [1, 1, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
