//! How the program ends when it does not succeed: an exit code, and what standard error says.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use quoin_client::Error;

use crate::output;

/// Any failure that has no code of its own.
const FAILURE: u8 = 1;
/// No client could be made.
const BAD_CONNECTION: u8 = 2;
/// The text of a transaction is wrong.
const INVALID_INPUT: u8 = 3;
/// A flag is known but its value is not supported.
const BAD_FEATURE: u8 = 4;
/// What was to go on was broken off.
const INTERRUPTED: u8 = 5;
/// Standard input or standard output failed.
const INPUT_OUTPUT: u8 = 6;
/// The arguments are wrong.
const BAD_ARGUMENTS: u8 = 128;
/// What a shell sees of a program that the closed pipe of its output ended.
const BROKEN_PIPE: u8 = 128 + 13;

/// The end of the program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exit {
    code: u8,
    /// What standard error says, line ends included.
    text: String,
}

impl Exit {
    fn error(code: u8, message: impl Display) -> Self {
        Self { code, text: format!("Error: {message}\n") }
    }

    pub(crate) fn failure(message: impl Display) -> Self {
        Self::error(FAILURE, message)
    }

    pub(crate) fn bad_connection(message: impl Display) -> Self {
        Self::error(BAD_CONNECTION, message)
    }

    pub(crate) fn invalid_input(message: impl Display) -> Self {
        Self::error(INVALID_INPUT, message)
    }

    pub(crate) fn bad_feature(message: impl Display) -> Self {
        Self::error(BAD_FEATURE, message)
    }

    pub(crate) fn interrupted(message: impl Display) -> Self {
        Self::error(INTERRUPTED, message)
    }

    pub(crate) fn bad_arguments(message: impl Display) -> Self {
        Self::error(BAD_ARGUMENTS, message)
    }

    /// A wrong flag: the error, then how the command is used.
    pub(crate) fn usage(error: &impl Display, usage: &str) -> Self {
        Self { code: FAILURE, text: format!("Error: {error}\n{usage}\n") }
    }

    /// A word that is no command; `message` says what to try.
    pub(crate) fn unknown(message: String) -> Self {
        let text = format!("Error: {message}\nRun 'etcdctl --help' for usage.\n");
        Self { code: FAILURE, text }
    }

    /// Fails with a line that is no error of this program: of the log, or about another program.
    /// Its end is included.
    pub(crate) fn line(line: String) -> Self {
        Self { code: FAILURE, text: line }
    }

    /// Fails without a word, because everything was said already.
    pub(crate) fn silent() -> Self {
        Self { code: FAILURE, text: String::new() }
    }

    /// Writes the text and returns the code.
    pub(crate) fn report(self) -> ExitCode {
        output::complain(&self.text);
        ExitCode::from(self.code)
    }
}

impl From<Error> for Exit {
    fn from(error: Error) -> Self {
        match error {
            Error::Server(_)
            | Error::Status { .. }
            | Error::Deadline { .. }
            | Error::ChecksumMissing { .. }
            | Error::ChecksumMismatch => Self::failure(error),
            Error::NoEndpoints | Error::TlsEndpoint(_) | Error::Limits { .. } => {
                Self::bad_connection(error)
            }
        }
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: BROKEN_PIPE, text: String::new() };
        }
        Self::error(INPUT_OUTPUT, error)
    }
}
