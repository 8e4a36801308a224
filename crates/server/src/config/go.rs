//! The syntax and the error texts of Go's standard library that etcd's command line exposes:
//! numbers, booleans, durations, quoted strings, system errors.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::log;

/// A signed span of nanoseconds, written as Go writes it: `1h30m`, `300ms`, `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration(i64);

impl GoDuration {
    /// Returns a span of nanoseconds.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Returns a span of milliseconds, for constants.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Returns a span of seconds, for constants.
    pub const fn from_secs(seconds: i64) -> Self {
        Self::from_millis(seconds * 1_000)
    }

    /// Returns the nanoseconds.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Returns the span for use with the standard library; a negative span is none.
    pub fn std(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }

    /// Reads `[-+]?([0-9]*(\.[0-9]*)?[unit])+`, or a bare zero.
    ///
    /// # Errors
    ///
    /// Returns Go's text for anything else, and for a span that does not fit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let invalid = || format!("time: invalid duration {}", quote(text));
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        if unsigned == "0" {
            return Ok(Self(0));
        }
        if unsigned.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        let mut rest = unsigned;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(invalid());
            }
            let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            if unit.is_empty() {
                return Err(format!("time: missing unit in duration {}", quote(text)));
            }
            let Some(unit_nanos) = unit_nanos(unit) else {
                let (unit, text) = (quote(unit), quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            };
            let part = span_nanos(whole, fraction, unit_nanos).ok_or_else(invalid)?;
            total = total.checked_add(part).ok_or_else(invalid)?;
            rest = after;
        }
        let total = if negative { -total } else { total };
        i64::try_from(total).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&log::duration_text(self.0))
    }
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn unit_nanos(unit: &str) -> Option<i128> {
    let nanos = match unit {
        "ns" => 1,
        // The micro sign and the Greek letter look the same.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    Some(nanos)
}

/// Returns `whole.fraction` units in nanoseconds, cut off below one. Digits of the fraction that
/// no unit can show are ignored.
fn span_nanos(whole: &str, fraction: &str, unit_nanos: i128) -> Option<i128> {
    const FRACTION_DIGITS: usize = 18;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction = &fraction[..fraction.len().min(FRACTION_DIGITS)];
    let scale = 10_i128.pow(fraction.len() as u32);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    whole.checked_mul(unit_nanos)?.checked_add(fraction * unit_nanos / scale)
}

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NumberError {
    /// It is not a number.
    Syntax,
    /// It is a number that does not fit.
    Range,
}

impl NumberError {
    /// Returns the text of Go's flag package.
    pub(super) fn flag_text(self) -> String {
        match self {
            Self::Syntax => "parse error".to_owned(),
            Self::Range => "value out of range".to_owned(),
        }
    }

    /// Returns the text of Go's strconv package for a function of that name.
    pub(super) fn strconv_text(self, function: &str, text: &str) -> String {
        let reason = match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        };
        format!("strconv.{function}: parsing {}: {reason}", quote(text))
    }
}

/// Reads an unsigned integer in Go's base-0 syntax: decimal, `0x`, `0o`, `0b`, a leading zero for
/// octal, underscores between digits.
pub(super) fn parse_uint(text: &str) -> Result<u64, NumberError> {
    let lower = text.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // An underscore may follow a prefix and may stand between digits, once each time.
    let after_digit = base == 10;
    let bad_start = after_digit && body.starts_with('_');
    if body.is_empty() || bad_start || body.ends_with('_') || body.contains("__") {
        return Err(NumberError::Syntax);
    }
    let mut value: Option<u64> = Some(0);
    for character in body.chars().filter(|c| *c != '_') {
        let digit = character.to_digit(base).ok_or(NumberError::Syntax)?;
        let shifted = value.and_then(|value| value.checked_mul(base.into()));
        value = shifted.and_then(|shifted| shifted.checked_add(digit.into()));
    }
    value.ok_or(NumberError::Range)
}

/// Reads a signed integer in Go's base-0 syntax.
pub(super) fn parse_int(text: &str) -> Result<i64, NumberError> {
    let (negative, magnitude) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let magnitude = i128::from(parse_uint(magnitude)?);
    let value = if negative { -magnitude } else { magnitude };
    i64::try_from(value).map_err(|_| NumberError::Range)
}

/// Reads one of the words that Go takes for a boolean.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Returns the text in double quotes, as Go's `%q` does.
pub(crate) fn quote(text: &str) -> String {
    format!("{text:?}")
}

/// Returns the text of a system error as Go gives it: lower case and without the number.
pub(crate) fn go_io_error(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_go() {
        let ok = [
            ("0", 0),
            ("-0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5ms", 500_000),
            ("5.ms", 5_000_000),
            ("-2us", -2_000),
            ("2\u{b5}s", 2_000),
            ("+3ns", 3),
            ("0.33333333333333333333h", 1_200_000_000_000 - 1),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ];
        for (text, nanos) in ok {
            assert_eq!(GoDuration::parse(text), Ok(GoDuration(nanos)), "{text}");
        }
        let bad = [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("s", "time: invalid duration \"s\""),
            (".s", "time: invalid duration \".s\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            (
                "99999999999999999999999999999999999999999h",
                "time: invalid duration \"99999999999999999999999999999999999999999h\"",
            ),
        ];
        for (text, error) in bad {
            assert_eq!(GoDuration::parse(text), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        let cases = [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5\u{b5}s"),
            (100_000_000, "100ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (7_200_000_000_000, "2h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(GoDuration(nanos).to_string(), text);
            assert_eq!(GoDuration::parse(text), Ok(GoDuration(nanos)), "{text}");
        }
    }

    #[test]
    fn numbers_follow_go() {
        let ok = [("0", 0), ("10", 10), ("0x1F", 31), ("017", 15), ("0o17", 15), ("0b11", 3)];
        for (text, value) in ok {
            assert_eq!(parse_uint(text), Ok(value), "{text}");
        }
        assert_eq!(parse_uint("1_000"), Ok(1000));
        assert_eq!(parse_uint("0x_f"), Ok(15));
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_uint("18446744073709551616"), Err(NumberError::Range));
        for text in ["", "x", "-1", "+1", "1_", "_1", "1__0", "0x", "08", "1e3", " 1"] {
            assert_eq!(parse_uint(text), Err(NumberError::Syntax), "{text}");
        }
        assert_eq!(parse_int("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(parse_int("+5"), Ok(5));
        assert_eq!(parse_int("9223372036854775808"), Err(NumberError::Range));
        assert_eq!(parse_int("--5"), Err(NumberError::Syntax));
    }

    #[test]
    fn system_errors_read_as_in_go() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(go_io_error(&error), "no such file or directory");
    }
}
