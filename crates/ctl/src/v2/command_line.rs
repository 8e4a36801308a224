//! From the words of a command line in v2 mode to one command and its flags, or to the help that
//! is asked for instead.
//!
//! Not here: what a command does.

use super::table::{Command, VERSION, Verb};
use super::usage;
use crate::exit::Exit;
use crate::flags::{Argument, Flag, FlagError, Parsed, Values};
use crate::tree::HELP;
use crate::{classic, output};

/// What etcd's v2 tool ends with if there is no such command.
const NO_HELP: u8 = 3;
const FAILURE: u8 = 1;

/// A command as it was called.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) verb: Verb,
    /// The flags of every command.
    pub(super) globals: Values,
    /// Those of this command.
    pub(super) flags: Values,
    pub(super) arguments: Vec<Argument>,
    /// How many arguments stand before `--`; none if it is not there.
    pub(super) dash: Option<usize>,
}

impl Invocation {
    /// The arguments as text, for names and URLs.
    pub(super) fn texts(&self) -> Vec<String> {
        self.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
    }
}

/// Finds what the arguments call. If they ask for help, it is shown, and nothing is left to do.
pub(super) fn read(
    root: &'static Command,
    arguments: Vec<Argument>,
) -> Result<Option<Invocation>, Exit> {
    let mut path = vec![root];
    let parsed = classic::parse(usage::flags(&path), arguments)
        .map_err(|error| misused(&error, ".", &usage::program(&path)))?;
    let globals = parsed.flags;
    if globals.bool(HELP.name) {
        return show(&usage::program(&path));
    }
    if globals.bool(VERSION.name) {
        return show(&format!("etcdctl version: {}\nAPI version: 2\n", usage::ETCD_VERSION));
    }
    let mut rest = parsed.arguments;
    loop {
        let command = *path.last().expect("a path begins with the program");
        let Some(found) = rest.first().and_then(|word| subcommand(command, word)) else {
            return help(&path, rest.first());
        };
        rest.remove(0);
        path.push(found);
        if found.subcommands.is_empty() {
            return leaf(&path, rest, globals);
        }
        let parsed = classic::parse(usage::flags(&path), rest)
            .map_err(|error| misused(&error, ".", &usage::group(&path)))?;
        if parsed.flags.bool(HELP.name) {
            return show(&usage::group(&path));
        }
        rest = parsed.arguments;
    }
}

/// Reads the flags of a command that does something.
fn leaf(
    path: &[&'static Command],
    arguments: Vec<Argument>,
    globals: Values,
) -> Result<Option<Invocation>, Exit> {
    let (command, above) = path.split_last().expect("a path begins with the program");
    let flags: Vec<&'static Flag> = command.flags.iter().chain([&HELP]).collect();
    let Parsed { flags, arguments, dash } = classic::parse_gathered(flags, arguments)
        .map_err(|error| misused(&error, ":", &usage::command(path)))?;
    if flags.bool(HELP.name) {
        return show(&usage::command(path));
    }
    match (command.action, arguments.first()) {
        (Verb::Help, None) => show(&usage::program(above)),
        (Verb::Help, word) => help(above, word),
        (verb, _) => Ok(Some(Invocation { verb, globals, flags, arguments, dash })),
    }
}

/// Shows the help of the subcommand that the word names, or of the last of `path` itself.
fn help(path: &[&'static Command], word: Option<&Argument>) -> Result<Option<Invocation>, Exit> {
    let command = *path.last().expect("a path begins with the program");
    match word {
        None if path.len() == 1 => show(&usage::program(path)),
        None => show(&usage::group(path)),
        Some(word) if word.is_empty() => show(&usage::group(path)),
        Some(word) => match subcommand(command, word) {
            Some(found) => show(&usage::command(&[path, &[found]].concat())),
            None => {
                let word = String::from_utf8_lossy(word);
                Err(Exit::of(NO_HELP, format!("No help topic for '{word}'\n")))
            }
        },
    }
}

fn subcommand(command: &'static Command, word: &Argument) -> Option<&'static Command> {
    let word = if word == b"h" { b"help" } else { word.as_slice() };
    command.subcommands.iter().find(|sub| sub.name.as_bytes() == word)
}

fn show(text: &str) -> Result<Option<Invocation>, Exit> {
    output::print(text)?;
    Ok(None)
}

/// A wrong flag: etcd's v2 tool shows the help on standard output and the reason on both.
fn misused(error: &FlagError, mark: &str, help: &str) -> Exit {
    match output::print(&format!("Incorrect Usage{mark} {error}\n\n{help}")) {
        Ok(()) => Exit::of(FAILURE, format!("{error}\n")),
        Err(exit) => exit,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::ROOT;
    use super::*;

    fn called(line: &str) -> Result<Option<Invocation>, Exit> {
        read(&ROOT, line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[test]
    fn global_flags_stand_before_the_command() {
        let found = called("-o json --no-sync ls /a -o -r").unwrap().unwrap();
        assert_eq!(found.verb, Verb::Ls);
        assert_eq!(found.globals.text("output"), "json");
        assert!(found.globals.bool("no-sync") && found.flags.bool("recursive"));
        assert_eq!(found.texts(), ["/a", "-o"]);
    }

    #[test]
    fn subcommands_are_found_and_unknown_ones_have_no_help() {
        assert_eq!(called("user add bob:x").unwrap().unwrap().verb, Verb::UserAdd);
        let unknown = |word| Exit::of(3, format!("No help topic for '{word}'\n"));
        assert_eq!(called("bogus").unwrap_err(), unknown("bogus"));
        assert_eq!(called("member bogus").unwrap_err(), unknown("bogus"));
        assert_eq!(called("help bogus").unwrap_err(), unknown("bogus"));
        assert!(called("help set").unwrap().is_none());
        assert!(called("member").unwrap().is_none());
        assert!(called("h").unwrap().is_none());
    }
}
