//! Bells: how those who wait for new views learn of one.
//!
//! Ringing costs the consensus thread next to nothing, and only for bells that are wanted.
//!
//! Not here: the view itself, which everybody loads from the member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

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
    }

    /// Waits until the bell has rung since the last call.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}
