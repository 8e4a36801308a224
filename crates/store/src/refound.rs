//! The same keys as the beginning of another cluster, for the offline tool.
//!
//! Not here: which members the new cluster has, and its log.

use bytes::Bytes;
use quoin_api::error::Error;

use crate::index::Change;
use crate::membership::Member;
use crate::revision::Revision;
use crate::store::Store;

/// Records of garbage that are looked at in one step.
const COLLECT_STEP: usize = 4096;

impl Store {
    /// Gives the store to a new cluster: its state is that after one entry for each member, all
    /// of term 1. Keys, leases, alarms and what the cluster agreed on stay; members and those that
    /// were removed do not.
    #[must_use]
    pub fn refound(mut self, members: Vec<Member>) -> Self {
        self.applied = (members.len() as u64, 1);
        self.cluster.refound(members);
        self
    }

    /// Moves the revision `count` further and compacts all before it, so that clients which saw
    /// revisions that are lost now find out. Returns the new revision. It gets an empty record, the
    /// one of the empty key, which no request can ask for: so does that of etcd's tool, and all
    /// members of the new cluster must have the same hash, whichever tool restored them.
    ///
    /// # Errors
    /// If there is no such revision.
    pub fn skip_revisions(&mut self, count: i64) -> Result<i64, Error> {
        let revision = self.kv.revision.checked_add(count).filter(|_| count > 0);
        let revision = revision.ok_or(Error::FutureRevision)?;
        self.kv.revision = revision;
        let main = Revision::first_of(revision);
        // As etcd reads its row back: a put of a key that was never created.
        self.kv.index.upsert(b"", |state| {
            state.restore(Change { revision: main, tombstone: false }, 0, 0, 0)
        });
        self.kv.history.append(main, false, Bytes::new());
        self.kv.compact(revision)?;
        while self.collect(COLLECT_STEP) {}
        Ok(revision)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use prost::Message as _;
    use quoin_api::etcdserverpb::{InternalRaftRequest, PutRequest};
    use quoin_vfs::{FileSystem, MemFs};

    use super::*;
    use crate::{Checkpoint, DbExport, DbImport, EntryData};

    fn store() -> Store {
        let mut store = Store::new();
        for index in 1..=4 {
            let (key, value) = ("k".into(), "v".into());
            let put = Some(PutRequest { key, value, ..PutRequest::default() });
            let request = InternalRaftRequest { put, ..InternalRaftRequest::default() };
            let entry = Bytes::from(request.encode_to_vec());
            store.apply(index, 7, EntryData::Normal(&entry)).unwrap();
        }
        store
    }

    fn member(id: u64) -> Member {
        Member { id, peer_urls: vec![format!("http://h:{id}")], ..Member::default() }
    }

    #[test]
    fn keys_stay_and_members_are_new() {
        let store = store().refound(vec![member(1), member(2)]);
        assert_eq!(store.applied(), (2, 1));
        assert_eq!(store.membership().members().count(), 2);
        assert_eq!((store.view().revision(), store.view().keys()), (5, 1));
    }

    #[test]
    fn moved_revisions_survive_both_kinds_of_files() {
        let mut store = store().refound(vec![member(1)]);
        assert_eq!(store.skip_revisions(1000), Ok(1005));
        assert_eq!(store.skip_revisions(0), Err(Error::FutureRevision));
        assert_eq!(store.skip_revisions(i64::MAX), Err(Error::FutureRevision));
        let view = store.view();
        assert_eq!((view.revision(), view.compact_revision()), (1005, 1005));
        let expected = view.hash_kv(0).unwrap();

        let fs = MemFs::new();
        let dir = Path::new("d");
        fs.create_dir_all(dir).unwrap();
        store.checkpoint(view.conf()).write(&fs, dir).unwrap();
        let loaded = Checkpoint::load_newest(&fs, dir).unwrap().unwrap();
        assert_eq!(loaded.store.view().hash_kv(0), Ok(expected));

        let conf = view.conf();
        let chunks: Vec<Bytes> = DbExport::new(view, &conf).unwrap().map(Result::unwrap).collect();
        let path = Path::new("db");
        fs.create(path).unwrap().write_at(&chunks.concat(), 0).unwrap();
        let import = DbImport::read(&fs, path).unwrap();
        let membership = import.membership().clone();
        let loaded = import.into_loaded_with_members(1, membership);
        assert_eq!(loaded.store.view().hash_kv(0), Ok(expected));
    }
}
