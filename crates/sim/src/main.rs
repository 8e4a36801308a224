//! `quoin-sim`: runs seeds of the simulator.
//!
//! ```text
//! quoin-sim --seed N [--members M] [--trace] [--sabotage NAME [--only-consequences]]
//! quoin-sim --seeds A..B [--members M] [--twice]
//! ```

use std::process::ExitCode;

use quoin_sim::suite::Report;
use quoin_sim::{Outcome, Plan, Sabotage, Simulation};

const USAGE: &str =
    "usage: quoin-sim --seed N [--members M] [--trace] [--sabotage NAME [--only-consequences]]
       quoin-sim --seeds A..B [--members M] [--twice]";

/// What the command line asks for.
#[derive(Debug, Default)]
struct Arguments {
    seed: Option<u64>,
    seeds: Option<(u64, u64)>,
    members: Option<usize>,
    sabotage: Option<Sabotage>,
    only_consequences: bool,
    trace: bool,
    twice: bool,
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ok = match (arguments.seed, arguments.seeds) {
        (Some(seed), None) => one(seed, &arguments),
        (None, Some((first, end))) => many(first..end, &arguments),
        (None, None) | (Some(_), Some(_)) => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--seed" => arguments.seed = Some(number(&value()?)?),
                "--seeds" => {
                    let range = value()?;
                    let (first, end) = range.split_once("..").ok_or("seeds are given as A..B")?;
                    arguments.seeds = Some((number(first)?, number(end)?));
                }
                "--members" => {
                    let members = usize::try_from(number(&value()?)?);
                    let members = members.map_err(|error| error.to_string())?;
                    if !(1..=9).contains(&members) {
                        return Err("a cluster has 1 to 9 members".to_owned());
                    }
                    arguments.members = Some(members);
                }
                "--sabotage" => arguments.sabotage = Some(sabotage(&value()?)?),
                "--only-consequences" => arguments.only_consequences = true,
                "--trace" => arguments.trace = true,
                "--twice" => arguments.twice = true,
                unknown => return Err(format!("unknown argument {unknown}")),
            }
        }
        Ok(arguments)
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    let known = Sabotage::ALL.iter().find(|sabotage| format!("{sabotage:?}") == name);
    known.copied().ok_or_else(|| format!("unknown sabotage {name}, known are {:?}", Sabotage::ALL))
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let mut plan = Plan::draw(seed, arguments.members.unwrap_or(3));
    plan.print = arguments.trace;
    if let Some(sabotage) = arguments.sabotage {
        plan = plan.sabotaged(sabotage);
        plan.only_consequences = arguments.only_consequences;
    }
    let outcome = Simulation::new(seed, plan).run();
    println!("{:#?}", outcome.plan);
    println!("{}", outcome.coverage);
    println!("{} steps, {} entries, hash {:016x}", outcome.steps, outcome.entries, outcome.hash);
    print_failure(&outcome, !arguments.trace);
    outcome.violation.is_none()
}

fn many(seeds: std::ops::Range<u64>, arguments: &Arguments) -> bool {
    let sizes = arguments.members.map_or(vec![3, 5], |members| vec![members]);
    let mut report = Report::default();
    for seed in seeds {
        for &members in &sizes {
            if arguments.twice {
                report.run_twice(seed, members);
            } else {
                report.run_once(seed, members);
            }
        }
    }
    println!("{}", report.coverage);
    for outcome in &report.failed {
        print_failure(outcome, false);
    }
    for (seed, members) in &report.differing {
        println!("seed {seed} with {members} members: two runs differ");
    }
    let Report { runs, steps, entries, failed, differing, .. } = &report;
    println!("{runs} runs, {steps} steps, {entries} entries, {} failed", failed.len());
    failed.is_empty() && differing.is_empty()
}

fn print_failure(outcome: &Outcome, with_tail: bool) {
    let Some(violation) = &outcome.violation else { return };
    if with_tail {
        outcome.tail.iter().for_each(|line| println!("{line}"));
    }
    println!("seed {} with {} members: {violation}", outcome.seed, outcome.plan.members);
}
