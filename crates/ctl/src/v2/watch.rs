//! `watch` and `exec-watch`: what happens to keys, as it happens.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use quoin_client::v2::{Event, Node, Waiting};

use super::fail::{self, Code};
use super::keys::index;
use super::{Globals, Invocation, print};
use crate::exit::Exit;
use crate::flags::Argument;
use crate::output;

/// Ends well when the user presses CTRL+C, and otherwise as the work does.
pub(super) async fn until_interrupted(
    work: impl Future<Output = Result<(), Exit>>,
) -> Result<(), Exit> {
    tokio::select! {
        done = work => done,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

fn waiting(invocation: &Invocation) -> Waiting {
    let after = index(invocation, "after-index");
    // Nothing given means what comes next; the largest index wraps around to that.
    let index = if after > 0 { after.wrapping_add(1) } else { 0 };
    Waiting { index, recursive: invocation.flags.bool("recursive") }
}

pub(super) async fn watch(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let key = invocation.arguments.first().ok_or_else(|| fail::missing("key"))?;
    let mut waiting = waiting(invocation);
    until_interrupted(async {
        loop {
            let event = client.next_event(key, &mut waiting).await;
            let event = event.map_err(|error| fail::framed(Code::Server, &error))?;
            let Some(node) = event.node.as_ref().filter(|node| !node.dir) else {
                continue;
            };
            if waiting.recursive {
                output::print(&format!("[{}] {}\n", event.action, node.key))?;
            }
            print::show(&event, &globals.format)?;
            if !invocation.flags.bool("forever") {
                return Ok(());
            }
        }
    })
    .await
}

pub(super) async fn exec_watch(invocation: &Invocation) -> Result<(), Exit> {
    let globals = Globals::of(invocation);
    let mut client = globals.client().await?;
    let (key, program) = key_and_program(&invocation.arguments, invocation.dash)
        .ok_or_else(|| fail::missing("key and command to exec"))?;
    let mut waiting = waiting(invocation);
    until_interrupted(async {
        loop {
            let event = client.next_event(key, &mut waiting).await;
            let event = event.map_err(|error| fail::framed(Code::Server, &error))?;
            match &event.node {
                Some(node) if !node.dir => start(program, &event, node)?,
                Some(node) => output::complain(&format!("Ignored dir {} change\n", node.key)),
                None => {}
            }
        }
    })
    .await
}

/// The key and the words of the program. Without `--` the key is the last argument: that is where
/// etcd's tool has it when a flag stands before the key.
fn key_and_program(arguments: &[Argument], dash: Option<usize>) -> Option<(&[u8], &[Argument])> {
    let [first, .., last] = arguments else {
        return None;
    };
    match dash {
        Some(place @ 1..) => {
            let program = &arguments[place..];
            // Some builds of etcd's tool lose one `--`, and scripts made for them give two.
            let program = match program {
                [dashes, rest @ ..] if dashes == b"--" => rest,
                program => program,
            };
            (!program.is_empty()).then_some((first.as_slice(), program))
        }
        Some(0) | None => Some((last.as_slice(), &arguments[..arguments.len() - 1])),
    }
}

/// Starts the program with the event in its environment and lets it run: the next event does not
/// wait for it.
fn start(program: &[Argument], event: &Event, node: &Node) -> Result<(), Exit> {
    let (name, arguments) = program.split_first().expect("a program has a name");
    let mut command = Command::new(OsStr::from_bytes(name));
    command
        .args(arguments.iter().map(|argument| OsStr::from_bytes(argument)))
        .env_remove("ETCDCTL_API")
        .env("ETCD_WATCH_ACTION", &event.action)
        .env("ETCD_WATCH_MODIFIED_INDEX", node.modified_index.to_string())
        .env("ETCD_WATCH_KEY", &node.key)
        .env("ETCD_WATCH_VALUE", &node.value)
        .stdin(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            // The thread ends with the program; it only keeps it from staying a zombie.
            std::thread::spawn(move || child.wait());
            Ok(())
        }
        Err(error) => {
            let name = String::from_utf8_lossy(name);
            let text = match error.kind() {
                ErrorKind::NotFound if !name.contains('/') => {
                    format!("exec: {name:?}: executable file not found in $PATH")
                }
                _ => {
                    let reason = error.to_string();
                    let reason = reason.split(" (os error").next().unwrap_or_default();
                    format!("fork/exec {name}: {}", reason.to_lowercase())
                }
            };
            Err(fail::unended(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn split(line: &str, dash: Option<usize>, expected: Option<(&str, &str)>) {
        let words: Vec<Argument> =
            line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let found = key_and_program(&words, dash).map(|(key, program)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(key), text(&program.join(&b' ')))
        });
        let expected = expected.map(|(key, program)| (key.to_owned(), program.to_owned()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_key_stands_before_the_dashes_or_last() {
        split("/k sh -c x", Some(1), Some(("/k", "sh -c x")));
        split("/k -- sh", Some(1), Some(("/k", "sh")));
        split("sh -c x /k", None, Some(("/k", "sh -c x")));
        split("sh /k", Some(0), Some(("/k", "sh")));
        split("/k", Some(1), None);
        split("", None, None);
    }
}
