//! The program `etcdutl`: works on the files of a member that is not running, and on snapshots.
//!
//! The outputs, the errors and the exit codes are those of etcdutl 3.7.1 where it has the command;
//! only the help is in words of our own, and a damaged file is named and refused, never mended.
//!
//! Not here: how a command line is read (the crate `quoin-cli`), what a database file holds
//! (`quoin-store`), and servers.

mod cluster;
mod command;
mod files;
mod log;
mod printer;
mod version;

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::sync::Arc;

use quoin_cli::exit::Exit;
use quoin_cli::flags::{self, Argument, Parsed, Values};
use quoin_cli::tree::{self, Found};
use quoin_cli::{output, usage};
use quoin_vfs::{FileSystem, OsFs};

use command::Command;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

/// A command as it was called.
struct Invocation {
    /// The command, behind the commands it belongs to.
    path: Vec<&'static Command>,
    flags: Values,
    arguments: Vec<Argument>,
    fs: Arc<dyn FileSystem>,
}

fn run(arguments: Vec<Argument>) -> Result<(), Exit> {
    let found = tree::find(&command::ROOT, arguments);
    let Found { path, rest } = found.map_err(|message| Exit::unknown("etcdutl", &message))?;
    let Parsed { flags, arguments, .. } = flags::parse(tree::flags_of(&path), rest)
        .map_err(|error| Exit::usage(&error, &usage::usage(&path)))?;
    if flags.bool("help") {
        return output::print(&usage::help(&path));
    }
    command::run(&Invocation { path, flags, arguments, fs: Arc::new(OsFs) })
}
