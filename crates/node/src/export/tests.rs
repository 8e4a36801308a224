//! What is written for etcd is read as an etcd's data-dir, by the code that takes those over.

use std::path::Path;
use std::sync::Arc;

use quoin_raft::{Entry, HardState, Index, NodeId};
use quoin_store::{Checkpoint, Store};
use quoin_vfs::FileSystem;

use super::{ExportDirError, Exported, export};
use crate::DataDir;
use crate::recover::tests::{TERM, check_same, dir, entries, fs, store_at, write_log};
use crate::recover::{RecoverError, Recovered, recover};

fn target() -> &'static Path {
    Path::new("/for-etcd")
}

fn export_at(fs: &Arc<dyn FileSystem>, version: Option<&str>) -> Result<Exported, ExportDirError> {
    let version = version.map(|version| version.parse().unwrap());
    export(fs, &dir(), target(), version)
}

/// Starts on what was written.
fn start(fs: &Arc<dyn FileSystem>) -> Result<Recovered<()>, RecoverError> {
    let options = crate::tests::options();
    let (dir, wal) = (DataDir::new(target()), quoin_wal::Options::default());
    let bootstrap =
        crate::recover::Bootstrap { metadata: quoin_wal::Metadata::default(), members: Vec::new() };
    recover(fs, &dir, &wal, options, &bootstrap)
}

fn write_checkpoint(fs: &dyn FileSystem, store: &mut Store) {
    store.checkpoint(store.view().conf()).write(fs, &dir().store()).unwrap();
}

fn log_behind(fs: &Arc<dyn FileSystem>) -> Vec<Entry> {
    let found = quoin_wal::snapshots(fs.as_ref(), &DataDir::new(target()).wal()).unwrap();
    let replay = quoin_wal::read(fs.as_ref(), &DataDir::new(target()).wal(), found.last()).unwrap();
    let state = HardState { term: TERM, vote: NodeId(1), commit: Index(18) };
    assert_eq!(replay.hard_state, state, "the vote is kept");
    replay.entries
}

/// Two members: what is behind the commit index may have been acknowledged and must stay.
#[test]
fn the_state_is_that_of_the_commit_index() {
    for checkpoint in [0, 10] {
        let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
        write_log(&fs, &entries, 18);
        if checkpoint > 0 {
            write_checkpoint(fs.as_ref(), &mut store_at(&entries, checkpoint));
        }
        let exported = export_at(&fs, None).unwrap();
        assert_eq!((exported.index, exported.term, exported.entries), (18, TERM.0, 5));
        assert_eq!(log_behind(&fs), entries[18..]);
        let expected = store_at(&entries, 18);
        let recovered = start(&fs).unwrap();
        assert_eq!(recovered.imported.map(|imported| imported.index), Some(18));
        check_same(&recovered.node.store().view(), &expected.view());
        assert_eq!(recovered.node.raft().conf().voters, [NodeId(1), NodeId(2)]);
        assert!(fs.list(&dir().snap()).unwrap().is_empty(), "our own directory is only read");
    }
}

/// What a lone voter has in its log is committed, whatever its last commit index says.
#[test]
fn a_lone_voter_has_nothing_that_is_not_committed() {
    let (fs, mut entries) = (fs(), entries(Some("3.7.0"), 20));
    entries.remove(1);
    for (index, entry) in (1..).zip(&mut entries) {
        entry.index = Index(index);
    }
    write_log(&fs, &entries, 3);
    let exported = export_at(&fs, None).unwrap();
    assert_eq!((exported.index, exported.entries), (22, 0));
}

#[test]
fn an_older_etcd_finds_its_own_version() {
    let (unsettled, mut entries) = (fs(), entries(Some("3.7.0"), 20));
    let mut raised = entries[2].clone();
    raised.index = Index(entries.len() as u64 + 1);
    entries.push(raised);
    write_log(&unsettled, &entries, 18);
    let refused = export_at(&unsettled, Some("3.4.0")).unwrap_err();
    assert!(matches!(refused, ExportDirError::Unsettled { entries: 1 }), "{refused}");
    // The others are puts, which every etcd knows.
    entries.pop();
    let fs = fs();
    write_log(&fs, &entries, 18);
    let exported = export_at(&fs, Some("3.4.0")).unwrap();
    assert_eq!(exported.version.unwrap().to_string(), "3.4.0");
    assert_eq!((exported.entries, log_behind(&fs)), (5, entries[18..].to_vec()));
    let recovered = start(&fs).unwrap();
    let version = recovered.node.store().membership().version();
    assert_eq!(version, exported.version);
}

#[test]
fn what_is_in_the_way_is_named() {
    let (fs, entries) = (fs(), entries(Some("3.7.0"), 20));
    let refused = export_at(&fs, None).unwrap_err();
    assert!(matches!(refused, ExportDirError::Empty { .. }), "{refused}");
    write_log(&fs, &entries, 20);
    let lock = fs.lock(&dir().wal()).unwrap();
    let refused = export_at(&fs, None).unwrap_err();
    assert!(matches!(refused, ExportDirError::InUse { .. }), "{refused}");
    drop(lock);
    export_at(&fs, None).unwrap();
    let refused = export_at(&fs, None).unwrap_err();
    assert!(matches!(refused, ExportDirError::Exists { .. }), "{refused}");
    assert_eq!(Checkpoint::list(fs.as_ref(), &dir().store()).unwrap(), []);
}
