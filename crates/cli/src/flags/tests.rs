//! Command lines, and what etcdctl 3.7.1 makes of them.

use super::*;

static FLAGS: &[Flag] = &[
    Flag::bool("hex", ""),
    Flag::int("limit", ""),
    Flag::text("write-out", "").letter('w').or("simple"),
    Flag::duration("timeout", "5s", ""),
    Flag::list("endpoints", "127.0.0.1:2379", ""),
    Flag::bool("help", "").letter('h'),
];

fn parse_words(line: &str) -> Result<Parsed, FlagError> {
    let arguments = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    parse(FLAGS.iter().collect(), arguments)
}

/// Checks the arguments that are left and the value of one flag.
#[track_caller]
fn check(line: &str, others: &[&str], name: &str, expected: &str) {
    let Parsed { flags: values, arguments, .. } = parse_words(line).unwrap();
    assert_eq!(arguments, others.iter().map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>());
    assert_eq!(values.value(name).to_string(), expected);
}

#[test]
fn flags_stand_anywhere() {
    check("a --limit 3 b", &["a", "b"], "limit", "3");
    check("a b --limit=3", &["a", "b"], "limit", "3");
    check("a -- --limit=3", &["a", "--limit=3"], "limit", "0");
    check("a - b", &["a", "-", "b"], "hex", "false");
    for (line, dash) in [("a --hex -- b", Some(1)), ("--", Some(0)), ("a", None)] {
        assert_eq!(parse_words(line).unwrap().dash, dash, "{line}");
    }
}

#[test]
fn letters() {
    check("-w json", &[], "write-out", "json");
    check("-w=json", &[], "write-out", "json");
    check("-wjson", &[], "write-out", "json");
    check("-w=", &[], "write-out", "=");
    check("-hw json", &[], "write-out", "json");
    check("-h a", &["a"], "help", "true");
}

#[test]
fn truth_values_take_no_argument() {
    check("--hex a", &["a"], "hex", "true");
    check("--hex=f a", &["a"], "hex", "false");
    check("--hex false", &["false"], "hex", "true");
}

#[test]
fn the_last_value_counts_and_lists_grow() {
    check("--limit 1 --limit 2", &[], "limit", "2");
    check("--timeout 1m30s", &[], "timeout", "1m30s");
    check("a", &["a"], "timeout", "5s");
    check("a", &["a"], "endpoints", "[127.0.0.1:2379]");
    check("--endpoints a,b --endpoints c", &[], "endpoints", "[a,b,c]");
    check("--endpoints=", &[], "endpoints", "[]");
}

#[test]
fn errors_are_in_the_words_of_etcdctl() {
    let int = "strconv.ParseInt: parsing";
    let bool = "strconv.ParseBool: parsing";
    for (line, expected) in [
        ("--x", "unknown flag: --x".to_owned()),
        ("--x=1", "unknown flag: --x".to_owned()),
        ("-x", "unknown shorthand flag: 'x' in -x".to_owned()),
        ("-xw", "unknown shorthand flag: 'x' in -xw".to_owned()),
        ("-hx", "unknown shorthand flag: 'x' in -x".to_owned()),
        ("-endpoints=a", "unknown shorthand flag: 'e' in -endpoints=a".to_owned()),
        ("--=x", "bad flag syntax: --=x".to_owned()),
        ("---x", "bad flag syntax: ---x".to_owned()),
        ("--limit", "flag needs an argument: --limit".to_owned()),
        ("-w", "flag needs an argument: 'w' in -w".to_owned()),
        ("-hw", "flag needs an argument: 'w' in -w".to_owned()),
        (
            "--limit=x",
            format!("invalid argument \"x\" for \"--limit\" flag: {int} \"x\": invalid syntax"),
        ),
        (
            "--hex=",
            format!("invalid argument \"\" for \"--hex\" flag: {bool} \"\": invalid syntax"),
        ),
        (
            "-h=maybe",
            format!(
                "invalid argument \"maybe\" for \"-h, --help\" flag: {bool} \"maybe\": \
                 invalid syntax"
            ),
        ),
        (
            "--timeout=5",
            "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\""
                .to_owned(),
        ),
    ] {
        assert_eq!(parse_words(line).unwrap_err().to_string(), expected, "{line}");
    }
}

#[test]
fn arguments_need_not_be_text() {
    let arguments = vec![b"\xff".to_vec(), b"--".to_vec(), b"-\xfe".to_vec()];
    let others = parse(FLAGS.iter().collect(), arguments).unwrap().arguments;
    assert_eq!(others, [b"\xff".to_vec(), b"-\xfe".to_vec()]);
}
