//! Command lines of `get`, the requests they make and the errors they bring.

use super::*;
use crate::flags::{Parsed, parse};

fn request_of(line: &str) -> Result<RangeRequest, Exit> {
    let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let Parsed { flags, arguments, .. } = parse(FLAGS.iter().collect(), words).unwrap();
    request(&flags, &arguments)
}

#[track_caller]
fn check(line: &str, expected: RangeRequest) {
    assert_eq!(request_of(line), Ok(expected));
}

fn range(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() }
}

#[test]
fn ranges() {
    check("a", range("a", ""));
    check("a c ignored", range("a", "c"));
    check("a --prefix", range("a", "b"));
    check(" --prefix", range("\0", "\0"));
    check("a --from-key", range("a", "\0"));
    check(" --from-key", range("\0", "\0"));
}

#[test]
fn options() {
    check("a --rev=-3 --limit=-1", RangeRequest { limit: -1, ..range("a", "") });
    check(
        "a --consistency=s --keys-only --rev 7",
        RangeRequest { serializable: true, keys_only: true, revision: 7, ..range("a", "") },
    );
    check(
        "a --min-mod-rev=2 --max-mod-rev=3 --min-create-rev=-1",
        RangeRequest { min_mod_revision: 2, max_mod_revision: 3, ..range("a", "") },
    );
}

#[test]
fn sorting() {
    let sorted = |order: SortOrder, target: SortTarget| RangeRequest {
        sort_order: order.into(),
        sort_target: target.into(),
        ..range("a", "")
    };
    check("a --order=descend", sorted(SortOrder::Descend, SortTarget::Key));
    check("a --sort-by=MODIFY", sorted(SortOrder::None, SortTarget::Mod));
    check("a --sort-by=value --order=Ascend", sorted(SortOrder::Ascend, SortTarget::Value));
    check("a --sort-by=key --order=ascend", sorted(SortOrder::None, SortTarget::Key));
}

#[test]
fn errors() {
    let choice = "`--prefix` and `--from-key` cannot be set at the same time, choose one";
    let many =
        "too many arguments, only accept one argument when `--prefix` or `--from-key` is set";
    for (line, expected) in [
        ("a --prefix --from-key", Exit::bad_arguments(choice)),
        ("a b --prefix", Exit::bad_arguments(many)),
        ("a --consistency=x", Exit::bad_feature("unknown consistency flag \"x\"")),
        ("a --order=foo", Exit::bad_feature("bad sort order foo")),
        ("a --sort-by=foo", Exit::bad_feature("bad sort target foo")),
        (
            "a --min-mod-rev=5 --max-mod-rev=3",
            Exit::bad_feature("getMinModRev(=5) > getMaxModRev(=3)"),
        ),
    ] {
        assert_eq!(request_of(line), Err(expected), "{line}");
    }
    assert!(request(&parse(FLAGS.iter().collect(), Vec::new()).unwrap().flags, &[]).is_err());
}
