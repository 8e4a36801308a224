//! The commands: their names, flags and help in one table, their work in one file each.

mod about;
mod backup;
mod defrag;
mod export;
mod hashkv;
mod migrate;
mod restore;
mod status;

use quoin_cli::exit::Exit;
use quoin_cli::flags::Flag;
use quoin_cli::{output, program, tree, usage};

use crate::Invocation;

/// A command of this program.
pub(crate) type Command = tree::Command<Action>;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Shows its help, because it only groups commands.
    Group,
    Backup,
    Defrag,
    Export,
    HashKv,
    Help,
    Migrate,
    SnapshotRestore,
    SnapshotStatus,
    Version,
    Completion(Shell),
}

/// The shells that can complete command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

impl tree::Action for Action {
    fn is_built(self) -> bool {
        true
    }
}

/// The program itself. The commands stand in the order in which proposals list them.
pub(crate) static ROOT: Command = Command {
    short: concat!(
        "Works on snapshots and on the files of etcd members that are not running (quoin ",
        env!("CARGO_PKG_VERSION"),
        ")."
    ),
    shared_flags: &[
        Flag::duration("timeout", "10s", "longest time to wait for a file that is in use"),
        Flag::text("write-out", "form of the output: simple, fields, json or table")
            .letter('w')
            .or("simple"),
    ],
    subcommands: &[BACKUP, DEFRAG, SNAPSHOT, HASH_KV, VERSION, COMPLETION, MIGRATE, EXPORT, HELP],
    ..Command::new("etcdutl", Action::Group)
};

const BACKUP: Command = Command {
    short: "Makes a directory for a new cluster from that of a member, as it was before snapshots",
    long: backup::HELP,
    flags: backup::FLAGS,
    ..Command::new("backup", Action::Backup)
};

const DEFRAG: Command = Command {
    short: "Accepted for scripts: the files of a member need no defragmentation",
    long: defrag::HELP,
    flags: &[Flag::text("data-dir", "directory of a member that is not running (required)")],
    ..Command::new("defrag", Action::Defrag)
};

const SNAPSHOT: Command = Command {
    short: "Works on snapshots",
    subcommands: &[
        Command {
            arguments: "<filename>",
            short: "Shows what a snapshot holds",
            long: status::HELP,
            ..Command::new("status", Action::SnapshotStatus)
        },
        Command {
            arguments: "<filename> --data-dir {output dir} [options]",
            short: "Makes the directory of a new member from a snapshot",
            long: restore::HELP,
            flags: restore::FLAGS,
            ..Command::new("restore", Action::SnapshotRestore)
        },
    ],
    ..Command::new("snapshot", Action::Group)
};

const HASH_KV: Command = Command {
    arguments: "<filename>",
    short: "Shows the hash of the history in a database file",
    flags: &[Flag::int("rev", "last revision of the history (0 means the newest)")],
    ..Command::new("hashkv", Action::HashKv)
};

const VERSION: Command =
    Command { short: "Shows the version of etcdutl", ..Command::new("version", Action::Version) };

const COMPLETION: Command = Command {
    short: "Writes a script by which a shell completes command lines",
    subcommands: &[
        Command { short: "For bash", ..Command::new("bash", Action::Completion(Shell::Bash)) },
        Command { short: "For fish", ..Command::new("fish", Action::Completion(Shell::Fish)) },
        Command { short: "For zsh", ..Command::new("zsh", Action::Completion(Shell::Zsh)) },
    ],
    ..Command::new("completion", Action::Group)
};

const MIGRATE: Command = Command {
    short: "Accepted for scripts: says how to get files for another version",
    long: migrate::HELP,
    flags: migrate::FLAGS,
    ..Command::new("migrate", Action::Migrate)
};

const EXPORT: Command = Command {
    short: "Makes a data directory for etcd from that of a member",
    long: export::HELP,
    flags: export::FLAGS,
    ..Command::new("export", Action::Export)
};

const HELP: Command = Command {
    arguments: "[command]",
    short: "Shows the help of a command",
    ..Command::new("help", Action::Help)
};

/// Runs the command that was called.
pub(crate) fn run(invocation: &Invocation) -> Result<(), Exit> {
    let action = invocation.path.last().map_or(Action::Group, |command| command.action);
    match action {
        Action::Group => output::print(&usage::help(&invocation.path)),
        Action::Backup => backup::run(invocation),
        Action::Defrag => defrag::run(invocation),
        Action::Export => export::run(invocation),
        Action::HashKv => hashkv::run(invocation),
        Action::Help => program::help(&ROOT, &invocation.arguments),
        Action::Migrate => migrate::run(invocation),
        Action::SnapshotRestore => restore::run(invocation),
        Action::SnapshotStatus => status::run(invocation),
        Action::Version => about::version(),
        Action::Completion(shell) => about::completion(shell),
    }
}

/// Fails if a flag that the command cannot do without is missing.
fn require(invocation: &Invocation, names: &[&str]) -> Result<(), Exit> {
    let missing = names.iter().filter(|name| !invocation.flags.is_set(name));
    let missing: Vec<String> = missing.map(|name| format!("{name:?}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("required flag(s) {} not set", missing.join(", "));
    Err(Exit::usage(&message, &usage::usage(&invocation.path)))
}
