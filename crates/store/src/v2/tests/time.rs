//! Times in JSON.

use crate::v2::time::{format, parse};

const S: i64 = 1_000_000_000;

#[test]
fn times_are_read_and_written() {
    let cases = [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (951_782_400 * S, "2000-02-29T00:00:00Z"),
        (951_868_799 * S + 120_000_000, "2000-02-29T23:59:59.12Z"),
        (4_107_542_400 * S, "2100-03-01T00:00:00Z"),
        (i64::MAX, "2262-04-11T23:47:16.854775807Z"),
        (i64::MIN, "1677-09-21T00:12:43.145224192Z"),
    ];
    for (time_ns, text) in cases {
        assert_eq!(format(time_ns), text);
        assert_eq!(parse(text.as_bytes()), Some(Some(time_ns)), "{text}");
    }
    for day in (-106_000..106_000).map(|day| day * 86_400 * S) {
        assert_eq!(parse(format(day).as_bytes()), Some(Some(day)));
    }
}

#[test]
fn offsets_count() {
    assert_eq!(parse(b"1970-01-01T01:30:00+01:30"), Some(Some(0)));
    assert_eq!(parse(b"1969-12-31T16:00:00.5-08:00"), Some(Some(S / 2)));
    assert_eq!(parse(b"1970-01-01T00:00:00.0000000019Z"), Some(Some(1)));
    assert_eq!(parse(b"0001-01-01T00:00:00Z"), Some(None));
    assert_eq!(parse(b"0001-01-01T05:00:00+05:00"), Some(None));
}

#[test]
fn other_texts_are_no_times() {
    for text in [
        "",
        "now",
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-13-01T00:00:00Z",
        "1970-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "1970-01-01T24:00:00Z",
        "1970-01-01T00:60:00Z",
        "1970-01-01T00:00:60Z",
        "1970-01-01T00:00:00.Z",
        "1970-01-01T00:00:00ZZ",
        "1970-01-01T00:00:00+1:00",
        "1970-01-01T00:00:00+01:60",
        "1970-00-01T00:00:00Z",
        "1970-01-00T00:00:00Z",
        "2262-04-11T23:47:17Z",
        "1677-09-21T00:12:43.145224191Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:01Z",
        "+970-01-01T00:00:00Z",
    ] {
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
}
