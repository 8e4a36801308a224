//! `migrate`: checks what etcdutl checks, then says that the files of a member have no schema that
//! could be migrated.

use quoin_cli::exit::Exit;
use quoin_cli::flags::Flag;

use super::require;
use crate::files::{check_exists, path_of};
use crate::{Invocation, version};

pub(super) const HELP: &str = "\
Accepted for scripts. The files of a member have the same form for all versions of etcd, so there is
nothing to migrate. `etcdutl export` makes a directory for an etcd of some version.
";

pub(super) static FLAGS: &[Flag] = &[
    Flag::text("data-dir", "directory of a member that is not running (required)"),
    Flag::text("target-version", "version of etcd to migrate to, as 3.6 (required)"),
    Flag::bool("force", "accepted and not used"),
];

/// The oldest version that can be asked for.
const OLDEST: (u64, u64) = (3, 5);

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    require(invocation, &["data-dir", "target-version"])?;
    version::read(&invocation.flags.text("target-version"), OLDEST)?;
    let data_dir = path_of(invocation.flags.text("data-dir").as_bytes());
    check_exists(invocation.fs.as_ref(), &data_dir).map_err(Exit::failure)?;
    let data_dir = data_dir.display();
    Err(Exit::failure(format!(
        "{data_dir} has no schema to migrate: its files are the same for all versions of etcd; \
         `etcdutl export` makes a directory for an etcd of some version"
    )))
}
