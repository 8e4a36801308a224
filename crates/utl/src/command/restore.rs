//! `snapshot restore`: the directory of a new member from a snapshot.
//!
//! ```text
//! <data-dir>/member/store/  a checkpoint: the keys of the snapshot, the members of the new cluster
//! <data-dir>/member/wal/    a log of as many entries as there are members, each of which adds one
//! ```
//!
//! Invariants:
//! - Nothing is written before the whole snapshot has been read and found right.
//! - The members of one new cluster get the same log and the same state, whoever restores them:
//!   index, term and entries are those of etcdutl.
//! - The log comes last and with one name, so a directory without it is no member's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::raftpb;
use quoin_cli::exit::Exit;
use quoin_cli::flags::{Flag, Values};
use quoin_cli::text::{log_string, quote};
use quoin_raft::{ConfState, Entry, EntryKind, HardState, Index, NodeId, SnapshotMeta, Term};
use quoin_store::{DbImport, Member, Store};
use quoin_vfs::FileSystem;
use quoin_wal::{Metadata, Options, Wal};

use crate::cluster::Cluster;
use crate::files::{Checksum, check_sum, create_dir_durably, failed, parent_of, path_of};
use crate::{Invocation, log};

pub(super) const HELP: &str = "\
Makes the directory of a new member from a snapshot.

Every member of the new cluster is restored from the same file, with the same --initial-cluster and
--initial-cluster-token and with a --name of its own. The members of the old cluster are forgotten.
The file must match the checksum that stands behind it; a database file that was copied from a
member has none and needs --skip-hash-check.

Clients that have seen revisions which the snapshot does not have are told apart from others by
--bump-revision and --mark-compacted: revisions go on behind all that they can have seen, and older
ones count as compacted.
";

pub(super) static FLAGS: &[Flag] = &[
    Flag::text("data-dir", "directory to make (<name>.etcd if not given)"),
    Flag::text("wal-dir", "directory of the log (below the data-dir if not given)"),
    Flag::text("initial-cluster", "members of the new cluster, as name=url,name=url")
        .or("default=http://localhost:2380"),
    Flag::text("initial-cluster-token", "text that makes the new cluster unlike others")
        .or("etcd-cluster"),
    Flag::text("initial-advertise-peer-urls", "where the others reach this member")
        .or("http://localhost:2380"),
    Flag::text("name", "name of this member").or("default"),
    Flag::bool("skip-hash-check", "take a file without a checksum, or with a wrong one"),
    Flag::int("initial-memory-map-size", "accepted and not used"),
    Flag::int("bump-revision", "how far to move the newest revision"),
    Flag::bool("mark-compacted", "compact all before the moved revision (goes with the move)"),
];

const CALLER: &str = "utl/restore.rs";
/// All entries of a new log are of this term.
const FIRST_TERM: Term = Term(1);

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    let [snapshot] = invocation.arguments.as_slice() else {
        return Err(Exit::bad_arguments("snapshot restore requires exactly one argument"));
    };
    let restore = Restore::read(&invocation.flags, path_of(snapshot))?;
    restore.run(&invocation.fs).map_err(Exit::failure)
}

/// What is to be restored, and where.
struct Restore {
    snapshot: PathBuf,
    data_dir: PathBuf,
    wal_dir: PathBuf,
    cluster: Cluster,
    skip_hash_check: bool,
    /// How far the revision moves; 0 for not at all.
    bump: i64,
}

impl Restore {
    fn read(flags: &Values, snapshot: PathBuf) -> Result<Self, Exit> {
        let bump = flags.int("bump-revision");
        if bump < 0 {
            return Err(Exit::bad_arguments("--bump-revision must not be negative"));
        }
        if flags.bool("mark-compacted") != (bump > 0) {
            let message = "--mark-compacted required if --revision-bump > 0";
            return Err(Exit::bad_arguments(message));
        }
        let name = flags.text("name");
        let data_dir = match flags.text("data-dir") {
            none if none.is_empty() => PathBuf::from(format!("{name}.etcd")),
            data_dir => PathBuf::from(data_dir),
        };
        let wal_dir = match flags.text("wal-dir") {
            none if none.is_empty() => data_dir.join("member").join("wal"),
            wal_dir => PathBuf::from(wal_dir),
        };
        let cluster = Cluster::read(
            &flags.text("initial-cluster"),
            &flags.text("initial-cluster-token"),
            &name,
            &flags.text("initial-advertise-peer-urls"),
        );
        let (cluster, skip_hash_check) =
            (cluster.map_err(Exit::failure)?, flags.bool("skip-hash-check"));
        Ok(Self { snapshot, data_dir, wal_dir, cluster, skip_hash_check, bump })
    }

    fn run(&self, fs: &Arc<dyn FileSystem>) -> Result<(), String> {
        self.check_free(fs.as_ref())?;
        self.log("restoring snapshot");
        let mut store = self.load(fs.as_ref())?.refound(self.cluster.members.clone());
        if self.bump > 0 {
            let moved = store.skip_revisions(self.bump);
            let revision = moved
                .map_err(|_| format!("--bump-revision {}: there is no such revision", self.bump))?;
            let fields = [("revision", revision.to_string())];
            log::info(CALLER, "moved the revision and compacted all before", &fields);
        }
        self.write_store(fs.as_ref(), &mut store)?;
        self.write_log(fs)?;
        self.log("restored snapshot");
        Ok(())
    }

    fn check_free(&self, fs: &dyn FileSystem) -> Result<(), String> {
        let quoted = |path: &Path| quote(path.to_string_lossy().as_bytes());
        let exists = |path: &Path| fs.exists(path).map_err(|error| failed("stat", path, &error));
        let (data_dir, wal_dir) = (&self.data_dir, &self.wal_dir);
        if exists(data_dir)? && !fs.list(data_dir).is_ok_and(|names| names.is_empty()) {
            return Err(format!("data-dir {} not empty or could not be read", quoted(data_dir)));
        }
        if exists(wal_dir)? {
            return Err(format!("wal-dir {} exists", quoted(wal_dir)));
        }
        Ok(())
    }

    /// Reads the snapshot.
    fn load(&self, fs: &dyn FileSystem) -> Result<Store, String> {
        let sum = check_sum(fs, &self.snapshot);
        match sum {
            Ok(Checksum::Right) => {}
            _ if self.skip_hash_check => {}
            Ok(Checksum::Missing) => {
                let path = self.snapshot.display();
                return Err(format!(
                    "snapshot missing hash but --skip-hash-check=false: {path} is cut off or was \
                     not saved by a server"
                ));
            }
            Err(error) => return Err(error),
        }
        let import = DbImport::read(fs, &self.snapshot).map_err(|error| error.to_string())?;
        // Index, term and members of the old cluster do not matter, so any will do.
        let membership = import.membership().clone();
        Ok(import.into_loaded_with_members(FIRST_TERM.0, membership).store)
    }

    fn write_store(&self, fs: &dyn FileSystem, store: &mut Store) -> Result<(), String> {
        let dir = self.data_dir.join("member").join("store");
        create_dir_durably(fs, &dir)?;
        let conf = quoin_store::ConfState { voters: self.voters(), learners: Vec::new() };
        let written = store.checkpoint(conf).write(fs, &dir);
        written.map(drop).map_err(|error| error.to_string())
    }

    fn write_log(&self, fs: &Arc<dyn FileSystem>) -> Result<(), String> {
        let Cluster { id, local, members } = &self.cluster;
        for member in members {
            let fields = [
                ("cluster-id", format!("\"{id:x}\"")),
                ("local-member-id", format!("\"{local:x}\"")),
                ("added-peer-id", format!("\"{:x}\"", member.id)),
                ("added-peer-peer-urls", log_string(&member.peer_urls.join(","))),
            ];
            log::info(CALLER, "added member", &fields);
        }
        create_dir_durably(fs.as_ref(), &parent_of(&self.wal_dir))?;
        let metadata = Metadata { node: NodeId(*local), cluster: *id };
        let entries: Vec<Entry> =
            (1..).zip(members).map(|(index, member)| addition(index, member)).collect();
        let commit = Index(entries.len() as u64);
        let voters = self.voters().into_iter().map(NodeId).collect();
        let conf = ConfState { voters, learners: Vec::new() };
        let meta = SnapshotMeta { index: commit, term: FIRST_TERM, conf };
        let state = HardState { term: FIRST_TERM, vote: NodeId::NONE, commit };
        let write = || {
            let options = Options::default();
            let mut wal = Wal::create(Arc::clone(fs), &self.wal_dir, &metadata, &options)?;
            wal.append(None, &entries)?;
            wal.append_snapshot(&meta)?;
            wal.append(Some(&state), &[])?;
            wal.sync()
        };
        write().map_err(|error| error.to_string())
    }

    fn voters(&self) -> Vec<u64> {
        self.cluster.members.iter().map(|member| member.id).collect()
    }

    fn log(&self, message: &str) {
        let shown = |path: &Path| log_string(&path.to_string_lossy());
        let fields = [
            ("path", shown(&self.snapshot)),
            ("wal-dir", shown(&self.wal_dir)),
            ("data-dir", shown(&self.data_dir)),
        ];
        log::info(CALLER, message, &fields);
    }
}

/// The entry that adds a member.
fn addition(index: u64, member: &Member) -> Entry {
    let change = raftpb::ConfChange {
        r#type: raftpb::ConfChangeType::ConfChangeAddNode.into(),
        node_id: member.id,
        context: Bytes::from(member.to_json(None)),
        id: 0,
    };
    Entry {
        kind: EntryKind::ConfChange,
        term: FIRST_TERM,
        index: Index(index),
        data: Bytes::from(change.encode_to_vec()),
    }
}

#[cfg(test)]
pub(super) mod tests;
