//! The types of scalars: what a word, a number or a text is in the YAML of Go's yaml.v2.
//!
//! It is YAML 1.1 with exceptions: numbers to the base of 60 are texts, and integers may be written
//! as in Go (`0o17`). Quoted scalars are texts.
//!
//! Not here: which scalars are quoted, and what JSON makes of a type.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Written;

const PREFIX: &str = "tag:yaml.org,2002:";

/// The tag of `<<`.
pub(super) const MERGE_TAG: &str = "tag:yaml.org,2002:merge";

/// A typed scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    /// An integer that is too large for [`Scalar::Int`].
    Uint(u64),
    Float(f64),
    Text(String),
}

impl Scalar {
    /// Returns the short tag of the type, which error texts show.
    fn tag(&self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Bool(_) => "!!bool",
            Self::Int(_) | Self::Uint(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Text(_) => "!!str",
        }
    }
}

/// Returns what a scalar is.
///
/// # Errors
///
/// Returns the reason if its tag asks for a type that the text does not have.
pub(super) fn resolve(written: &Written) -> Result<Scalar, String> {
    let text = written.text.as_str();
    let Some(tag) = written.tag.as_deref() else {
        let is_text = !written.is_plain;
        return Ok(if is_text { Scalar::Text(text.to_owned()) } else { plain(text) });
    };
    let found = match tag.strip_prefix(PREFIX) {
        Some("binary") => return binary(text),
        Some("bool" | "int" | "float" | "null") => plain(text),
        // Dates are texts for JSON; that they are dates is looked at no closer than this.
        Some("timestamp") if is_date(text) => return Ok(Scalar::Text(text.to_owned())),
        Some("timestamp") => plain(text),
        // A text is what it is, and unknown tags say nothing.
        _ => return Ok(Scalar::Text(text.to_owned())),
    };
    let wanted = format!("!!{}", &tag[PREFIX.len()..]);
    match found {
        Scalar::Int(value) if wanted == "!!float" => Ok(Scalar::Float(value as f64)),
        found if found.tag() == wanted => Ok(found),
        found => Err(format!("yaml: cannot decode {} `{text}` as a {wanted}", found.tag())),
    }
}

fn binary(text: &str) -> Result<Scalar, String> {
    let digits: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    match STANDARD.decode(digits) {
        Ok(bytes) => Ok(Scalar::Text(String::from_utf8_lossy(&bytes).into_owned())),
        Err(_) => Err("yaml: !!binary value contains invalid base64 data".to_owned()),
    }
}

fn is_date(text: &str) -> bool {
    let year = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    year == 4 && text[year..].starts_with('-')
}

/// Returns what a scalar without quotes is.
fn plain(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Scalar::Float(f64::NEG_INFINITY),
        _ => number(text).unwrap_or_else(|| Scalar::Text(text.to_owned())),
    }
}

/// Reads a number. Underscores may stand anywhere in it behind the first character; in one that
/// begins with a point, only between digits.
fn number(text: &str) -> Option<Scalar> {
    match text.as_bytes().first()? {
        b'.' => float(&without_separators(text)?),
        b'0'..=b'9' | b'+' | b'-' => {
            let digits = text.replace('_', "");
            int(&digits).or_else(|| float(&digits))
        }
        _ => None,
    }
}

fn without_separators(text: &str) -> Option<String> {
    let is_digit = |at: Option<usize>| {
        at.and_then(|at| text.as_bytes().get(at)).is_some_and(u8::is_ascii_digit)
    };
    let is_between = |(at, _): (usize, &str)| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1));
    text.match_indices('_').all(is_between).then(|| text.replace('_', ""))
}

/// Reads an integer as Go writes it: the base follows from the prefix, and a leading zero is the
/// prefix of octal numbers.
fn int(text: &str) -> Option<Scalar> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = unsigned.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // A second sign is not a digit.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = sign * i128::from_str_radix(digits, base).ok()?;
    if let Ok(value) = i64::try_from(value) {
        return Some(Scalar::Int(value));
    }
    // Only without a sign can a number have 64 bits of its own.
    let is_unsigned = unsigned.len() == text.len();
    u64::try_from(value).ok().filter(|_| is_unsigned).map(Scalar::Uint)
}

/// Reads digits with at most one point among them, and an exponent.
fn float(text: &str) -> Option<Scalar> {
    let digits_of = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_mantissa =
        digits_of(whole) && digits_of(fraction) && !(whole.is_empty() && fraction.is_empty());
    let is_exponent = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && digits_of(digits)
    });
    if !is_mantissa || !is_exponent {
        return None;
    }
    // What is too large for a float is no number but a text.
    text.parse().ok().filter(|value: &f64| value.is_finite()).map(Scalar::Float)
}

/// Writes a finite float as Go's JSON does.
pub(super) fn json(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    if text.contains("e-") { text } else { text.replace('e', "e+") }
}

/// The name of a float that is no number, in Go and in YAML.
pub(super) fn not_finite(value: f64) -> (&'static str, &'static str) {
    match value {
        value if value.is_nan() => ("NaN", ".nan"),
        value if value > 0.0 => ("+Inf", ".inf"),
        _ => ("-Inf", "-.inf"),
    }
}
