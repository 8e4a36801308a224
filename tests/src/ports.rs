//! Ports on 127.0.0.1 for servers that a test starts.
//!
//! They lie below the range from which the kernel takes ports for outgoing connections, so that a
//! member that is down does not lose its port to a client. A port is tried by binding it and
//! released at once; two test programs may still pick the same one, so whoever starts a server
//! tries again with other ports when the server says that the address is taken.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// Returns a port that nobody listens on and that this process has not given out lately.
///
/// # Panics
/// If every port of the range is in use.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs started one after the other have neighbouring process IDs: spread them.
    let start = (std::process::id().wrapping_mul(7919) % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + step) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one, two);
        TcpListener::bind(("127.0.0.1", one)).unwrap();
        TcpListener::bind(("127.0.0.1", two)).unwrap();
    }
}
