//! `backup`: a copy of a member that begins a cluster of its own, in the form that `etcdctl backup` had.
//!
//! ```text
//! <backup-dir>/member/snap/<term>-<index>.snap   the v2 store at the last snapshot, if there was one
//! <backup-dir>/member/snap/db                    the keys of the v3 API, or none
//! <backup-dir>/member/wal/                       a log of another member of another cluster
//! ```
//!
//! The source is what an etcd left or what a member of ours left; the copy is in etcd's form.
//!
//! Invariants:
//! - Nothing is written before the source has been read and found right, and the source is only read.
//! - Of the members of the source nothing is left: the copy knows one member, which is new.
//! - Indexes stay. What is left out of the log becomes an entry that does nothing, because the database
//!   counts on the index of every entry behind it.
//! - The log comes last and with one name, so a directory without it is no member's.

mod database;
mod entries;
mod members;
mod snap;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quoin_cli::exit::Exit;
use quoin_cli::flags::{Flag, Values};
use quoin_cli::text::quote;
use quoin_node::DataDir;
use quoin_store::SnapFile;
use quoin_vfs::FileSystem;
use quoin_wal::{Options, Wal, WalError};

use super::require;
use crate::files::{create_dir_durably, failed, parent_of, path_of};
use crate::{Invocation, log};
use database::Database;
use members::NewCluster;
use source::Contents;

pub(super) const HELP: &str = "\
Makes a directory from that of a member, on which a new cluster of one member begins.

The source may be the directory of an etcd, or of a member of this release that is stopped. Keys of the
v2 API are kept, those of the v3 API only with --with-v3; without it an etcd may go on running
meanwhile. The members of the old cluster are forgotten: start an etcd on the copy with
--force-new-cluster, and give the member its URL with `member update` before others are added.
";

pub(super) static FLAGS: &[Flag] = &[
    Flag::text("data-dir", "directory of the member (required)"),
    Flag::text("wal-dir", "directory of its log (below the data-dir if not given)"),
    Flag::text("backup-dir", "directory to make (required)"),
    Flag::text("backup-wal-dir", "directory of the new log (below the backup-dir if not given)"),
    Flag::bool("with-v3", "keep the keys of the v3 API"),
];

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    require(invocation, &["backup-dir", "data-dir"])?;
    let backup = Backup::read(&invocation.flags, NewCluster::random());
    backup.run(&invocation.fs).map_err(|message| Exit::line(log::plain_line(&message)))
}

/// What is to be copied, and to where.
struct Backup {
    source: DataDir,
    snap: PathBuf,
    wal: PathBuf,
    with_v3: bool,
    /// How long to wait for a database that is in use.
    timeout: Duration,
    cluster: NewCluster,
}

impl Backup {
    fn read(flags: &Values, cluster: NewCluster) -> Self {
        let path = |name| path_of(flags.text(name).as_bytes());
        let given = |name| Some(path(name)).filter(|path| !path.as_os_str().is_empty());
        let mut source = DataDir::new(&path("data-dir"));
        if let Some(wal) = given("wal-dir") {
            source = source.with_wal(&wal);
        }
        let member = path("backup-dir").join("member");
        let wal = given("backup-wal-dir").unwrap_or_else(|| member.join("wal"));
        let timeout = Duration::from_nanos(u64::try_from(flags.int("timeout")).unwrap_or(0));
        let with_v3 = flags.bool("with-v3");
        Self { source, snap: member.join("snap"), wal, with_v3, timeout, cluster }
    }

    fn run(&self, fs: &Arc<dyn FileSystem>) -> Result<(), String> {
        self.check_free(fs.as_ref())?;
        let contents = Contents::read(fs, &self.source, self)?;
        create_dir_durably(fs.as_ref(), &self.snap)?;
        if let Some(snap) = &contents.snap {
            let path = self.snap.join(SnapFile::name(snap.index, snap.term));
            write_file(fs.as_ref(), &path, [Ok(snap.encode())])?;
        }
        self.write_database(fs.as_ref(), &contents)?;
        sync_dir(fs.as_ref(), &self.snap)?;
        self.write_log(fs, &contents)
    }

    /// Fails in etcd's words if something is in the way.
    fn check_free(&self, fs: &dyn FileSystem) -> Result<(), String> {
        let exists = |path: &Path| fs.exists(path).map_err(|error| failed("stat", path, &error));
        if exists(&self.snap)? {
            let names = fs.list(&self.snap).map_err(|error| failed("open", &self.snap, &error))?;
            if !names.is_empty() {
                let names: Vec<String> = names.iter().map(|name| quote(name.as_bytes())).collect();
                let (path, names) = (self.snap.display(), names.join(" "));
                return Err(format!(
                    "failed creating backup snapshot dir {path}: expected \"{path}\" to be empty, got \
                     [{names}]"
                ));
            }
        }
        if exists(&self.wal)? { Err("file already exists".to_owned()) } else { Ok(()) }
    }

    fn write_database(&self, fs: &dyn FileSystem, contents: &Contents) -> Result<(), String> {
        let path = self.snap.join("db");
        match &contents.database {
            Database::Empty => {
                write_file(fs, &path, database::empty(contents.commit(), &self.cluster)?)
            }
            Database::File { path: source, .. } => {
                database::copy(fs, source, &self.cluster, |chunks| write_file(fs, &path, chunks))
            }
            Database::State(view) => {
                write_file(fs, &path, database::of_state(view, &self.cluster)?)
            }
        }
    }

    fn write_log(&self, fs: &Arc<dyn FileSystem>, contents: &Contents) -> Result<(), String> {
        let parent = parent_of(&self.wal);
        create_dir_durably(fs.as_ref(), &parent)?;
        let mut draft = self.wal.clone().into_os_string();
        draft.push(".unfinished");
        let draft = PathBuf::from(draft);
        let write = || -> Result<(), WalError> {
            let (metadata, options) = (self.cluster.metadata(), Options::default());
            let mut wal = Wal::create(Arc::clone(fs), &draft, &metadata, &options)?;
            if let Some(snap) = &contents.snap {
                wal.append_snapshot(&snap::meta(snap))?;
            }
            wal.append(Some(&contents.hard_state), &contents.entries)?;
            wal.sync()
        };
        write().map_err(|error| error.to_string())?;
        fs.rename(&draft, &self.wal).map_err(|error| failed("rename", &draft, &error))?;
        sync_dir(fs.as_ref(), &parent)
    }
}

fn write_file<B: AsRef<[u8]>>(
    fs: &dyn FileSystem,
    path: &Path,
    chunks: impl IntoIterator<Item = Result<B, String>>,
) -> Result<(), String> {
    let write = |error: io::Error| failed("write", path, &error);
    let file = fs.create(path).map_err(|error| failed("open", path, &error))?;
    let mut offset = 0;
    for chunk in chunks {
        let chunk = chunk?;
        file.write_at(chunk.as_ref(), offset).map_err(write)?;
        offset += chunk.as_ref().len() as u64;
    }
    file.sync_all().map_err(write)
}

fn sync_dir(fs: &dyn FileSystem, path: &Path) -> Result<(), String> {
    fs.sync_dir(path).map_err(|error| failed("sync", path, &error))
}
