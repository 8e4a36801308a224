//! `migrate`: checks what etcdutl checks, then says that the files of a member have no schema that
//! could be migrated.

use quoin_cli::exit::Exit;
use quoin_cli::flags::Flag;
use quoin_cli::text::quote;

use super::require;
use crate::Invocation;
use crate::files::{check_exists, path_of};

pub(super) const HELP: &str = "\
Accepted for scripts. The files of a member have the same form for all versions of etcd, so there is
nothing to migrate. To go back to etcd, save a snapshot of the running member and restore it with
the etcdutl of the version to go to.
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
    let target = invocation.flags.text("target-version");
    let numbers: Vec<&str> = target.split('.').collect();
    let [major, minor] = numbers.as_slice() else {
        let target = quote(target.as_bytes());
        return Err(Exit::bad_arguments(format!(
            "wrong target version format, expected \"X.Y\", got {target}"
        )));
    };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
        let target = quote(target.as_bytes());
        return Err(Exit::bad_arguments(format!("failed to parse target version: {target}")));
    };
    if (major, minor) < OLDEST {
        let message = format!("target version \"{major}.{minor}\" not supported. Minimal \"3.5\"");
        return Err(Exit::bad_arguments(message));
    }
    let data_dir = path_of(invocation.flags.text("data-dir").as_bytes());
    check_exists(invocation.fs.as_ref(), &data_dir).map_err(Exit::failure)?;
    let data_dir = data_dir.display();
    Err(Exit::failure(format!(
        "{data_dir} has no schema to migrate: its files are the same for all versions of etcd; to \
         go back to etcd, save a snapshot and restore it with the etcdutl of that version"
    )))
}
