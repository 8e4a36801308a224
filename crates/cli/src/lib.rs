//! Command lines, help and outputs in the manner of etcd's tools: what `etcdctl` and `etcdutl`
//! have in common.
//!
//! `program` reads a command line: `tree` finds the command among its words, `flags` reads the
//! flags, `usage` writes help; `classic` reads flags as etcd's v2 tool does; `text`, `number` and `table` show values as Go does, `exit` says how a program
//! ends.
//!
//! Not here: any command, servers, files.

pub mod classic;
pub mod exit;
pub mod flags;
pub mod number;
pub mod output;
pub mod program;
pub mod table;
pub mod text;
pub mod tree;
pub mod usage;
