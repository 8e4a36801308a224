//! The member and its peers: what goes out through the transport, and what comes in.
//!
//! Not here: the protocol between peers (`peer`), and what a message means (`node`).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message as _;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::LeaseTimeToLiveResponse;
use quoin_api::raftpb;
use quoin_node::DataDir;
use quoin_node::raft::{Body, Message, NodeId};
use quoin_node::wire;
use quoin_store::{Announced, Checkpoint, ReceiveError, ReceivedDatabase, ReceivedId, Store};
use quoin_vfs::FileSystem;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::driver::{Input, Outside};
use crate::http::versions;
use crate::lease;
use crate::log;
use crate::member::Member;
use crate::metrics::Direction;
use crate::peer::{
    BoxFuture, Inbound, LeaseQuestion, LeaseRefusal, Rejected, SnapshotBody, Transport,
    codec::is_append, entry_bytes,
};
use crate::strangers::Strangers;

/// Chunks of a snapshot that may wait for the network, and for the disk at the other end.
const SNAPSHOT_CHUNKS: usize = 16;
/// Bytes of proposals in one message to the leader, unless a single one has more.
const PROPOSALS_BYTES: usize = 1 << 20;
/// The pause before a report that found the queue full is made again.
const REPORT_PAUSE: Duration = Duration::from_millis(10);

/// What the consensus thread sends to, and what the transport delivers to.
pub(crate) struct Peers {
    pub(crate) member: Arc<Member>,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) dir: DataDir,
    /// Set once, as soon as the transport exists; nothing is sent before the first turn.
    transport: Mutex<Option<Arc<Transport>>>,
    runtime: Handle,
    /// Held from the arrival of a snapshot until the log names it or it was refused: all of them are
    /// written to the same file, and only one may lie beside the checkpoints.
    receiving: Arc<Semaphore>,
    strangers: Strangers,
    /// Told when this member must stop because it was removed.
    pub(crate) removed: Arc<Notify>,
}

impl Peers {
    pub(crate) fn new(
        member: Arc<Member>,
        (fs, dir): (Arc<dyn FileSystem>, DataDir),
        runtime: Handle,
    ) -> Self {
        let removed = Arc::new(Notify::new());
        let receiving = Arc::new(Semaphore::new(1));
        let strangers = Strangers::new(runtime.clone());
        let transport = Mutex::new(None);
        Self { member, fs, dir, transport, runtime, receiving, strangers, removed }
    }

    /// Gives the transport that carries messages from now on, with the known members as peers.
    pub(crate) fn connect(&self, transport: Arc<Transport>) {
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Some(transport);
        self.members_changed();
    }

    fn transport(&self) -> Option<Arc<Transport>> {
        self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outside for Peers {
    fn send(&self, messages: Vec<Message>) {
        if let Some(transport) = self.transport() {
            let messages: Vec<_> = messages.into_iter().map(wire::encode).flat_map(split).collect();
            let appends = &self.member.metrics.appends;
            for message in messages.iter().filter(|message| is_append(message)) {
                appends.sent(self.member.id, message.encoded_len());
            }
            transport.send(messages);
        }
    }

    fn send_snapshot(&self, message: Message, checkpoint: Checkpoint) {
        let Some(transport) = self.transport() else { return };
        let to = message.to.0;
        self.member.metrics.peers.snapshot_begins(to, Direction::Sent);
        let (member, runtime) = (Arc::clone(&self.member), self.runtime.clone());
        self.runtime.spawn_blocking(move || {
            // The receiver gives up when it hears nothing, so the transfer begins only when the
            // bytes can flow.
            let export = match checkpoint.export() {
                Ok(export) => export,
                Err(error) => {
                    log::warn!("failed to encode a snapshot", "error" => error.to_string());
                    return report_snapshot(&runtime, member, to, false);
                }
            };
            let began = Instant::now();
            let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(SNAPSHOT_CHUNKS);
            let source = Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver));
            transport.send_snapshot(to, wire::encode(message), source);
            for chunk in export {
                // If the transfer was broken off, the transport reports it.
                if sender.blocking_send(chunk.map_err(io::Error::other)).is_err() {
                    return;
                }
            }
            member.metrics.disk.backup.observe(began.elapsed());
        });
    }

    fn is_reachable(&self, peer: NodeId) -> bool {
        self.transport().is_some_and(|transport| transport.active_since(peer.0).is_some())
    }

    fn leader_changed(&self, leader: NodeId) {
        self.member.metrics.consensus.leader_changes.add(u64::from(!leader.is_none()));
        if leader.0 == self.member.id {
            self.member.metrics.appends.elected(self.member.id);
        }
    }

    fn members_changed(&self) {
        let Some(transport) = self.transport() else { return };
        let view = self.member.view();
        let wanted: Vec<_> =
            view.membership().members().filter(|other| other.id != self.member.id).collect();
        for id in transport.peers() {
            if !wanted.iter().any(|other| other.id == id) {
                transport.remove_peer(id);
            }
        }
        for other in wanted {
            let known = transport.add_peer(other.id, &other.peer_urls);
            let known = known.and_then(|()| transport.update_peer(other.id, &other.peer_urls));
            if let Err(error) = known {
                log::warn!("failed to add a peer", "peer-id" => format!("{:x}", other.id),
                    "error" => error.to_string());
            }
        }
    }

    fn removed(&self) {
        self.removed.notify_one();
    }

    fn stranger(&self, sender: NodeId) {
        self.strangers.ask(&self.member, sender.0);
    }

    fn snapshots_settled(&self, count: usize) {
        // Each holds the permit that was forgotten when it was handed to consensus.
        self.receiving.add_permits(count);
    }
}

/// Splits forwarded proposals into messages of about [`PROPOSALS_BYTES`], so that a heartbeat never
/// waits for more than one of them to be sent. Each proposal is for itself.
fn split(message: raftpb::Message) -> Vec<raftpb::Message> {
    if message.r#type() != raftpb::MessageType::MsgProp || message.entries.len() < 2 {
        return vec![message];
    }
    let (entries, head) = (message.entries, raftpb::Message { entries: Vec::new(), ..message });
    let mut parts: Vec<raftpb::Message> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.data.len();
        match parts.last_mut() {
            Some(last) if bytes <= PROPOSALS_BYTES => last.entries.push(entry),
            Some(_) | None => {
                bytes = entry.data.len();
                parts.push(raftpb::Message { entries: vec![entry], ..head.clone() });
            }
        }
    }
    parts
}

/// A member as `/members` lists it.
#[derive(Serialize)]
struct ListedMember<'a> {
    id: u64,
    #[serde(rename = "peerURLs")]
    peer_urls: &'a [String],
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    is_learner: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(rename = "clientURLs", skip_serializing_if = "<[String]>::is_empty")]
    client_urls: &'a [String],
}

impl Inbound for Peers {
    fn message(&self, message: raftpb::Message) -> Result<(), Rejected> {
        if is_append(&message) {
            self.member.metrics.appends.received(message.from, message.encoded_len());
        }
        let bytes = entry_bytes(&message);
        let message = wire::decode(message).map_err(|error| Rejected::Failed(error.to_string()))?;
        let room = self.member.peer_room(bytes).ok_or(Rejected::QueueFull)?;
        self.member.input(Input::Message(message, room)).map_err(|_| Rejected::QueueFull)
    }

    fn snapshot(
        &self,
        header: raftpb::Message,
        body: SnapshotBody,
    ) -> BoxFuture<Result<(), String>> {
        let (member, fs, dir) = (Arc::clone(&self.member), Arc::clone(&self.fs), self.dir.clone());
        let permit = Arc::clone(&self.receiving).try_acquire_owned();
        Box::pin(async move {
            let permit = permit.map_err(|_| "another snapshot is being received".to_owned())?;
            let message = wire::decode(header).map_err(|error| error.to_string())?;
            let Body::Snapshot(snapshot) = &message.body else {
                return Err("a state without a snapshot message".to_owned());
            };
            let announced = wire::announced(snapshot);
            let (peers, from) = (&member.metrics.peers, message.from.0);
            let began = Instant::now();
            peers.snapshot_begins(from, Direction::Received);
            let id = ReceivedId { index: announced.index, term: announced.term };
            let store_dir = dir.store();
            let received = receive(Arc::clone(&fs), dir, body, (announced, permit)).await;
            peers.snapshot_ends(from, Direction::Received, received.is_ok());
            let (store, permit) = received?;
            member.metrics.disk.received_save.observe(began.elapsed());
            let input = Input::Snapshot(message, Box::new(store));
            if let Err(error) = member.input(input) {
                id.discard(fs.as_ref(), &store_dir);
                return Err(error.to_string());
            }
            // It comes back when the log thread has settled what becomes of the state.
            permit.forget();
            Ok(())
        })
    }

    fn unreachable(&self, peer: u64) {
        // Raft finds out by itself if this is lost.
        self.member.input(Input::Unreachable(peer)).ok();
    }

    fn snapshot_status(&self, peer: u64, ok: bool) {
        report_snapshot(&self.runtime, Arc::clone(&self.member), peer, ok);
    }

    fn is_removed(&self, peer: u64) -> bool {
        self.member.view().membership().is_removed(peer)
    }

    fn is_known(&self, peer: u64) -> bool {
        self.member.view().membership().member(peer).is_some() || self.strangers.is_vouched(peer)
    }

    fn stranger(&self, peer: u64) {
        self.strangers.ask(&self.member, peer);
    }

    fn round_trip(&self, peer: u64, time: Duration) {
        self.member.metrics.peers.round_trip(peer, time);
    }

    fn removed_by(&self, peer: u64) {
        log::warn!("this member was removed from the cluster",
            "local-member-id" => format!("{:x}", self.member.id),
            "reported-by" => format!("{peer:x}"));
        self.removed.notify_one();
    }

    fn members(&self) -> String {
        let view = self.member.view();
        let listed: Vec<_> = view
            .membership()
            .members()
            .map(|member| ListedMember {
                id: member.id,
                peer_urls: &member.peer_urls,
                is_learner: member.is_learner,
                name: &member.name,
                client_urls: &member.client_urls,
            })
            .collect();
        serde_json::to_string(&listed).expect("numbers and strings have a JSON form")
    }

    fn lease(
        &self,
        question: LeaseQuestion,
    ) -> BoxFuture<Result<Option<LeaseTimeToLiveResponse>, LeaseRefusal>> {
        let member = Arc::clone(&self.member);
        Box::pin(async move { lease::answer_peer(&member, question).await })
    }

    fn versions(&self) -> String {
        versions(&self.member)
    }
}

/// Tells consensus how sending a snapshot ended.
fn report_snapshot(runtime: &Handle, member: Arc<Member>, peer: u64, ok: bool) {
    member.metrics.peers.snapshot_ends(peer, Direction::Sent, ok);
    // Nothing else goes to that peer until consensus knows, so this must not get lost.
    runtime.spawn(async move {
        while let Err(Error::TooManyRequests) = member.input(Input::SnapshotSent(peer, ok)) {
            tokio::time::sleep(REPORT_PAUSE).await;
        }
    });
}

/// A piece of a snapshot that arrives.
enum Piece {
    Chunk(Bytes),
    /// The body ended as it should. If this does not come, the transfer was broken off.
    End,
}

/// Writes the database that a leader sends to a file and makes a checkpoint of it, as boot does
/// with the database of an etcd. The permit is kept until that is done, even if nobody waits any
/// more, and comes back with the state, of which somebody must say then what becomes of it.
async fn receive(
    fs: Arc<dyn FileSystem>,
    dir: DataDir,
    mut body: SnapshotBody,
    (announced, permit): (Announced, OwnedSemaphorePermit),
) -> Result<(Store, OwnedSemaphorePermit), String> {
    let (sender, mut receiver) = mpsc::channel(SNAPSHOT_CHUNKS);
    let writer = tokio::task::spawn_blocking(move || {
        let mut received = ReceivedDatabase::begin(fs, &dir.store())?;
        while let Some(piece) = receiver.blocking_recv() {
            match piece {
                Piece::Chunk(chunk) => received.push(&chunk)?,
                Piece::End => {
                    return received.finish(&announced).map(|loaded| Some((loaded.store, permit)));
                }
            }
        }
        Ok::<_, ReceiveError>(None)
    });
    while let Some(chunk) = body.next_chunk().await.map_err(|error| error.to_string())? {
        // A writer that has ended says why below.
        if sender.send(Piece::Chunk(chunk)).await.is_err() {
            break;
        }
    }
    sender.send(Piece::End).await.ok();
    let written = writer.await.map_err(|error| error.to_string())?;
    let store = written.map_err(|error| error.to_string())?;
    store.ok_or_else(|| "the transfer was broken off".to_owned())
}

#[cfg(test)]
mod tests {
    use quoin_api::raftpb::{Entry, Message, MessageType};

    use super::*;

    /// A follower with 64 MiB of proposals sent them as one message, and the leader's heartbeats had
    /// no answer until all of it was through.
    #[test]
    fn forwarded_proposals_are_split() {
        let sizes = [10, PROPOSALS_BYTES - 10, 1, 3 * PROPOSALS_BYTES, 5, 6];
        let entry = |size: &usize| Entry { data: vec![7; *size].into(), ..Entry::default() };
        let entries: Vec<Entry> = sizes.iter().map(entry).collect();
        let kind = MessageType::MsgProp.into();
        let message = Message { r#type: kind, to: 1, from: 2, entries, ..Message::default() };
        let parts = split(message.clone());
        let sent: Vec<Vec<usize>> = parts
            .iter()
            .map(|part| part.entries.iter().map(|entry| entry.data.len()).collect())
            .collect();
        let expected =
            [vec![10, PROPOSALS_BYTES - 10], vec![1], vec![3 * PROPOSALS_BYTES], vec![5, 6]];
        assert_eq!(sent, expected);
        assert!(parts.iter().all(|part| (part.to, part.from, part.r#type) == (1, 2, kind)));
        // The entries of an append belong together.
        let append = Message { r#type: MessageType::MsgApp.into(), ..message };
        assert_eq!(split(append.clone()), [append]);
    }
}
