//! `export`: a data directory for etcd from that of a member of ours that is stopped.
//!
//! The work is in `quoin_node::export`, because it reads a member as recovery does: checkpoint,
//! then the log behind it.

use quoin_cli::exit::Exit;
use quoin_cli::flags::Flag;
use quoin_cli::output;
use quoin_node::DataDir;
use quoin_node::export::{Exported, export};
use quoin_store::ClusterVersion;

use super::require;
use crate::Invocation;
use crate::files::{check_exists, create_dir_durably, path_of};
use crate::version;

pub(super) const HELP: &str = "\
Makes a data directory for etcd from that of a member that is stopped.

etcd starts on it with the same flags, as the same member of the same cluster, with every key and
every vote. The directory of the member is only read. Start one of the two afterwards, never both.

An etcd refuses a cluster version above its own: --target-version lowers it, for all members alike.
";

pub(super) static FLAGS: &[Flag] = &[
    Flag::text("data-dir", "directory of a member that is not running (required)"),
    Flag::text("wal-dir", "directory of its log (below the data-dir if not given)"),
    Flag::text("output-dir", "data directory to make for etcd (required)"),
    Flag::text("target-version", "version of the etcd that will start on it, as 3.6"),
];

/// The first etcd that does not start where there is something of the v2 API.
const WITHOUT_V2: (u64, u64) = (3, 6);
const NO_V2: &str = "Warning: the directory has keys, users or roles of the v2 API. etcd 3.6 and later refuse \
                     to start on it; give --target-version=3.5 or 3.4 for an etcd of that version.\n";

/// The oldest etcd that starts on an exported directory.
const OLDEST: (u64, u64) = (3, 4);

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    require(invocation, &["data-dir", "output-dir"])?;
    let flags = &invocation.flags;
    let version = match flags.text("target-version") {
        none if none.is_empty() => None,
        text => {
            let (major, minor) = version::read(&text, OLDEST)?;
            Some(ClusterVersion { major, minor, patch: 0 })
        }
    };
    let data_dir = path_of(flags.text("data-dir").as_bytes());
    check_exists(invocation.fs.as_ref(), &data_dir).map_err(Exit::failure)?;
    let mut source = DataDir::new(&data_dir);
    let wal_dir = flags.text("wal-dir");
    if !wal_dir.is_empty() {
        source = source.with_wal(&path_of(wal_dir.as_bytes()));
    }
    let target = path_of(flags.text("output-dir").as_bytes());
    create_dir_durably(invocation.fs.as_ref(), &target).map_err(Exit::failure)?;
    let exported = export(&invocation.fs, &source, &target, version).map_err(Exit::failure)?;
    let Exported { metadata, index, revision, version, is_v2_used, .. } = exported;
    if is_v2_used && version.is_none_or(|version| (version.major, version.minor) >= WITHOUT_V2) {
        output::complain(NO_V2);
    }
    let version = version.map_or("none".to_owned(), |version| version.to_string());
    output::print(&format!(
        "Member {:x} of cluster {:x} exported to {}: index {index}, revision {revision}, cluster \
         version {version}\n",
        metadata.node.0,
        metadata.cluster,
        target.display()
    ))
}
