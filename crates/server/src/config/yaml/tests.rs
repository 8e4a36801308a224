//! Documents and what etcd's reader makes of them.
//!
//! The story: a file that began with a byte order mark, as editors on Windows write it, was read
//! as empty, and the member started afresh with the default directory and ports. `8_589_934_592`
//! was refused, `<<: *base` was not merged, `010` was 10. The reader followed YAML 1.2, and etcd's
//! follows 1.1.
//!
//! `cases.txt` has what `YAMLToJSON` of sigs.k8s.io/yaml 1.6.0, the reader of etcd 3.7.1, makes of
//! each document: the document as a JSON string, and below it the JSON after `=` or the error after
//! `!`.

use super::*;

const CASES: &str = include_str!("cases.txt");

/// Beginnings of the errors that go on with values in Go's notation, and of ours in their place.
const GO_NOTATION: [(&str, &str); 3] = [
    ("yaml: invalid map key: ", "yaml: invalid map key: "),
    ("unsupported map key of type: %!s(<nil>), ", "unsupported map key of type: %!s(<nil>)"),
    ("unsupported map key of type: uint64, ", "unsupported map key of type: uint64"),
];

#[test]
fn documents_are_read_as_etcd_reads_them() {
    let mut lines = CASES.lines();
    let mut wrong = Vec::new();
    let mut count = 0;
    while let (Some(document), Some(expected)) = (lines.next(), lines.next()) {
        let text: String = serde_json::from_str(document).expect("a document is a JSON string");
        let found = match read(text.as_bytes()) {
            Ok(file) => format!("  = {}", json(&file.root)),
            Err(reason) => format!("  ! {}", go_string(&shortened(&reason, expected))),
        };
        if found != expected {
            wrong.push(format!("{document}\n  etcd: {expected}\n  here: {found}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{}\n{} of {count} differ", wrong.join("\n"), wrong.len());
    assert!(count > 400, "only {count} documents");
}

/// Documents that etcd reads, or refuses with other words, and that are refused here.
#[test]
fn what_the_scanner_cannot_read_is_refused_and_never_empty() {
    for (document, reason) in [
        // etcd takes the mark for the first letter of a key that it does not know.
        ("a: 1\n\u{feff}b: 2\n", "a byte order mark stands inside the file"),
        ("\u{feff}\u{feff}a: 1\n", "a byte order mark stands inside the file"),
        // etcd reads the key `a:`.
        ("{a:}", "found unexpected ':'"),
        ("!tag, a", "did not find expected whitespace or line break"),
        ("a: \"x\\", "line 2: found unexpected end of stream"),
        ("{a: !!str, b: 1}", "the scanner gave up on this file"),
    ] {
        assert_eq!(read(document.as_bytes()), Err(format!("yaml: {reason}")), "{document:?}");
    }
}

#[test]
fn bytes_are_read_in_the_encoding_of_their_mark() {
    let units: Vec<u16> = "a: \u{e9}\n".encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for bytes in [
        [b"\xef\xbb\xbf".as_slice(), "a: \u{e9}\n".as_bytes()].concat(),
        [b"\xff\xfe".as_slice(), &little].concat(),
        [b"\xfe\xff".as_slice(), &big].concat(),
    ] {
        let file = read(&bytes).expect("the encoding is known");
        assert_eq!(json(&file.root), "{\"a\":\"\u{e9}\"}", "{bytes:?}");
    }
    for (bytes, reason) in [
        (b"a: \xff\n".as_slice(), "invalid leading UTF-8 octet"),
        (b"a: \xe9b\n", "invalid trailing UTF-8 octet"),
        (b"a: \xe9", "incomplete UTF-8 octet sequence"),
        (b"\xff\xfea", "incomplete UTF-16 character"),
        (b"\xff\xfe\x00\xd8", "incomplete UTF-16 surrogate pair"),
        (b"a\0: \0b\0", "control characters are not allowed"),
    ] {
        assert_eq!(read(bytes), Err(format!("yaml: {reason}")), "{bytes:?}");
    }
}

#[test]
fn only_the_first_document_counts_and_others_are_noticed() {
    for (document, has_more_documents) in [
        ("a: 1\n", false),
        ("a: 1\n...\n", false),
        ("a: 1\n---\nb: 2\n", true),
        ("---\n---\na: 1\n", true),
        ("a: 1\n---\n{[", true),
        ("", false),
    ] {
        let file = read(document.as_bytes()).expect("the first document is well-formed");
        assert_eq!(file.has_more_documents, has_more_documents, "{document:?}");
    }
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
    let reason = read(nested(20_000).as_bytes()).expect_err("it is too deep");
    assert_eq!(reason, "yaml: exceeded max depth of 100");
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    let reason = read(text.as_bytes()).expect_err("it stands for ten thousand millions of values");
    assert_eq!(reason, "yaml: document contains excessive aliasing");
}

/// Puts etcd's text in place of ours where the two begin alike and etcd's goes on in Go's notation.
fn shortened(reason: &str, expected: &str) -> String {
    let expected = expected.strip_prefix("  ! ").map(serde_json::from_str::<String>);
    let Some(Ok(expected)) = expected else { return reason.to_owned() };
    let is_same =
        |(etcd, ours): &(&str, &str)| expected.starts_with(etcd) && reason.starts_with(ours);
    if GO_NOTATION.iter().any(is_same) { expected } else { reason.to_owned() }
}

fn json(node: &Node) -> String {
    match node {
        Node::Null => "null".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Number(digits) => digits.clone(),
        Node::Text(text) => go_string(text),
        Node::List(items) => {
            let items: Vec<String> = items.iter().map(json).collect();
            format!("[{}]", items.join(","))
        }
        Node::Map(entries) => {
            let pair =
                |(key, value): (&String, &Node)| format!("{}:{}", go_string(key), json(value));
            let entries: Vec<String> = entries.iter().map(pair).collect();
            format!("{{{}}}", entries.join(","))
        }
    }
}

/// Writes a JSON string as Go does.
fn go_string(text: &str) -> String {
    let text = serde_json::to_string(text).expect("a text can be written");
    let escape = |c: char| match c {
        '<' | '>' | '&' | '\u{fffd}' | '\u{2028}' | '\u{2029}' => {
            format!("\\u{:04x}", u32::from(c))
        }
        _ => c.to_string(),
    };
    text.chars().map(escape).collect()
}
