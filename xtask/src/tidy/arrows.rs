//! Who may depend on whom: the table of ARCHITECTURE.md, held against what cargo says.
//!
//! Normal dependencies only: tests may use what they like. An edge that is missing here needs a
//! decision note before it needs a line.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Finding;

/// Package names, each with the names of its normal dependencies.
pub(super) type Packages = BTreeMap<String, BTreeSet<String>>;

/// What a crate may use of ours.
enum MayUse {
    Only(&'static [&'static str]),
    Anything,
}

use MayUse::{Anything, Only};

const PREFIX: &str = "quoin-";

/// The arrows, without the prefix that all our packages share.
const ARROWS: &[(&str, MayUse)] = &[
    ("api", Only(&[])),
    ("bench", Anything),
    ("bolt", Only(&["vfs"])),
    ("cli", Only(&[])),
    ("client", Only(&["api"])),
    ("ctl", Only(&["api", "cli", "client"])),
    ("front", Only(&[])),
    ("node", Only(&["api", "raft", "store", "vfs", "wal"])),
    ("raft", Only(&[])),
    ("server", Only(&["api", "client", "front", "node", "store", "vfs"])),
    ("sim", Only(&["api", "node", "raft", "store", "vfs", "wal"])),
    ("store", Only(&["api", "bolt", "vfs"])),
    ("tests", Anything),
    ("utl", Only(&["api", "bolt", "cli", "node", "raft", "store", "vfs", "wal"])),
    ("vfs", Only(&[])),
    ("wal", Only(&["api", "raft", "vfs"])),
];

/// Crates that must not reach the network, not even through another crate.
pub(super) const PURE: &[&str] = &[
    "quoin-bolt",
    "quoin-front",
    "quoin-node",
    "quoin-raft",
    "quoin-store",
    "quoin-vfs",
    "quoin-wal",
];

/// External crates that bring a network or a runtime.
const IMPURE: &[&str] = &["hyper", "tokio", "tonic"];

/// Reads the output of `cargo metadata --no-deps`.
pub(super) fn packages(metadata: &str) -> Result<Packages, String> {
    let root: Value = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
    let list = root["packages"].as_array().ok_or("cargo metadata has no packages")?;
    let mut packages = Packages::new();
    for package in list {
        let name = package["name"].as_str().ok_or("a package has no name")?;
        let edges = package["dependencies"].as_array().ok_or("a package has no dependencies")?;
        // The kind of a normal dependency is null; others say `dev` or `build`.
        let normal = edges.iter().filter(|edge| edge["kind"].is_null());
        let targets = normal.filter_map(|edge| edge["name"].as_str().map(str::to_owned));
        packages.insert(name.to_owned(), targets.collect());
    }
    Ok(packages)
}

/// Finds edges between our crates that the table does not have, and crates it does not know.
pub(super) fn check_edges(packages: &Packages) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, edges) in packages {
        let Some(name) = package.strip_prefix(PREFIX) else { continue };
        let Some((_, may_use)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            findings.push(Finding::new(package, 0, "is not in the table of arrows"));
            continue;
        };
        for target in edges.iter().filter_map(|edge| edge.strip_prefix(PREFIX)) {
            let allowed = match may_use {
                Only(names) => names.contains(&target),
                Anything => true,
            };
            if !allowed {
                let message = format!("must not depend on {PREFIX}{target}");
                findings.push(Finding::new(package, 0, message));
            }
        }
    }
    findings
}

/// Finds forbidden crates in the output of `cargo tree --prefix none --format {p}` for one crate.
pub(super) fn check_reach(package: &str, tree: &str) -> Vec<Finding> {
    let reached = tree.lines().filter_map(|line| line.split_whitespace().next());
    let reached: BTreeSet<&str> = reached.filter(|name| IMPURE.contains(name)).collect();
    let finding = |name| Finding::new(package, 0, format!("must not reach {name}"));
    reached.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Packages {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        edges.iter().map(|(name, targets)| ((*name).to_owned(), owned(targets))).collect()
    }

    #[test]
    fn edges_of_the_table_pass() {
        let good = graph(&[
            ("quoin-store", &["quoin-api", "quoin-bolt", "quoin-vfs", "bytes"]),
            ("quoin-tests", &["quoin-server"]),
            ("xtask", &["serde_json"]),
        ]);
        assert_eq!(check_edges(&good), []);
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        let bad = graph(&[("quoin-store", &["quoin-raft"])]);
        let expected = Finding::new("quoin-store", 0, "must not depend on quoin-raft");
        assert_eq!(check_edges(&bad), [expected]);
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        let bad = graph(&[("quoin-misc", &[])]);
        let expected = Finding::new("quoin-misc", 0, "is not in the table of arrows");
        assert_eq!(check_edges(&bad), [expected]);
    }

    #[test]
    fn only_normal_dependencies_count() {
        let metadata = r#"{"packages": [{"name": "quoin-raft", "dependencies": [
            {"name": "bytes", "kind": null},
            {"name": "quoin-store", "kind": "dev"},
            {"name": "quoin-api", "kind": "build"}]}]}"#;
        let read = packages(metadata).unwrap();
        assert_eq!(read, graph(&[("quoin-raft", &["bytes"])]));
        assert!(packages("{}").is_err());
        assert!(packages("not json").is_err());
    }

    #[test]
    fn a_forbidden_crate_is_found_at_any_depth() {
        let good = "quoin-wal v0.1.0 (/src/wal)\nbytes v1.11.0\ntokio-like v0.1.0\n";
        assert_eq!(check_reach("quoin-wal", good), []);
        let bad = "quoin-wal v0.1.0 (/src/wal)\nbytes v1.11.0\ntonic v0.14.0\ntokio v1.48.0 (*)\n";
        let found = check_reach("quoin-wal", bad);
        let expected = ["must not reach tokio", "must not reach tonic"];
        assert_eq!(found, expected.map(|message| Finding::new("quoin-wal", 0, message)));
    }

    #[test]
    fn the_table_is_closed() {
        let known = |name: &str| ARROWS.iter().any(|(crate_name, _)| *crate_name == name);
        for (name, may_use) in ARROWS {
            if let Only(targets) = may_use {
                assert!(targets.iter().all(|target| known(target)), "{name}");
            }
        }
        assert!(PURE.iter().all(|pure| pure.strip_prefix(PREFIX).is_some_and(known)));
    }
}
