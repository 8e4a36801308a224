//! The pages of `docs/` that a reader pastes into a terminal, run from the pages themselves.
//!
//! Each page holds for our server with our tool, for our server with the official tool, and for
//! a real etcd 3.4 with its own tool: what a page prints is what etcd's users know.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use quoin_tests::pages::{self, Programs};
use quoin_tests::programs;
use quoin_tests::python;
use quoin_tests::temp_dir::TempDir;

/// A real etcd as the pages expect it: the v2 API and the JSON log are the default only of ours,
/// and a config file takes precedence over flags and variables.
const REFERENCE: &str = r#"#!/bin/bash
case ${1-} in
--config-file=*)
    file=${1#*=}
    printf 'enable-v2: true\n' | cat "$file" - > "$file.reference"
    grep -q '^logger:' "$file" || printf 'logger: zap\n' >> "$file.reference"
    exec ETCD --config-file="$file.reference"
    ;;
esac
exec ETCD --enable-v2 --logger=zap "$@"
"#;

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Runs a page with a server and a tool.
fn check(name: &str, label: &str, etcd: PathBuf, etcdctl: PathBuf) {
    let programs = Programs {
        name: label.to_owned(),
        built: vec![("etcd".to_owned(), etcd), ("etcdctl".to_owned(), etcdctl)],
        installed: vec![python::programs_dir()],
    };
    pages::run(&page(name), &programs).unwrap_or_else(|text| panic!("{text}"));
}

fn check_ours(name: &str) {
    check(name, "our programs", programs::subject_etcd(), programs::subject_etcdctl());
}

fn check_official_tool(name: &str) {
    let (etcd, etcdctl) = (programs::subject_etcd(), programs::reference_v2_etcdctl());
    check(name, "our server and the official tool", etcd, etcdctl);
}

fn check_reference(name: &str) {
    let dir = TempDir::new("reference");
    let etcd = dir.join("etcd");
    let program = programs::reference_v2_etcd();
    let script = REFERENCE.replace("ETCD", program.to_str().expect("the path is text"));
    std::fs::write(&etcd, script).expect("the directory is there");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&etcd, executable).expect("the file is there");
    check(name, "a real etcd", etcd, programs::reference_v2_etcdctl());
}

#[test]
fn readme_with_our_programs() {
    check_ours("README.md");
}

#[test]
fn readme_with_the_official_tool() {
    check_official_tool("README.md");
}

#[test]
fn readme_with_a_real_etcd() {
    check_reference("README.md");
}

#[test]
fn first_steps_with_our_programs() {
    check_ours("docs/first-steps.md");
}

#[test]
fn first_steps_with_the_official_tool() {
    check_official_tool("docs/first-steps.md");
}

#[test]
fn first_steps_with_a_real_etcd() {
    check_reference("docs/first-steps.md");
}

#[test]
fn recipes_with_our_programs() {
    check_ours("docs/recipes.md");
}

#[test]
fn recipes_with_the_official_tool() {
    check_official_tool("docs/recipes.md");
}

#[test]
fn recipes_with_a_real_etcd() {
    check_reference("docs/recipes.md");
}
