//! What a store has done since somebody last asked: plain counts for whoever shows them.
//!
//! They say what this member did, not what the cluster knows: they are in no checkpoint, in no
//! hash and in no answer, and a store that was restored or received begins at nothing.
//!
//! Not here: durations, because the store has no clock, and what reads of a view did.

/// How many kinds of requests an entry can carry.
const KINDS: usize = 12;

/// What an entry asked for, under the name that etcd gives it in its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// A change of the cluster version.
    ClusterVersionSet,
    /// The name and the client URLs of a member.
    ClusterMemberAttrSet,
    /// A downgrade that begins or ends.
    DowngradeInfoSet,
    /// A read that went through the log.
    Range,
    /// A put.
    Put,
    /// A deletion.
    DeleteRange,
    /// A transaction.
    Txn,
    /// A compaction.
    Compaction,
    /// A grant of a lease.
    LeaseGrant,
    /// The end of a lease.
    LeaseRevoke,
    /// What is left of leases.
    LeaseCheckpoint,
    /// An alarm that is listed, raised or cleared.
    Alarm,
}

impl RequestKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; KINDS] = [
        Self::ClusterVersionSet,
        Self::ClusterMemberAttrSet,
        Self::DowngradeInfoSet,
        Self::Range,
        Self::Put,
        Self::DeleteRange,
        Self::Txn,
        Self::Compaction,
        Self::LeaseGrant,
        Self::LeaseRevoke,
        Self::LeaseCheckpoint,
        Self::Alarm,
    ];
}

/// Counts since the last call of [`Store::take_tally`](crate::Store::take_tally).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Keys that were put.
    pub puts: u64,
    /// Bytes of the keys and values that were put.
    pub put_bytes: u64,
    /// Requests to delete keys, however many keys each deleted.
    pub deletes: u64,
    /// Reads: ranges in transactions, comparisons, and previous values that writes asked for.
    pub ranges: u64,
    /// Requests that did more than one of these.
    pub txns: u64,
    /// Records that were dropped because a compaction made them unreachable.
    pub collected: u64,
    /// The seconds to live of the leases that were granted.
    pub granted_ttls_s: Vec<i64>,
    /// Leases that ended.
    pub revoked: u64,
    /// Entries by the number of their kind: first those that were refused, then those that were not.
    applied: [[u32; 2]; KINDS],
}

impl Tally {
    /// Entries of one kind, as far as they were refused, or were not.
    pub fn applied(&self, kind: RequestKind, success: bool) -> u32 {
        self.applied[kind as usize][usize::from(success)]
    }

    pub(crate) fn note_applied(&mut self, kind: RequestKind, success: bool) {
        let count = &mut self.applied[kind as usize][usize::from(success)];
        *count = count.saturating_add(1);
    }

    /// Notes what one request did, given as reads, puts and deletes.
    pub(crate) fn note_operations(&mut self, operations: Operations) {
        let Operations { ranges, puts, put_bytes, deletes } = operations;
        self.ranges += ranges;
        self.puts += puts;
        self.put_bytes += put_bytes;
        self.deletes += deletes;
        self.txns += u64::from(ranges + puts + deletes > 1);
    }
}

/// What one request did to the key space.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Operations {
    pub(crate) ranges: u64,
    pub(crate) puts: u64,
    pub(crate) put_bytes: u64,
    pub(crate) deletes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_in_the_order_of_the_list() {
        for (number, kind) in RequestKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, number, "{kind:?}");
        }
    }

    #[test]
    fn a_request_that_did_one_thing_is_no_transaction() {
        let mut tally = Tally::default();
        let put = Operations { puts: 1, put_bytes: 7, ..Operations::default() };
        tally.note_operations(put);
        assert_eq!((tally.puts, tally.put_bytes, tally.txns), (1, 7, 0));
        tally.note_operations(Operations { ranges: 1, ..put });
        assert_eq!((tally.puts, tally.ranges, tally.txns), (2, 1, 1));
    }
}
