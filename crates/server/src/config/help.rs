//! What `etcd --help` prints: the usage on standard error, the flags on standard output.

use std::fmt::Write as _;

use super::gates::FeatureGates;
use super::settings::{Config, ROWS};

/// How the program is called. It also follows every complaint about the command line.
pub(super) const USAGE: &str = "Usage:

  etcd [flags]
    Runs a member of a cluster.

  etcd --version
    Prints the version.

  etcd -h | --help
    Prints this and every flag.

  etcd --config-file <path>
    Takes the configuration from a YAML or JSON file. All other flags and the environment are
    ignored then. Durations in the file are numbers of nanoseconds (600000000000 for 10m);
    --heartbeat-interval and --election-timeout are milliseconds everywhere.

";

/// Width to which the help of a flag is wrapped.
const WIDTH: usize = 96;

/// Returns the list of all flags in their groups.
pub(super) fn flags() -> String {
    let defaults = Config::default();
    let mut text = String::new();
    let mut group = "";
    for row in ROWS.iter().filter(|row| !row.flag.is_empty()) {
        if row.group != group {
            group = row.group;
            put(&mut text, format_args!("\n{group}:\n"));
        }
        put(&mut text, format_args!("  --{} '{}'\n", row.flag, (row.show)(&defaults)));
        wrap(&mut text, row.help);
        if row.flag == "feature-gates" {
            for line in FeatureGates::describe() {
                put(&mut text, format_args!("    {line}\n"));
            }
        }
    }
    text.push_str(
        "\nOthers:\n  \
           --config-file ''\n    Path of the configuration file.\n  \
           --discovery-fallback 'exit'\n    What follows when discovery fails; only 'exit'.\n  \
           --v2-deprecation 'write-only'\n    Accepted for compatibility and ignored.\n  \
           --version 'false'\n    Prints the version and ends.\n\n\
         Every flag can be set by a variable instead: ETCD_ and its name in upper case with\n\
         underscores. A flag and its variable together are an error. Flags of older releases\n\
         (--experimental-..., --proxy, --debug) are accepted under their old names.\n",
    );
    text
}

fn wrap(text: &mut String, help: &str) {
    let mut column = 0;
    for word in help.split(' ') {
        if column > 0 && column + 1 + word.len() > WIDTH {
            text.push('\n');
            column = 0;
        }
        let space = if column == 0 { "    " } else { " " };
        put(text, format_args!("{space}{word}"));
        column += space.len() + word.len();
    }
    text.push('\n');
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string cannot fail");
}
