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
use quoin_cli::flags::{Argument, Values};
use quoin_cli::program;
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
    let Some(called) = program::Invocation::read(&command::ROOT, arguments)? else {
        return Ok(());
    };
    let program::Invocation { path, flags, arguments, dash: _ } = called;
    command::run(&Invocation { path, flags, arguments, fs: Arc::new(OsFs) })
}
