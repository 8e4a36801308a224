//! Tests of the Raft core from outside: golden scripts and a random network.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod network;
#[cfg(test)]
mod scripts;
