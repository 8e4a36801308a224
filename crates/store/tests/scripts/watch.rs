//! The commands of scripts about watching.
//!
//! ```text
//! hub [stream=BYTES] [response=BYTES] [fragment=BYTES] [slice=EVENTS] [watchers=N]
//! open NAME          close NAME
//! watch NAME KEY [end=KEY|all] [rev=N] [id=N] [prev] [progress] [fragment] [noput] [nodelete]
//! cancel NAME ID     ask NAME            tick NAME
//! view               publish             read NAME [once]
//! ```
//!
//! `view` hands the newest view to the hub, `publish` also dispatches its events. `ask` asks for
//! the progress, `tick` says that progress is due. `read` takes what waits and catches up, until
//! nothing is left or, with `once`, only the first chunk.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use prost::Message;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use quoin_api::mvccpb::event::EventType;
use quoin_store::{View, WatchHub, WatchLimits, WatchOptions, WatchStreamId};

use super::{number, read_end, show_pair, text};

/// A hub and its streams by name.
pub(super) struct Watching {
    hub: WatchHub,
    streams: BTreeMap<String, WatchStreamId>,
}

impl Default for Watching {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Watching {
    fn new(words: &[&str]) -> Self {
        let mut limits = WatchLimits::default();
        let mut fragment_bytes = 2 << 20;
        for word in words {
            let (name, value) = word.split_once('=').expect("a setting has a value");
            match name {
                "stream" => (limits.stream_bytes, limits.floor_bytes) = (number(value), 0),
                "response" => limits.response_bytes = number(value),
                "fragment" => fragment_bytes = number(value),
                "slice" => limits.slice_events = number(value),
                "watchers" => limits.stream_watchers = number(value),
                other => panic!("unknown setting {other}"),
            }
        }
        let options = WatchOptions { cluster_id: 1, member_id: 2, fragment_bytes, seed: 3, limits };
        Self { hub: WatchHub::new(options), streams: BTreeMap::new() }
    }

    /// Runs a command, if it is one about watching.
    pub(super) fn run(&mut self, words: &[&str], view: View) -> Option<String> {
        match *words {
            ["hub", ref settings @ ..] => *self = Self::new(settings),
            ["open", name] => {
                let id = self.hub.open(view);
                self.streams.insert(name.to_owned(), id);
            }
            ["close", name] => {
                let id = self.streams.remove(name).expect("the stream is open");
                self.hub.close(id);
            }
            ["watch", name, key, ref options @ ..] => {
                self.ask(name, view, RequestUnion::CreateRequest(create(key, options)));
            }
            ["cancel", name, id] => {
                let cancel = WatchCancelRequest { watch_id: number(id) };
                self.ask(name, view, RequestUnion::CancelRequest(cancel));
            }
            ["ask", name] => {
                self.ask(name, view, RequestUnion::ProgressRequest(WatchProgressRequest {}));
            }
            ["tick", name] => self.hub.notify_progress(self.streams[name]),
            ["view"] => self.hub.publish(view),
            ["publish"] => {
                self.hub.publish(view);
                while self.hub.dispatch() {}
            }
            ["read", name] => return Some(self.read(name)),
            ["read", name, "once"] => {
                let chunk = self.hub.take(self.streams[name]);
                return Some(chunk.map_or_else(|| "nothing\n".to_owned(), show_chunk));
            }
            _ => return None,
        }
        Some(String::new())
    }

    fn ask(&mut self, name: &str, view: View, union: RequestUnion) {
        self.hub.publish(view);
        self.hub.request(self.streams[name], WatchRequest { request_union: Some(union) });
    }

    fn read(&mut self, name: &str) -> String {
        let id = self.streams[name];
        let mut out = String::new();
        loop {
            let more = self.hub.catch_up(id);
            match self.hub.take(id) {
                Some(chunk) => out += &show_chunk(chunk),
                None if !more => break,
                None => {}
            }
        }
        if out.is_empty() { "nothing\n".to_owned() } else { out }
    }
}

fn create(key: &str, options: &[&str]) -> WatchCreateRequest {
    let option =
        |name: &str| options.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let flag = |name: &str| options.contains(&name);
    let filters = [("noput", 0), ("nodelete", 1)];
    WatchCreateRequest {
        key: if key == "-" { Bytes::new() } else { text(key) },
        range_end: option("end").map(read_end).unwrap_or_default(),
        start_revision: option("rev").map_or(0, number),
        progress_notify: flag("progress"),
        filters: filters.iter().filter(|(name, _)| flag(name)).map(|(_, value)| *value).collect(),
        prev_kv: flag("prev"),
        watch_id: option("id").map_or(0, number),
        fragment: flag("fragment"),
    }
}

fn show_chunk(mut chunk: Bytes) -> String {
    let mut out = String::new();
    while chunk.has_remaining() {
        assert_eq!(chunk.get_u8(), 0, "responses are not compressed");
        let length = chunk.get_u32() as usize;
        out += &show_response(&WatchResponse::decode(chunk.split_to(length)).unwrap());
    }
    out
}

fn show_response(response: &WatchResponse) -> String {
    let header = response.header.as_ref().unwrap();
    assert_eq!((header.cluster_id, header.member_id), (1, 2));
    let mut line = format!("{} rev={}", response.watch_id, header.revision);
    let flags = [
        ("created", response.created),
        ("canceled", response.canceled),
        ("fragment", response.fragment),
    ];
    for (name, _) in flags.iter().filter(|(_, set)| *set) {
        line += &format!(" {name}");
    }
    if response.compact_revision != 0 {
        line += &format!(" compacted={}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        line += &format!(": {}", response.cancel_reason);
    }
    line.push('\n');
    for event in &response.events {
        let kind = if event.r#type() == EventType::Delete { "delete" } else { "put" };
        line += &format!("  {kind} {}", show_pair(event.kv.as_ref().unwrap()));
        if let Some(previous) = &event.prev_kv {
            line += &format!("    was {}", show_pair(previous));
        }
    }
    line
}
