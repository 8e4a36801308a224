//! The leases: which exist, for how long each was granted, and which keys end with them.
//!
//! Not here: when a lease expires. The time to live of a lease and what was left of it at the last
//! checkpoint of the leader are replicated facts; clocks are not.
//!
//! Invariants:
//! - A key is attached to at most one lease, the one that its latest change names.
//! - The keys of a lease are live.

use quoin_api::error::Error;

use crate::tree::{Entry, Tree};

/// The longest time to live that a lease may ask for, in seconds.
pub const MAX_LEASE_TTL_S: i64 = 9_000_000_000;

/// All leases. Cloning them takes a snapshot.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    by_id: Tree<Row>,
}

/// A lease without its ID.
#[derive(Clone, Default)]
struct Row {
    ttl_s: i64,
    remaining_ttl_s: i64,
    keys: Tree<()>,
}

impl Entry for Row {
    type Column = Vec<Self>;

    fn is_live(&self) -> bool {
        true
    }
}

/// A lease as a view shows it.
#[derive(Clone)]
pub struct Lease {
    /// The ID that the request chose.
    pub id: i64,
    /// The time to live that was granted, in seconds.
    pub ttl_s: i64,
    /// What was left at the leader's last checkpoint of the lease, in seconds; 0 if it made none.
    pub remaining_ttl_s: i64,
    keys: Tree<()>,
}

/// What an entry did to leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// A lease was granted.
    Granted {
        /// Its ID.
        id: i64,
        /// Its time to live, in seconds.
        ttl_s: i64,
    },
    /// The lease with this ID is gone.
    Revoked(i64),
    /// The leader said what is left of leases: their IDs and the seconds, where 0 means all of
    /// the time to live.
    Checkpointed(Vec<(i64, i64)>),
}

impl Lease {
    /// How many keys end with the lease.
    pub fn key_count(&self) -> usize {
        self.keys.count().total
    }

    /// The keys that end with the lease, in order.
    pub fn keys(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.keys.iter().map(|slot| slot.key())
    }
}

impl Leases {
    /// Adds a lease.
    pub(crate) fn grant(&mut self, id: i64, ttl_s: i64) -> Result<(), Error> {
        if id == 0 {
            return Err(Error::LeaseNotFound);
        }
        if ttl_s > MAX_LEASE_TTL_S {
            return Err(Error::LeaseTtlTooLarge);
        }
        if self.contains(id) {
            return Err(Error::LeaseExists);
        }
        self.restore(id, ttl_s, 0);
        Ok(())
    }

    /// Adds a lease that was granted before.
    pub(crate) fn restore(&mut self, id: i64, ttl_s: i64, remaining_ttl_s: i64) {
        let row = Row { ttl_s, remaining_ttl_s, keys: Tree::default() };
        self.by_id.upsert(&ordered(id), |slot| *slot = row);
    }

    /// Removes a lease and returns the keys that were attached to it, in order.
    pub(crate) fn revoke(&mut self, id: i64) -> Result<Vec<Vec<u8>>, Error> {
        let row = self.by_id.remove(&ordered(id)).ok_or(Error::LeaseNotFound)?;
        Ok(row.keys.iter().map(|slot| slot.key()).collect())
    }

    /// Remembers what the leader says is left of a lease. A lease that is gone is passed over.
    pub(crate) fn checkpoint(&mut self, id: i64, remaining_ttl_s: i64) {
        if self.contains(id) {
            self.by_id.upsert(&ordered(id), |row| row.remaining_ttl_s = remaining_ttl_s);
        }
    }

    pub(crate) fn contains(&self, id: i64) -> bool {
        self.by_id.get(&ordered(id)).is_some()
    }

    /// Attaches a key to a lease, which exists.
    pub(crate) fn attach(&mut self, id: i64, key: &[u8]) {
        if self.contains(id) {
            self.by_id.upsert(&ordered(id), |row| row.keys.upsert(key, |()| ()));
        }
    }

    /// Detaches a key from its lease, if that still exists.
    pub(crate) fn detach(&mut self, id: i64, key: &[u8]) {
        if self.contains(id) {
            self.by_id.upsert(&ordered(id), |row| row.keys.remove(key));
        }
    }

    pub(crate) fn get(&self, id: i64) -> Option<Lease> {
        self.by_id.get(&ordered(id)).map(|row| row.with_id(id))
    }

    /// The leases from an ID on, by ID.
    pub(crate) fn iter_from(&self, id: i64) -> impl Iterator<Item = Lease> + '_ {
        let slots = self.by_id.range(&ordered(id), None);
        slots.map(|slot| slot.value().with_id(id_of(&slot.key())))
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.count().total
    }
}

impl Row {
    fn with_id(&self, id: i64) -> Lease {
        let Self { ttl_s, remaining_ttl_s, keys } = self;
        Lease { id, ttl_s: *ttl_s, remaining_ttl_s: *remaining_ttl_s, keys: keys.clone() }
    }
}

/// The ID as bytes that sort as the number does.
fn ordered(id: i64) -> [u8; 8] {
    ((id as u64) ^ (1 << 63)).to_be_bytes()
}

fn id_of(key: &[u8]) -> i64 {
    let bytes = key.try_into().expect("leases are kept under keys of eight bytes");
    (u64::from_be_bytes(bytes) ^ (1 << 63)) as i64
}
