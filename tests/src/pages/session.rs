//! One `bash` that is given the steps of a page, in a directory and, where possible, a network
//! of its own.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, PipeReader, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::temp_dir::TempDir;

/// How long a step may take. The slowest wait for elections and for requests that time out.
const STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines that a step may print before it counts as run wild.
const LINES_MAX: usize = 10_000;

/// A network with nothing but its loopback, and processes that end with the first of them, which
/// ends with the thread that started it.
const ISOLATED: [&str; 9] = [
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
];

/// What a page is run with.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Says in failures which programs these are.
    pub name: String,
    /// The program of each name in `target/release`.
    pub built: Vec<(String, PathBuf)>,
    /// Directories in front of the PATH, for the programs that a page has its reader install.
    pub installed: Vec<PathBuf>,
}

/// A running session. Dropping it ends everything that was started in it.
#[derive(Debug)]
pub struct Session {
    bash: Child,
    lines: Receiver<String>,
    dir: TempDir,
    steps: usize,
    _ports: Option<MutexGuard<'static, ()>>,
}

impl Session {
    /// Starts a session in a new directory.
    ///
    /// # Errors
    /// If the machine has no `bash` or gives no pipes.
    pub fn start(programs: &Programs) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start bash: {error}");
        let dir = TempDir::new("page");
        lay_out(dir.path(), programs).map_err(failed)?;
        let is_isolated = can_be_isolated();
        // Two pages in the machine's own network would meet at the same ports.
        let ports = (!is_isolated).then(|| {
            static PORTS: Mutex<()> = Mutex::new(());
            PORTS.lock().unwrap_or_else(PoisonError::into_inner)
        });
        let (reader, writer) = std::io::pipe().map_err(failed)?;
        let bash = bash(is_isolated)
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", path(programs))
            .env("HOME", dir.path())
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            // What a page leaves behind in the background is found by its group.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || forward(reader, &sender));
        Ok(Self { bash, lines, dir, steps: 0, _ports: ports })
    }

    /// Runs commands and returns what they printed on both streams.
    ///
    /// # Errors
    /// If they take too long, print without end, or end the session.
    pub fn run(&mut self, commands: &str) -> Result<String, String> {
        self.steps += 1;
        let file = self.dir.join(format!(".step-{}", self.steps));
        std::fs::write(&file, commands).map_err(|error| format!("{file:?}: {error}"))?;
        // The commands are read from a file, so that one of them that reads its input does not
        // swallow the following steps. The mark begins with a newline because the output need
        // not end with one.
        let mark = format!("=== end of step {} ===", self.steps);
        let line = format!(". '{}' </dev/null; printf '\\n%s\\n' '{mark}'\n", file.display());
        let input = self.bash.stdin.as_mut().ok_or("the session has ended")?;
        input.write_all(line.as_bytes()).map_err(|error| format!("bash has ended: {error}"))?;

        let end = Instant::now() + STEP_TIMEOUT;
        let mut printed = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == mark => break,
                Ok(line) => printed.push(line),
                Err(RecvTimeoutError::Timeout) => {
                    let printed = printed.join("\n");
                    return Err(format!("not done after {STEP_TIMEOUT:?}; printed\n{printed}"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the session ended; printed\n{}", printed.join("\n")));
                }
            }
            if printed.len() > LINES_MAX {
                return Err(format!("printed more than {LINES_MAX} lines"));
            }
        }
        Ok(printed.join("\n"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Isolated processes end with the first of them, the others with their group.
        if let Some(group) = Pid::from_raw(self.bash.id().cast_signed()) {
            // It fails only when all of them have ended.
            kill_process_group(group, Signal::KILL).ok();
        }
        // Nothing can be done about a process that cannot be waited for.
        self.bash.wait().ok();
    }
}

/// Makes the directory look like a checkout after the build.
fn lay_out(dir: &Path, programs: &Programs) -> std::io::Result<()> {
    let release = dir.join("target/release");
    std::fs::create_dir_all(&release)?;
    for (name, program) in &programs.built {
        symlink(program, release.join(name))?;
    }
    Ok(())
}

fn path(programs: &Programs) -> OsString {
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let dirs = programs.installed.iter().cloned().chain(std::env::split_paths(&inherited));
    std::env::join_paths(dirs).unwrap_or(inherited)
}

fn bash(is_isolated: bool) -> Command {
    if !is_isolated {
        let mut command = Command::new("bash");
        command.arg("--norc");
        return command;
    }
    let mut command = Command::new(ISOLATED[0]);
    command.args(&ISOLATED[1..]);
    command.args(["bash", "-c", "ip link set lo up && exec bash --norc"]);
    command
}

/// Whether this machine gives a session a network of its own; not if the user is not root.
fn can_be_isolated() -> bool {
    let mut command = Command::new(ISOLATED[0]);
    command.args(&ISOLATED[1..]).args(["ip", "link", "set", "lo", "up"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Hands over what is printed, line by line, until nobody can print or nobody listens.
fn forward(reader: PipeReader, lines: &SyncSender<String>) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if lines.send(text.trim_end_matches('\n').to_owned()).is_err() {
            return;
        }
    }
}
