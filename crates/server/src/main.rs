//! The program `etcd`: one member of a cluster.

use std::process::ExitCode;

use quoin_server::boot::{self, BootError};
use quoin_server::{config, log, signals};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(error) = signals::take() {
        log::warn!("some signals may end this process", "error" => error.to_string());
    }
    let config = match config::load() {
        Ok(config) => config,
        Err(code) => return code,
    };
    let data_dir = config.data_dir.clone();
    match boot::run(config) {
        Ok(Some(signal)) => die_by(signal),
        Ok(None) => ExitCode::SUCCESS,
        Err(BootError::Logged) => ExitCode::FAILURE,
        Err(error) => {
            let (error, dir) = (error.to_string(), data_dir);
            log::fatal!("discovery failed", "error" => error, "data-dir" => dir);
            ExitCode::FAILURE
        }
    }
}

/// Ends the process by the signal that stopped it, as etcd does; the first process of a container
/// cannot die by a signal and exits instead.
fn die_by(signal: i32) -> ExitCode {
    if std::process::id() != 1 {
        drop(signal_hook::low_level::emulate_default_handler(signal));
    }
    ExitCode::SUCCESS
}
