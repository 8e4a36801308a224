//! Signals that must not end the process, and one that must end it with a code of its own.
//!
//! etcd is a Go program, and the runtime of Go stands signals that end any other program: a
//! supervisor, a log rotation or a terminal may send them. The tables are what etcd 3.7.1 was seen
//! to do on Linux.
//!
//! Not here: the end by SIGTERM and SIGINT (`boot`), which takes its time; SIGHUP, which ends etcd
//! as it ends every program; the signals of faults.

use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{
    SIGALRM, SIGIO, SIGPIPE, SIGPROF, SIGQUIT, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::flag;

/// SIGPWR, which is not in the list of the library.
const SIGPWR: i32 = 30;

/// The signals that change nothing.
const SURVIVED: [i32; 10] =
    [SIGALRM, SIGIO, SIGPIPE, SIGPROF, SIGPWR, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ];

/// The real-time signals that change nothing. The first of them (34) ends Go's programs, and those
/// before it belong to the C library.
const SURVIVED_REAL_TIME: RangeInclusive<i32> = 35..=64;

/// The exit code of a Go program that SIGQUIT ends.
const QUIT_CODE: i32 = 2;

/// Takes the signals. Call it before the first thread.
///
/// # Errors
/// If the operating system refuses a handler.
pub fn take() -> io::Result<()> {
    // A handler and not the disposition to ignore, which child processes would inherit.
    let unread = Arc::new(AtomicBool::new(false));
    for signal in SURVIVED.into_iter().chain(SURVIVED_REAL_TIME) {
        flag::register(signal, Arc::clone(&unread))?;
    }
    flag::register_conditional_shutdown(SIGQUIT, QUIT_CODE, Arc::new(AtomicBool::new(true)))?;
    Ok(())
}
