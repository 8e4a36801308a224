//! Senders that are no members as far as this one knows: the members are asked.
//!
//! A member that was away may have missed that others joined, and one of them may lead now. It would
//! never catch up if it did not listen to that leader. So it asks the members that it knows, and
//! listens to whom one of them lists.
//!
//! Invariants:
//! - One round of questions at a time, and a pause between two: whoever can send us messages cannot
//!   make us send many.
//! - Only answers from addresses of members count.
//!
//! Not here: whom consensus listens to (`quoin_node`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quoin_store::Membership;
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::ask;
use crate::driver::Input;
use crate::log;
use crate::member::Member;

/// The pause between two rounds of questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Senders that are remembered as vouched for, as many as consensus remembers.
const VOUCHED_MAX: usize = 32;

/// What was asked and answered about strangers.
#[derive(Debug)]
pub(crate) struct Strangers {
    state: Arc<Mutex<State>>,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct State {
    vouched: BTreeSet<u64>,
    /// When the next round may begin; none while one is under way.
    next: Next,
}

#[derive(Debug, Default)]
enum Next {
    #[default]
    Now,
    UnderWay,
    NotBefore(Instant),
}

/// A member as a peer lists it.
#[derive(Deserialize)]
struct Listed {
    id: u64,
}

impl Strangers {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { state: Arc::default(), runtime }
    }

    /// Returns true if a member has listed this sender.
    pub(crate) fn is_vouched(&self, sender: u64) -> bool {
        locked(&self.state).vouched.contains(&sender)
    }

    /// Asks the members whether this sender is one, unless they are being asked already.
    pub(crate) fn ask(&self, member: &Arc<Member>, sender: u64) {
        let mut state = locked(&self.state);
        match state.next {
            Next::UnderWay => return,
            Next::NotBefore(instant) if Instant::now() < instant => return,
            Next::Now | Next::NotBefore(_) => state.next = Next::UnderWay,
        }
        drop(state);
        let (state, member) = (Arc::clone(&self.state), Arc::clone(member));
        self.runtime.spawn(async move {
            let is_listed = is_listed(&member, sender).await;
            let id = format!("{sender:x}");
            if is_listed {
                log::info!("listening to a sender that a member lists", "sender-id" => id);
            } else {
                log::warn!("ignored messages of a sender that is no member", "sender-id" => id);
            }
            // If the queue is full, the sender is heard of again.
            let is_heard = is_listed && member.input(Input::Vouched(sender)).is_ok();
            let mut state = locked(&state);
            state.next = Next::NotBefore(Instant::now() + PAUSE);
            if is_heard && state.vouched.len() < VOUCHED_MAX {
                state.vouched.insert(sender);
            }
        });
    }
}

/// Asks one member after the other. A sender that was removed is not asked about.
async fn is_listed(member: &Member, sender: u64) -> bool {
    let view = member.view();
    let membership: &Membership = view.membership();
    if membership.is_removed(sender) {
        return false;
    }
    let others = membership.members().filter(|other| other.id != member.id);
    for url in others.flat_map(|other| &other.peer_urls) {
        let Some(answer) = ask::get(url, "/members").await else { continue };
        let listed: Vec<Listed> = serde_json::from_slice(&answer.body).unwrap_or_default();
        if listed.iter().any(|listed| listed.id == sender) {
            return true;
        }
    }
    false
}

/// Takes a lock. What it guards is replaced whole, so a panic elsewhere does not spoil it.
fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
