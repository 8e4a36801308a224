//! The program `etcdctl`: one command against a running cluster.
//!
//! Scripts read what it prints and test how it ends, so the outputs, the errors on standard error
//! and the exit codes are those of etcdctl 3.7.1; only the help is in words of our own.
//!
//! The way of a command: `globals` turns the flags of every command into a client, `command` does
//! the work, `printer` shows the answer.
//!
//! Not here: how a command line is read (the crate `quoin-cli`), how servers are reached and calls
//! repeated (`quoin-client`).

mod command;
mod globals;
mod log;
mod printer;
mod txn;

use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use quoin_cli::{exit, flags, number, output, table, text, tree, usage};

use quoin_client::Error;

use command::Command;
use exit::Exit;
use flags::{Argument, Parsed, Values};
use tree::Found;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

/// A command as it was called.
#[derive(Debug)]
struct Invocation {
    /// The command, behind the commands it belongs to.
    path: Vec<&'static Command>,
    flags: Values,
    arguments: Vec<Argument>,
    /// How many arguments stand before `--`; none if it is not there.
    dash: Option<usize>,
}

/// How the program ends when a call fails.
fn refused(error: Error) -> Exit {
    match error {
        Error::Server(_)
        | Error::Status { .. }
        | Error::Deadline { .. }
        | Error::ChecksumMissing { .. }
        | Error::ChecksumMismatch => Exit::failure(error),
        Error::NoEndpoints | Error::TlsEndpoint(_) | Error::Limits { .. } => {
            Exit::bad_connection(error)
        }
    }
}

fn run(arguments: Vec<Argument>) -> Result<(), Exit> {
    if std::env::var_os("ETCDCTL_API").is_some_and(|version| version == "2") {
        let message = "ETCDCTL_API=2: the v2 API is not supported by this etcdctl";
        return Err(Exit::bad_arguments(message));
    }
    let Found { path, rest } = tree::find(&command::ROOT, arguments)
        .map_err(|message| Exit::unknown("etcdctl", &message))?;
    command::check_built(&path)?;
    let Parsed { flags, arguments, dash } = flags::parse(tree::flags_of(&path), rest)
        .map_err(|error| Exit::usage(&error, &usage::usage(&path)))?;
    if flags.bool("help") {
        return output::print(&usage::help(&path));
    }
    command::run(&Invocation { path, flags, arguments, dash })
}
