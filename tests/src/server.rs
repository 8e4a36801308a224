//! One server process: start, wait, signals, exit, log.

use std::fs::File;
use std::io::PipeReader;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The line by which etcd, and tools that start it, know that it serves.
pub const READY: &str = "ready to serve client requests";

/// How long a start may take on a busy machine with a slow disk.
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

/// What to start, and where.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, in addition to the PATH; nothing else is inherited.
    pub env: Vec<(String, String)>,
    /// Its working directory; the log file is written here.
    pub dir: PathBuf,
    /// Names the log file.
    pub name: String,
    /// Start it with SIGXFSZ ignored, so that a write beyond the file size limit is an error
    /// that the program sees and not the end of it.
    pub ignore_file_size_signal: bool,
}

impl Launch {
    /// A start of `program` in `dir` without arguments.
    pub fn new(program: &Path, dir: &Path, name: &str) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: dir.to_owned(),
            name: name.to_owned(),
            ignore_file_size_signal: false,
        }
    }

    /// The same with these arguments added.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// The same with this environment variable added.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        if self.ignore_file_size_signal {
            command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(&self.program);
        } else {
            command = Command::new(&self.program);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.args(&self.args).current_dir(&self.dir).env_clear().env("PATH", path);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running process, or one whose end has been seen. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Copies the output into the log file; a limit on file sizes must not silence the process.
    copier: Option<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Server {
    /// Starts the process and returns at once; its output goes to a new log file.
    ///
    /// # Panics
    /// If the program cannot be started at all.
    pub fn spawn(launch: &Launch) -> Self {
        let log = new_log(launch);
        let file = File::create(&log).unwrap_or_else(|error| panic!("{log:?}: {error}"));
        let (reader, output) = std::io::pipe().expect("a pipe");
        let errors = output.try_clone().expect("a pipe can be cloned");
        let mut command = launch.command();
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // The command holds our copies of the writing end; the pipe must end with the process.
        drop(command);
        let copier = std::thread::spawn(move || copy(reader, file));
        Self { child, log, copier: Some(copier), status: None }
    }

    /// Starts the process and waits until it serves.
    ///
    /// # Errors
    /// If it ends or says nothing within [`START_TIMEOUT`]; the text holds the end of its log.
    pub fn start(launch: &Launch) -> Result<Self, String> {
        let mut server = Self::spawn(launch);
        server.wait_ready(START_TIMEOUT)?;
        Ok(server)
    }

    /// Waits until the log says that client requests are served.
    ///
    /// # Errors
    /// If the process ends first or the time is over.
    pub fn wait_ready(&mut self, within: Duration) -> Result<(), String> {
        self.wait_log(READY, within)
    }

    /// Waits until the log holds `text`.
    ///
    /// # Errors
    /// If the process ends first or the time is over.
    pub fn wait_log(&mut self, text: &str, within: Duration) -> Result<(), String> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.try_exit();
            if self.log_text().contains(text) {
                return Ok(());
            }
            if let Some(status) = status {
                return Err(format!("ended ({status}) without {text:?}\n{}", self.log_tail()));
            }
            if Instant::now() > deadline {
                return Err(format!("no {text:?} within {within:?}\n{}", self.log_tail()));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The process ID.
    ///
    /// # Panics
    /// Never: the kernel gives out positive numbers.
    pub fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("a process ID fits");
        Pid::from_raw(id).expect("a process ID is not zero")
    }

    /// Sends a signal; a process that has ended is left alone.
    ///
    /// # Panics
    /// If the signal cannot be sent to a process that runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_exit().is_none() {
            kill_process(self.pid(), signal).expect("our own child can be signalled");
        }
    }

    /// Ends the process as a power cut would: SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If the kernel does not end it.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert!(self.wait_exit(Duration::from_secs(30)).is_some(), "SIGKILL had no effect");
    }

    /// Asks the process to end (SIGTERM) and returns how it did.
    ///
    /// # Errors
    /// If it is still there after `within`.
    pub fn terminate(&mut self, within: Duration) -> Result<ExitStatus, String> {
        self.signal(Signal::TERM);
        let status = self.wait_exit(within);
        status.ok_or_else(|| format!("runs {within:?} after SIGTERM\n{}", self.log_tail()))
    }

    /// Waits for the end of the process.
    pub fn wait_exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let status = self.try_exit();
            if status.is_some() || Instant::now() > deadline {
                return status;
            }
            std::thread::sleep(POLL);
        }
    }

    /// How the process ended, if it has.
    ///
    /// # Panics
    /// If the kernel denies knowing our child.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child can be waited for");
            if self.status.is_some() {
                let copied = self.copier.take().map(JoinHandle::join);
                copied.transpose().expect("copying the log does not panic");
            }
        }
        self.status
    }

    /// Everything the process has written.
    pub fn log_text(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines that the process has written, for the text of a failure.
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.iter().skip(lines.len().saturating_sub(40));
        let tail: Vec<String> = tail.map(|line| line.chars().take(600).collect()).collect();
        format!("--- end of {}\n{}\n---", self.log.display(), tail.join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if self.wait_exit(Duration::from_secs(30)).is_none() {
            eprintln!("process {} outlives its test", self.child.id());
        }
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

/// The code a shell reports: the exit code, or 128 and the signal.
pub fn shell_code(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).expect("a process ends with a code or by a signal")
}

fn copy(mut reader: PipeReader, mut file: File) {
    if let Err(error) = std::io::copy(&mut reader, &mut file) {
        eprintln!("the log of a server is incomplete: {error}");
    }
}

/// The first name of this form that is not taken: every start has a log of its own.
fn new_log(launch: &Launch) -> PathBuf {
    let mut names = (1..).map(|number| launch.dir.join(format!("{}.{number}.log", launch.name)));
    names.find(|path| !path.exists()).expect("names do not end")
}
