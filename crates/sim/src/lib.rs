//! A cluster in one thread: whole members on simulated disks, clocks and networks, with faults
//! drawn from a seed and checks at every step. Never shipped.
//!
//! One seed is one run. It has two phases: faults strike while clients work, and nothing may
//! break that members promise; then all faults end, and the cluster must recover by itself.
//!
//! In reading order: [`plan`] (what a seed draws), [`simulation`] (how members are driven),
//! `member`, `network`, `workload`, then the checks: `history` and `model` (are the answers
//! linearizable?), [`check`] (Raft's promises, disks, states). [`coverage`] counts what a run met,
//! and [`suite`] runs many seeds. [`Sabotage`] breaks rules on purpose, to show that the checks
//! see it.
//!
//! Not here: the threads, sockets and clocks of the server, which the simulator replaces.

#![warn(clippy::wildcard_enum_match_arm)]

pub mod plan;

pub mod simulation;

mod member;

mod network;

mod workload;

mod history;

mod model;

pub mod check;

pub mod coverage;

pub mod suite;

mod queue;

mod rng;

mod trace;

pub use check::Violation;
pub use coverage::{Coverage, Mark};
pub use plan::{Plan, Sabotage};
pub use simulation::{Outcome, Simulation};
