//! Many seeds in a row.

use crate::coverage::Coverage;
use crate::plan::{Plan, Sabotage};
use crate::simulation::{Outcome, Simulation};

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many runs there were.
    pub runs: u64,
    /// The steps of all runs.
    pub steps: u64,
    /// The entries that all runs committed.
    pub entries: u64,
    /// What the runs met.
    pub coverage: Coverage,
    /// The runs that broke a rule.
    pub failed: Vec<Outcome>,
    /// The seeds, with the number of members, of which two runs differed.
    pub differing: Vec<(u64, usize)>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, members: usize) -> Outcome {
    Simulation::new(seed, Plan::draw(seed, members)).run()
}

/// Runs a seed with a rule broken on purpose. With `only_consequences` nobody looks at the disks.
#[must_use]
pub fn run_sabotaged(
    seed: u64,
    members: usize,
    sabotage: Sabotage,
    only_consequences: bool,
) -> Outcome {
    let plan = Plan { only_consequences, ..Plan::draw(seed, members).sabotaged(sabotage) };
    Simulation::new(seed, plan).run()
}

impl Report {
    /// Runs a seed twice, and notes what it came to.
    pub fn run_twice(&mut self, seed: u64, members: usize) {
        let hash = self.run_once(seed, members);
        if run(seed, members).hash != hash {
            self.differing.push((seed, members));
        }
    }

    /// Runs a seed, and notes what it came to. Returns the hash of the run.
    pub fn run_once(&mut self, seed: u64, members: usize) -> u64 {
        let outcome = run(seed, members);
        let hash = outcome.hash;
        self.runs += 1;
        self.steps += outcome.steps;
        self.entries += outcome.entries;
        self.coverage += &outcome.coverage;
        if outcome.violation.is_some() {
            self.failed.push(outcome);
        }
        hash
    }
}
