//! Commands and their subcommands, and how one is found among the words of a command line.
//!
//! A unique beginning of a name is enough. Flags may stand before the command; whether the word
//! behind a flag is its value is decided by the flags known so far.
//!
//! Not here: the commands themselves (see `command`), and how help is written (see `usage`).

use crate::flags::{Argument, Flag, takes_next};
use crate::text::quote;

/// One command.
#[derive(Debug)]
pub struct Command<A: 'static> {
    /// The word that calls it.
    pub name: &'static str,
    /// What follows the name in the line that shows how to use it.
    pub arguments: &'static str,
    /// One line of help.
    pub short: &'static str,
    /// More help; empty if the one line says it all.
    pub long: &'static str,
    /// The heading under which the command is listed; empty for subcommands.
    pub group: &'static str,
    /// Flags of the command alone.
    pub flags: &'static [Flag],
    /// Flags that the subcommands have too.
    pub shared_flags: &'static [Flag],
    /// The commands that belong to it.
    pub subcommands: &'static [Self],
    /// What it does.
    pub action: A,
    /// The headings under which the subcommands are listed, in order.
    pub headings: &'static [&'static str],
    /// What the help of every command of the program ends with; empty for nothing.
    pub footer: &'static str,
    /// Commands that its help lists although they are read elsewhere; none for no such commands.
    pub elsewhere: Option<&'static Elsewhere>,
}

/// Commands that are listed but neither found nor proposed here.
#[derive(Debug)]
pub struct Elsewhere {
    /// The heading under which they are listed.
    pub heading: &'static str,
    /// The names, each with one line of help.
    pub commands: &'static [(&'static str, &'static str)],
}

/// What a command does, as a program has it.
pub trait Action: Copy + 'static {
    /// Returns false if the command is known but not built: it is found, but neither listed nor
    /// proposed.
    fn is_built(self) -> bool;
}

impl<A> Command<A> {
    /// A command of which only the name is known and what it does: the rest of a table entry is
    /// said beside it.
    pub const fn new(name: &'static str, action: A) -> Self {
        Self {
            name,
            arguments: "",
            short: "",
            long: "",
            group: "",
            flags: &[],
            shared_flags: &[],
            subcommands: &[],
            action,
            headings: &[],
            footer: "",
            elsewhere: None,
        }
    }
}

impl<A: Action> Command<A> {
    /// Returns whether the command is known but not built here.
    pub fn is_unbuilt(&self) -> bool {
        !self.action.is_built()
    }
}

/// A command that was found, behind those it belongs to, and the arguments without its words.
#[derive(Debug)]
pub struct Found<A: 'static> {
    /// The command, behind those that it belongs to.
    pub path: Vec<&'static Command<A>>,
    /// The other arguments.
    pub rest: Vec<Argument>,
}

/// The flag that every command has.
pub static HELP: Flag = Flag::bool("help", "show this help").letter('h');

/// Returns all flags that the last command of `path` understands.
pub fn flags_of<A>(path: &[&'static Command<A>]) -> Vec<&'static Flag> {
    let shared = path.iter().flat_map(|command| command.shared_flags);
    let own = path.last().into_iter().flat_map(|command| command.flags);
    shared.chain(own).chain([&HELP]).collect()
}

/// Finds the command that `arguments` name, starting at `root`. The error is for a person.
pub fn find<A: Action>(
    root: &'static Command<A>,
    mut arguments: Vec<Argument>,
) -> Result<Found<A>, String> {
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
fn subcommand<A>(command: &'static Command<A>, word: &[u8]) -> Option<&'static Command<A>> {
    let exact = |sub: &&Command<A>| sub.name.as_bytes() == word;
    if let Some(found) = command.subcommands.iter().find(exact) {
        return Some(found);
    }
    let begins = |sub: &&Command<A>| sub.name.as_bytes().starts_with(word);
    let mut found = command.subcommands.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn unknown<A: Action>(root: &'static Command<A>, word: &[u8]) -> String {
    let message = format!("unknown command {} for {:?}", quote(word), root.name);
    let alike = |command: &&Command<A>| !command.is_unbuilt() && is_alike(command.name, word);
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

    #[test]
    fn distances() {
        assert_eq!(distance("get", "e"), 2);
        assert_eq!(distance("put", "e"), 3);
        assert_eq!(distance("get", "gett"), 1);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("txn", "tnx"), 2);
    }
}
