//! `quoin-bench`: the command line of the load generator.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use quoin_bench::Error;
use quoin_bench::compare::{self, Load};
use quoin_bench::expire;
use quoin_bench::load::{self, Extent};
use quoin_bench::v2_wait;
use quoin_bench::watch;
use quoin_bench::workload::{Keys, MAX_KEYS, Mode};

/// Bounds that keep a slip of the finger from becoming an attack.
const MAX_CONNECTIONS: u64 = 20_000;
const MAX_STREAMS: u64 = 10_000;
const MAX_SECONDS: u64 = 600;
const MAX_REQUESTS: u64 = 1_000_000_000;
const MAX_VALUE: u64 = 16 << 20;
const MAX_ROUNDS: u64 = 25;
const MAX_MEMBERS: u64 = 7;
/// What a comparison can send.
const WORKLOADS: [&str; 9] = [
    "put",
    "range-lin",
    "range-ser",
    "txn",
    "page",
    "keep-alive",
    "v2-set",
    "v2-get",
    "v2-get-quorum",
];
/// Silence after which no more events are expected.
const DRAIN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let matches = command().get_matches();
    let outcome = match matches.subcommand() {
        Some(("compare", arguments)) => run_comparison(arguments),
        Some(("expire", arguments)) => run_expiry(arguments),
        Some(("v2-watchers", arguments)) => run_v2_watchers(arguments),
        Some(("watch", arguments)) => run_watch(arguments),
        Some((name, arguments)) => run_load(name, arguments),
        None => Err(Error::Usage("no command".to_owned())),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quoin-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let serializable = || flag("serializable", "read what the member knows, without a quorum");
    Command::new("quoin-bench")
        .about("Load for etcd and quoin, at about a microsecond for each request")
        .subcommand_required(true)
        .subcommand(load_command("put", "write a random key"))
        .subcommand(load_command("range", "read a random key").arg(serializable()))
        .subcommand(load_command("txn", "compare the version of a random key and write it"))
        .subcommand(
            load_command("page", "read a page of keys that begins with a random key")
                .arg(serializable())
                .arg(number("limit", "500", 1, u64::from(u32::MAX), "keys in a page")),
        )
        .subcommand(load_command("v2-set", "set a random key of the v2 API"))
        .subcommand(
            load_command("v2-get", "read a random key of the v2 API")
                .arg(flag("quorum", "read with a quorum")),
        )
        .subcommand(v2_watchers_command())
        .subcommand(watch_command())
        .subcommand(compare_command())
        .subcommand(expire_command())
}

fn expire_command() -> Command {
    let programs = Arg::new("programs").long("programs").value_delimiter(',');
    Command::new("expire")
        .about("have many leases end at once, with puts beside them")
        .arg(
            programs
                .value_parser(value_parser!(PathBuf))
                .default_value("etcd,target/release/etcd")
                .help("the programs, in turn"),
        )
        .arg(number("members", "1", 1, MAX_MEMBERS, "members of each cluster"))
        .arg(number("leases", "100000", 1, MAX_REQUESTS, "how many leases there are"))
        .arg(number("ttl", "60", 1, MAX_SECONDS, "seconds that each lives"))
        .arg(number("connections", "10", 1, MAX_CONNECTIONS, "connections that put meanwhile"))
        .arg(number("value-size", "256", 0, MAX_VALUE, "bytes of each value"))
        .arg(directory())
        .arg(flag("json", "print the outcomes for programs"))
}

fn v2_watchers_command() -> Command {
    Command::new("v2-watchers")
        .about("have many watchers of the v2 API wait, and print what each costs two servers")
        .args(programs())
        .arg(number("watchers", "10000", 1, MAX_CONNECTIONS, "how many wait"))
        .arg(number("rounds", "3", 1, MAX_ROUNDS, "how often each server runs"))
        .arg(directory())
        .arg(flag("json", "print the medians for programs"))
}

fn watch_command() -> Command {
    load_command("watch", "write random keys while watchers follow all keys")
        .arg(number("watch-streams", "10", 1, MAX_CONNECTIONS, "watch streams"))
        .arg(number("watchers", "100", 1, MAX_STREAMS, "watchers on each stream"))
        .arg(number("from-revision", "0", 0, MAX_REQUESTS, "where they begin; 0 is now"))
}

fn load_command(name: &'static str, about: &'static str) -> Command {
    let pids = Arg::new("server-pid").long("server-pid").value_delimiter(',');
    let total = number("total", "0", 0, MAX_REQUESTS, "end after this many requests");
    Command::new(name)
        .about(about)
        .arg(
            Arg::new("endpoints")
                .long("endpoints")
                .value_delimiter(',')
                .default_value("127.0.0.1:2379")
                .help("members, separated by commas; connections are dealt out in turn"),
        )
        .arg(number("connections", "1", 1, MAX_CONNECTIONS, "connections"))
        .arg(number("streams", "1", 1, MAX_STREAMS, "requests in flight on each connection"))
        .arg(number("seconds", "5", 1, MAX_SECONDS, "end after this time").conflicts_with("total"))
        .arg(total.help("end after this many requests instead of a time"))
        .arg(pids.value_parser(value_parser!(u32)).help("report the CPU time of these processes"))
        .arg(flag("fill", "first write every key of the key space once"))
        .arg(flag("json", "print the report for programs"))
        .args(data_arguments())
}

fn compare_command() -> Command {
    Command::new("compare")
        .about("start a reference and ours in turn, and print the ratios between them")
        .args(programs())
        .arg(number("members", "1", 1, MAX_MEMBERS, "members of each cluster"))
        .arg(flag("target-leader", "send to the leader only"))
        .arg(number("rounds", "3", 1, MAX_ROUNDS, "how often each server runs"))
        .arg(number("seconds", "3", 1, MAX_SECONDS, "how long each sample takes"))
        .arg(
            Arg::new("workloads")
                .long("workloads")
                .value_delimiter(',')
                .value_parser(WORKLOADS)
                .default_value("put,range-lin,range-ser,txn")
                .help("what is sent"),
        )
        .arg(
            Arg::new("loads")
                .long("loads")
                .value_delimiter(',')
                .value_parser(parse_load)
                .default_value("1x1,100x1,100x10")
                .help("connections x requests in flight on each"),
        )
        .arg(directory())
        .arg(flag("json", "print the medians for programs"))
        .args(data_arguments())
}

/// The two programs of a comparison.
fn programs() -> [Arg; 2] {
    let path = |name: &'static str, default: &'static str, help: &'static str| {
        let path = Arg::new(name).long(name).value_parser(value_parser!(PathBuf));
        path.default_value(default).help(help)
    };
    [
        path("reference", "etcd", "the program to compare with"),
        path("ours", "target/release/etcd", "the program that is compared"),
    ]
}

fn directory() -> Arg {
    let directory = Arg::new("dir").long("dir").value_parser(value_parser!(PathBuf));
    directory.help("where data directories are made; a real disk [default: the system's]")
}

fn data_arguments() -> [Arg; 3] {
    [
        number("key-space", "10000", 1, MAX_KEYS, "how many keys are used"),
        number("value-size", "256", 0, MAX_VALUE, "bytes of each value"),
        number("seed", "1", 0, u64::MAX, "the seed of keys and values"),
    ]
}

fn number(
    name: &'static str,
    default: &'static str,
    least: u64,
    most: u64,
    help: &'static str,
) -> Arg {
    let parser = RangedU64ValueParser::<u64>::new().range(least..=most);
    Arg::new(name).long(name).value_parser(parser).default_value(default).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn parse_load(text: &str) -> Result<Load, String> {
    let bounded = |text: &str, most| text.parse().ok().filter(|count| (1..=most).contains(count));
    let (connections, streams) = text.split_once('x').ok_or("a load looks like 100x10")?;
    let connections: Option<u64> = bounded(connections, MAX_CONNECTIONS);
    match (connections, bounded(streams, MAX_STREAMS)) {
        (Some(connections), Some(streams)) => {
            Ok(Load { connections: connections as usize, streams: streams as usize })
        }
        _ => Err("a load looks like 100x10".to_owned()),
    }
}

/// The value of an argument that has a default, so that it is always there.
fn value<T: Copy + Send + Sync + 'static>(arguments: &ArgMatches, name: &str) -> T {
    *arguments.get_one(name).expect("the argument has a default")
}

fn count(arguments: &ArgMatches, name: &str) -> usize {
    usize::try_from(value::<u64>(arguments, name)).expect("the argument is bounded")
}

fn run_load(name: &str, arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let options = load_options(name, arguments)?;
    if arguments.get_flag("fill") {
        let fill = load::Options {
            mode: if options.mode.is_v2() { Mode::V2Set } else { Mode::Put },
            extent: Extent::Requests(value(arguments, "key-space")),
            keys: Keys::sequential(),
            ..options.clone()
        };
        let report = load::run(&fill)?;
        if report.succeeded() != value::<u64>(arguments, "key-space") {
            return Err(Error::Server(format!("not all keys were written: {report}")));
        }
    }
    let report = load::run(&options)?;
    if arguments.get_flag("json") {
        println!("{}", report.to_json());
    } else {
        println!("{report}");
    }
    let is_good = report.is_complete && report.failed() == 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_watch(arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let load = load_options("put", arguments)?;
    let options = watch::Options {
        streams: count(arguments, "watch-streams"),
        watchers: count(arguments, "watchers"),
        from_revision: i64::try_from(value::<u64>(arguments, "from-revision"))
            .expect("the argument is bounded"),
        drain: DRAIN,
    };
    let outcome = watch::run(&options, &load)?;
    let (seconds, writes) = (outcome.elapsed.as_secs_f64(), &outcome.writes);
    println!("{writes}");
    println!(
        "{} events in {seconds:.2} s, {:.0} a second; {} before the last write was answered",
        outcome.events,
        outcome.events as f64 / seconds,
        outcome.during,
    );
    let is_good = writes.is_complete && writes.failed() == 0;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load_options(name: &str, arguments: &ArgMatches) -> Result<load::Options, Error> {
    let serializable = matches!(name, "range" | "page") && arguments.get_flag("serializable");
    let mode = match name {
        "put" => Mode::Put,
        "txn" => Mode::Txn,
        "v2-set" => Mode::V2Set,
        "v2-get" => Mode::V2Get { quorum: arguments.get_flag("quorum") },
        "page" => Mode::Page { limit: page_limit(arguments), serializable },
        _ if serializable => Mode::RangeSerializable,
        _ => Mode::RangeLinearizable,
    };
    let endpoints = arguments.get_many::<String>("endpoints").expect("has a default");
    let endpoints: Result<Vec<_>, Error> = endpoints.map(|text| load::resolve(text)).collect();
    let extent = match value(arguments, "total") {
        0 => Extent::Time(Duration::from_secs(value(arguments, "seconds"))),
        total => Extent::Requests(total),
    };
    let seed = value(arguments, "seed");
    let pids = arguments.get_many("server-pid").map(|pids| pids.copied().collect());
    Ok(load::Options {
        endpoints: endpoints?,
        connections: count(arguments, "connections"),
        streams: count(arguments, "streams"),
        extent,
        mode,
        keys: Keys::random(seed, value(arguments, "key-space")),
        value_size: count(arguments, "value-size"),
        seed,
        server_pids: pids.unwrap_or_default(),
    })
}

fn page_limit(arguments: &ArgMatches) -> u32 {
    u32::try_from(value::<u64>(arguments, "limit")).expect("the argument is bounded")
}

fn run_comparison(arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let path = |name| arguments.get_one::<PathBuf>(name).cloned();
    let modes = arguments.get_many::<String>("workloads").expect("has a default");
    let options = compare::Options {
        reference: path("reference").expect("has a default"),
        ours: path("ours").expect("has a default"),
        members: count(arguments, "members"),
        target_leader: arguments.get_flag("target-leader"),
        rounds: count(arguments, "rounds"),
        sample_time: Duration::from_secs(value(arguments, "seconds")),
        modes: modes.map(|name| mode_of(name)).collect(),
        loads: arguments.get_many("loads").expect("has a default").copied().collect(),
        key_space: value(arguments, "key-space"),
        value_size: count(arguments, "value-size"),
        seed: value(arguments, "seed"),
        directory: path("dir").unwrap_or_else(std::env::temp_dir),
    };
    let table = compare::run(&options, &mut |line| eprintln!("{line}"))?;
    if arguments.get_flag("json") {
        println!("{}", table.to_json());
    } else {
        print!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

fn run_v2_watchers(arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let path = |name| arguments.get_one::<PathBuf>(name).cloned();
    let options = v2_wait::Options {
        reference: path("reference").expect("has a default"),
        ours: path("ours").expect("has a default"),
        watchers: count(arguments, "watchers"),
        rounds: count(arguments, "rounds"),
        directory: path("dir").unwrap_or_else(std::env::temp_dir),
    };
    let table = v2_wait::run(&options, &mut |line| eprintln!("{line}"))?;
    if arguments.get_flag("json") {
        println!("{}", table.to_json());
    } else {
        print!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

fn run_expiry(arguments: &ArgMatches) -> Result<ExitCode, Error> {
    let programs = arguments.get_many::<PathBuf>("programs").expect("has a default");
    let directory = arguments.get_one::<PathBuf>("dir").cloned();
    let options = expire::Options {
        programs: programs.cloned().collect(),
        members: count(arguments, "members"),
        leases: value(arguments, "leases"),
        ttl_s: u32::try_from(value::<u64>(arguments, "ttl")).expect("the argument is bounded"),
        slice: Duration::from_secs(1),
        connections: count(arguments, "connections"),
        value_size: count(arguments, "value-size"),
        directory: directory.unwrap_or_else(std::env::temp_dir),
    };
    let outcomes = expire::run(&options, &mut |line| eprintln!("{line}"))?;
    for outcome in outcomes {
        if arguments.get_flag("json") {
            println!("{}", outcome.to_json());
        } else {
            println!("{outcome}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The workload behind a name that the parser let through.
fn mode_of(name: &str) -> Mode {
    match name {
        "put" => Mode::Put,
        "range-lin" => Mode::RangeLinearizable,
        "range-ser" => Mode::RangeSerializable,
        "page" => Mode::Page { limit: 500, serializable: false },
        "keep-alive" => Mode::KeepAlive,
        "v2-set" => Mode::V2Set,
        "v2-get" => Mode::V2Get { quorum: false },
        "v2-get-quorum" => Mode::V2Get { quorum: true },
        _ => Mode::Txn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    fn parse(line: &str) -> Result<load::Options, String> {
        let words = line.split_whitespace();
        let matches = command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let (name, arguments) = matches.subcommand().ok_or("no command")?;
        load_options(name, arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn loads_come_from_the_command_line() {
        let line = "quoin-bench range --serializable --endpoints 127.0.0.1:1,http://127.0.0.1:2 \
            --connections 7 --streams 3 --total 99 --server-pid 5,6";
        let options = parse(line).unwrap();
        assert_eq!(options.mode, Mode::RangeSerializable);
        assert_eq!(options.endpoints.len(), 2);
        assert_eq!((options.connections, options.streams), (7, 3));
        assert_eq!(options.extent, Extent::Requests(99));
        assert_eq!(options.server_pids, [5, 6]);
        let page = parse("quoin-bench page --limit 20 --seconds 2").unwrap();
        assert_eq!(page.mode, Mode::Page { limit: 20, serializable: false });
        let get = parse("quoin-bench v2-get --quorum --connections 9").unwrap();
        assert_eq!((get.mode, get.streams), (Mode::V2Get { quorum: true }, 1));
        assert_eq!(page.extent, Extent::Time(Duration::from_secs(2)));
    }

    #[test]
    fn slips_are_refused() {
        for line in [
            "quoin-bench",
            "quoin-bench put --connections 0",
            "quoin-bench put --seconds 100000",
            "quoin-bench put --total 5 --seconds 5",
            "quoin-bench put --limit 5",
            "quoin-bench put --endpoints nowhere",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse_load("100x10"), Ok(Load { connections: 100, streams: 10 }));
        for text in ["", "100", "0x1", "1x0", "axb", "1x99999"] {
            assert!(parse_load(text).is_err(), "{text}");
        }
    }
}
