//! The online tool as a process: arguments and input in, output and exit code out.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::server::shell_code;

/// How long one command may take; etcdctl's own default for a command is five seconds.
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);

/// A tool and the endpoints that it is pointed at.
#[derive(Clone, Debug)]
pub struct Etcdctl {
    program: PathBuf,
    endpoints: Option<String>,
    env: Vec<(String, String)>,
}

/// What one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The code that a shell would report.
    pub code: i32,
}

impl Etcdctl {
    /// The tool `program` for these client URLs.
    pub fn new(program: &Path, endpoints: &[String]) -> Self {
        let endpoints = Some(endpoints.join(","));
        Self { program: program.to_owned(), endpoints, env: Vec::new() }
    }

    /// The tool `program`, to which the arguments or the environment must tell the endpoints.
    pub fn bare(program: &Path) -> Self {
        Self { program: program.to_owned(), endpoints: None, env: Vec::new() }
    }

    /// The same with this environment variable added.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs a command without input.
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with_input(args, "")
    }

    /// Runs a command that must succeed and returns its standard output.
    ///
    /// # Panics
    /// If it does not succeed.
    pub fn ok(&self, args: &[&str]) -> String {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
        outcome.stdout
    }

    /// Runs a command with `input` as its standard input.
    ///
    /// # Panics
    /// If the program cannot be started or takes longer than [`COMMAND_TIMEOUT`].
    pub fn run_with_input(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(&self.program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.args(self.endpoints.iter().map(|list| format!("--endpoints={list}")));
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        // A tool that does not read its input may be gone already.
        drop(stdin.write_all(input.as_bytes()));
        drop(stdin);
        let stdout = reader(child.stdout.take());
        let stderr = reader(child.stderr.take());
        let code = wait(&mut child, &command);
        Outcome { stdout: text(stdout), stderr: text(stderr), code }
    }
}

fn wait(child: &mut Child, command: &Command) -> i32 {
    let deadline = Instant::now() + COMMAND_TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return shell_code(status);
        }
        if Instant::now() > deadline {
            drop(child.kill());
            drop(child.wait());
            panic!("{command:?} took longer than {COMMAND_TIMEOUT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reader(source: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    let mut source = source.expect("the output is a pipe");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(source.read_to_end(&mut bytes));
        bytes
    })
}

fn text(reader: JoinHandle<Vec<u8>>) -> String {
    let bytes = reader.join().expect("reading a pipe does not panic");
    String::from_utf8_lossy(&bytes).into_owned()
}
