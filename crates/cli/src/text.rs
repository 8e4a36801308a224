//! Texts in the notation of Go: quoted strings, durations, sizes, hexadecimal.
//!
//! Keys and values are bytes, not text: every function here takes any bytes and loses none.

mod unquote;

pub use unquote::{Quoted, split_quoted, unquote};

/// Quotes bytes as `%q` does: what cannot be printed is escaped, bytes that are not UTF-8 too.
pub fn quote(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut text);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

fn quote_char(c: char, text: &mut String) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\u{7}' => text.push_str("\\a"),
        '\u{8}' => text.push_str("\\b"),
        '\u{c}' => text.push_str("\\f"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\t' => text.push_str("\\t"),
        '\u{b}' => text.push_str("\\v"),
        ' '..='~' => text.push(c),
        '\0'..='\u{7f}' => text.push_str(&format!("\\x{:02x}", u32::from(c))),
        _ if is_printable(c) => text.push(c),
        '\u{80}'..='\u{ffff}' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        _ => text.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Returns whether a character outside ASCII is a letter, mark, number, punctuation or symbol.
fn is_printable(c: char) -> bool {
    // Behind another character only what cannot be printed is escaped, not combining marks.
    format!("a{c}").escape_debug().count() == 2
}

/// Writes a JSON string as Go's encoder does, which keeps it safe inside HTML.
pub fn json_string(bytes: &[u8]) -> String {
    json(bytes, &['<', '>', '&', '\u{2028}', '\u{2029}'])
}

/// Writes a JSON string as etcd's logger does, which escapes only what it must.
pub fn log_string(text: &str) -> String {
    json(text.as_bytes(), &[])
}

fn json(bytes: &[u8], unsafe_characters: &[char]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                _ if c < ' ' || unsafe_characters.contains(&c) => {
                    text.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                _ => text.push(c),
            }
        }
        for _ in chunk.invalid() {
            text.push_str("\\ufffd");
        }
    }
    text.push('"');
    text
}

/// Writes every byte as `\x` and two hexadecimal digits.
pub fn hex_escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect()
}

/// Writes a duration given in nanoseconds, as `1m30s` or `3.5ms`.
pub fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let amount = nanoseconds.unsigned_abs();
    let text = match amount {
        0 => "0s".to_owned(),
        1..1_000 => format!("{amount}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", decimal(amount, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(amount, 1_000_000)),
        _ => {
            let (minutes, rest) = (amount / 60_000_000_000, amount % 60_000_000_000);
            let seconds = format!("{}s", decimal(rest, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// Writes `amount` divided by a power of ten, without zeros at the end.
fn decimal(amount: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let text = format!("{}.{:0width$}", amount / unit, amount % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes a size with a unit, to two digits: `16 kB`, `2.1 GB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let power = bytes.ilog(1000);
    let scale = 1000_f64.powi(i32::try_from(power).unwrap_or(0));
    let value = (bytes as f64 / scale * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS.get(power as usize).unwrap_or(&"EB");
    if value < 10.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted() {
        assert_eq!(quote(b"v<>&\x01\xff"), r#""v<>&\x01\xff""#);
        assert_eq!(quote("\u{e9}\u{301}".as_bytes()), "\"\u{e9}\u{301}\"");
        assert_eq!(quote("\u{ad}\u{200b}\u{e0001}".as_bytes()), r#""\u00ad\u200b\U000e0001""#);
        assert_eq!(quote("\u{fffd}".as_bytes()), "\"\u{fffd}\"");
        assert_eq!(quote(b"\"\\\x07\x08\x0c\n\r\t\x0b\x7f"), r#""\"\\\a\b\f\n\r\t\v\x7f""#);
        assert_eq!(quote(b"\xe2\x28"), r#""\xe2(""#);
    }

    #[test]
    fn json_strings() {
        assert_eq!(json_string(b"<a&b>\"\\"), r#""\u003ca\u0026b\u003e\"\\""#);
        assert_eq!(json_string(b"\n\x01\xff\x7f"), "\"\\n\\u0001\\ufffd\x7f\"");
        assert_eq!(json_string("\u{e9}\u{2028}".as_bytes()), "\"\u{e9}\\u2028\"");
    }

    #[test]
    fn durations() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (999, "999ns"),
            (1_500, "1.5\u{b5}s"),
            (3_677_617, "3.677617ms"),
            (200_000_000, "200ms"),
            (1_000_429_944, "1.000429944s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (-2_000_000_000, "-2s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (20_480, "20 kB"),
            (16_384, "16 kB"),
            (2_147_483_648, "2.1 GB"),
            (9_960_000, "10 MB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
