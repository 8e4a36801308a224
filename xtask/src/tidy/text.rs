//! Rules about one file at a time, each a function of its path and its text.
//!
//! Files under a `generated` directory answer to the generator, not to these rules. The words that
//! are banned are spelled in halves here, so that this file passes its own check.

use super::Finding;

/// Lines of one file, without its tests.
const MAX_LINES: usize = 800;
/// Bytes of one file in the repository.
const MAX_BYTES: usize = 1 << 20;

/// Markers that say "not finished"; they have no place on the main branch.
const MARKERS: &[&str] = &[concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
/// The one marker that may stay, with the condition that ends it on the same line.
const POSTPONED: &str = concat!("TO", "DO");
const CONDITION: &str = "until";

/// Attributes that hide a problem instead of stating it, and what to write instead.
const ATTRIBUTES: &[(&str, &str)] = &[
    (concat!("#[al", "low("), "use #[expect(.., reason = \"..\")]"),
    (concat!("#![al", "low("), "use #![expect(.., reason = \"..\")]"),
    (concat!("#[ig", "nore"), "gate a slow test on SLOW_TESTS instead"),
];

/// Extensions of the files we write by hand.
const HAND_WRITTEN: &[&str] = &["md", "rs", "sh", "toml", "yaml", "yml"];

/// Finds files that must not exist under their name.
pub(super) fn check_path(path: &str) -> Option<Finding> {
    let banned = path == "mod.rs" || path.ends_with("/mod.rs");
    banned.then(|| Finding::new(path, 0, "name the room: `foo.rs` beside `foo/`"))
}

/// Finds files too large for a repository of source code.
pub(super) fn check_size(path: &str, bytes: usize) -> Option<Finding> {
    let message = || format!("has {bytes} bytes, more than {MAX_BYTES}");
    (bytes > MAX_BYTES).then(|| Finding::new(path, 0, message()))
}

/// Applies every rule about content to one file.
pub(super) fn check_text(path: &str, text: &str) -> Vec<Finding> {
    if is_generated(path) || !HAND_WRITTEN.contains(&extension(path)) {
        return Vec::new();
    }
    let mut findings = markers(path, text);
    findings.extend(trailing_space(path, text));
    if extension(path) == "rs" {
        findings.extend(length(path, text));
        findings.extend(attributes(path, text));
        findings.extend(non_ascii(path, text));
        findings.extend(opening(path, text));
    }
    findings
}

fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn is_generated(path: &str) -> bool {
    path.split('/').any(|part| part == "generated")
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

fn length(path: &str, text: &str) -> Option<Finding> {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return None;
    }
    let lines = lines_without_tests(text);
    let message = || format!("has {lines} lines without its tests, more than {MAX_LINES}");
    (lines > MAX_LINES).then(|| Finding::new(path, 0, message()))
}

/// Lines before the module of tests that ends a file.
fn lines_without_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let is_tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {");
    lines.windows(2).position(is_tests).unwrap_or(lines.len())
}

fn markers(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        let words = || line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        for marker in MARKERS.iter().filter(|marker| words().any(|word| word == **marker)) {
            findings.push(Finding::new(path, number, format!("{marker}: finish it or file it")));
        }
        if words().any(|word| word == POSTPONED) && !line.contains(CONDITION) {
            let message = format!("{POSTPONED} without `{CONDITION}` and what ends it");
            findings.push(Finding::new(path, number, message));
        }
    }
    findings
}

fn attributes(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in numbered(text) {
        for (attribute, instead) in ATTRIBUTES {
            if line.contains(attribute) {
                findings.push(Finding::new(path, number, format!("{attribute}: {instead}")));
            }
        }
    }
    findings
}

fn non_ascii(path: &str, text: &str) -> Vec<Finding> {
    let strange = |c: &char| !c.is_ascii();
    let first = |(number, line): (usize, &str)| {
        let c = line.chars().find(strange)?;
        Some(Finding::new(path, number, format!("not ASCII: {}", c.escape_unicode())))
    };
    numbered(text).filter_map(first).collect()
}

fn trailing_space(path: &str, text: &str) -> Vec<Finding> {
    let ends_in_space = |line: &str| line.ends_with([' ', '\t', '\r']);
    let lines = text.split('\n').enumerate().filter(|(_, line)| ends_in_space(line));
    lines.map(|(index, _)| Finding::new(path, index + 1, "space at the end of the line")).collect()
}

fn opening(path: &str, text: &str) -> Option<Finding> {
    let is_root = ["src/lib.rs", "src/main.rs"].iter().any(|name| path.ends_with(name));
    let message = "must open with `//!` and the purpose of the crate";
    (is_root && !text.starts_with("//! ")).then(|| Finding::new(path, 1, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts which lines of `text` are found when it lies at `path`.
    fn check(path: &str, text: &str, expected: &[usize]) {
        let findings = check_text(path, text);
        let lines: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
        assert_eq!(lines, expected, "{path}: {text:?}: {findings:?}");
    }

    #[test]
    fn markers_are_found_as_words() {
        check("a.rs", &format!("let a = 1;\n// {}: odd\n", MARKERS[0]), &[2]);
        check("a.md", MARKERS[1], &[1]);
        check("a.toml", &format!("# {} here", MARKERS[2]), &[1]);
        check("a.rs", &format!("// mktemp {}{}", MARKERS[1], MARKERS[1]), &[]);
        check("a.proto", &format!("// {}", MARKERS[0]), &[]);
        check("api/src/generated/a.rs", &format!("// {}", MARKERS[0]), &[]);
    }

    #[test]
    fn a_postponed_thing_names_its_end() {
        check("a.rs", &format!("// {POSTPONED}: some day\n"), &[1]);
        check("a.rs", &format!("// {POSTPONED}: keep until 3.8 is out\n"), &[]);
    }

    #[test]
    fn hiding_attributes_are_found() {
        for (attribute, _) in ATTRIBUTES {
            check("a.rs", &format!("fn a() {{}}\n{attribute}\n"), &[2]);
            check("a.md", attribute, &[]);
        }
        check("a.rs", "#[expect(dead_code, reason = \"read by the debugger\")]\n", &[]);
    }

    #[test]
    fn source_is_ascii() {
        check("a.rs", "// caf\u{e9}\n// cafe\n", &[1]);
        check("a.md", "caf\u{e9}\n", &[]);
    }

    #[test]
    fn lines_end_where_they_seem_to() {
        check("a.rs", "let a = 1; \n", &[1]);
        check("a.md", "one\ntwo\t\n", &[2]);
        check("a.toml", "a = 1\r\n", &[1]);
        check("a.toml", "a = 1\n\nb = 2\n", &[]);
        check("a.txt", "a \n", &[]);
    }

    #[test]
    fn a_crate_opens_with_its_purpose() {
        check("crates/a/src/lib.rs", "pub mod a;\n", &[1]);
        check("xtask/src/main.rs", "// Purpose.\n", &[1]);
        check("crates/a/src/lib.rs", "//! Purpose.\npub mod a;\n", &[]);
        check("crates/a/src/other.rs", "pub mod a;\n", &[]);
    }

    #[test]
    fn long_files_are_found_without_their_tests() {
        let code = "fn a() {}\n".repeat(MAX_LINES);
        let tests = "\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        check("a.rs", &code, &[]);
        // The blank line before the tests is one too many only if it counts as code.
        check("a.rs", &format!("{}{tests}", "fn a() {}\n".repeat(MAX_LINES - 1)), &[]);
        check("a.rs", &format!("{code}fn b() {{}}\n"), &[0]);
        check("a.rs", &format!("{code}fn b() {{}}\n{tests}"), &[0]);
        check("a/tests.rs", &format!("{code}fn b() {{}}\n"), &[]);
        check("generated/a.rs", &format!("{code}fn b() {{}}\n"), &[]);
    }

    #[test]
    fn an_attribute_for_tests_alone_does_not_end_the_count() {
        let code = format!("#[cfg(test)]\nfn only() {{}}\n{}", "fn a() {}\n".repeat(MAX_LINES));
        check("a.rs", &code, &[0]);
    }

    #[test]
    fn rooms_have_names() {
        assert!(check_path("crates/a/src/b/mod.rs").is_some());
        assert!(check_path("crates/a/src/model.rs").is_none());
        assert!(check_path("crates/a/src/amod.rs").is_none());
    }

    #[test]
    fn large_files_are_found() {
        assert!(check_size("a.bin", MAX_BYTES + 1).is_some());
        assert!(check_size("a.bin", MAX_BYTES).is_none());
    }
}
