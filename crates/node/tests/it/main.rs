//! One member driven by hand, without the simulator: what crashes leave of it, and what it costs.

mod backlog;
mod crash;
mod machine;
mod size;
