//! Which programs a run is about, and which version each of them says it is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of etcd that a program speaks, as far as tests need to tell versions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// The server under test.
pub fn subject_etcd() -> PathBuf {
    chosen("QUOIN_ETCD", built("etcd"))
}

/// The online tool under test.
pub fn subject_etcdctl() -> PathBuf {
    chosen("QUOIN_ETCDCTL", built("etcdctl"))
}

/// The offline tool under test.
pub fn subject_etcdutl() -> PathBuf {
    chosen("QUOIN_ETCDUTL", built("etcdutl"))
}

/// The official offline tool; none if this machine has none, because Debian's etcd 3.4 comes
/// without it.
pub fn reference_etcdutl() -> Option<PathBuf> {
    std::env::var_os("QUOIN_REFERENCE_ETCDUTL").map(PathBuf::from).or_else(|| on_path("etcdutl"))
}

/// The etcd server whose answers are right.
pub fn reference_etcd() -> PathBuf {
    chosen("QUOIN_REFERENCE_ETCD", on_path("etcd"))
}

/// The etcd server whose answers about the v2 API are right: Debian's 3.4, whichever version the
/// others are compared with, because etcd 3.6 has no such API any more.
pub fn reference_v2_etcd() -> PathBuf {
    chosen("QUOIN_REFERENCE_V2_ETCD", on_path("etcd"))
}

/// The official tool that still has the commands of the v2 API (`ETCDCTL_API=2`).
pub fn reference_v2_etcdctl() -> PathBuf {
    chosen("QUOIN_REFERENCE_V2_ETCDCTL", on_path("etcdctl"))
}

/// The official tool.
pub fn reference_etcdctl() -> PathBuf {
    chosen("QUOIN_REFERENCE_ETCDCTL", on_path("etcdctl"))
}

/// Asks a server program for the version of etcd that it speaks.
///
/// # Panics
/// If the program does not answer `--version` with an etcd version.
pub fn etcd_version(program: &Path) -> Version {
    let text = output_of(program, "--version");
    let line = text.lines().find_map(|line| line.strip_prefix("etcd Version:"));
    parse_version(line.unwrap_or_default())
        .unwrap_or_else(|| panic!("{}: no etcd version in {text:?}", program.display()))
}

/// Whether a server program is etcd itself and not ours, which says its own name as well.
pub fn is_original(program: &Path) -> bool {
    !output_of(program, "--version").contains("quoin")
}

/// Where this workspace is built.
pub fn target_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

/// Whether the long versions of the tests are wanted.
pub fn slow_tests() -> bool {
    std::env::var_os("SLOW_TESTS").is_some_and(|value| value == "1")
}

fn output_of(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn chosen(variable: &str, default: Option<PathBuf>) -> PathBuf {
    let path = std::env::var_os(variable).map(PathBuf::from).or(default);
    let path = path.unwrap_or_else(|| panic!("{variable} is not set and nothing is on the PATH"));
    assert!(path.is_file(), "{variable}: there is no {}", path.display());
    path
}

fn built(name: &str) -> Option<PathBuf> {
    Some(target_dir().join("release").join(name))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn parse_version(text: &str) -> Option<Version> {
    let mut parts = text.trim().split('.').map(|part| part.parse::<u32>().ok());
    Some(Version { major: parts.next()??, minor: parts.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_parse_and_are_ordered() {
        let old = parse_version(" 3.4.23").unwrap();
        assert_eq!(old, Version { major: 3, minor: 4 });
        assert!(old < parse_version("3.7.1").unwrap());
        assert_eq!(parse_version("none"), None);
        assert_eq!(parse_version(""), None);
    }
}
