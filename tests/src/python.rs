//! A Python with the client libraries that the tests and the pages use.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs;

/// What is installed, with versions.
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/requirements.txt");

/// The directory with a `python3` that has the packages of `tests/python/requirements.txt`. It is
/// made on first use, which needs the network, and kept beside what is built.
///
/// # Panics
/// If it cannot be made: without it no test that needs it can run.
pub fn programs_dir() -> PathBuf {
    let root = programs::target_dir().join("python");
    std::fs::create_dir_all(&root).unwrap_or_else(|error| panic!("{root:?}: {error}"));
    // Of tests that run beside each other one makes it, and the others wait.
    let lock = File::create(root.join("lock")).expect("the directory is there");
    lock.lock().expect("the file system has locks");
    let wanted = std::fs::read_to_string(REQUIREMENTS).expect("the repository has it");
    let record = root.join("installed");
    if std::fs::read_to_string(&record).is_ok_and(|installed| installed == wanted) {
        return root.join("venv/bin");
    }
    // The system's own Python where there is one: the first on the PATH may be of any version.
    let system = Path::new("/usr/bin/python3");
    let python = if system.is_file() { system } else { Path::new("python3") };
    succeed(Command::new(python).args(["-m", "venv", "--clear"]).arg(root.join("venv")));
    let mut pip = Command::new(root.join("venv/bin/pip"));
    succeed(pip.args(["install", "--quiet", "--requirement", REQUIREMENTS]));
    // Written last: an installation that broke off is made again.
    std::fs::write(&record, wanted).expect("the directory can be written");
    root.join("venv/bin")
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
}
