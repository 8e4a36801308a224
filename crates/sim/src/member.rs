//! One simulated machine: a disk that outlives its process, and the process while it runs.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use quoin_node::{LeaseCall, LogWork, Node, RequestIds};
use quoin_raft::{Index, Message, NodeId, SnapshotMeta, Term};
use quoin_store::{Store, View};
use quoin_vfs::MemFs;
use quoin_wal::Wal;

use crate::check::shadow::Shadow;
use crate::queue::Time;
use crate::simulation::Happening;

/// A machine.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: NodeId,
    pub(crate) disk: MemFs,
    /// What the disk must hold.
    pub(crate) shadow: Shadow,
    /// Counts the processes that ran here. What belongs to an earlier one is void.
    pub(crate) life: u32,
    /// The process, unless it is down.
    pub(crate) process: Option<Box<Process>>,
    /// What happens to the process once it goes on, if it stands still.
    pub(crate) held: Option<Vec<Happening>>,
    /// The length of a tick by this machine's clock.
    pub(crate) tick: Time,
    pub(crate) slow_until: Time,
    /// What the disk takes from now on it has taken only then.
    pub(crate) hung_until: Time,
    /// Ticks as a leader that should have handed over because of that.
    pub(crate) hung_ticks: u64,
    /// The machine dies when it has written more than a sector and not yet synced it.
    pub(crate) doomed: bool,
}

/// A running member: what the threads of the server have in their hands.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) node: Node<u64>,
    pub(crate) wal: Wal,
    pub(crate) ids: RequestIds,
    /// The view that readers get.
    pub(crate) view: View,
    /// What waits for the consensus thread.
    pub(crate) inbox: VecDeque<Input>,
    /// The consensus thread is about to run.
    pub(crate) awake: bool,
    pub(crate) ticks: u64,
    /// What waits for the log thread.
    pub(crate) work: VecDeque<LogWork>,
    /// What the log thread is syncing.
    pub(crate) syncing: Option<Vec<LogWork>>,
    /// When it began to.
    pub(crate) syncing_since: Time,
    /// The highest number of work that is durable, and the highest that the node was told of.
    pub(crate) durable: u64,
    pub(crate) told: u64,
    /// The committed entries up to here were compared with the other members'.
    pub(crate) compared: Index,
    /// The state was taken over from a leader at this index.
    pub(crate) installed: Index,
    /// The states that this process sent as a leader and whose receivers have not caught up, with
    /// its term then and their index.
    pub(crate) states_sent: BTreeMap<NodeId, (Term, u64)>,
    /// A state has arrived of which nobody has said yet whether it is taken.
    pub(crate) receiving: bool,
}

/// What the consensus thread reacts to, as in the server.
#[derive(Debug)]
pub(crate) enum Input {
    Tick,
    Propose { id: u64, data: Bytes, waiter: u64 },
    Read(u64),
    Lease(LeaseCall, u64),
    Message(Message),
    Snapshot(Message, Box<Store>),
    Unreachable(NodeId),
    SnapshotSent(NodeId, bool),
    Checkpointed(Option<Box<(SnapshotMeta, quoin_store::Written)>>),
    Transfer(NodeId),
    Campaign,
}

impl Member {
    /// Returns true if the process runs and does not stand still.
    pub(crate) fn is_working(&self) -> bool {
        self.process.is_some() && self.held.is_none()
    }
}
