//! The harness of the black-box tests: real processes, real sockets, real files.
//!
//! A test starts the programs under test (the *subject*) and, where answers are compared, the
//! programs of etcd (the *reference*), talks to them as any client would, and looks at nothing but
//! answers, exit codes, log lines and files. Everything started here is stopped by its process ID
//! and every directory removed when its value goes out of scope, also when a test panics;
//! `QUOIN_KEEP=1` keeps the directories.
//!
//! Environment: `QUOIN_ETCD`, `QUOIN_ETCDCTL` name the subject, `QUOIN_REFERENCE_ETCD`,
//! `QUOIN_REFERENCE_ETCDCTL` the reference, `QUOIN_SEED` repeats a random run (`new`: a seed that
//! nobody tried), `SLOW_TESTS=1` runs the long versions. A program that is missing fails the test that needs it.
//!
//! Not here: anything that links the server; the only crate of ours in use is the wire schema.

pub mod checker;
pub mod cluster;
pub mod compare;
pub mod ctl;
pub mod frames;
pub mod generate;
pub mod history;
pub mod metrics;
pub mod pages;
pub mod ports;
pub mod programs;
pub mod python;
pub mod rng;
pub mod rpc;
pub mod server;
pub mod temp_dir;
pub mod v2;
pub mod watch;
pub mod watching;
