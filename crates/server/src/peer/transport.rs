//! All peers of this member.
//!
//! Any thread may call these methods; the tasks run on the runtime that the transport was made
//! in. Sending takes a shared lock for the look-up of the peer and no other.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use quoin_api::raftpb::Message;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::codec::StreamKind;
use super::headers::Identity;
pub use super::headers::IdentityError;
use super::link::Link;
use super::routes::{Remote, Routes};
use super::writer::StreamBody;
use super::{
    FollowerStats, Inbound, Options, PeerReport, Shared, SnapshotSource, UrlError, codec, id_text,
    limits,
};
use crate::record;

/// The peers of this member, and the server side that they talk to.
pub struct Transport {
    pub(super) shared: Arc<Shared>,
    pub(super) snapshots_received: Semaphore,
    peers: RwLock<Peers>,
}

/// Those a message can be sent to.
#[derive(Default)]
struct Peers {
    members: BTreeMap<u64, Arc<Routes>>,
    remotes: BTreeMap<u64, Arc<Remote>>,
    stopped: bool,
}

impl Transport {
    /// Returns a transport without peers. It must be called on the runtime that is to run the
    /// transport's tasks.
    pub fn new(options: Options, inbound: Arc<dyn Inbound>) -> Result<Arc<Self>, IdentityError> {
        let identity = Identity::new(&options)?;
        let shared = Shared { options, identity, inbound, runtime: Handle::current() };
        Ok(Arc::new(Self {
            shared: Arc::new(shared),
            snapshots_received: Semaphore::new(limits::SNAPSHOTS_RECEIVED),
            peers: RwLock::default(),
        }))
    }

    /// Adds a member and starts to reach out to it. A member that is known stays as it is.
    pub fn add_peer(&self, id: u64, urls: &[String]) -> Result<(), UrlError> {
        let link = Link::new(Arc::clone(&self.shared), id, urls)?;
        let mut peers = self.write();
        if peers.stopped || peers.members.contains_key(&id) {
            return Ok(());
        }
        peers.remotes.remove(&id);
        peers.members.insert(id, Arc::new(Routes::start(link)));
        drop(peers);
        self.shared.log(&record!(
            Info, "added remote peer",
            "local-member-id" => id_text(self.shared.options.node_id),
            "remote-peer-id" => id_text(id),
            "remote-peer-urls" => urls,
        ));
        Ok(())
    }

    /// Ends all connections with a member that left the cluster.
    pub fn remove_peer(&self, id: u64) {
        let mut peers = self.write();
        peers.remotes.remove(&id);
        let removed = peers.members.remove(&id);
        drop(peers);
        let Some(routes) = removed else { return };
        routes.stop();
        self.shared.log(&record!(
            Info, "removed remote peer",
            "local-member-id" => id_text(self.shared.options.node_id),
            "removed-remote-peer-id" => id_text(id),
        ));
    }

    /// Replaces the addresses of a member if they have changed; connections that are open stay
    /// open.
    pub fn update_peer(&self, id: u64, urls: &[String]) -> Result<(), UrlError> {
        let Some(routes) = self.peer(id) else { return Ok(()) };
        if !routes.link.update(urls)? {
            return Ok(());
        }
        self.shared.log(&record!(
            Info, "updated remote peer",
            "local-member-id" => id_text(self.shared.options.node_id),
            "updated-remote-peer-id" => id_text(id),
            "updated-remote-peer-urls" => urls,
        ));
        Ok(())
    }

    /// Remembers how to answer a sender that is not a member here. At most [`limits::REMOTES`]
    /// are kept, as anyone who can reach the listener can ask for it.
    pub fn add_remote(&self, id: u64, urls: &[String]) -> Result<(), UrlError> {
        let link = Link::new(Arc::clone(&self.shared), id, urls)?;
        let mut peers = self.write();
        let known = peers.members.contains_key(&id) || peers.remotes.contains_key(&id);
        let own = id == self.shared.options.node_id;
        if peers.stopped || known || own || peers.remotes.len() >= limits::REMOTES {
            return Ok(());
        }
        peers.remotes.insert(id, Arc::new(Remote::start(link)));
        drop(peers);
        self.shared.log(&record!(
            Info, "added new remote peer",
            "local-member-id" => id_text(self.shared.options.node_id),
            "remote-peer-id" => id_text(id),
            "remote-peer-urls" => urls,
        ));
        Ok(())
    }

    /// Sends messages, each to the member that it names. Never blocks: a message that finds a
    /// full queue is dropped, and its peer reported unreachable.
    pub fn send(&self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            if to == 0 {
                continue;
            }
            if let Some(routes) = self.peer(to) {
                routes.send(message);
            } else if let Some(remote) = self.remote(to) {
                remote.send(message);
            } else {
                self.shared.log(&record!(
                    Debug, "ignored message send request; unknown remote peer target",
                    "type" => codec::type_name(&message),
                    "unknown-target-peer-id" => id_text(to),
                ));
            }
        }
    }

    /// Sends a snapshot: the message `header`, and the database behind it. How it ended comes
    /// back through [`Inbound::snapshot_status`]. At most [`limits::SNAPSHOTS_SENT`] are under
    /// way to one peer.
    pub fn send_snapshot(&self, to: u64, header: Message, database: SnapshotSource) {
        match self.peer(to) {
            Some(routes) => routes.send_snapshot(header, database),
            None => self.shared.inbound.snapshot_status(to, false),
        }
    }

    /// Returns since when a member can be reached, if it can.
    pub fn active_since(&self, id: u64) -> Option<Instant> {
        self.peer(id)?.link.active_since()
    }

    /// Returns the IDs of the members that are known, in ascending order.
    pub fn peers(&self) -> Vec<u64> {
        self.read().members.keys().copied().collect()
    }

    /// Returns the state of every member.
    pub fn reports(&self) -> Vec<PeerReport> {
        self.read().members.values().map(|routes| routes.link.report()).collect()
    }

    /// Returns what the appends to every member took.
    pub fn follower_stats(&self) -> Vec<(u64, FollowerStats)> {
        let members = &self.read().members;
        members.iter().map(|(id, routes)| (*id, routes.link.follower_stats())).collect()
    }

    /// Ends all connections. Peers that are added later are ignored.
    pub fn stop(&self) {
        let mut peers = self.write();
        peers.stopped = true;
        let Peers { members, remotes, .. } = std::mem::take(&mut *peers);
        peers.stopped = true;
        drop(peers);
        drop(remotes);
        for routes in members.values() {
            routes.stop();
        }
    }

    /// Reports whether a member is known.
    pub(super) fn is_peer(&self, id: u64) -> bool {
        self.read().members.contains_key(&id)
    }

    /// Attaches a stream that a member asked for, if it is known.
    pub(super) fn attach(&self, peer: u64, kind: StreamKind) -> Option<StreamBody> {
        Some(self.peer(peer)?.attach(kind))
    }

    /// Returns who counts what a sender sends, if it is known.
    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        let member = self.peer(id).map(|routes| Arc::clone(&routes.link));
        member.or_else(|| self.remote(id).map(|remote| Arc::clone(&remote.link)))
    }

    /// Returns the ways to a member, if it is known.
    pub(super) fn routes(&self, id: u64) -> Option<Arc<Routes>> {
        self.peer(id)
    }

    fn peer(&self, id: u64) -> Option<Arc<Routes>> {
        self.read().members.get(&id).cloned()
    }

    fn remote(&self, id: u64) -> Option<Arc<Remote>> {
        self.read().remotes.get(&id).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Peers> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Peers> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}
