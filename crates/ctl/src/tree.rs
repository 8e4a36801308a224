//! Commands and their subcommands, and how one is found among the words of a command line.
//!
//! A unique beginning of a name is enough. Flags may stand before the command; whether the word
//! behind a flag is its value is decided by the flags known so far.
//!
//! Not here: the commands themselves (see `command`), and how help is written (see `usage`).

use crate::command::Action;
use crate::flags::{Argument, Flag, takes_next};
use crate::text::quote;

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What follows the name in the line that shows how to use it.
    pub(crate) arguments: &'static str,
    /// One line of help.
    pub(crate) short: &'static str,
    /// More help; empty if the one line says it all.
    pub(crate) long: &'static str,
    /// The heading under which the command is listed; empty for subcommands.
    pub(crate) group: &'static str,
    pub(crate) flags: &'static [Flag],
    /// Flags that the subcommands have too.
    pub(crate) shared_flags: &'static [Flag],
    pub(crate) subcommands: &'static [Self],
    pub(crate) action: Action,
}

impl Command {
    /// Returns whether the command exists in etcdctl but is not built here yet.
    pub(crate) fn is_unbuilt(&self) -> bool {
        self.action == Action::Unbuilt
    }
}

/// A command that was found, behind those it belongs to, and the arguments without its words.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: Vec<&'static Command>,
    pub(crate) rest: Vec<Argument>,
}

/// The flag that every command has.
pub(crate) static HELP: Flag = Flag::bool("help", "show this help").letter('h');

/// Returns all flags that the last command of `path` understands.
pub(crate) fn flags_of(path: &[&'static Command]) -> Vec<&'static Flag> {
    let shared = path.iter().flat_map(|command| command.shared_flags);
    let own = path.last().into_iter().flat_map(|command| command.flags);
    shared.chain(own).chain([&HELP]).collect()
}

/// Finds the command that `arguments` name, starting at `root`. The error is for a person.
pub(crate) fn find(root: &'static Command, mut arguments: Vec<Argument>) -> Result<Found, String> {
    let mut path = vec![root];
    let mut command = root;
    loop {
        let word = first_word(&flags_of(&path), &arguments);
        let Some(index) = word else {
            return Ok(Found { path, rest: arguments });
        };
        if let Some(subcommand) = subcommand(command, &arguments[index]) {
            arguments.remove(index);
            path.push(subcommand);
            command = subcommand;
            continue;
        }
        // Only the program itself insists on a command; a group of commands shows its help.
        if path.len() == 1 {
            return Err(unknown(root, &arguments[index]));
        }
        return Ok(Found { path, rest: arguments });
    }
}

/// The index of the first argument that is neither a flag nor the value of one.
fn first_word(flags: &[&'static Flag], arguments: &[Argument]) -> Option<usize> {
    let mut index = 0;
    while let Some(argument) = arguments.get(index) {
        if argument == b"--" {
            return None;
        }
        if takes_next(flags, argument) {
            index += 2;
        } else if argument.starts_with(b"-") || argument.is_empty() {
            index += 1;
        } else {
            return Some(index);
        }
    }
    None
}

/// The subcommand with the name, or the only one whose name begins with it.
fn subcommand(command: &'static Command, word: &[u8]) -> Option<&'static Command> {
    let exact = |sub: &&Command| sub.name.as_bytes() == word;
    if let Some(found) = command.subcommands.iter().find(exact) {
        return Some(found);
    }
    let begins = |sub: &&Command| sub.name.as_bytes().starts_with(word);
    let mut found = command.subcommands.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn unknown(root: &'static Command, word: &[u8]) -> String {
    let message = format!("unknown command {} for {:?}", quote(word), root.name);
    let alike = |command: &&Command| !command.is_unbuilt() && is_alike(command.name, word);
    let alike: Vec<String> =
        root.subcommands.iter().filter(alike).map(|sub| format!("\t{}\n", sub.name)).collect();
    if alike.is_empty() {
        return message;
    }
    format!("{message}\n\nDid you mean this?\n{}", alike.concat())
}

/// Returns whether a name begins with the word or differs from it in two letters at most.
fn is_alike(name: &str, word: &[u8]) -> bool {
    let word = String::from_utf8_lossy(word).to_lowercase();
    name.starts_with(&word) || distance(name, &word) <= 2
}

/// How many letters must be put in, taken out or replaced to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ROOT;

    fn find_words(line: &str) -> Result<Found, String> {
        find(&ROOT, line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect())
    }

    #[track_caller]
    fn check(line: &str, path: &str, rest: &str) {
        let found = find_words(line).unwrap();
        let names: Vec<&str> = found.path.iter().skip(1).map(|command| command.name).collect();
        assert_eq!(names.join(" "), path);
        let words: Vec<String> =
            found.rest.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        assert_eq!(words.join(" "), rest);
    }

    #[test]
    fn commands_are_found_among_flags() {
        check("get a --limit 3", "get", "a --limit 3");
        check("--endpoints x:1 get a", "get", "--endpoints x:1 a");
        check("--endpoints=x:1 --hex get a", "get", "--endpoints=x:1 --hex a");
        check("-w json member --hex list", "member list", "-w json --hex");
        check("endpoint --cluster status", "endpoint status", "--cluster");
        check("", "", "");
        check("-- get", "", "-- get");
        check("member nothing", "member", "nothing");
    }

    #[test]
    fn a_unique_beginning_is_enough() {
        check("ge a", "get", "a");
        check("p a b", "put", "a b");
        check("member l", "member list", "");
        check("ver", "version", "");
        assert!(find_words("e health").is_err());
    }

    #[test]
    fn an_unknown_word_brings_proposals() {
        assert_eq!(find_words("nosuch").unwrap_err(), "unknown command \"nosuch\" for \"etcdctl\"");
        let expected = "unknown command \"gett\" for \"etcdctl\"\n\nDid you mean this?\n\tget\n";
        assert_eq!(find_words("gett").unwrap_err(), expected);
        // The word behind an unknown flag counts as its value.
        assert!(find_words("--x get a").unwrap_err().starts_with("unknown command \"a\""));
    }

    #[test]
    fn distances() {
        assert_eq!(distance("get", "e"), 2);
        assert_eq!(distance("put", "e"), 3);
        assert_eq!(distance("get", "gett"), 1);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("txn", "tnx"), 2);
    }
}
