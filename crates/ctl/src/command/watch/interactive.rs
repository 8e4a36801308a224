//! `watch --interactive`: commands from standard input, one a line.
//!
//! All watches share one stream, so that `progress` reaches all of them.

use std::io::BufRead;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::line::{self, Line, Variables};
use super::{FLAGS, follow};
use crate::exit::Exit;
use crate::flags::{self, Argument, Parsed};
use crate::globals::Globals;
use crate::{output, txn};

/// How many lines are read ahead.
const LINES_WAITING: usize = 1;

pub(super) async fn run(globals: &Globals, variables: &Variables) -> Result<(), Exit> {
    let watcher = globals.client()?.watcher();
    let mut lines = lines();
    let mut watches: JoinSet<Result<(), Exit>> = JoinSet::new();
    loop {
        let line = tokio::select! {
            line = lines.recv() => line.unwrap_or_else(|| Err("EOF".to_owned())),
            Some(ended) = watches.join_next() => {
                ended.map_err(Exit::failure)??;
                continue;
            }
        };
        let line = line.map_err(|error| {
            Exit::invalid_input(format!("error reading watch request line: {error}"))
        })?;
        let words = txn::words(&line).ok_or_else(|| Exit::invalid_input("invalid syntax"))?;
        let refuse = |colon: &str, reason: &str| {
            let line = String::from_utf8_lossy(&line);
            output::complain(&format!("Invalid command{colon} {line} ({reason})\n"));
        };
        match words.split_first() {
            None => refuse(":", "watch and progress supported"),
            Some((name, _)) if name == b"progress" => watcher.request_progress().await,
            Some((name, rest)) if name == b"watch" => {
                if rest.is_empty() && variables.key.is_empty() {
                    refuse("", "command type or key is not provided");
                    continue;
                }
                let (line, flags) = read(rest.to_vec(), variables)?;
                match line::request(&line.keys, &flags) {
                    Ok(request) => {
                        let (mut watch, printer) = (watcher.watch(request).await, globals.printer);
                        watches
                            .spawn(async move { follow(&mut watch, printer, &line.program).await });
                    }
                    Err(reason) => refuse("", &reason),
                }
            }
            Some(_) => refuse("", "only support watch"),
        }
    }
}

/// Reads the words behind `watch`; what is wrong with them ends the program.
fn read(words: Vec<Argument>, variables: &Variables) -> Result<(Line, flags::Values), Exit> {
    let Parsed { flags, arguments, dash } =
        flags::parse(FLAGS.iter().collect(), words).map_err(Exit::bad_arguments)?;
    let line = line::read(arguments, dash, variables).map_err(Exit::bad_arguments)?;
    Ok((line, flags))
}

/// Reads standard input in a thread of its own, because reading it blocks. A line that the end
/// of the input cuts off does not count.
fn lines() -> mpsc::Receiver<Result<Vec<u8>, String>> {
    let (sender, receiver) = mpsc::channel(LINES_WAITING);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line).map_err(|error| error.to_string());
            let item = match read {
                Ok(_) if line.pop_if(|&mut last| last == b'\n').is_some() => Ok(line),
                Ok(_) => Err("EOF".to_owned()),
                Err(error) => Err(error),
            };
            let ended = item.is_err();
            if sender.blocking_send(item).is_err() || ended {
                return;
            }
        }
    });
    receiver
}
