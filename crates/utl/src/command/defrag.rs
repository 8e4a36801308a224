//! `defrag`: accepted, because scripts call it; there is nothing to do.

use quoin_cli::exit::Exit;
use quoin_cli::text::log_string;

use super::require;
use crate::files::{check_exists, path_of};
use crate::{Invocation, log};

pub(super) const HELP: &str = "\
Accepted for scripts. The files of a member give unused space back while it runs, so there is nothing
to do; the command only looks whether the directory is that of a member.
";

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    require(invocation, &["data-dir"])?;
    let data_dir = invocation.flags.text("data-dir");
    let store = path_of(data_dir.as_bytes()).join("member").join("store");
    check_exists(invocation.fs.as_ref(), &store).map_err(|error| {
        Exit::failure(format!("Failed to defragment etcd data[{data_dir}] ({error})"))
    })?;
    let fields = [("path", log_string(&store.to_string_lossy()))];
    log::info("utl/defrag.rs", "there is nothing to defragment", &fields);
    Ok(())
}
