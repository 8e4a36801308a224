//! How a command is used, as its help and its errors show it.

use std::fmt::Write;

use crate::command::GROUPS;
use crate::flags::{Flag, Kind};
use crate::tree::{Command, HELP};

/// The help of the last command of `path`.
pub(crate) fn help(path: &[&'static Command]) -> String {
    let long = path.last().map_or("", |command| match command.long {
        "" => command.short,
        long => long,
    });
    format!(
        "{}\n\n{}Use \"etcdctl options\" for a list of global command-line options \
         (applies to all commands).\n",
        long.trim_end(),
        usage(path)
    )
}

/// How to write the last command of `path`: its line, its subcommands, its flags.
pub(crate) fn usage(path: &[&'static Command]) -> String {
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
    // The flags of the whole program have a command of their own, `options`.
    if let [_, groups @ ..] = above {
        let own = command.flags.iter().chain(command.shared_flags).chain([&HELP]);
        let own: Vec<&Flag> = own.collect();
        add(&mut text, &format!("\n\nFlags:\n{}", flag_lines(&own).trim_end()));
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

fn add_commands(text: &mut String, command: &Command) {
    const NARROWEST: usize = 11;
    let mut listed: Vec<&Command> =
        command.subcommands.iter().filter(|sub| !sub.is_unbuilt()).collect();
    listed.sort_by_key(|sub| sub.name);
    let width = listed.iter().map(|sub| sub.name.len()).max().unwrap_or(0).max(NARROWEST);
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
    for group in GROUPS {
        list(group, group);
    }
}

/// One line for each flag, sorted by name, the help in one column.
pub(crate) fn flag_lines(flags: &[&Flag]) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ROOT;
    use crate::tree;

    #[track_caller]
    fn path(line: &str) -> Vec<&'static Command> {
        let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        tree::find(&ROOT, words).unwrap().path
    }

    #[test]
    fn usage_of_a_command() {
        let expected = "\
Usage:
  etcdctl compaction [options] <revision> [flags]

Flags:
  -h, --help       show this help
      --physical   wait until the history is gone from the disk
";
        assert_eq!(usage(&path("compaction")), expected);
    }

    #[test]
    fn flags_of_a_group_are_listed_apart() {
        let expected = "\
Usage:
  etcdctl endpoint hashkv [flags]

Flags:
  -h, --help      show this help
      --rev int   last revision of the history (0 means the newest)

Global Flags:
      --cluster   ask all members of the cluster
";
        assert_eq!(usage(&path("endpoint hashkv")), expected);
    }

    #[test]
    fn a_group_lists_what_is_built() {
        let expected = "\
Shows who belongs to the cluster

Usage:
  etcdctl member [command]

Available Commands:
  list        Lists the members of the cluster

Flags:
  -h, --help   show this help

Use \"etcdctl member [command] --help\" for more information about a command.
Use \"etcdctl options\" for a list of global command-line options (applies to all commands).
";
        assert_eq!(help(&path("member")), expected);
    }

    #[test]
    fn the_program_lists_its_commands_under_headings() {
        let text = usage(&path(""));
        assert!(
            text.starts_with("Usage:\n  etcdctl [command]\n\nKey-value commands\n  compaction ")
        );
        assert!(text.contains("\n\nUtility commands\n  check       Tries out"));
        assert!(!text.contains("make-mirror") && !text.contains("Flags:"));
    }

    #[test]
    fn defaults_and_letters() {
        let text = flag_lines(&crate::globals::FLAGS.iter().collect::<Vec<_>>());
        for start in [
            "      --command-timeout duration     longest time",
            "  -d, --discovery-srv string         domain",
            "  -w, --write-out string             form",
        ] {
            assert!(text.lines().any(|line| line.starts_with(start)), "{start}");
        }
        for end in ["(default 5s)", "(default [127.0.0.1:2379])", "(default \"simple\")"] {
            assert!(text.lines().any(|line| line.ends_with(end)), "{end}");
        }
    }
}
