//! The project's own commands, so that a person and CI run the same thing:
//!
//! - `cargo xtask ci`: everything that must hold before a change lands.
//! - `cargo xtask tidy`: the house rules that no compiler knows.
//! - `cargo xtask codegen [--check]`: the code generated from the protocol files.
//! - `cargo xtask bench ...`: the load generator, built for release.
//! - `cargo xtask fuzz TARGET ...`: a fuzz target, from its seeds on.

mod ci;
mod codegen;
mod fuzz;
mod tidy;

use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask <command>

  ci                 run everything that CI runs, stop at the first failure
  tidy               check the house rules over all files of the work tree
  codegen [--check]  write the generated code, or only compare it
  bench [ARGS]       build quoin-bench for release and run it with ARGS
  fuzz TARGET [ARGS] build a fuzz target and run it with ARGS for libFuzzer";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["ci"] => ci::run(),
        ["tidy"] => tidy::run(),
        ["codegen"] => codegen::run(false),
        ["codegen", "--check"] => codegen::run(true),
        ["bench", rest @ ..] => bench(rest),
        ["fuzz", target, rest @ ..] => fuzz::run(target, rest),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &[&str]) -> Result<(), String> {
    let mut command = cargo(&["run", "--release", "--quiet", "--package", "quoin-bench", "--"]);
    command.args(args);
    succeed(&mut command)
}

/// A cargo command in the root of the work tree, with the cargo that started this program.
fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// The root of the work tree: the directory above this crate's.
fn root() -> &'static std::path::Path {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies inside the work tree")
}

/// Runs `command` with our own standard streams and fails unless it exits with success.
fn succeed(command: &mut Command) -> Result<(), String> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}

/// Runs `command` and returns what it printed, or what it complained about.
fn capture(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{complaint}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?}: {error}"))
}
