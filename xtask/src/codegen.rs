//! `cargo xtask codegen`: Rust from the `.proto` files of `quoin-api`, without protoc.
//!
//! The result is committed, so that a build needs no generator and a change of the wire shows in
//! review. With `check` nothing is written: the run fails if the committed files differ.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of the schema, relative to the proto directory.
const PROTOS: [&str; 13] = [
    "authpb/auth.proto",
    "etcdserverpb/etcdserver.proto",
    "etcdserverpb/raft_internal.proto",
    "etcdserverpb/rpc.proto",
    "grpc/health/v1/health.proto",
    "leasepb/lease.proto",
    "membershippb/membership.proto",
    "mvccpb/kv.proto",
    "raftpb/raft.proto",
    "snappb/snap.proto",
    "v3electionpb/v3election.proto",
    "v3lockpb/v3lock.proto",
    "walpb/record.proto",
];

/// Generates the messages and services of `quoin-api`, or checks that they are up to date.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/api");
    let target = api.join("src/generated");
    let scratch = Scratch::create()?;
    generate(&api.join("proto"), &scratch.0)?;
    let fresh = read_all(&scratch.0)?;
    let committed = read_all(&target)?;
    let stale = differing(&fresh, &committed);
    if stale.is_empty() {
        return Ok(());
    }
    if check {
        return Err(format!("run `cargo xtask codegen`, out of date: {}", stale.join(", ")));
    }
    fs::create_dir_all(&target).map_err(|error| describe(&target, &error))?;
    for name in stale {
        let path = target.join(&name);
        let result = match fresh.get(&name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        };
        result.map_err(|error| describe(&path, &error))?;
    }
    Ok(())
}

/// Compiles the schema into one file per package in `out`.
fn generate(protos: &Path, out: &Path) -> Result<(), String> {
    let descriptors = protox::compile(PROTOS, [protos]).map_err(|error| format!("{error:?}"))?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .build_transport(false)
        .client_mod_attribute(".", r#"#[cfg(feature = "grpc")]"#)
        .server_mod_attribute(".", r#"#[cfg(feature = "grpc")]"#)
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(descriptors)
        .map_err(|error| format!("generate: {error}"))
}

/// The names that are in only one of the two sets, or whose text differs.
fn differing(
    fresh: &BTreeMap<String, String>,
    committed: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, text) in fresh {
        if committed.get(name) != Some(text) {
            names.push(name.clone());
        }
    }
    names.extend(committed.keys().filter(|name| !fresh.contains_key(*name)).cloned());
    names
}

/// Reads the Rust files of a directory; a directory that does not exist has none.
fn read_all(dir: &Path) -> Result<BTreeMap<String, String>, String> {
    let mut files = BTreeMap::new();
    if !dir.exists() {
        return Ok(files);
    }
    for entry in fs::read_dir(dir).map_err(|error| describe(dir, &error))? {
        let path = entry.map_err(|error| describe(dir, &error))?.path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(format!("{}: file name is not UTF-8", path.display()));
        };
        let text = fs::read_to_string(&path).map_err(|error| describe(&path, &error))?;
        files.insert(name.to_owned(), text);
    }
    Ok(files)
}

fn describe(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

/// A directory that is gone when the run ends, however it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn create() -> Result<Self, String> {
        let dir = std::env::temp_dir().join(format!("quoin-codegen-{}", std::process::id()));
        fs::create_dir_all(&dir).map_err(|error| describe(&dir, &error))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}", describe(&self.0, &error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, differing};

    #[test]
    fn a_changed_a_new_and_a_leftover_file_differ() {
        let files = |list: &[(&str, &str)]| -> BTreeMap<String, String> {
            list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let fresh = files(&[("a.rs", "1"), ("b.rs", "2"), ("c.rs", "3")]);
        let committed = files(&[("a.rs", "1"), ("b.rs", "old"), ("d.rs", "4")]);
        assert_eq!(differing(&fresh, &committed), ["b.rs", "c.rs", "d.rs"]);
        assert!(differing(&fresh, &fresh).is_empty());
    }
}
