//! Quoted strings as Go's source writes them, read back into bytes.

/// A quoted string at the beginning of a text, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// What the string holds.
    pub value: Vec<u8>,
    /// What stands behind it.
    pub rest: &'a [u8],
}

/// Reads the quoted string that `text` begins with, in double quotes or in backticks.
pub fn split_quoted(text: &[u8]) -> Option<Quoted<'_>> {
    let (&mark, inside) = text.split_first()?;
    let mut end = 0;
    loop {
        match (mark, *inside.get(end)?) {
            (b'"', b'\\') => end += 2,
            (b'"' | b'`', c) if c == mark => break,
            (b'"' | b'`', _) => end += 1,
            _ => return None,
        }
    }
    let rest = &inside[end + 1..];
    if mark == b'`' {
        return Some(Quoted { value: inside[..end].to_vec(), rest });
    }
    Some(Quoted { value: unquote(&inside[..end])?, rest })
}

/// Resolves the escapes of what stands between double quotes; none if an escape is wrong.
pub fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&c, after)) = rest.split_first() {
        rest = after;
        if c != b'\\' {
            value.push(c);
            continue;
        }
        let (&escape, after) = rest.split_first()?;
        rest = match escape {
            b'x' => byte(after, 2, 16, &mut value)?,
            b'0'..=b'7' => byte(rest, 3, 8, &mut value)?,
            b'u' => character(after, 4, &mut value)?,
            b'U' => character(after, 8, &mut value)?,
            _ => {
                value.push(simple(escape)?);
                after
            }
        };
    }
    Some(value)
}

fn simple(escape: u8) -> Option<u8> {
    Some(match escape {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => escape,
        _ => return None,
    })
}

/// Reads exactly `count` digits.
fn digits(text: &[u8], count: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let mut value: u32 = 0;
    for &digit in digits {
        value = value.checked_mul(radix)?.checked_add(char::from(digit).to_digit(radix)?)?;
    }
    Some((value, rest))
}

fn byte<'a>(text: &'a [u8], count: usize, radix: u32, value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (number, rest) = digits(text, count, radix)?;
    value.push(u8::try_from(number).ok()?);
    Some(rest)
}

fn character<'a>(text: &'a [u8], count: usize, value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (number, rest) = digits(text, count, 16)?;
    let mut buffer = [0; 4];
    value.extend(char::from_u32(number)?.encode_utf8(&mut buffer).as_bytes());
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(unquote(br#"a\x62\143\"\\\n"#), Some(b"abc\"\\\n".to_vec()));
        assert_eq!(unquote(br"\u00e9\U0001f600"), Some("\u{e9}\u{1f600}".as_bytes().to_vec()));
        assert_eq!(unquote(br"\xff"), Some(vec![0xff]));
        for wrong in [r"\q", r"\'", r"\400", r"\x1", r"\ud800", r"\u12", "\\"] {
            assert_eq!(unquote(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn quoted_strings_end_at_their_mark() {
        let quoted = |value: &str, rest| Quoted { value: value.into(), rest };
        assert_eq!(split_quoted(b"\"a\\\"b\" c"), Some(quoted("a\"b", b" c".as_slice())));
        assert_eq!(split_quoted(b"`a\\n`"), Some(quoted("a\\n", b"".as_slice())));
        for wrong in ["", "a", "'a'", "\"a", "\"a\\", "`a"] {
            assert_eq!(split_quoted(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
