//! The reply to an entry, made by whoever waits for it and not by apply.

use std::fmt;

use quoin_api::error::Error;
use quoin_api::etcdserverpb::response_op::Response;

use super::Reply;
use crate::kv::{Bound, Failure, Halt, Pending, Stored};

/// A reply that is there, or that is still to be read from the state that its entry found. Cloning it
/// copies pointers; it keeps alive what it will read.
#[derive(Clone)]
pub struct PendingReply(Kind);

#[derive(Clone)]
enum Kind {
    Made(Reply),
    Reads(Box<(Pending, Stored)>),
}

impl PendingReply {
    /// The reply to an entry that nobody waits for.
    pub(super) fn nothing() -> Self {
        Reply::None.into()
    }

    pub(super) fn reads(pending: Pending, stored: Stored) -> Self {
        Self(Kind::Reads(Box::new((pending, stored))))
    }

    /// Makes the reply. It says what its entry found, whenever this is called. An error means that the
    /// stored bytes cannot be read or are damaged; the entry took effect all the same.
    pub fn make(&self) -> Result<Reply, Error> {
        let mut bound = Bound::NONE;
        self.make_within(&mut bound).map(Option::unwrap_or_default)
    }

    /// The same, or nothing if that takes more than is left of the bound.
    pub fn make_within(&self, bound: &mut Bound) -> Result<Option<Reply>, Error> {
        let (pending, stored) = match &self.0 {
            Kind::Made(reply) => return Ok(Some(reply.clone())),
            Kind::Reads(reads) => &**reads,
        };
        match pending.response(stored, bound) {
            Ok(response) => Ok(Some(response.map_or(Reply::None, Reply::from))),
            Err(Halt::OverBound) => Ok(None),
            Err(Halt::Failed(failure)) => Err(failure.told()),
        }
    }

    /// Bytes of memory that the reply takes while it is made. They are found from the index and the
    /// lengths of what is stored, which takes time for each key.
    pub fn bytes(&self) -> Result<usize, Error> {
        match &self.0 {
            Kind::Made(_) => Ok(0),
            Kind::Reads(reads) => reads.0.bytes(&reads.1).map_err(Failure::told),
        }
    }
}

impl From<Reply> for PendingReply {
    fn from(reply: Reply) -> Self {
        Self(Kind::Made(reply))
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        match response {
            Response::ResponseRange(response) => Self::Range(response),
            Response::ResponsePut(response) => Self::Put(response),
            Response::ResponseDeleteRange(response) => Self::DeleteRange(response),
            Response::ResponseTxn(response) => Self::Txn(response),
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Made(reply) => f.debug_tuple("Made").field(reply).finish(),
            Kind::Reads(_) => f.debug_tuple("Reads").finish_non_exhaustive(),
        }
    }
}
