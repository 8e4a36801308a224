//! Watches: changes of keys as they happen, through lost connections.
//!
//! The watches of one [`Watcher`] share a stream to one server. A task reads the stream, hands
//! each watch what is meant for it, and opens the stream again when it breaks.
//!
//! Invariants:
//! - After a lost connection a watch goes on behind the last revision that it has seen: no event
//!   is missed or repeated.
//! - A watch holds at most `UPDATES_WAITING` updates that nobody has taken. Then the stream is
//!   not read, and the server holds the rest: a watch that is never read delays its neighbours.
//! - A watch ends once, with an update that says why.
//!
//! Not here: what the messages of a stream mean (see `table`).

mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use quoin_api::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::connection::Connection;
use crate::stream::{Broken, Inbound, REQUESTS_WAITING};
use crate::{Client, Error};

use table::{Delivery, Table};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// How many updates may wait in one watch.
const UPDATES_WAITING: usize = 16;
/// How many calls to a watcher may wait for its task.
const COMMANDS_WAITING: usize = 16;
/// The pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_millis(100);

/// What happened to a watch.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchUpdate {
    /// Events in the order of their revisions, or a progress notification without any.
    pub response: pb::WatchResponse,
    /// Why the watch ends with this update; none if it goes on.
    pub error: Option<Error>,
}

/// Watches that share a stream.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
}

/// The task behind a watcher, which lasts as long as the watcher or one of its watches.
#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    next_key: AtomicU64,
    task: JoinHandle<()>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the task is asked to do.
#[derive(Debug)]
enum Command {
    Create(u64, pb::WatchCreateRequest, mpsc::Sender<WatchUpdate>),
    Cancel(u64),
    Progress,
}

impl Client {
    /// Returns a watcher without watches; it connects when it gets one. Its watches end when the
    /// server that they are connected to has no leader.
    pub fn watcher(&self) -> Watcher {
        let (commands, waiting) = mpsc::channel(COMMANDS_WAITING);
        let limit = self.options.recv_limit();
        let task = Task { client: self.clone(), commands: waiting, table: Table::new(limit) };
        let task = tokio::spawn(task.run());
        Watcher { shared: Arc::new(Shared { commands, next_key: AtomicU64::new(0), task }) }
    }
}

impl Watcher {
    /// Begins a watch. It is cancelled when the handle is dropped.
    pub async fn watch(&self, request: pb::WatchCreateRequest) -> Watch {
        let key = self.shared.next_key.fetch_add(1, Ordering::Relaxed);
        let (sender, updates) = mpsc::channel(UPDATES_WAITING);
        // If the task were gone, the sender would go with the command and the watch would end.
        self.shared.commands.send(Command::Create(key, request, sender)).await.ok();
        Watch { key, updates, shared: Arc::clone(&self.shared) }
    }

    /// Asks the server to tell all watches how far they are. Does nothing if there are none.
    pub async fn request_progress(&self) {
        self.shared.commands.send(Command::Progress).await.ok();
    }
}

/// A watch.
#[derive(Debug)]
pub struct Watch {
    key: u64,
    updates: mpsc::Receiver<WatchUpdate>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Waits for the next update; none after the one that ended the watch.
    pub async fn next(&mut self) -> Option<WatchUpdate> {
        self.updates.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // If the queue is full, the task finds out when it has something for the watch.
        self.shared.commands.try_send(Command::Cancel(self.key)).ok();
    }
}

struct Task {
    client: Client,
    commands: mpsc::Receiver<Command>,
    table: Table,
}

/// How the work on one stream ended.
enum Ended {
    /// No watch is left.
    Idle,
    Broken(Broken),
}

impl Task {
    /// Runs until no handle is left. Returns early only then, because every end of `commands`
    /// is held by a handle.
    async fn run(mut self) {
        loop {
            while self.table.is_empty() {
                match self.commands.recv().await {
                    Some(command) => self.obey(command),
                    None => return,
                }
            }
            let Some(connection) = self.connection().await else {
                return;
            };
            match self.serve(connection).await {
                None => return,
                Some(Ended::Idle) => {}
                Some(Ended::Broken(Broken::Lost)) => sleep(PAUSE).await,
                Some(Ended::Broken(Broken::Halted(error))) => {
                    let last = self.table.end_all(&error);
                    self.deliver(last).await;
                }
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Create(key, request, updates) => self.table.add(key, request, updates),
            Command::Cancel(key) => self.table.remove(key),
            Command::Progress => self.table.ask_progress(),
        }
    }

    async fn connection(&mut self) -> Option<Connection> {
        let pool = Arc::clone(&self.client.pool);
        loop {
            tokio::select! {
                connection = pool.next() => return Some(connection),
                command = self.commands.recv() => self.obey(command?),
            }
        }
    }

    /// Works on one stream; none if no handle is left.
    async fn serve(&mut self, connection: Connection) -> Option<Ended> {
        let (requests, waiting) = mpsc::channel(REQUESTS_WAITING);
        let mut inbound: Inbound<pb::WatchResponse> =
            self.client.open(connection, WATCH, waiting, true);
        self.table.begin();
        while !self.table.is_empty() {
            while let Some(request) = self.table.next_request() {
                if requests.send(request).await.is_err() {
                    return Some(Ended::Broken(Broken::Lost));
                }
            }
            tokio::select! {
                message = inbound.next() => match message {
                    Some(Ok(response)) => {
                        let deliveries = self.table.accept(response);
                        self.deliver(deliveries).await;
                    }
                    Some(Err(status)) => return Some(Ended::Broken(Broken::new(status))),
                    None => return Some(Ended::Broken(Broken::Lost)),
                },
                command = self.commands.recv() => self.obey(command?),
            }
        }
        Some(Ended::Idle)
    }

    async fn deliver(&mut self, deliveries: Vec<Delivery>) {
        for Delivery { key, updates, update } in deliveries {
            if updates.send(update).await.is_err() {
                self.table.remove(key);
            }
        }
    }
}
