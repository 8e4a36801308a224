//! The page: which family has which value. Families are grouped as their names are.

use std::sync::Arc;

use quoin_store::{View, WatchStats};

use super::process;
use super::text::Page;
use crate::config::Config;
use crate::grpc::large::Room;
use crate::member::Member;
use crate::peer::Transport;
use crate::quota::Quota;

mod disk;
mod network;
mod own;
mod server;
mod store;

pub(crate) use super::text::CONTENT_TYPE;

/// Everything that the page is read from.
#[derive(Clone)]
pub(crate) struct Exporter {
    pub(crate) member: Arc<Member>,
    pub(crate) config: Arc<Config>,
    pub(crate) quota: Arc<Quota>,
    pub(crate) room: Arc<Room>,
    pub(crate) transport: Arc<Transport>,
}

/// What several families are read from, so that they agree.
struct Moment {
    view: Arc<View>,
    watch: WatchStats,
}

impl Exporter {
    /// Returns the page. It reads files of the system and takes a look at every watch stream, so it
    /// is not for a thread that serves connections.
    pub(crate) fn page(&self) -> String {
        let http = &self.member.metrics.http;
        let _present = http.pages_now.enter();
        let moment = Moment { view: self.member.view(), watch: self.watch() };
        let mut page = Page::default();
        self.write_server(&mut page, &moment);
        self.write_store(&mut page, &moment);
        self.write_watch(&mut page, &moment.watch);
        self.write_leases(&mut page);
        self.write_disk(&mut page);
        self.write_network(&mut page, &moment);
        self.write_own(&mut page, &moment);
        self.member.metrics.rpcs.write(&mut page);
        process::write(&mut page);
        self.write_http(&mut page);
        http.pages.add(1);
        page.finish()
    }

    fn watch(&self) -> WatchStats {
        let mut all = WatchStats::default();
        for shard in self.member.metrics.shards() {
            let one = shard.stats();
            all.streams += one.streams;
            all.watchers += one.watchers;
            all.behind += one.behind;
            all.queued_bytes += one.queued_bytes;
            all.queued_events += one.queued_events;
            all.taken_events += one.taken_events;
        }
        all
    }
}

/// Returns how the page shows a yes or no.
fn flag(value: bool) -> f64 {
    if value { 1.0 } else { 0.0 }
}

/// Returns how an ID is written in labels.
fn id_text(id: u64) -> String {
    format!("{id:x}")
}
