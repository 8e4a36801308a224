//! Restores in memory, read back as the server would.

use quoin_api::etcdserverpb::{DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest};
use quoin_cli::flags;
use quoin_store::{Checkpoint, DbExport, EntryData, Loaded};
use quoin_vfs::{MemFs, OpenMode};
use quoin_wal::Replay;
use sha2::{Digest, Sha256};

use super::*;

/// Where [`saved`] puts the snapshot.
pub(in crate::command) const SNAPSHOT: &str = "saved.db";

fn request(put: Option<&str>, delete: Option<&str>) -> InternalRaftRequest {
    let key = |key: &str| Bytes::from(key.to_owned());
    InternalRaftRequest {
        put: put.map(|k| PutRequest { key: key(k), value: key(k), ..PutRequest::default() }),
        delete_range: delete
            .map(|k| DeleteRangeRequest { key: key(k), ..DeleteRangeRequest::default() }),
        ..InternalRaftRequest::default()
    }
}

/// A file system with a snapshot of a server: the keys a and b, and a deleted one.
pub(in crate::command) fn saved() -> MemFs {
    let mut store = Store::new();
    let old = Member { id: 7, peer_urls: vec!["http://old:1".to_owned()], ..Member::default() };
    let change = addition(1, &old).data;
    store.apply(1, 5, EntryData::ConfChange(&change)).unwrap();
    let puts = ["a", "b", "c"].map(|key| request(Some(key), None));
    for (index, request) in (2..).zip(puts.into_iter().chain([request(None, Some("c"))])) {
        let entry = Bytes::from(request.encode_to_vec());
        store.apply(index, 5, EntryData::Normal(&entry)).unwrap().result.unwrap();
    }
    let view = store.view();
    let conf = view.conf();
    let bytes: Vec<Bytes> = DbExport::new(view, &conf).unwrap().collect::<Result<_, _>>().unwrap();
    let bytes = bytes.concat();
    let fs = MemFs::new();
    let file = fs.create(Path::new(SNAPSHOT)).unwrap();
    file.write_at(&[bytes.as_slice(), &Sha256::digest(&bytes)].concat(), 0).unwrap();
    fs
}

fn restore(fs: &MemFs, line: &str) -> Result<(), Exit> {
    let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
    let parsed = flags::parse(FLAGS.iter().collect(), words).unwrap();
    let restore = Restore::read(&parsed.flags, PathBuf::from(SNAPSHOT))?;
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    restore.run(&fs).map_err(Exit::failure)
}

fn read_back(fs: &MemFs, data_dir: &str, wal_dir: &str) -> (Loaded, Replay) {
    let fs: Arc<dyn FileSystem> = Arc::new(fs.clone());
    let store = Path::new(data_dir).join("member/store");
    let loaded = Checkpoint::load_newest(fs.as_ref(), &store).unwrap().unwrap();
    let voters = loaded.conf.voters.iter().copied().map(NodeId).collect();
    let meta = SnapshotMeta {
        index: Index(loaded.index),
        term: Term(loaded.term),
        conf: ConfState { voters, learners: Vec::new() },
    };
    let opened = Wal::open(fs, Path::new(wal_dir), Some(&meta), &Options::default());
    let (_, replay) = opened.unwrap();
    (loaded, replay)
}

const CLUSTER: &str = "--name m1 --initial-advertise-peer-urls http://h:1 \
                       --initial-cluster m1=http://h:1,m2=http://h:2";

#[test]
fn a_member_of_a_new_cluster_with_the_old_keys() {
    let fs = saved();
    restore(&fs, &format!("{CLUSTER} --data-dir d")).unwrap();
    let (loaded, replay) = read_back(&fs, "d", "d/member/wal");
    let (store, view) = (&loaded.store, loaded.store.view());
    assert_eq!((store.applied(), view.revision()), ((2, 1), 5));
    let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let keys: Vec<Bytes> = view.range(&all).unwrap().kvs.into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys, ["a", "b"]);
    let names: Vec<&str> =
        store.membership().members().map(|member| member.name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(store.membership().member(7).is_none() && !store.membership().is_removed(7));
    assert_eq!(loaded.conf.voters.len(), 2);
    assert_eq!(
        replay.metadata.node.0,
        quoin_store::member_id(&["http://h:1".to_owned()], "etcd-cluster", None)
    );
    assert_eq!((replay.hard_state.commit, replay.hard_state.term), (Index(2), Term(1)));
    assert!(replay.repaired.is_none());
    assert_eq!(replay.snapshots.last().map(|meta| meta.index), Some(Index(2)));
}

#[test]
fn all_members_get_the_same_state() {
    let fs = saved();
    restore(&fs, &format!("{CLUSTER} --data-dir one")).unwrap();
    let two =
        CLUSTER.replace("--name m1", "--name m2").replace("urls http://h:1", "urls http://h:2");
    restore(&fs, &format!("{two} --wal-dir log")).unwrap();
    let (one, one_log) = read_back(&fs, "one", "one/member/wal");
    let (two, two_log) = read_back(&fs, "m2.etcd", "log");
    assert_eq!(one.store.membership(), two.store.membership());
    assert_eq!((one.index, one.term, one.conf), (two.index, two.term, two.conf));
    assert_eq!(one_log.metadata.cluster, two_log.metadata.cluster);
    assert_ne!(one_log.metadata.node, two_log.metadata.node);
}

#[test]
fn the_revision_moves_on_and_older_ones_are_compacted() {
    let fs = saved();
    restore(&fs, "--data-dir d --bump-revision 1000 --mark-compacted").unwrap();
    let (loaded, _) = read_back(&fs, "d", "d/member/wal");
    let view = loaded.store.view();
    assert_eq!((view.revision(), view.compact_revision()), (1005, 1005));
    // The empty key stands at the new revision, as etcd's tool leaves it.
    assert_eq!(view.keys(), 3);
}

#[test]
fn one_of_the_two_flags_is_refused() {
    let message = "--mark-compacted required if --revision-bump > 0";
    for line in ["--bump-revision 5", "--mark-compacted"] {
        assert_eq!(restore(&saved(), line), Err(Exit::bad_arguments(message)));
    }
}

#[test]
fn what_is_there_is_not_overwritten() {
    let fs = saved();
    restore(&fs, "--data-dir d").unwrap();
    let error = "data-dir \"d\" not empty or could not be read";
    assert_eq!(restore(&fs, "--data-dir d"), Err(Exit::failure(error)));
    fs.create_dir_all(Path::new("log")).unwrap();
    let refused = restore(&fs, "--data-dir e --wal-dir log");
    assert_eq!(refused, Err(Exit::failure("wal-dir \"log\" exists")));
    assert!(!fs.exists(Path::new("e")).unwrap());
    fs.create_dir_all(Path::new("empty")).unwrap();
    restore(&fs, "--data-dir empty").unwrap();
}

#[test]
fn a_damaged_snapshot_leaves_nothing_behind() {
    let fs = saved();
    let file = fs.open(Path::new(SNAPSHOT), OpenMode::ReadWrite).unwrap();
    file.write_at(&[0xff], 5000).unwrap();
    let text = format!("{:?}", restore(&fs, "--data-dir d").unwrap_err());
    assert!(text.contains("expected sha256 [") && text.contains(SNAPSHOT), "{text}");
    file.set_len(file.len().unwrap() - 100).unwrap();
    let text = format!("{:?}", restore(&fs, "--data-dir d").unwrap_err());
    assert!(text.contains("missing hash") && text.contains(SNAPSHOT), "{text}");
    // Without the check the pages themselves give the damage away.
    let text = format!("{:?}", restore(&fs, "--data-dir d --skip-hash-check").unwrap_err());
    assert!(text.contains(SNAPSHOT), "{text}");
    assert!(!fs.exists(Path::new("d")).unwrap());
}

#[test]
fn a_database_without_a_checksum_needs_a_flag() {
    let fs = saved();
    let file = fs.open(Path::new(SNAPSHOT), OpenMode::ReadWrite).unwrap();
    file.set_len(file.len().unwrap() - 32).unwrap();
    assert!(restore(&fs, "--data-dir d").is_err());
    restore(&fs, "--data-dir d --skip-hash-check").unwrap();
}

/// What is restored must not be lost when the machine stops right after the tool has ended.
#[test]
fn a_restored_member_survives_a_power_cut() {
    let fs = saved();
    file_is_durable(&fs);
    restore(&fs, "--data-dir new/deep/d --wal-dir other/log").unwrap();
    let fs = fs.crash(quoin_vfs::CrashMode::KeepSynced);
    let (loaded, replay) = read_back(&fs, "new/deep/d", "other/log");
    assert_eq!((loaded.index, replay.hard_state.commit), (1, Index(1)));
}

fn file_is_durable(fs: &MemFs) {
    fs.open(Path::new(SNAPSHOT), OpenMode::ReadWrite).unwrap().sync_all().unwrap();
    fs.sync_dir(Path::new(".")).unwrap();
}
