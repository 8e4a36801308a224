//! The commands: their names, flags and help in one table, their work in one file each.
//!
//! Not here: how a command line is read (see `tree` and `flags`) and how answers are shown (see
//! `printer`).

pub(crate) mod compaction;
pub(crate) mod del;
pub(crate) mod endpoint;
pub(crate) mod get;
pub(crate) mod help;
pub(crate) mod key;
pub(crate) mod member;
pub(crate) mod put;
pub(crate) mod transaction;
mod version;

use std::future::Future;

use crate::exit::Exit;
use crate::flags::Flag;
use crate::tree::Command;
use crate::usage;
use crate::{Invocation, globals, output};

const KEY_VALUE: &str = "Key-value commands";
const CLUSTER: &str = "Cluster maintenance commands";
const CONCURRENCY: &str = "Concurrency commands";
const AUTHENTICATION: &str = "Authentication commands";
const UTILITY: &str = "Utility commands";
/// The headings under which the commands are listed, in order.
pub(crate) const GROUPS: &[&str] = &[KEY_VALUE, CLUSTER, CONCURRENCY, AUTHENTICATION, UTILITY];

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Shows its help, because it only groups commands.
    Group,
    Get,
    Put,
    Del,
    Txn,
    Compaction,
    MemberList,
    EndpointHealth,
    EndpointStatus,
    EndpointHashKv,
    Version,
    Options,
    Help,
    /// Says that it is not built here.
    Unbuilt,
}

const GROUP: Command = Command {
    name: "",
    arguments: "",
    short: "",
    long: "",
    group: "",
    flags: &[],
    shared_flags: &[],
    subcommands: &[],
    action: Action::Group,
};

const fn leaf(name: &'static str, action: Action) -> Command {
    Command { name, action, ..GROUP }
}

/// Known to etcdctl but not built here: named, so that nothing else is taken for it.
const fn unbuilt(name: &'static str) -> Command {
    leaf(name, Action::Unbuilt)
}

/// The program itself. The commands stand in the order in which proposals list them.
pub(crate) static ROOT: Command = Command {
    name: "etcdctl",
    short: concat!(
        "The command line client of etcd clusters (quoin ",
        env!("CARGO_PKG_VERSION"),
        ")."
    ),
    shared_flags: globals::FLAGS,
    subcommands: &[
        GET,
        PUT,
        DEL,
        TXN,
        COMPACTION,
        unbuilt("alarm"),
        unbuilt("defrag"),
        ENDPOINT,
        unbuilt("move-leader"),
        unbuilt("watch"),
        VERSION,
        unbuilt("lease"),
        MEMBER,
        unbuilt("snapshot"),
        unbuilt("make-mirror"),
        unbuilt("lock"),
        unbuilt("elect"),
        unbuilt("auth"),
        unbuilt("user"),
        unbuilt("role"),
        unbuilt("check"),
        unbuilt("completion"),
        unbuilt("downgrade"),
        OPTIONS,
        HELP,
    ],
    ..GROUP
};

/// The commands that a line of a transaction may hold.
pub(crate) static OPERATIONS: Command =
    Command { name: "txn", subcommands: &[PUT, GET, DEL], ..GROUP };

const GET: Command = Command {
    arguments: "[options] <key> [range_end]",
    short: "Reads a key or a range of keys",
    group: KEY_VALUE,
    flags: get::FLAGS,
    ..leaf("get", Action::Get)
};

const PUT: Command = Command {
    arguments: "[options] <key> <value> (<value> can also be given from stdin)",
    short: "Stores a value under a key",
    long: put::HELP,
    group: KEY_VALUE,
    flags: put::FLAGS,
    ..leaf("put", Action::Put)
};

const DEL: Command = Command {
    arguments: "[options] <key> [range_end]",
    short: "Deletes a key or the keys of a range [key, range_end)",
    group: KEY_VALUE,
    flags: del::FLAGS,
    ..leaf("del", Action::Del)
};

const TXN: Command = Command {
    arguments: "[options]",
    short: "Runs several requests as one, depending on conditions",
    long: transaction::HELP,
    group: KEY_VALUE,
    flags: transaction::FLAGS,
    ..leaf("txn", Action::Txn)
};

const COMPACTION: Command = Command {
    arguments: "[options] <revision>",
    short: "Drops the history before a revision",
    group: KEY_VALUE,
    flags: compaction::FLAGS,
    ..leaf("compaction", Action::Compaction)
};

const MEMBER: Command = Command {
    name: "member",
    short: "Shows who belongs to the cluster (see `etcdctl member --help`)",
    long: "Shows who belongs to the cluster",
    group: CLUSTER,
    subcommands: &[
        unbuilt("add"),
        unbuilt("remove"),
        unbuilt("update"),
        Command {
            short: "Lists the members of the cluster",
            long: member::HELP,
            flags: member::FLAGS,
            ..leaf("list", Action::MemberList)
        },
        unbuilt("promote"),
    ],
    ..GROUP
};

const ENDPOINT: Command = Command {
    name: "endpoint",
    short: "Asks single servers (see `etcdctl endpoint --help`)",
    long: "Asks single servers",
    group: CLUSTER,
    shared_flags: &[Flag::bool("cluster", "ask all members of the cluster")],
    subcommands: &[
        Command {
            short: "Tells whether each server can take part in a request",
            ..leaf("health", Action::EndpointHealth)
        },
        Command {
            short: "Shows the state of each server",
            long: endpoint::STATUS_HELP,
            ..leaf("status", Action::EndpointStatus)
        },
        Command {
            short: "Shows the hash of the history that each server has",
            flags: &[Flag::int("rev", "last revision of the history (0 means the newest)")],
            ..leaf("hashkv", Action::EndpointHashKv)
        },
    ],
    ..GROUP
};

const VERSION: Command = Command {
    short: "Shows the version of etcdctl",
    group: UTILITY,
    ..leaf("version", Action::Version)
};

const OPTIONS: Command = Command {
    short: "Shows the flags that every command has",
    group: UTILITY,
    ..leaf("options", Action::Options)
};

const HELP: Command = Command {
    arguments: "[command]",
    short: "Shows the help of a command",
    group: UTILITY,
    ..leaf("help", Action::Help)
};

/// Fails if the command exists in etcdctl but is not built here.
pub(crate) fn check_built(path: &[&Command]) -> Result<(), Exit> {
    if !path.iter().any(|command| command.is_unbuilt()) {
        return Ok(());
    }
    let names: Vec<&str> = path.iter().skip(1).map(|command| command.name).collect();
    let names = names.join(" ");
    Err(Exit::bad_arguments(format!("the command \"{names}\" is not supported by this etcdctl")))
}

/// Runs the command that was called.
pub(crate) fn run(invocation: &Invocation) -> Result<(), Exit> {
    let action = invocation.path.last().map_or(Action::Group, |command| command.action);
    match action {
        Action::Group => output::print(&usage::help(&invocation.path)),
        Action::Get => wait(get::run(invocation)),
        Action::Put => wait(put::run(invocation)),
        Action::Del => wait(del::run(invocation)),
        Action::Txn => wait(transaction::run(invocation)),
        Action::Compaction => wait(compaction::run(invocation)),
        Action::MemberList => wait(member::list(invocation)),
        Action::EndpointHealth => wait(endpoint::health(invocation)),
        Action::EndpointStatus => wait(endpoint::status(invocation)),
        Action::EndpointHashKv => wait(endpoint::hash_kv(invocation)),
        Action::Version => version::run(),
        Action::Options => help::options(),
        Action::Help => help::run(&invocation.arguments),
        Action::Unbuilt => check_built(&invocation.path),
    }
}

/// Runs the work of a command that talks to servers.
fn wait(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}
