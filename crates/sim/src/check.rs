//! The rules that no fault may break, checked at every step.
//!
//! In reading order: `agreement` (leaders, votes, the one committed log), `shadow` (what a
//! member's disk must hold), `states` (equal logs make equal states), `leases` (they end in time),
//! `watches` (nobody misses a change). Answers to clients are checked by `history`.

pub(crate) mod agreement;
pub(crate) mod leases;
pub(crate) mod shadow;
pub(crate) mod states;
pub(crate) mod watches;

use std::fmt;

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl From<String> for Violation {
    fn from(what: String) -> Self {
        Self { what }
    }
}

/// The outcome of a step.
pub(crate) type Checked = Result<(), Violation>;

/// Fails with what `what` says unless the rule holds.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what().into()) }
}
