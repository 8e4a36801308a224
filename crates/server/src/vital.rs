//! Threads and tasks that others wait for, so that a panic in one of them ends the process.
//!
//! The runtime catches the panic of a task and goes on without it: answers that it would have
//! delivered never come, connections that it serves say nothing for ever, and nobody knows. A member
//! that ends is started again, and its clients go elsewhere meanwhile.
//!
//! Not here: tasks of one connection or one request, whose client sees it break.

use std::thread;

use tokio::task::JoinHandle;

/// Aborts the process when dropped while its thread unwinds.
#[derive(Debug)]
pub(crate) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// Spawns a task whose panic ends the process. It may be aborted.
pub(crate) fn spawn<F>(task: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    tokio::spawn(guarded(task))
}

/// A task whose panic ends the process, for those who spawn it in their own way.
pub(crate) async fn guarded<F: Future>(task: F) -> F::Output {
    let _abort = AbortOnPanic;
    task.await
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "QUOIN_TEST_VITAL_CHILD";
    const SIGABRT: i32 = 6;

    /// The task that delivers the answers of a network thread could panic, and the process went on:
    /// no client of that thread was answered again. Here a process plays that, and must end.
    #[test]
    fn a_panic_in_a_vital_task_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let aborted = spawn(std::future::pending::<()>());
                aborted.abort();
                assert!(aborted.await.is_err(), "to abort one is no panic");
                spawn(async { panic!("an invariant broke") }).await.ok();
            });
            return;
        }
        let own = std::env::current_exe().expect("a test is a program");
        let mut child = Command::new(own);
        child.args(["--exact", "vital::tests::a_panic_in_a_vital_task_ends_the_process"]);
        let output = child.env(CHILD, "1").output().expect("the program runs");
        assert_eq!(output.status.signal(), Some(SIGABRT), "{output:?}");
    }
}
