//! `cargo xtask ci`: the steps that every change passes, cheapest first.
//!
//! Each step is announced, timed and run with our own standard streams, so that cargo's test
//! summaries reach whoever reads the log. The first failure ends the run.

use std::time::{Duration, Instant};

use crate::{cargo, codegen, fuzz, succeed, tidy};

struct Step {
    name: &'static str,
    run: fn() -> Result<(), String>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt },
    Step { name: "tidy", run: tidy::run },
    Step { name: "codegen", run: || codegen::run(true) },
    Step { name: "clippy", run: clippy },
    Step { name: "test", run: test },
    Step { name: "fuzz", run: fuzz::check },
    Step { name: "doc", run: doc },
];

/// Runs all steps and stops at the first that fails.
pub(crate) fn run() -> Result<(), String> {
    let mut timings = Vec::new();
    let outcome = run_steps(STEPS, &mut timings);
    println!("\n==> summary");
    for (name, duration) in &timings {
        println!("{name:<8} {:>7.1} s", duration.as_secs_f64());
    }
    outcome
}

fn run_steps(steps: &[Step], timings: &mut Vec<(&'static str, Duration)>) -> Result<(), String> {
    for step in steps {
        println!("\n==> {}", step.name);
        let start = Instant::now();
        let outcome = (step.run)();
        let duration = start.elapsed();
        timings.push((step.name, duration));
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("==> {} {verdict} in {:.1} s", step.name, duration.as_secs_f64());
        outcome.map_err(|reason| format!("ci: {} failed: {reason}", step.name))?;
    }
    Ok(())
}

fn fmt() -> Result<(), String> {
    succeed(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), String> {
    let scope = ["clippy", "--workspace", "--all-targets", "--all-features"];
    succeed(cargo(&scope).args(["--", "-D", "warnings"]))
}

/// Without the black-box tests: they need programs built for release and a real etcd, which
/// `.ci/run` provides.
fn test() -> Result<(), String> {
    succeed(&mut cargo(&["test", "--workspace", "--exclude", "quoin-tests"]))
}

/// Private rooms have docs too, and public pages may point into them.
fn doc() -> Result<(), String> {
    let mut command = cargo(&["doc", "--no-deps", "--workspace", "--document-private-items"]);
    succeed(command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let steps = [
            Step { name: "good", run: || Ok(()) },
            Step { name: "bad", run: || Err("broken".to_owned()) },
            Step { name: "never", run: || panic!("must not run after a failure") },
        ];
        let mut timings = Vec::new();
        let outcome = run_steps(&steps, &mut timings);
        assert_eq!(outcome, Err("ci: bad failed: broken".to_owned()));
        let names: Vec<&str> = timings.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["good", "bad"]);
    }
}
