//! `watch`: shows changes of keys as they happen, and runs a program for each if asked to.
//!
//! Not here: what the words of the line mean (see `line`), and lines from standard input (see
//! `interactive`).

mod interactive;
mod line;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use quoin_api::etcdserverpb as pb;
use quoin_api::mvccpb::Event;
use quoin_client::{Watch, WatchUpdate};

use crate::exit::Exit;
use crate::flags::{Argument, Flag};
use crate::globals::Globals;
use crate::printer::{Printer, event_name};
use crate::text::quote;
use crate::{Invocation, output};

use line::{Line, Variables};

pub(crate) static FLAGS: &[Flag] = &[
    Flag::bool("interactive", "read what to watch from standard input").letter('i'),
    Flag::bool("prefix", "watch all keys that begin with the key"),
    Flag::int("rev", "first revision to show (0 means what comes next)"),
    Flag::bool("prev-kv", "show what the key held before"),
    Flag::bool("progress-notify", "let the server tell from time to time how far the watch is"),
];

pub(crate) const HELP: &str = "\
Shows changes of keys as they happen.

A program behind '--' is run for each change, one after the other. It finds the change in the
variables ETCD_WATCH_REVISION, ETCD_WATCH_EVENT_TYPE, ETCD_WATCH_KEY and ETCD_WATCH_VALUE.

Key and end of the range may be given as ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END instead.

With --interactive the lines of standard input are commands, of which any number may run:

watch [options] <key> [range_end] [-- program]
progress
";

pub(super) async fn run(invocation: &Invocation) -> Result<(), Exit> {
    let variables = Variables::read()?;
    if invocation.flags.bool("interactive") {
        return interactive::run(&Globals::read(invocation)?, &variables).await;
    }
    let (arguments, dash) = (invocation.arguments.clone(), invocation.dash);
    let Line { keys, program } =
        line::read(arguments, dash, &variables).map_err(Exit::bad_arguments)?;
    let globals = Globals::read(invocation)?;
    let client = globals.client()?;
    let request = line::request(&keys, &invocation.flags).map_err(Exit::bad_arguments)?;
    let mut watch = client.watcher().watch(request).await;
    follow(&mut watch, globals.printer, &program).await?;
    Err(Exit::interrupted("watch is canceled by the server"))
}

/// Shows what happens until the watch ends.
async fn follow(watch: &mut Watch, printer: Printer, program: &[Argument]) -> Result<(), Exit> {
    while let Some(WatchUpdate { response, error }) = watch.next().await {
        if let Some(error) = error {
            output::complain(&format!("watch was canceled ({error})\n"));
        } else if response.events.is_empty() {
            let revision = response.header.map_or(0, |header| header.revision);
            output::print(&format!("progress notify: {revision}\n"))?;
        }
        output::with(|output| printer.watch(output, &response))?;
        if !program.is_empty() {
            run_for_each(&response, program).await?;
        }
    }
    Ok(())
}

async fn run_for_each(response: &pb::WatchResponse, program: &[Argument]) -> Result<(), Exit> {
    let revision = response.header.map_or(0, |header| header.revision);
    for event in &response.events {
        let mut command = command(program, revision, event);
        // The runtime keeps the connection alive meanwhile.
        let status = tokio::task::spawn_blocking(move || command.status()).await;
        let failure = match status.map_err(Exit::failure)? {
            Ok(status) if status.success() => continue,
            Ok(status) => ending(status),
            Err(error) => not_started(&program[0], &error),
        };
        let words: Vec<String> = program.iter().map(|word| quote(word)).collect();
        let words = words.join(" ");
        return Err(Exit::line(format!("command [{words}] error ({failure})\n")));
    }
    Ok(())
}

fn command(program: &[Argument], revision: i64, event: &Event) -> Command {
    let words: Vec<&OsStr> = program.iter().map(|word| OsStr::from_bytes(word)).collect();
    let (key, value) =
        event.kv.as_ref().map_or((&b""[..], &b""[..]), |pair| (&pair.key, &pair.value));
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.env("ETCD_WATCH_REVISION", revision.to_string());
    command.env("ETCD_WATCH_EVENT_TYPE", quote(event_name(event).as_bytes()));
    command.env("ETCD_WATCH_KEY", quote(key));
    command.env("ETCD_WATCH_VALUE", quote(value));
    command
}

/// How a program ended, in the words of Go.
fn ending(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exit status {}", status.code().unwrap_or(0));
    };
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        6 => "aborted",
        9 => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        other => return format!("signal: signal {other}"),
    };
    format!("signal: {name}")
}

fn not_started(program: &[u8], error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound && !program.contains(&b'/') {
        return format!("exec: {}: executable file not found in $PATH", quote(program));
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text).to_lowercase();
    format!("fork/exec {}: {text}", String::from_utf8_lossy(program))
}
