//! The ways to one peer, and which of them a message takes.
//!
//! | message | way |
//! |---|---|
//! | MsgApp | msgapp stream, else message stream, else POST |
//! | MsgSnap | POST (a database goes through [`Routes::send_snapshot`]) |
//! | others | message stream, else POST |

use std::sync::{Arc, Mutex};

use quoin_api::raftpb::Message;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::codec::{self, StreamKind};
use super::lease::LeaseCalls;
use super::link::Link;
use super::pipeline::Pipeline;
use super::queue::Offered;
use super::snapshot::{self, SnapshotSource};
use super::writer::{StreamBody, StreamSlot};
use super::{limits, locked, probe, reader};
use crate::{record, vital};

/// The streams that each of two members opens to the other.
const STREAMS: [StreamKind; 2] = [StreamKind::Append, StreamKind::Message];

/// A member, with all its ways.
pub(super) struct Routes {
    pub(super) link: Arc<Link>,
    append: Arc<StreamSlot>,
    message: Arc<StreamSlot>,
    pipeline: Pipeline,
    pub(super) lease_calls: LeaseCalls,
    snapshots: Arc<Semaphore>,
    tasks: Mutex<JoinSet<()>>,
}

impl Routes {
    /// Starts the tasks that reach out to the peer.
    pub(super) fn start(link: Link) -> Self {
        let link = Arc::new(link);
        link.log_peer(record!(Info, "starting remote peer"));
        let (queue, bytes) = (link.shared.options.stream_queue, link.shared.options.stream_bytes);
        let slot = |kind| Arc::new(StreamSlot::new(kind, Arc::clone(&link), queue, bytes));
        let (append, message) = (slot(StreamKind::Append), slot(StreamKind::Message));

        let mut tasks = JoinSet::new();
        let pipeline = Pipeline::start(&link, &mut tasks);
        link.log(record!(Info, "started HTTP pipelining with remote peer"));
        for _ in STREAMS {
            link.log(record!(Info, "started stream writer with remote peer"));
        }
        let runtime = &link.shared.runtime;
        for kind in STREAMS {
            let started = record!(Info, "started stream reader with remote peer");
            link.log(started.with("stream-reader-type", kind.name()));
            tasks.spawn_on(vital::guarded(reader::run(Arc::clone(&link), kind)), runtime);
        }
        tasks.spawn_on(vital::guarded(probe::run(Arc::clone(&link))), runtime);
        let snapshots = Arc::new(Semaphore::new(limits::SNAPSHOTS_SENT));
        link.log_peer(record!(Info, "started remote peer"));
        let (lease_calls, tasks) = (LeaseCalls::new(), Mutex::new(tasks));
        Self { link, append, message, pipeline, lease_calls, snapshots, tasks }
    }

    /// Sends a message, or drops it and reports that.
    pub(super) fn send(&self, message: Message) {
        let kind = codec::type_name(&message);
        let was_snapshot = codec::is_snapshot(&message);
        if let Err(path) = self.offer(message) {
            self.link.lost(was_snapshot);
            self.link.dropped_on_departure(kind, path);
        }
    }

    /// Queues a message on the first way that is open; the error names the queue that was full.
    fn offer(&self, mut message: Message) -> Result<(), &'static str> {
        let streams: &[(&Arc<StreamSlot>, &'static str)] = if codec::is_snapshot(&message) {
            &[]
        } else if codec::is_append(&message) {
            &[(&self.append, "streamMsgAppV2"), (&self.message, "streamMsg")]
        } else {
            &[(&self.message, "streamMsg")]
        };
        for (slot, name) in streams {
            message = match slot.offer(message) {
                Offered::Queued => return Ok(()),
                Offered::Full => return Err(name),
                Offered::NotAttached(message) => message,
            };
        }
        if self.pipeline.offer(message) { Ok(()) } else { Err("pipeline") }
    }

    /// Sends a snapshot in a task of its own, or reports that it failed.
    pub(super) fn send_snapshot(&self, header: Message, database: SnapshotSource) {
        let Ok(permit) = Arc::clone(&self.snapshots).try_acquire_owned() else {
            self.link.log(record!(Warn, "refused to send a snapshot while another is being sent"));
            self.link.lost(true);
            return;
        };
        let link = Arc::clone(&self.link);
        let upload = async move {
            snapshot::send(link, header, database).await;
            drop(permit);
        };
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(upload, &self.link.shared.runtime);
    }

    /// Attaches a stream that the peer asked for.
    pub(super) fn attach(&self, kind: StreamKind) -> StreamBody {
        match kind {
            StreamKind::Append => self.append.attach(),
            StreamKind::Message => self.message.attach(),
        }
    }

    /// Ends the streams and all tasks.
    pub(super) fn stop(&self) {
        self.link.log_peer(record!(Info, "stopping remote peer"));
        self.append.close();
        self.message.close();
        locked(&self.tasks).abort_all();
        self.link.log(record!(Info, "stopped HTTP pipelining with remote peer"));
        for kind in STREAMS {
            let stopped = record!(Info, "stopped stream reader with remote peer");
            self.link.log(stopped.with("stream-reader-type", kind.name()));
        }
        self.link.log_peer(record!(Info, "stopped remote peer"));
    }
}

/// A sender that is not a member here (yet): a leader that this member, newly joined, does not
/// know from its own log so far. It is answered with POST requests.
pub(super) struct Remote {
    pub(super) link: Arc<Link>,
    pipeline: Pipeline,
    _tasks: JoinSet<()>,
}

impl Remote {
    pub(super) fn start(link: Link) -> Self {
        let link = Arc::new(link);
        let mut tasks = JoinSet::new();
        let pipeline = Pipeline::start(&link, &mut tasks);
        Self { link, pipeline, _tasks: tasks }
    }

    /// Sends a message, or drops it.
    pub(super) fn send(&self, message: Message) {
        let kind = codec::type_name(&message);
        if !self.pipeline.offer(message) {
            self.link.dropped_on_departure(kind, "pipeline");
        }
    }
}
