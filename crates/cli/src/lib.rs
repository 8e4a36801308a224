//! Command lines, help and outputs in the manner of etcd's tools: what `etcdctl` and `etcdutl`
//! have in common.
//!
//! `tree` finds a command among the words of a command line, `flags` reads its flags, `usage`
//! writes its help, `text`, `number` and `table` show values as Go does, `exit` says how a program
//! ends.
//!
//! Not here: any command, servers, files.

pub mod exit;
pub mod flags;
pub mod number;
pub mod output;
pub mod table;
pub mod text;
pub mod tree;
pub mod usage;
