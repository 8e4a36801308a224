//! `cargo xtask fuzz`: the targets in `fuzz/`, which are a workspace of their own.
//!
//! They run on the stable compiler, without a sanitizer: there is no unsafe code of ours to
//! sanitize, and overflows and assertions are checked. libFuzzer is C++ and needs a compiler of
//! that, so it stays out of CI, which runs the targets over their seeds.

use std::process::Command;

use crate::{capture, cargo, succeed};

const MANIFEST: &[&str] = &["--manifest-path", "fuzz/Cargo.toml"];

/// What makes the compiler count branches and note comparisons for libFuzzer.
const INSTRUMENTATION: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Where inputs are kept that reached something new, and those that failed.
const CORPUS: &str = "fuzz/corpus";
const ARTIFACTS: &str = "fuzz/artifacts";

/// Runs a target from its seeds and its corpus on, until it fails or is stopped.
pub(crate) fn run(target: &str, args: &[&str]) -> Result<(), String> {
    let plain = ["--no-default-features", "--features", "peer", "--example", "seeds", "--", CORPUS];
    succeed(cargo(&["run", "--quiet"]).args(MANIFEST).args(plain))?;
    let host = host()?;
    let mut command = cargo(&["run", "--release", "--target", &host, "--bin", target]);
    command.args(MANIFEST).env("RUSTFLAGS", INSTRUMENTATION);
    if target != "peer_codec" {
        command.args(["--no-default-features", "--features", "libfuzzer"]);
    }
    let artifacts = format!("-artifact_prefix={ARTIFACTS}/{target}-");
    std::fs::create_dir_all(crate::root().join(ARTIFACTS)).map_err(|error| error.to_string())?;
    command.args(["--", &format!("{CORPUS}/{target}"), &artifacts, "-max_len=65536"]).args(args);
    succeed(&mut command)
}

/// Checks the format and all code but libFuzzer's, and runs the targets over their seeds.
pub(crate) fn check() -> Result<(), String> {
    let shared = ["--locked", "--no-default-features", "--target-dir", "target"];
    succeed(cargo(&["fmt"]).args(MANIFEST).arg("--check"))?;
    let lints = ["--features", "peer", "--lib", "--", "-D", "warnings"];
    succeed(cargo(&["clippy"]).args(MANIFEST).args(shared).args(lints))?;
    succeed(cargo(&["test"]).args(MANIFEST).args(shared))
}

/// The name of the machine that this runs on, as the compiler has it. Naming it keeps the
/// instrumentation out of build scripts.
fn host() -> Result<String, String> {
    let version = capture(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc does not tell its host: {version}"))
}
