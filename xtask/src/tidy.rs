//! `cargo xtask tidy`: the house rules that no compiler knows.
//!
//! Every rule is a pure function from text to findings and has tests that show it failing. This
//! file collects the input: the files that git would keep, and what cargo says about packages.
//!
//! Not here: line length (rustfmt), function length and `unwrap` (clippy), stale generated code
//! (`codegen --check`).

mod arrows;
mod rooms;
mod text;

use std::fmt;
use std::process::Command;

use crate::{capture, cargo, root};

/// A rule that is broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// The line, counted from one; zero when the whole file is meant.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Applies all rules to the work tree; fails when any of them finds something.
pub(crate) fn run() -> Result<(), String> {
    let paths = tracked_files()?;
    let mut findings = check_files(&paths)?;
    findings.extend(check_rooms(&paths));
    findings.extend(check_arrows()?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing found", paths.len());
            Ok(())
        }
        count => Err(format!("tidy: {count} findings")),
    }
}

/// Files that git has or would take: tracked ones, and new ones that are not ignored.
fn tracked_files() -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let list = capture(git.current_dir(root()))?;
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    // A file that is deleted but not yet committed is still listed.
    paths.retain(|path| root().join(path).is_file());
    Ok(paths)
}

fn check_files(paths: &[String]) -> Result<Vec<Finding>, String> {
    let mut findings = Vec::new();
    for path in paths {
        findings.extend(text::check_path(path));
        let bytes = std::fs::read(root().join(path)).map_err(|error| format!("{path}: {error}"))?;
        findings.extend(text::check_size(path, bytes.len()));
        if let Ok(content) = String::from_utf8(bytes) {
            findings.extend(text::check_text(path, &content));
        }
    }
    Ok(findings)
}

fn check_rooms(paths: &[String]) -> Vec<Finding> {
    match std::fs::read_to_string(root().join(rooms::ARCHITECTURE)) {
        Ok(prose) => rooms::check(&prose, &rooms::crates_of(paths)),
        Err(error) => vec![Finding::new(rooms::ARCHITECTURE, 0, error.to_string())],
    }
}

fn check_arrows() -> Result<Vec<Finding>, String> {
    let metadata = capture(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
    let packages = arrows::packages(&metadata)?;
    let mut findings = arrows::check_edges(&packages);
    for pure in arrows::PURE.iter().filter(|pure| packages.contains_key(**pure)) {
        let scope = ["tree", "--package", pure, "--edges", "normal"];
        let tree = capture(cargo(&scope).args(["--prefix", "none", "--format", "{p}"]))?;
        findings.extend(arrows::check_reach(pure, &tree));
    }
    Ok(findings)
}
