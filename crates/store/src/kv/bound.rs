//! What a read may look at and take before it has to go where it may take longer.
//!
//! A read is first tried on a thread that others wait for. Every key that it looks at and every byte
//! that it reads counts, also what does not get into the answer; at the bound it ends without one.

use quoin_api::error::Error;

use super::Failure;
use crate::checkpoint::CheckpointError;

/// How much is left of what a request may look at. All parts of a request share one.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Keys to look at.
    pub keys: usize,
    /// Bytes of records and answers.
    pub bytes: usize,
}

/// Why a read ended without an answer.
#[derive(Debug)]
pub(crate) enum Halt {
    /// There is none.
    Failed(Failure),
    /// It would be over the bound.
    OverBound,
}

impl Bound {
    /// More than any read needs.
    pub const NONE: Self = Self { keys: usize::MAX, bytes: usize::MAX };

    /// Notes that so many keys are looked at.
    pub(super) fn look(&mut self, keys: usize) -> Result<(), Halt> {
        self.keys = self.keys.checked_sub(keys).ok_or(Halt::OverBound)?;
        Ok(())
    }

    /// Notes that so many bytes are taken.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Halt> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Halt::OverBound)?;
        Ok(())
    }
}

impl Halt {
    /// Why a read without a bound has no answer.
    pub(super) fn unbounded(self) -> Failure {
        match self {
            Self::Failed(failure) => failure,
            Self::OverBound => unreachable!("no store has as many keys or bytes as are no bound"),
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<CheckpointError> for Halt {
    fn from(error: CheckpointError) -> Self {
        Self::Failed(error.into())
    }
}
