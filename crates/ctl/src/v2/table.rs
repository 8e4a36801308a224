//! The commands of v2 mode: names, flags and help in one table.

use crate::flags::Flag;
use crate::tree;

/// What a command of v2 mode does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Shows its help, because it only groups commands.
    Group,
    Help,
    Backup,
    ClusterHealth,
    Mk,
    Mkdir,
    Rm,
    Rmdir,
    Get,
    Ls,
    Set,
    SetDir,
    Update,
    UpdateDir,
    Watch,
    ExecWatch,
    MemberList,
    MemberAdd,
    MemberRemove,
    MemberUpdate,
    UserAdd,
    UserGet,
    UserList,
    UserRemove,
    UserGrant,
    UserRevoke,
    UserPasswd,
    RoleAdd,
    RoleGet,
    RoleList,
    RoleRemove,
    RoleGrant,
    RoleRevoke,
    AuthEnable,
    AuthDisable,
}

impl tree::Action for Verb {
    fn is_built(self) -> bool {
        true
    }
}

/// A command of v2 mode.
pub(super) type Command = tree::Command<Verb>;

/// The flags of every command, which stand before it.
static GLOBALS: &[Flag] = &[
    Flag::bool("debug", "show every request as a command of curl on standard error"),
    Flag::bool("no-sync", "talk to the endpoints given instead of asking them for the members"),
    Flag::text("output", "form of the output: simple, extended or json").letter('o').or("simple"),
    Flag::text("discovery-srv", "domain whose SRV records name the servers").letter('D'),
    Flag::bool("insecure-discovery", "accept discovered servers without TLS"),
    Flag::text("peers", "old name of --endpoints").letter('C'),
    Flag::text("endpoint", "old name of --endpoints"),
    Flag::text(
        "endpoints",
        "addresses of the servers, separated by commas (default: \
         \"http://127.0.0.1:2379,http://127.0.0.1:4001\")",
    ),
    Flag::text("cert-file", "file with the client's TLS certificate"),
    Flag::text("key-file", "file with the key of the client's TLS certificate"),
    Flag::text("ca-file", "file with the authorities that may sign the servers' certificates"),
    Flag::text("username", "name[:password] to authenticate as; asks for a missing password")
        .letter('u'),
    Flag::duration("timeout", "2s", "longest time until one server begins to answer"),
    Flag::duration("total-timeout", "5s", "longest time a command may take, watches excepted"),
];

/// The flag of the program alone.
pub(super) static VERSION: Flag = Flag::bool("version", "show the version").letter('v');

const TTL: Flag = Flag::int("ttl", "seconds to live (0 means for ever)");
const SORT: Flag = Flag::bool("sort", "sort the keys by name");
const QUORUM: Flag = Flag::bool("quorum", "ask the whole cluster").letter('q');
const AFTER: Flag = Flag::int("after-index", "show what happened after this index");
const RECURSIVE_WATCH: Flag = Flag::bool("recursive", "watch the keys below too").letter('r');
const PATH: Flag = Flag::text("path", "path of keys, exact or with * at the end");
const ROLES: Flag = Flag::list("roles", "", "name of a role; may be given more than once");

/// The program itself in v2 mode.
pub(super) static ROOT: Command = Command {
    short: "The command line client of etcd clusters, for the v2 API.",
    shared_flags: GLOBALS,
    subcommands: &[
        BACKUP, HEALTH, MK, MKDIR, RM, RMDIR, GET, LS, SET, SETDIR, UPDATE, UPDATEDIR, WATCH,
        EXEC_WATCH, MEMBER, USER, ROLE, AUTH, HELP,
    ],
    ..Command::new("etcdctl", Verb::Group)
};

/// The commands that only the v2 API has, with their help: they need no variable.
pub(crate) static LISTED: &[(&str, &str)] = &[
    line(BACKUP),
    line(HEALTH),
    line(MK),
    line(MKDIR),
    line(RM),
    line(RMDIR),
    line(LS),
    line(SET),
    line(SETDIR),
    line(UPDATE),
    line(UPDATEDIR),
    line(EXEC_WATCH),
];

const fn line(command: Command) -> (&'static str, &'static str) {
    (command.name, command.short)
}

const BACKUP: Command = Command {
    arguments: " ",
    short: "Makes a backup of a data directory (runs etcdutl)",
    flags: &[
        Flag::text("data-dir", "data directory to read"),
        Flag::text("wal-dir", "its log, if that lies elsewhere"),
        Flag::text("backup-dir", "directory to write"),
        Flag::text("backup-wal-dir", "its log, if that shall lie elsewhere"),
        Flag::bool("with-v3", "write the v3 keys as well"),
    ],
    ..Command::new("backup", Verb::Backup)
};

const HEALTH: Command = Command {
    arguments: " ",
    short: "Tells whether each member is healthy",
    flags: &[Flag::bool("forever", "repeat every 10 seconds until CTRL+C").letter('f')],
    ..Command::new("cluster-health", Verb::ClusterHealth)
};

const MK: Command = Command {
    arguments: "<key> <value>",
    short: "Stores a value under a new key",
    flags: &[Flag::bool("in-order", "make a key in order below the directory <key>"), TTL],
    ..Command::new("mk", Verb::Mk)
};

const MKDIR: Command = Command {
    arguments: "<key>",
    short: "Makes a new directory",
    flags: &[TTL],
    ..Command::new("mkdir", Verb::Mkdir)
};

const RM: Command = Command {
    arguments: "<key>",
    short: "Removes a key or a directory",
    flags: &[
        Flag::bool("dir", "remove an empty directory too"),
        Flag::bool("recursive", "remove a directory with all it holds").letter('r'),
        Flag::text("with-value", "only if the key has this value"),
        Flag::int("with-index", "only if the last change has this index"),
    ],
    ..Command::new("rm", Verb::Rm)
};

const RMDIR: Command = Command {
    arguments: "<key>",
    short: "Removes a key or an empty directory",
    ..Command::new("rmdir", Verb::Rmdir)
};

const GET: Command = Command {
    arguments: "<key>",
    short: "Shows the value of a key",
    flags: &[SORT, QUORUM],
    ..Command::new("get", Verb::Get)
};

const LS: Command = Command {
    arguments: "[key]",
    short: "Lists a directory",
    flags: &[
        SORT,
        Flag::bool("recursive", "list what is below too").letter('r'),
        Flag::bool("p", "show directories with a slash at their end"),
        QUORUM,
    ],
    ..Command::new("ls", Verb::Ls)
};

const SET: Command = Command {
    arguments: "<key> <value>",
    short: "Stores a value under a key",
    long: "Stores a value, or standard input if there is none, under a key. A value that begins \
           with\n   a dash and could be a flag stands behind --:\n\n   $ etcdctl set <key> -- -1",
    flags: &[
        TTL,
        Flag::text("swap-with-value", "only if the key has this value"),
        Flag::int("swap-with-index", "only if the last change has this index"),
    ],
    ..Command::new("set", Verb::Set)
};

const SETDIR: Command = Command {
    arguments: "<key>",
    short: "Makes a directory, or gives it another time to live",
    flags: &[TTL],
    ..Command::new("setdir", Verb::SetDir)
};

const UPDATE: Command = Command {
    arguments: "<key> <value>",
    short: "Stores another value under a key",
    flags: &[TTL],
    ..Command::new("update", Verb::Update)
};

const UPDATEDIR: Command = Command {
    arguments: "<key>",
    short: "Gives a directory another time to live",
    flags: &[TTL],
    ..Command::new("updatedir", Verb::UpdateDir)
};

const WATCH: Command = Command {
    arguments: "<key>",
    short: "Waits for a change of a key",
    flags: &[Flag::bool("forever", "go on until CTRL+C").letter('f'), AFTER, RECURSIVE_WATCH],
    ..Command::new("watch", Verb::Watch)
};

const EXEC_WATCH: Command = Command {
    arguments: "<key> -- <command> [args...]",
    short: "Runs a program at every change of a key",
    flags: &[AFTER, RECURSIVE_WATCH],
    ..Command::new("exec-watch", Verb::ExecWatch)
};

const MEMBER: Command = Command {
    short: "Shows and changes who belongs to the cluster",
    subcommands: &[
        Command {
            arguments: " ",
            short: "Lists the members",
            ..Command::new("list", Verb::MemberList)
        },
        Command {
            arguments: "<name> <peerURL>",
            short: "Takes a member into the cluster",
            ..Command::new("add", Verb::MemberAdd)
        },
        Command {
            arguments: "<memberID>",
            short: "Takes a member out of the cluster",
            ..Command::new("remove", Verb::MemberRemove)
        },
        Command {
            arguments: "<memberID> <peerURLs>",
            short: "Gives a member other peer URLs",
            ..Command::new("update", Verb::MemberUpdate)
        },
        HELP,
    ],
    ..Command::new("member", Verb::Group)
};

const USER: Command = Command {
    short: "Shows and changes users",
    subcommands: &[
        Command {
            arguments: "<user>[:<password>]",
            short: "Makes a user",
            ..Command::new("add", Verb::UserAdd)
        },
        Command {
            arguments: "<user>",
            short: "Shows a user's roles",
            ..Command::new("get", Verb::UserGet)
        },
        Command {
            arguments: " ",
            short: "Lists the users",
            ..Command::new("list", Verb::UserList)
        },
        Command {
            arguments: "<user>",
            short: "Removes a user",
            ..Command::new("remove", Verb::UserRemove)
        },
        Command {
            arguments: "<user>",
            short: "Grants roles to a user",
            flags: &[ROLES],
            ..Command::new("grant", Verb::UserGrant)
        },
        Command {
            arguments: "<user>",
            short: "Takes roles back from a user",
            flags: &[ROLES],
            ..Command::new("revoke", Verb::UserRevoke)
        },
        Command {
            arguments: "<user>",
            short: "Gives a user another password",
            ..Command::new("passwd", Verb::UserPasswd)
        },
        HELP,
    ],
    ..Command::new("user", Verb::Group)
};

const ROLE: Command = Command {
    short: "Shows and changes roles",
    subcommands: &[
        Command {
            arguments: "<role>",
            short: "Makes a role",
            ..Command::new("add", Verb::RoleAdd)
        },
        Command {
            arguments: "<role>",
            short: "Shows what a role allows",
            ..Command::new("get", Verb::RoleGet)
        },
        Command {
            arguments: " ",
            short: "Lists the roles",
            ..Command::new("list", Verb::RoleList)
        },
        Command {
            arguments: "<role>",
            short: "Removes a role",
            ..Command::new("remove", Verb::RoleRemove)
        },
        Command {
            arguments: "<role>",
            short: "Lets a role read or write a path",
            flags: ACCESS,
            ..Command::new("grant", Verb::RoleGrant)
        },
        Command {
            arguments: "<role>",
            short: "Takes a path back from a role",
            flags: ACCESS,
            ..Command::new("revoke", Verb::RoleRevoke)
        },
        HELP,
    ],
    ..Command::new("role", Verb::Group)
};

const ACCESS: &[Flag] = &[
    PATH,
    Flag::bool("read", "for reading"),
    Flag::bool("write", "for writing"),
    Flag::bool("readwrite", "for both").alias("rw"),
];

const AUTH: Command = Command {
    short: "Turns authentication on and off",
    subcommands: &[
        Command {
            arguments: " ",
            short: "Lets users and roles count",
            ..Command::new("enable", Verb::AuthEnable)
        },
        Command {
            arguments: " ",
            short: "Lets everybody do everything",
            ..Command::new("disable", Verb::AuthDisable)
        },
        HELP,
    ],
    ..Command::new("auth", Verb::Group)
};

const HELP: Command = Command {
    arguments: "[command]",
    short: "Shows the commands, or the help of one",
    ..Command::new("help", Verb::Help)
};
