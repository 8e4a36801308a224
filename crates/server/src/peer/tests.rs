//! Transports that talk to each other, and to hand-written requests, over loopback.
//!
//! Nothing sleeps and nothing is timed: a test waits for what must happen, and only a guard
//! against hanging looks at the clock.

mod exchange;
mod faults;
mod harness;
mod leases;
mod requests;
mod snapshots;
