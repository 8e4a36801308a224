//! Passwords from the terminal, without echo.
//!
//! Invariants:
//! - The terminal shows what is typed again when this is over, also when CTRL+C ends it.
//!
//! Not here: where a password goes.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::fail;
use crate::exit::Exit;
use crate::output;

/// What a program ends with that was interrupted at its prompt, as etcd's tool does.
const INTERRUPTED: u8 = 255;
/// Longest password that is read, in bytes; what follows is not read.
const MAX_PASSWORD_BYTES: usize = 64 * 1024;

/// Splits `user:password`; a password that is not there is asked for.
pub(super) async fn credentials(prompt: &str, text: &str) -> Result<(String, String), Exit> {
    match text.split_once(':') {
        Some((user, password)) => Ok((user.to_owned(), password.to_owned())),
        None => Ok((text.to_owned(), ask(prompt).await?)),
    }
}

/// Asks for a password: one line of standard input, without the space around it.
pub(super) async fn ask(prompt: &str) -> Result<String, Exit> {
    output::print(prompt)?;
    let silence = Silence::begin();
    let line = tokio::task::spawn_blocking(read_line);
    let line = tokio::select! {
        line = line => line.unwrap_or_else(|error| Err(io::Error::other(error))),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            return Err(Exit::of(INTERRUPTED, String::new()));
        }
    };
    drop(silence);
    output::print("\n")?;
    let line = line.map_err(|error| {
        fail::plain(format!("Error reading password: failed during password entry: {error}"))
    })?;
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

/// Reads up to the end of a line and no byte more, because a script may have more to say.
fn read_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    let mut input = io::stdin().lock();
    while line.len() < MAX_PASSWORD_BYTES && input.read(&mut byte)? > 0 && byte != *b"\n" {
        line.extend(byte);
    }
    Ok(line)
}

/// A terminal that does not show what is typed, as long as this value lives.
struct Silence {
    before: Termios,
}

impl Silence {
    /// None if standard input is no terminal.
    fn begin() -> Option<Self> {
        let input = io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(input.as_fd()).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(input.as_fd(), OptionalActions::Now, &silent).ok()?;
        Some(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing else can be done for a terminal that does not obey.
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.before).ok();
    }
}
