//! Which command lines call which command, and how the help shows them.

use quoin_cli::tree::find;
use quoin_cli::usage::{flag_lines, help, usage};

use super::*;
use crate::tree::Found;

fn find_words(line: &str) -> Result<Found<Action>, String> {
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

#[track_caller]
fn path(line: &str) -> Vec<&'static Command> {
    let words = line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
    find(&ROOT, words).unwrap().path
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
    assert!(text.starts_with("Usage:\n  etcdctl [command]\n\nKey-value commands\n  compaction "));
    assert!(text.contains("\n\nUtility commands\n  check          Tries out"));
    assert!(text.contains("\n  cluster-health Tells whether"), "commands of the v2 API");
    assert!(!text.contains("make-mirror") && !text.contains("Flags:"));
}

#[test]
fn defaults_and_letters() {
    let text = flag_lines(&globals::FLAGS.iter().collect::<Vec<_>>());
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
