//! How the program ends when it does not succeed: an exit code, and what standard error says.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

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
pub struct Exit {
    code: u8,
    /// What standard error says, line ends included.
    text: String,
}

impl Exit {
    fn error(code: u8, message: impl Display) -> Self {
        Self { code, text: format!("Error: {message}\n") }
    }

    /// Fails for a reason that has no code of its own.
    pub fn failure(message: impl Display) -> Self {
        Self::error(FAILURE, message)
    }

    /// Fails because no client could be made, or no server answered it.
    pub fn bad_connection(message: impl Display) -> Self {
        Self::error(BAD_CONNECTION, message)
    }

    /// Fails because standard input holds what cannot be understood.
    pub fn invalid_input(message: impl Display) -> Self {
        Self::error(INVALID_INPUT, message)
    }

    /// Fails because a flag has a value that is not supported.
    pub fn bad_feature(message: impl Display) -> Self {
        Self::error(BAD_FEATURE, message)
    }

    /// Fails because what was to go on was broken off.
    pub fn interrupted(message: impl Display) -> Self {
        Self::error(INTERRUPTED, message)
    }

    /// Fails because the arguments are wrong.
    pub fn bad_arguments(message: impl Display) -> Self {
        Self::error(BAD_ARGUMENTS, message)
    }

    /// A wrong flag: the error, then how the command is used.
    pub fn usage(error: &impl Display, usage: &str) -> Self {
        Self { code: FAILURE, text: format!("Error: {error}\n{usage}\n") }
    }

    /// A word that is no command of `program`; `message` says what to try.
    #[must_use]
    pub fn unknown(program: &str, message: &str) -> Self {
        let text = format!("Error: {message}\nRun '{program} --help' for usage.\n");
        Self { code: FAILURE, text }
    }

    /// Fails with a line that is no error of this program: of the log, or about another program.
    /// Its end is included.
    pub fn line(line: String) -> Self {
        Self { code: FAILURE, text: line }
    }

    /// Ends with this code and text, line ends included, for tools with codes of their own.
    #[must_use]
    pub fn of(code: u8, text: String) -> Self {
        Self { code, text }
    }

    /// Fails without a word, because everything was said already.
    pub fn silent() -> Self {
        Self { code: FAILURE, text: String::new() }
    }

    /// Writes the text and returns the code.
    pub fn report(self) -> ExitCode {
        output::complain(&self.text);
        ExitCode::from(self.code)
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
