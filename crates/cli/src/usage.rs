//! How a command is used, as its help and its errors show it.

use std::fmt::Write;

use crate::flags::{Flag, Kind};
use crate::tree::{Action, Command, HELP};

/// The help of the last command of `path`.
pub fn help<A: Action>(path: &[&'static Command<A>]) -> String {
    let long = path.last().map_or("", |command| match command.long {
        "" => command.short,
        long => long,
    });
    let footer = path.first().map_or("", |root| root.footer);
    format!("{}\n\n{}{footer}", long.trim_end(), usage(path))
}

/// How to write the last command of `path`: its line, its subcommands, its flags.
pub fn usage<A: Action>(path: &[&'static Command<A>]) -> String {
    let names: Vec<&str> = path.iter().map(|command| command.name).collect();
    let name = names.join(" ");
    let mut text = "Usage:".to_owned();
    let Some((command, above)) = path.split_last() else {
        return text;
    };
    if command.subcommands.is_empty() {
        let words = [name.as_str(), command.arguments, "[flags]"];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        add(&mut text, &format!("\n  {}", words.join(" ")));
    } else {
        add(&mut text, &format!("\n  {name} [command]"));
        add_commands(&mut text, command);
    }
    // A program with a command for its own flags says so in its footer.
    let own = command.flags.iter().chain(command.shared_flags).chain([&HELP]);
    let own: Vec<&Flag> = own.collect();
    let flags = format!("\n\nFlags:\n{}", flag_lines(&own).trim_end());
    let groups = match above {
        [] if !command.footer.is_empty() => None,
        [root, groups @ ..] if !root.footer.is_empty() => Some(groups),
        all => Some(all),
    };
    if let Some(groups) = groups {
        add(&mut text, &flags);
        let shared: Vec<&Flag> = groups.iter().flat_map(|group| group.shared_flags).collect();
        if !shared.is_empty() {
            add(&mut text, &format!("\n\nGlobal Flags:\n{}", flag_lines(&shared).trim_end()));
        }
    }
    if !command.subcommands.is_empty() {
        let hint = "for more information about a command.";
        add(&mut text, &format!("\n\nUse \"{name} [command] --help\" {hint}"));
    }
    text.push('\n');
    text
}

fn add(text: &mut String, more: &str) {
    text.push_str(more);
}

fn add_commands<A: Action>(text: &mut String, command: &Command<A>) {
    const NARROWEST: usize = 11;
    let mut listed: Vec<&Command<A>> =
        command.subcommands.iter().filter(|sub| !sub.is_unbuilt()).collect();
    listed.sort_by_key(|sub| sub.name);
    let elsewhere = command.elsewhere.map_or(&[][..], |elsewhere| elsewhere.commands);
    let names = listed.iter().map(|sub| sub.name).chain(elsewhere.iter().map(|&(name, _)| name));
    let width = names.map(str::len).max().unwrap_or(0).max(NARROWEST);
    let mut list = |heading: &str, group: &str| {
        let mut members = listed.iter().filter(|sub| sub.group == group).peekable();
        if members.peek().is_some() {
            add(text, &format!("\n\n{heading}"));
        }
        for sub in members {
            add(text, &format!("\n  {:width$} {}", sub.name, sub.short));
        }
    };
    list("Available Commands:", "");
    for group in command.headings {
        list(group, group);
    }
    if let Some(elsewhere) = command.elsewhere {
        add(text, &format!("\n\n{}", elsewhere.heading));
    }
    for (name, short) in elsewhere {
        add(text, &format!("\n  {name:width$} {short}"));
    }
}

/// One line for each flag, sorted by name, the help in one column.
pub fn flag_lines(flags: &[&Flag]) -> String {
    let mut flags = flags.to_vec();
    flags.sort_by_key(|flag| flag.name);
    let heads: Vec<String> = flags.iter().map(|flag| head(flag)).collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (flag, head) in flags.iter().zip(heads) {
        // Writing to a string cannot fail.
        writeln!(text, "{head:width$}   {}{}", flag.help, default_of(flag)).ok();
    }
    text
}

fn head(flag: &Flag) -> String {
    let letter = flag.letter.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let kind = match flag.kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Duration => " duration",
        Kind::Text => " string",
        Kind::List => " strings",
    };
    format!("  {letter}--{}{kind}", flag.name)
}

fn default_of(flag: &Flag) -> String {
    match (flag.kind, flag.default) {
        (_, "") | (Kind::Bool, "false") | (Kind::Int, "0") => String::new(),
        (Kind::Text, default) => format!(" (default \"{default}\")"),
        (Kind::List, default) => format!(" (default [{default}])"),
        (Kind::Bool | Kind::Int | Kind::Duration, default) => format!(" (default {default})"),
    }
}
