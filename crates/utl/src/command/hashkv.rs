//! `hashkv`: the hash of the history in a database file, which is not changed.

use quoin_cli::exit::Exit;
use quoin_cli::usage;
use quoin_store::DbImport;

use crate::Invocation;
use crate::files::{check_exists, path_of};
use crate::printer::{self, Format, Hash};

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    let [path] = invocation.arguments.as_slice() else {
        let message = format!("accepts 1 arg(s), received {}", invocation.arguments.len());
        return Err(Exit::usage(&message, &usage::usage(&invocation.path)));
    };
    let format = Format::read(&invocation.flags)?;
    let (fs, path) = (invocation.fs.as_ref(), path_of(path));
    check_exists(fs, &path).map_err(Exit::failure)?;
    let import = DbImport::read(fs, &path).map_err(Exit::failure)?;
    let membership = import.membership().clone();
    let view = import.into_loaded_with_members(0, membership).store.view();
    let hash = view.hash_kv(invocation.flags.int("rev")).map_err(|error| {
        let message = error.message();
        Exit::failure(message.strip_prefix("etcdserver: ").unwrap_or(message))
    })?;
    let hash = Hash {
        hash: hash.hash,
        revision: hash.hash_revision,
        compact_revision: hash.compact_revision,
    };
    printer::hash(format, &hash)
}
