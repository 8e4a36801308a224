//! Lines of transactions, and what etcdctl 3.7.1 makes of them.

use quoin_api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest};

use super::*;

#[track_caller]
fn check(line: &str, result: CompareResult, target: CompareTarget, key: &[u8], union: TargetUnion) {
    let expected = Compare {
        result: result.into(),
        target: target.into(),
        key: key.to_vec().into(),
        target_union: Some(union),
        ..Compare::default()
    };
    assert_eq!(parse_compare(line.as_bytes()), Ok(expected));
}

#[test]
fn comparisons() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    use CompareTarget::{Create, Lease, Mod, Value, Version};
    check("ver(\"a\") = \"0\"", Equal, Version, b"a", TargetUnion::Version(0));
    check("version(\"a\") > \"-1\"", Greater, Version, b"a", TargetUnion::Version(-1));
    check("c(\"a\") < \"+1\"", Less, Create, b"a", TargetUnion::CreateRevision(1));
    check("create(\"a\") = \"1\"", Equal, Create, b"a", TargetUnion::CreateRevision(1));
    check("m(\"a\")  !=  \"5\"", NotEqual, Mod, b"a", TargetUnion::ModRevision(5));
    check("mod(\"\") = \"5\"", Equal, Mod, b"", TargetUnion::ModRevision(5));
    // The ID was read in decimal, and printed in hexadecimal by every other command.
    check("lease(\"a\") = \"10\"", Equal, Lease, b"a", TargetUnion::Lease(16));
    let negative = "lease(\"a\") = \"-000000000000005\"";
    check(negative, Equal, Lease, b"a", TargetUnion::Lease(-5));
    check("value(`a\\n`) = ``", Equal, Value, b"a\\n", TargetUnion::Value("".into()));
    check(r#"val( "a\xff") > "\u00e9" x"#, Greater, Value, b"a\xff", {
        TargetUnion::Value("\u{e9}".into())
    });
    check("val(\"a\") = \"1\"x", Equal, Value, b"a", TargetUnion::Value("1".into()));
}

#[test]
fn comparisons_that_are_wrong() {
    for (line, expected) in [
        ("foo", "malformed comparison: foo"),
        ("foo(", "malformed comparison: foo(; got foo(\"\")  \"\""),
        ("foo(\"a\") = \"1\"", "malformed comparison: foo(\"a\") = \"1\" (unknown target foo)"),
        ("val (\"a\") = \"1\"", "malformed comparison: val (\"a\") = \"1\" (unknown target val )"),
        ("ver(\"a\") = \"x\"", "invalid txn compare request: ver(\"a\") = \"x\""),
        ("val(\"a\")=\"1\"", "malformed comparison: val(\"a\")=\"1\"; got val(\"a\")  \"\""),
        (
            "val(\"a\") =\"1\"",
            "malformed comparison: val(\"a\") =\"1\"; got val(\"a\") =\"1\" \"\"",
        ),
        ("val(\"a\") = 1", "malformed comparison: val(\"a\") = 1; got val(\"a\") = \"\""),
        ("val(a) = \"1\"", "malformed comparison: val(a) = \"1\"; got val(\"\")  \"\""),
        ("val(\"a\" ) = \"1\"", "malformed comparison: val(\"a\" ) = \"1\"; got val(\"a\")  \"\""),
        (r#"val("\400") > "1""#, r#"malformed comparison: val("\400") > "1"; got val("")  """#),
        // etcdctl itself panics here.
        ("ver(\"a\") <= \"1\"", "malformed comparison: ver(\"a\") <= \"1\" (unknown operator <=)"),
    ] {
        assert_eq!(parse_compare(line.as_bytes()), Err(Exit::invalid_input(expected)), "{line}");
    }
}

#[track_caller]
fn operation(line: &str, expected: Request) {
    let operation = parse_operation(line.as_bytes()).unwrap();
    assert_eq!(operation, RequestOp { request: Some(expected) });
}

fn put_request(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

#[test]
fn operations() {
    operation("put a b c", Request::RequestPut(put_request("a", "b")));
    operation("pu a b", Request::RequestPut(put_request("a", "b")));
    operation("put k -- -v", Request::RequestPut(put_request("k", "-v")));
    operation("put 'a b' \"c\\\"d\\n\"", Request::RequestPut(put_request("a b", "c\"d\n")));
    operation("put a'b c' d", Request::RequestPut(put_request("a'b", "c'")));
    operation("put a \"unclosed", Request::RequestPut(put_request("a", "unclosed")));
    operation("put x ''", Request::RequestPut(put_request("x", "")));
    let leased = PutRequest { lease: 0x7f, prev_kv: true, ..put_request("k", "v") };
    operation("put --prev-kv k v --lease=7f", Request::RequestPut(leased));
    operation(
        "get \"\" --prefix --keys-only --rev=-3",
        Request::RequestRange(RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            keys_only: true,
            ..RangeRequest::default()
        }),
    );
    operation(
        "del a b --range",
        Request::RequestDeleteRange(DeleteRangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            prev_kv: false,
        }),
    );
}

#[test]
fn operations_that_are_wrong() {
    let missing = "put command needs 1 argument and input from stdin or 2 arguments";
    for (line, expected) in [
        ("put", Exit::invalid_input("invalid txn compare request: put")),
        ("foo a b", Exit::invalid_input("invalid txn request: foo a b")),
        ("put --foo a b", Exit::invalid_input("invalid txn request: put --foo a b")),
        ("get -w json a", Exit::invalid_input("invalid txn request: get -w json a")),
        ("get -h", Exit::invalid_input("invalid txn request: get -h")),
        ("--prev-kv put a b", Exit::invalid_input("invalid txn request: --prev-kv put a b")),
        ("put a \"\\q\"", Exit::invalid_input("invalid syntax")),
        ("put a", Exit::bad_arguments(missing)),
        ("get a --order=foo", Exit::bad_feature("bad sort order foo")),
        (
            "put a b --lease=zz",
            Exit::bad_arguments(
                "bad lease ID (strconv.ParseInt: parsing \"zz\": invalid syntax), \
                 expecting ID in Hex",
            ),
        ),
    ] {
        assert_eq!(parse_operation(line.as_bytes()), Err(expected), "{line}");
    }
}

#[test]
fn blocks_end_at_an_empty_line() {
    let line = |line: &[u8]| Ok(line.to_vec());
    let mut input: &[u8] = b" a \t\r\nb\n  \nrest\n";
    assert_eq!(read_block(&mut input, line), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
    assert_eq!(input, b"rest\n");
    for mut input in [b"a\n".as_slice(), b"a\nb", b""] {
        assert_eq!(read_block(&mut input, line), Err(Exit::invalid_input("EOF")));
    }
}
