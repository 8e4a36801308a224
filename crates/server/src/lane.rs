//! Lanes: how answers of the consensus thread reach the tasks of a network thread.
//!
//! Waking a task of another thread's event loop costs a system call, and a turn may answer thousands of
//! requests. So the answers for the tasks of one network thread wait in its lane, and the thread is
//! woken once for all of them.
//!
//! Invariants:
//! - An answer that was put into a lane is delivered while the lane's thread runs.
//! - What waits is bounded by the requests that may wait for an answer (`node`).
//!
//! Not here: what an answer says.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use quoin_node::Answer;
use tokio::sync::{Notify, oneshot};

thread_local! {
    /// The lane of this thread. Tasks of threads without one are woken one by one.
    static LANE: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

/// The answers that wait for one network thread.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    waiting: Mutex<Vec<(oneshot::Sender<Answer>, Answer)>>,
    filled: Notify,
}

impl Lane {
    /// Gives this thread a lane, whose answers [`Self::run`] delivers.
    pub(crate) fn of_this_thread() -> Arc<Self> {
        let lane = Arc::new(Self::default());
        LANE.set(Some(Arc::clone(&lane)));
        lane
    }

    /// Delivers what comes. Never ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.filled.notified().await;
            let waiting = std::mem::take(&mut *self.waiting());
            for (sender, answer) in waiting {
                // A client that went away wants no answer.
                drop(sender.send(answer));
            }
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<(oneshot::Sender<Answer>, Answer)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a client that waits is found again.
#[derive(Debug)]
pub(crate) struct Waiter {
    sender: oneshot::Sender<Answer>,
    lane: Option<Arc<Lane>>,
}

impl Waiter {
    /// Returns a waiter for a task of this thread, and where it gets its answer.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let lane = LANE.with_borrow(Clone::clone);
        (Self { sender, lane }, receiver)
    }

    /// Answers at once.
    pub(crate) fn answer(self, answer: Answer) {
        // A client that went away wants no answer.
        drop(self.sender.send(answer));
    }
}

/// The answers of one turn. Those in lanes are on their way when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Answering {
    /// The lanes that were empty before.
    filled: Vec<Arc<Lane>>,
}

impl Answering {
    /// Answers a waiter.
    pub(crate) fn answer(&mut self, waiter: Waiter, answer: Answer) {
        let Some(lane) = waiter.lane else {
            drop(waiter.sender.send(answer));
            return;
        };
        let mut waiting = lane.waiting();
        // A lane that is not empty has been woken and not been run yet.
        let is_first = waiting.is_empty();
        waiting.push((waiter.sender, answer));
        drop(waiting);
        if is_first {
            self.filled.push(lane);
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        for lane in &self.filled {
            lane.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Tasks wait on a thread with a lane or without, while another thread answers in turns.
    fn check(has_lane: bool) {
        let (sender, receiver) = mpsc::channel::<Waiter>();
        let answering = std::thread::spawn(move || {
            while let Ok(first) = receiver.recv() {
                let mut turn = Answering::default();
                turn.answer(first, Answer::Readable);
                receiver.try_iter().for_each(|waiter| turn.answer(waiter, Answer::Readable));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            if has_lane {
                tokio::spawn(Lane::of_this_thread().run());
            }
            let tasks = (0..1000).map(|_| {
                let (waiter, answer) = Waiter::new();
                sender.send(waiter).unwrap();
                tokio::spawn(answer)
            });
            for task in tasks.collect::<Vec<_>>() {
                assert!(matches!(task.await.unwrap(), Ok(Answer::Readable)));
            }
        });
        LANE.set(None);
        drop(sender);
        answering.join().unwrap();
    }

    #[test]
    fn every_waiter_is_answered() {
        check(false);
        check(true);
    }
}
