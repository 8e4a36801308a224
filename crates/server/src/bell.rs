//! Bells: how those who wait for new views learn of one.
//!
//! Ringing costs the consensus thread next to nothing, and only for bells that are wanted.
//!
//! Not here: the view itself, which everybody loads from the member.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use quoin_store::View;
use tokio::sync::Notify;

/// Views right before compactions that may wait for one who is behind.
const PASSED_MAX: usize = 16;

/// The bells of a member.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    all: ArcSwap<Vec<Arc<Bell>>>,
}

/// Rings for one who waits.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    is_wanted: AtomicBool,
    rung: Notify,
    /// Views right before compactions, the oldest first: the newest view does not have all changes.
    passed: Mutex<VecDeque<View>>,
}

impl Bells {
    /// Adds a bell, which nobody wants yet.
    pub(crate) fn add(&self) -> Arc<Bell> {
        let bell = Arc::new(Bell::default());
        self.all.rcu(|all| {
            let mut all = Vec::clone(all);
            all.push(Arc::clone(&bell));
            all
        });
        bell
    }

    /// Keeps views that the next one has not all changes of, for the bells that are wanted.
    pub(crate) fn pass(&self, passed: Vec<View>) {
        if passed.is_empty() {
            return;
        }
        for bell in self.all.load().iter().filter(|bell| bell.is_wanted.load(Ordering::Relaxed)) {
            let mut waiting = bell.passed();
            waiting.extend(passed.iter().cloned());
            let excess = waiting.len().saturating_sub(PASSED_MAX);
            waiting.drain(..excess);
        }
    }

    /// Rings the bells that are wanted. The view must have been published.
    pub(crate) fn ring(&self) {
        // With the fence in `want`: whoever wants a bell sees the view, or is seen here.
        fence(Ordering::SeqCst);
        for bell in self.all.load().iter() {
            if bell.is_wanted.load(Ordering::Relaxed) {
                bell.rung.notify_one();
            }
        }
    }
}

impl Bell {
    /// Says whether the bell shall ring. It rings for every view that is not seen after this.
    pub(crate) fn want(&self, is_wanted: bool) {
        self.is_wanted.store(is_wanted, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !is_wanted {
            self.passed().clear();
        }
    }

    /// Takes the views right before compactions since the last call.
    pub(crate) fn take_passed(&self) -> VecDeque<View> {
        std::mem::take(&mut *self.passed())
    }

    /// A list of views is whole whatever its last user did.
    fn passed(&self) -> MutexGuard<'_, VecDeque<View>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the bell has rung since the last call.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}
