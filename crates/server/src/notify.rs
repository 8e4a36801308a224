//! What a service manager (systemd) is told: that this member serves, that it stops, and that it
//! is alive.
//!
//! The manager names a datagram socket in `NOTIFY_SOCKET`, by a path or, behind an `@`, by an
//! abstract name. `WATCHDOG_USEC` is the time after which it takes a silent process for dead, and
//! `WATCHDOG_PID` says which process it means.
//!
//! Invariants:
//! - Without a manager nothing is sent, and nothing fails.
//! - A manager that does not read delays nothing for longer than [`SEND_TIMEOUT`].
//! - A sign of life is sent only while the consensus thread keeps time.
//!
//! Not here: when the member is ready, and what a unit file says (`contrib/systemd`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::log;
use crate::member::Member;

/// How long a notice may wait for the manager to read.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Signs of life within the time that the manager allows for one, as systemd asks.
const SIGNS_PER_TIMEOUT: u32 = 2;

const READY: &str = "READY=1";
const STOPPING: &str = "STOPPING=1";
const ALIVE: &str = "WATCHDOG=1";

/// The service manager that started this process, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceManager {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Returns what the environment of this process says.
    pub(crate) fn of_environment() -> Self {
        Self::new(|name| std::env::var_os(name), std::process::id())
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>, own_id: u32) -> Self {
        let text = |name| Some(variable(name)?.to_str()?.to_owned());
        let is_meant = match text("WATCHDOG_PID") {
            Some(id) => id.parse() == Ok(own_id),
            None => true,
        };
        let watchdog_us = text("WATCHDOG_USEC").and_then(|time| time.parse().ok());
        let socket = variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        Self {
            watchdog: watchdog_us
                .filter(|time| *time > 0 && is_meant && socket.is_some())
                .map(Duration::from_micros),
            socket,
        }
    }

    /// Says that this member serves clients.
    pub(crate) fn ready(&self) {
        log::info!("notifying init daemon");
        match self.send(READY) {
            Ok(()) => log::info!("successfully notified init daemon"),
            Err(error) => {
                log::error!("failed to notify systemd for readiness", "error" => error);
            }
        }
    }

    /// Says that this member is about to end.
    pub(crate) fn stopping(&self) {
        if let Err(error) = self.send(STOPPING) {
            log::warn!("failed to notify systemd of the end", "error" => error);
        }
    }

    /// Gives signs of life if the manager asks for them, until the process ends.
    pub(crate) async fn give_signs_of_life(self, member: Arc<Member>) {
        let Some(allowed) = self.watchdog else { return };
        let mut signs = tokio::time::interval(allowed / SIGNS_PER_TIMEOUT);
        let mut last_ticks = member.ticks();
        let mut last_progress = Instant::now();
        let mut has_failed = false;
        loop {
            signs.tick().await;
            let ticks = member.ticks();
            if ticks != last_ticks {
                (last_ticks, last_progress) = (ticks, Instant::now());
            }
            // A tick may be as long as the time between two signs.
            if last_progress.elapsed() > allowed {
                continue;
            }
            let sent = self.send(ALIVE);
            if let (Err(error), false) = (&sent, has_failed) {
                log::warn!("failed to give systemd a sign of life", "error" => error.clone());
            }
            has_failed = sent.is_err();
        }
    }

    /// Sends a notice; does nothing if nobody wants it. The reason of an error is in Go's words.
    fn send(&self, notice: &str) -> Result<(), String> {
        let Some(name) = &self.socket else { return Ok(()) };
        let sent = address(name).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_write_timeout(Some(SEND_TIMEOUT))?;
            socket.send_to_addr(notice.as_bytes(), &address)
        });
        sent.map(drop).map_err(|error| {
            let (name, reason) = (name.to_string_lossy(), crate::config::go_io_error(&error));
            format!("dial unixgram {name}: connect: {reason}")
        })
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        _ => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(variables: &[(&str, &str)]) -> ServiceManager {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        ServiceManager::new(|name| value(name).map(|(_, value)| OsString::from(value)), 7)
    }

    #[test]
    fn only_the_process_that_is_meant_gives_signs_of_life() {
        let watched = |variables: &[(&str, &str)]| {
            let socket = [("NOTIFY_SOCKET", "/run/notify")];
            manager(&[socket.as_slice(), variables].concat()).watchdog
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(watched(&[]), None);
        assert_eq!(watched(&[("WATCHDOG_USEC", "1000000")]), second);
        assert_eq!(watched(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "7")]), second);
        assert_eq!(watched(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "8")]), None);
        for time in ["0", "", "x", "-1"] {
            assert_eq!(watched(&[("WATCHDOG_USEC", time)]), None, "{time:?}");
        }
        assert_eq!(manager(&[("WATCHDOG_USEC", "1000000")]).watchdog, None);
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_nothing_fails() {
        assert_eq!(manager(&[]).send(READY), Ok(()));
        assert_eq!(manager(&[("NOTIFY_SOCKET", "")]).send(READY), Ok(()));
        assert_eq!(
            manager(&[("NOTIFY_SOCKET", "/nowhere/notify")]).send(READY),
            Err("dial unixgram /nowhere/notify: connect: no such file or directory".to_owned())
        );
    }
}
