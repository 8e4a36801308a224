//! The help of v2 mode, in the form of etcd's v2 tool.

use super::table::{Command, VERSION, Verb};
use crate::flags::{Flag, Kind};
use crate::tree::HELP;

/// The release of etcd whose v2 mode this is.
pub(super) const ETCD_VERSION: &str = "3.4.23";

/// The help of the program, or of a group when its own command `help` is called.
pub(super) fn program(path: &[&'static Command]) -> String {
    let (name, command) = last(path);
    let flags = flags(path);
    let mut text = format!("NAME:\n   {name} - {}\n\n", command.short);
    text += &format!(
        "USAGE:\n   {name} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {ETCD_VERSION}\n\nCOMMANDS:\n{}\nGLOBAL OPTIONS:\n{}",
        commands(command),
        lines(&flags.iter().map(|flag| row(flag)).collect::<Vec<_>>()),
    );
    text
}

/// The help of a group of commands.
pub(super) fn group(path: &[&'static Command]) -> String {
    let (name, command) = last(path);
    let flags: Vec<_> = flags(path).into_iter().map(row).collect();
    format!(
        "NAME:\n   {name} - {}\n\nUSAGE:\n   {name} command [command options] [arguments...]\n\n\
         COMMANDS:\n{}\nOPTIONS:\n{}   \n",
        command.short,
        commands(command),
        lines(&flags)
    )
}

/// The help of a command that does something.
pub(super) fn command(path: &[&'static Command]) -> String {
    let (name, command) = last(path);
    let rows: Vec<_> = command.flags.iter().map(row).collect();
    let options = if rows.is_empty() { "" } else { " [command options]" };
    let arguments = if command.arguments.is_empty() { "[arguments...]" } else { command.arguments };
    let mut text =
        format!("NAME:\n   {name} - {}\n\nUSAGE:\n   {name}{options} {arguments}\n", command.short);
    if !command.long.is_empty() {
        text += &format!("\nDESCRIPTION:\n   {}\n", command.long);
    }
    if !rows.is_empty() {
        text += &format!("\nOPTIONS:\n{}   \n", lines(&rows));
    }
    text
}

fn last(path: &[&'static Command]) -> (String, &'static Command) {
    let names: Vec<&str> = path.iter().map(|command| command.name).collect();
    (names.join(" "), path.last().expect("a path begins with the program"))
}

/// The flags that are read before the commands of the last of `path`.
pub(super) fn flags(path: &[&'static Command]) -> Vec<&'static Flag> {
    let shared = path.last().into_iter().flat_map(|command| command.shared_flags);
    let version = (path.len() == 1).then_some(&VERSION);
    shared.chain([&HELP]).chain(version).collect()
}

fn commands(command: &Command) -> String {
    let listed = command.subcommands.iter();
    // A group has the command `help` but does not list it.
    let listed = listed.filter(|sub| sub.action != Verb::Help || !command.shared_flags.is_empty());
    let name = |sub: &Command| match sub.action {
        Verb::Help => "help, h".to_owned(),
        _ => sub.name.to_owned(),
    };
    lines(&listed.map(|sub| (name(sub), sub.short.to_owned())).collect::<Vec<_>>())
}

/// The names of a flag, and what it is for.
fn row(flag: &Flag) -> (String, String) {
    let value = if flag.kind == Kind::Bool { "" } else { " value" };
    let mut names = vec![flag.name.to_owned()];
    names.extend(flag.letter.map(String::from));
    names.extend((!flag.alias.is_empty()).then(|| flag.alias.to_owned()));
    let dashed = |name: &String| {
        let dashes = if name.len() == 1 { "-" } else { "--" };
        format!("{dashes}{name}{value}")
    };
    let names: Vec<String> = names.iter().map(dashed).collect();
    let default = match (flag.kind, flag.default) {
        (Kind::Bool | Kind::List, _) | (_, "") => String::new(),
        (Kind::Text, default) => format!(" (default: {default:?})"),
        (Kind::Int | Kind::Duration, default) => format!(" (default: {default})"),
    };
    (names.join(", "), format!("{}{default}", flag.help))
}

/// One line for each pair, the second parts in one column.
fn lines(rows: &[(String, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, help)| format!("   {name:width$}  {help}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::table::ROOT;
    use super::*;

    fn find(name: &str) -> &'static Command {
        ROOT.subcommands.iter().find(|command| command.name == name).unwrap()
    }

    #[test]
    fn a_command_shows_its_line_and_its_flags() {
        let expected = "NAME:\n   etcdctl get - Shows the value of a key\n\n\
                        USAGE:\n   etcdctl get [command options] <key>\n\n\
                        OPTIONS:\n   --sort        sort the keys by name\n   \
                        --quorum, -q  ask the whole cluster\n   \n";
        assert_eq!(command(&[&ROOT, find("get")]), expected);
    }

    #[test]
    fn a_group_lists_its_commands() {
        let text = group(&[&ROOT, find("auth")]);
        assert!(text.contains("COMMANDS:\n   enable   Lets users and roles count\n"), "{text}");
        assert!(text.ends_with("OPTIONS:\n   --help, -h  show this help\n   \n"), "{text}");
        let text = program(&[&ROOT]);
        assert!(text.contains("\n   help, h         Shows the commands"), "{text}");
        assert!(
            text.ends_with("\n   --version, -v                    show the version\n"),
            "{text}"
        );
    }
}
