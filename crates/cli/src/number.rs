//! Numbers, truth values and durations in the notation of Go's flags, with Go's errors.

use std::fmt;

use crate::text::quote;

/// Why a text is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberError(String);

impl fmt::Display for NumberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes an ID with sixteen hexadecimal digits, or with a sign and fifteen if it is negative, as Go
/// does. [`parse_int`] reads it back.
pub fn id_text(id: i64) -> String {
    if id < 0 { format!("-{:015x}", id.unsigned_abs()) } else { format!("{id:016x}") }
}

/// How the digits of an integer are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Decimal digits alone.
    Ten,
    /// Hexadecimal digits alone.
    Sixteen,
    /// As in Go's source: prefixes 0x, 0o, 0b and 0, underscores between digits.
    Prefixed,
}

/// Reads an integer.
pub fn parse_int(text: &str, base: Base) -> Result<i64, NumberError> {
    let error = |reason| {
        let text = quote(text.as_bytes());
        Err(NumberError(format!("strconv.ParseInt: parsing {text}: {reason}")))
    };
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match base {
        Base::Ten => (10, digits.to_owned()),
        Base::Sixteen => (16, digits.to_owned()),
        Base::Prefixed => match prefixed(digits) {
            Some(read) => read,
            None => return error("invalid syntax"),
        },
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return error("invalid syntax");
    }
    let signed = if negative { format!("-{digits}") } else { digits };
    match i64::from_str_radix(&signed, radix) {
        Ok(value) => Ok(value),
        Err(_) => error("value out of range"),
    }
}

/// Takes prefix and underscores away; none if an underscore is not between digits.
fn prefixed(text: &str) -> Option<(u32, String)> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1
        && let Some(rest) = lower.strip_prefix('0')
    {
        (8, rest)
    } else {
        (10, lower.as_str())
    };
    // An underscore may follow the prefix, but not begin or end the number, nor stand twice.
    let bare = digits.len() == lower.len();
    let wrong = bare && digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    (!wrong).then(|| (radix, digits.replace('_', "")))
}

/// Reads a truth value.
pub fn parse_bool(text: &str) -> Result<bool, NumberError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => {
            let text = quote(text.as_bytes());
            Err(NumberError(format!("strconv.ParseBool: parsing {text}: invalid syntax")))
        }
    }
}

/// Reads a duration such as `1m30s` or `1.5h`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, NumberError> {
    let quoted = quote(text.as_bytes());
    let invalid = || NumberError(format!("time: invalid duration {quoted}"));
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let whole = &rest[..rest.len() - after.len()];
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => {
                let end = after.trim_start_matches(|c: char| c.is_ascii_digit());
                (&after[..after.len() - end.len()], end)
            }
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(NumberError(format!("time: missing unit in duration {quoted}")));
        }
        let Some(scale) = nanoseconds_of(unit) else {
            let unit = quote(unit.as_bytes());
            let message = format!("time: unknown unit {unit} in duration {quoted}");
            return Err(NumberError(message));
        };
        let amount = amount(whole, fraction, scale).ok_or_else(invalid)?;
        total = total.checked_add(amount).ok_or_else(invalid)?;
        rest = after;
    }
    let signed = if negative { -total } else { total };
    i64::try_from(signed).map_err(|_| invalid())
}

fn nanoseconds_of(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn amount(whole: &str, fraction: &str, scale: i128) -> Option<i128> {
    let number = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse().ok() };
    // More digits than these are below a nanosecond, whatever the unit.
    let fraction = &fraction[..fraction.len().min(15)];
    let parts: i128 = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let whole: i128 = number(whole)?;
    whole.checked_mul(scale)?.checked_add(number(fraction)? * scale / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ID -5 was written as fffffffffffffffb, which no command takes back.
    #[test]
    fn ids_are_written_as_in_go_and_read_back() {
        for (id, text) in [
            (5, "0000000000000005"),
            (0, "0000000000000000"),
            (-5, "-000000000000005"),
            (i64::MAX, "7fffffffffffffff"),
            (i64::MIN, "-8000000000000000"),
        ] {
            assert_eq!(id_text(id), text);
            assert_eq!(parse_int(text, Base::Sixteen), Ok(id));
        }
    }

    #[track_caller]
    fn int(text: &str, base: Base, expected: Result<i64, &str>) {
        let expected = expected.map_err(|reason| {
            format!("strconv.ParseInt: parsing {}: {reason}", quote(text.as_bytes()))
        });
        assert_eq!(parse_int(text, base).map_err(|error| error.to_string()), expected);
    }

    #[test]
    fn integers() {
        let (syntax, range) = (Err("invalid syntax"), Err("value out of range"));
        int("42", Base::Ten, Ok(42));
        int("-1", Base::Ten, Ok(-1));
        int("+1", Base::Ten, Ok(1));
        int("1_0", Base::Ten, syntax);
        int("", Base::Ten, syntax);
        int("+-1", Base::Ten, syntax);
        int("99999999999999999999", Base::Ten, range);
        int("7f", Base::Sixteen, Ok(127));
        int("0x1", Base::Sixteen, syntax);
        int("fffffffffffffffff", Base::Sixteen, range);
        int("0x10", Base::Prefixed, Ok(16));
        int("010", Base::Prefixed, Ok(8));
        int("0b11", Base::Prefixed, Ok(3));
        int("1_000", Base::Prefixed, Ok(1000));
        int("0x_f", Base::Prefixed, Ok(15));
        int("0", Base::Prefixed, Ok(0));
        int("08", Base::Prefixed, syntax);
        int("_1", Base::Prefixed, syntax);
        int("1__0", Base::Prefixed, syntax);
        int("0x", Base::Prefixed, syntax);
        int("-9223372036854775808", Base::Prefixed, Ok(i64::MIN));
    }

    #[track_caller]
    fn duration(text: &str, expected: Result<i64, &str>) {
        let parsed = parse_duration(text).map_err(|error| error.to_string());
        assert_eq!(parsed, expected.map_err(str::to_owned));
    }

    #[test]
    fn durations() {
        duration("5s", Ok(5_000_000_000));
        duration("1m30s", Ok(90_000_000_000));
        duration("1.5ms", Ok(1_500_000));
        duration(".5s", Ok(500_000_000));
        duration("-2us", Ok(-2_000));
        duration("2\u{b5}s", Ok(2_000));
        duration("0", Ok(0));
        duration("", Err("time: invalid duration \"\""));
        duration("s", Err("time: invalid duration \"s\""));
        duration("5", Err("time: missing unit in duration \"5\""));
        duration("5x", Err("time: unknown unit \"x\" in duration \"5x\""));
        duration("9999999h", Err("time: invalid duration \"9999999h\""));
    }

    #[test]
    fn truth_values() {
        assert_eq!(parse_bool("T"), Ok(true));
        assert_eq!(parse_bool("0"), Ok(false));
        let error = parse_bool("yes").unwrap_err().to_string();
        assert_eq!(error, "strconv.ParseBool: parsing \"yes\": invalid syntax");
    }
}
