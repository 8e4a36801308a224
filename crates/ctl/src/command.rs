//! The commands: their names, flags and help in one table, their work in one file each.
//!
//! Not here: how a command line is read (see `tree` and `flags`) and how answers are shown (see
//! `printer`).

pub(crate) mod alarm;
pub(crate) mod check;
pub(crate) mod compaction;
pub(crate) mod defrag;
pub(crate) mod del;
pub(crate) mod endpoint;
pub(crate) mod get;
pub(crate) mod key;
pub(crate) mod lease;
pub(crate) mod member;
mod options;
pub(crate) mod put;
pub(crate) mod snapshot;
pub(crate) mod transaction;
mod version;
pub(crate) mod watch;

#[cfg(test)]
mod tests;

use std::future::Future;

use crate::exit::Exit;
use crate::flags::Flag;
use crate::usage;
use crate::{globals, output, program, tree, v2};

const KEY_VALUE: &str = "Key-value commands";
const CLUSTER: &str = "Cluster maintenance commands";
const CONCURRENCY: &str = "Concurrency commands";
const AUTHENTICATION: &str = "Authentication commands";
const UTILITY: &str = "Utility commands";
/// The headings under which the commands are listed, in order.
const GROUPS: &[&str] = &[KEY_VALUE, CLUSTER, CONCURRENCY, AUTHENTICATION, UTILITY];

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
    Watch,
    LeaseGrant,
    LeaseRevoke,
    LeaseTimeToLive,
    LeaseList,
    LeaseKeepAlive,
    AlarmList,
    AlarmDisarm,
    Defrag,
    SnapshotSave,
    CheckPerf,
    CheckDatascale,
    Version,
    Options,
    Help,
    /// Says that it is not built here.
    Unbuilt,
}

/// A command of this program.
pub(crate) type Command = tree::Command<Action>;

/// A command of this program as it was called.
pub(crate) type Invocation = program::Invocation<Action>;

impl tree::Action for Action {
    fn is_built(self) -> bool {
        self != Self::Unbuilt
    }
}

/// Known to etcdctl but not built here: named, so that nothing else is taken for it.
const fn unbuilt(name: &'static str) -> Command {
    Command::new(name, Action::Unbuilt)
}

/// The program itself. The commands stand in the order in which proposals list them.
pub(crate) static ROOT: Command = Command {
    short: concat!(
        "The command line client of etcd clusters (quoin ",
        env!("CARGO_PKG_VERSION"),
        ")."
    ),
    shared_flags: globals::FLAGS,
    headings: GROUPS,
    footer: "Use \"etcdctl options\" for a list of global command-line options (applies to all \
             commands).\n",
    elsewhere: Some(&tree::Elsewhere {
        heading: "Commands of the v2 API (ETCDCTL_API=2 etcdctl --help lists all of them)",
        commands: v2::LISTED,
    }),
    subcommands: &[
        GET,
        PUT,
        DEL,
        TXN,
        COMPACTION,
        ALARM,
        DEFRAG,
        ENDPOINT,
        unbuilt("move-leader"),
        WATCH,
        VERSION,
        LEASE,
        MEMBER,
        SNAPSHOT,
        unbuilt("make-mirror"),
        unbuilt("lock"),
        unbuilt("elect"),
        unbuilt("auth"),
        unbuilt("user"),
        unbuilt("role"),
        CHECK,
        unbuilt("completion"),
        unbuilt("downgrade"),
        OPTIONS,
        HELP,
    ],
    ..Command::new("etcdctl", Action::Group)
};

/// The commands that a line of a transaction may hold.
pub(crate) static OPERATIONS: Command =
    Command { subcommands: &[PUT, GET, DEL], ..Command::new("txn", Action::Group) };

const GET: Command = Command {
    arguments: "[options] <key> [range_end]",
    short: "Reads a key or a range of keys",
    group: KEY_VALUE,
    flags: get::FLAGS,
    ..Command::new("get", Action::Get)
};

const PUT: Command = Command {
    arguments: "[options] <key> <value> (<value> can also be given from stdin)",
    short: "Stores a value under a key",
    long: put::HELP,
    group: KEY_VALUE,
    flags: put::FLAGS,
    ..Command::new("put", Action::Put)
};

const DEL: Command = Command {
    arguments: "[options] <key> [range_end]",
    short: "Deletes a key or the keys of a range [key, range_end)",
    group: KEY_VALUE,
    flags: del::FLAGS,
    ..Command::new("del", Action::Del)
};

const TXN: Command = Command {
    arguments: "[options]",
    short: "Runs several requests as one, depending on conditions",
    long: transaction::HELP,
    group: KEY_VALUE,
    flags: transaction::FLAGS,
    ..Command::new("txn", Action::Txn)
};

const COMPACTION: Command = Command {
    arguments: "[options] <revision>",
    short: "Drops the history before a revision",
    group: KEY_VALUE,
    flags: compaction::FLAGS,
    ..Command::new("compaction", Action::Compaction)
};

const WATCH: Command = Command {
    arguments: "[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    short: "Shows changes of keys as they happen",
    long: watch::HELP,
    group: KEY_VALUE,
    flags: watch::FLAGS,
    ..Command::new("watch", Action::Watch)
};

const LEASE: Command = Command {
    short: "Works with leases (see `etcdctl lease --help`)",
    long: "Works with leases: keys attached to one are deleted when it ends",
    group: KEY_VALUE,
    subcommands: &[
        Command {
            arguments: "<ttl>",
            short: "Makes a lease that lives for some seconds",
            ..Command::new("grant", Action::LeaseGrant)
        },
        Command {
            arguments: "<leaseID>",
            short: "Ends a lease and deletes its keys",
            ..Command::new("revoke", Action::LeaseRevoke)
        },
        Command {
            arguments: "<leaseID> [options]",
            short: "Shows how long a lease has to live",
            flags: &[Flag::bool("keys", "show the keys attached to the lease too")],
            ..Command::new("timetolive", Action::LeaseTimeToLive)
        },
        Command { short: "Lists all leases", ..Command::new("list", Action::LeaseList) },
        Command {
            arguments: "[options] <leaseID>",
            short: "Renews a lease until it ends or the command does",
            flags: &[Flag::bool("once", "renew the lease once")],
            ..Command::new("keep-alive", Action::LeaseKeepAlive)
        },
    ],
    ..Command::new("lease", Action::Group)
};

const ALARM: Command = Command {
    short: "Works with alarms (see `etcdctl alarm --help`)",
    long: "Works with alarms, which keep the cluster from taking writes",
    group: CLUSTER,
    subcommands: &[
        Command { short: "Takes all alarms back", ..Command::new("disarm", Action::AlarmDisarm) },
        Command { short: "Lists all alarms", ..Command::new("list", Action::AlarmList) },
    ],
    ..Command::new("alarm", Action::Group)
};

const DEFRAG: Command = Command {
    short: "Asks servers to give unused space of their files back",
    group: CLUSTER,
    shared_flags: &[Flag::bool("cluster", "ask all members of the cluster")],
    ..Command::new("defrag", Action::Defrag)
};

const SNAPSHOT: Command = Command {
    short: "Saves the data of a server (see `etcdctl snapshot --help`)",
    long: "Saves the data of a server",
    group: CLUSTER,
    subcommands: &[Command {
        arguments: "<filename>",
        short: "Writes the data of a server to a file",
        long: snapshot::HELP,
        ..Command::new("save", Action::SnapshotSave)
    }],
    ..Command::new("snapshot", Action::Group)
};

const CHECK: Command = Command {
    short: "Tries out what a cluster can do (see `etcdctl check --help`)",
    long: "Tries out what a cluster can do",
    group: UTILITY,
    subcommands: &[
        Command {
            arguments: "[options]",
            short: "Checks that the cluster writes fast enough",
            long: check::PERF_HELP,
            flags: check::PERF_FLAGS,
            ..Command::new("perf", Action::CheckPerf)
        },
        Command {
            arguments: "[options]",
            short: "Shows how much memory a server needs for some keys",
            long: check::DATASCALE_HELP,
            flags: check::DATASCALE_FLAGS,
            ..Command::new("datascale", Action::CheckDatascale)
        },
    ],
    ..Command::new("check", Action::Group)
};

const MEMBER: Command = Command {
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
            ..Command::new("list", Action::MemberList)
        },
        unbuilt("promote"),
    ],
    ..Command::new("member", Action::Group)
};

const ENDPOINT: Command = Command {
    short: "Asks single servers (see `etcdctl endpoint --help`)",
    long: "Asks single servers",
    group: CLUSTER,
    shared_flags: &[Flag::bool("cluster", "ask all members of the cluster")],
    subcommands: &[
        Command {
            short: "Tells whether each server can take part in a request",
            ..Command::new("health", Action::EndpointHealth)
        },
        Command {
            short: "Shows the state of each server",
            long: endpoint::STATUS_HELP,
            ..Command::new("status", Action::EndpointStatus)
        },
        Command {
            short: "Shows the hash of the history that each server has",
            flags: &[Flag::int("rev", "last revision of the history (0 means the newest)")],
            ..Command::new("hashkv", Action::EndpointHashKv)
        },
    ],
    ..Command::new("endpoint", Action::Group)
};

const VERSION: Command = Command {
    short: "Shows the version of etcdctl",
    group: UTILITY,
    ..Command::new("version", Action::Version)
};

const OPTIONS: Command = Command {
    short: "Shows the flags that every command has",
    group: UTILITY,
    ..Command::new("options", Action::Options)
};

const HELP: Command = Command {
    arguments: "[command]",
    short: "Shows the help of a command",
    group: UTILITY,
    ..Command::new("help", Action::Help)
};

/// Runs the command that was called.
pub(crate) fn run(invocation: &Invocation) -> Result<(), Exit> {
    match invocation.action() {
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
        Action::Watch => wait(watch::run(invocation)),
        Action::LeaseGrant => wait(lease::grant(invocation)),
        Action::LeaseRevoke => wait(lease::revoke(invocation)),
        Action::LeaseTimeToLive => wait(lease::time_to_live(invocation)),
        Action::LeaseList => wait(lease::list(invocation)),
        Action::LeaseKeepAlive => wait(lease::keep_alive(invocation)),
        Action::AlarmList => wait(alarm::list(invocation)),
        Action::AlarmDisarm => wait(alarm::disarm(invocation)),
        Action::Defrag => wait(defrag::run(invocation)),
        Action::SnapshotSave => wait(snapshot::save(invocation)),
        Action::CheckPerf => wait(check::perf(invocation)),
        Action::CheckDatascale => wait(check::datascale(invocation)),
        Action::Version => version::run(),
        Action::Options => options::run(),
        Action::Help => program::help(&ROOT, &invocation.arguments),
        Action::Unbuilt => program::check_built(&invocation.path),
    }
}

/// Runs the work of a command that talks to servers.
fn wait(work: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}
