//! Writes the seeds of all targets: `seeds DIRECTORY` makes a directory below for each target.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: seeds DIRECTORY");
        return ExitCode::FAILURE;
    };
    match write(Path::new(&dir)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{dir}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path) -> std::io::Result<()> {
    for &(name, _) in quoin_fuzz::TARGETS {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        for (number, seed) in quoin_fuzz::seeds::of(name).iter().enumerate() {
            std::fs::write(dir.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
