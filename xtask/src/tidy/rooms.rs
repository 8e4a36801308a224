//! The map and the house agree: every crate has its sentence in ARCHITECTURE.md, and every crate
//! in one of its tables of crates exists.

use std::collections::BTreeSet;

use super::Finding;

/// The map, relative to the root of the work tree.
pub(super) const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Directories outside `crates/` that the map may list beside the crates.
const OTHER_ROOMS: &[&str] = &["docs", "fuzz", "tests", "xtask"];

/// The names of the directories below `crates/` that hold a manifest.
pub(super) fn crates_of(paths: &[String]) -> BTreeSet<String> {
    let manifest = |path: &String| {
        let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
        (!name.contains('/')).then(|| name.to_owned())
    };
    paths.iter().filter_map(manifest).collect()
}

/// Finds crates that `prose` does not name and names in its tables of crates that do not exist.
pub(super) fn check(prose: &str, crates: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let named: BTreeSet<&str> = prose.lines().flat_map(quoted_names).collect();
    for name in crates.iter().filter(|name| !named.contains(name.as_str())) {
        findings.push(Finding::new(ARCHITECTURE, 0, format!("does not name `{name}`")));
    }
    for (line, name) in tabled_crates(prose) {
        if !crates.contains(name) && !OTHER_ROOMS.contains(&name) {
            let message = format!("names the crate `{name}`, which does not exist");
            findings.push(Finding::new(ARCHITECTURE, line, message));
        }
    }
    findings
}

/// The quoted names in the first column of tables whose first column is headed "crate".
fn tabled_crates(prose: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_table = false;
    for (index, line) in prose.lines().enumerate() {
        let Some(row) = line.trim_start().strip_prefix('|') else {
            in_table = false;
            continue;
        };
        let first = row.split('|').next().unwrap_or_default().trim();
        if first.eq_ignore_ascii_case("crate") {
            in_table = true;
        } else if in_table {
            found.extend(quoted_names(first).map(|name| (index + 1, name)));
        }
    }
    found
}

/// What stands in backticks, without the parts of a name that all crates share.
fn quoted_names(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).map(short_name)
}

fn short_name(name: &str) -> &str {
    let name = name.strip_prefix("crates/").unwrap_or(name);
    let name = name.strip_prefix("quoin-").unwrap_or(name);
    name.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    const PROSE: &str = "# Map\n\n| crate | may use |\n|---|---|\n| `raft` | - |\n\
        | `client`, `crates/ctl/` | api |\n\nThe `api` crate.\n\n| thread |\n|---|\n| `log` |\n";

    #[test]
    fn a_map_that_agrees_passes() {
        assert_eq!(check(PROSE, &names(&["api", "client", "ctl", "raft"])), []);
    }

    #[test]
    fn a_crate_without_its_place_is_found() {
        let found = check(PROSE, &names(&["api", "client", "ctl", "raft", "wal"]));
        assert_eq!(found, [Finding::new(ARCHITECTURE, 0, "does not name `wal`")]);
    }

    #[test]
    fn a_name_without_its_crate_is_found() {
        let found = check(PROSE, &names(&["api", "client", "ctl"]));
        let message = "names the crate `raft`, which does not exist";
        assert_eq!(found, [Finding::new(ARCHITECTURE, 5, message)]);
    }

    #[test]
    fn crates_are_directories_with_a_manifest() {
        let paths = [
            "crates/api/Cargo.toml",
            "crates/api/src/lib.rs",
            "xtask/Cargo.toml",
            "crates/api/fuzz/Cargo.toml",
        ]
        .map(str::to_owned);
        assert_eq!(crates_of(&paths), names(&["api"]));
    }
}
