//! The program `etcdctl`: one command against a running cluster.
//!
//! Scripts read what it prints and test how it ends, so the outputs, the errors on standard error
//! and the exit codes are those of etcdctl 3.7.1; only the help is in words of our own.
//!
//! With `ETCDCTL_API=2`, and for commands that only the v2 API has, it is the tool of that API (see
//! `v2`).
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
mod v2;

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::ExitCode;

use quoin_cli::{classic, exit, flags, number, output, program, table, text, tree, usage};

use quoin_client::Error;

use command::Invocation;
use exit::Exit;
use flags::Argument;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(OsStringExt::into_vec).collect();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
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
    let version = std::env::var_os("ETCDCTL_API").unwrap_or_default();
    match version.as_bytes() {
        b"2" => return v2::run(arguments),
        b"" if v2::is_meant(&arguments) => return v2::run(arguments),
        b"" | b"3" => {}
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(Exit::line(format!("unsupported API version {other}\n")));
        }
    }
    match Invocation::read(&command::ROOT, arguments)? {
        Some(invocation) => command::run(&invocation),
        None => Ok(()),
    }
}
