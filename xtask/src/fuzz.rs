//! `cargo xtask fuzz`: the targets in `fuzz/`, which are a workspace of their own.
//!
//! They run on the stable compiler, without a sanitizer: there is no unsafe code of ours to
//! sanitize, and overflows and assertions are checked. libFuzzer is C++ and needs a compiler of
//! that, so it stays out of CI, which runs the targets over their seeds.

use std::process::Command;

use crate::{capture, cargo, root, succeed};

const MANIFEST: &[&str] = &["--manifest-path", "fuzz/Cargo.toml"];

/// What makes the compiler count branches and note comparisons for libFuzzer.
const INSTRUMENTATION: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// Where inputs are kept that reached something new, and those that failed.
const CORPUS: &str = "fuzz/corpus";
const ARTIFACTS: &str = "fuzz/artifacts";
/// The longest input: room for a few pages of a database.
const MAX_LEN: &str = "-max_len=65536";

/// Runs a target from its seeds and its corpus on, until it fails or is stopped; or over the files
/// that `args` name.
pub(crate) fn run(target: &str, args: &[&str]) -> Result<(), String> {
    // Only these need what the server is made of, which takes long to build.
    let with_peer = matches!(target, "peer_codec" | "v2_request");
    let seeds = ["--no-default-features", "--features", if with_peer { "peer" } else { "" }];
    let mut command = cargo(&["run", "--quiet", "--target-dir", "target", "--example", "seeds"]);
    succeed(command.args(MANIFEST).args(seeds).args(["--", CORPUS]))?;
    let host = host()?;
    let mut command = cargo(&["run", "--release", "--target", &host, "--bin", target]);
    let features = if with_peer { "libfuzzer,peer" } else { "libfuzzer" };
    command.args(MANIFEST).args(["--no-default-features", "--features", features]);
    let artifacts = root().join(ARTIFACTS);
    std::fs::create_dir_all(artifacts).map_err(|error| format!("{ARTIFACTS}: {error}"))?;
    let corpus = format!("{CORPUS}/{target}");
    let names_files = args.iter().any(|arg| !arg.starts_with('-'));
    command.args(["--", &format!("-artifact_prefix={ARTIFACTS}/{target}-"), MAX_LEN]);
    command.args((!names_files).then_some(corpus)).args(args);
    succeed(command.env("RUSTFLAGS", INSTRUMENTATION))
}

/// Checks the format and all code but libFuzzer's, and runs the targets over their seeds.
pub(crate) fn check() -> Result<(), String> {
    let shared = ["--locked", "--no-default-features", "--target-dir", "target"];
    succeed(cargo(&["fmt"]).args(MANIFEST).arg("--check"))?;
    let lints = ["--features", "peer", "--lib", "--", "-D", "warnings"];
    succeed(cargo(&["clippy"]).args(MANIFEST).args(shared).args(lints))?;
    succeed(cargo(&["test"]).args(MANIFEST).args(shared).args(["--features", "peer"]))
}

/// The name of the machine that this runs on, as the compiler has it. Naming it keeps the
/// instrumentation out of build scripts.
fn host() -> Result<String, String> {
    let version = capture(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc does not tell its host: {version}"))
}
