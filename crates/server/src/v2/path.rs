//! Paths of requests, as the router of etcd sees them.
//!
//! A path is decoded first and cleaned then: a request whose path is not clean is sent to the clean
//! one, so no handler ever sees `..` or `//`.
//!
//! Not here: which path belongs to whom.

/// Undoes the percent encoding of a path; nothing if it is malformed.
pub(crate) fn decode(raw: &str) -> Option<Vec<u8>> {
    unescape(raw.as_bytes(), false).ok()
}

/// Undoes the percent encoding, and takes `+` for a blank where that is usual.
///
/// # Errors
/// Returns the first escape that is malformed.
pub(super) fn unescape(raw: &[u8], plus_is_blank: bool) -> Result<Vec<u8>, &[u8]> {
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'%' => {
                let digits = raw.get(at + 1..at + 3).and_then(|digits| match digits {
                    [high, low] => Some(hex(*high)? << 4 | hex(*low)?),
                    _ => None,
                });
                let Some(byte) = digits else {
                    return Err(&raw[at..raw.len().min(at + 3)]);
                };
                text.push(byte);
                at += 3;
            }
            b'+' if plus_is_blank => {
                text.push(b' ');
                at += 1;
            }
            other => {
                text.push(*other);
                at += 1;
            }
        }
    }
    Ok(text)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Returns the shortest path that means the same: rooted, without `.`, `..` and empty parts, and
/// without a slash at the end.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        return b"/".to_vec();
    }
    let mut clean = Vec::with_capacity(path.len() + 1);
    for part in parts {
        clean.push(b'/');
        clean.extend_from_slice(part);
    }
    clean
}

/// Returns the clean path below a prefix, which is clean itself.
pub(super) fn join(prefix: &str, path: &[u8]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(prefix.len() + 1 + path.len());
    joined.extend_from_slice(prefix.as_bytes());
    joined.push(b'/');
    joined.extend_from_slice(path);
    clean(&joined)
}

/// Returns where a request goes whose path is not clean. A slash at the end stays.
pub(crate) fn redirect(path: &[u8], query: Option<&str>) -> Option<String> {
    let mut wanted = clean(path);
    if path.ends_with(b"/") && wanted != b"/" {
        wanted.push(b'/');
    }
    if wanted == path {
        return None;
    }
    let mut location = escape(&wanted);
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    Some(location)
}

fn escape(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text.push(char::from(*byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'='
            | b'@' => text.push(char::from(*byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(decode("/a%20b%2Fc+d"), Some(b"/a b/c+d".to_vec()));
        assert_eq!(decode("/%ff"), Some(vec![b'/', 0xff]));
        assert_eq!(decode("/%z1"), None);
        assert_eq!(unescape(b"a+b%2", true), Err(&b"%2"[..]));
        assert_eq!(unescape(b"a+b", true), Ok(b"a b".to_vec()));
    }

    #[test]
    fn a_path_that_is_not_clean_is_sent_on() {
        let check = |path: &str, query: Option<&str>, location: Option<&str>| {
            assert_eq!(redirect(path.as_bytes(), query).as_deref(), location, "{path}");
        };
        check("/v2/keys", None, None);
        check("/v2/keys/", None, None);
        check("/", None, None);
        check("//v2/keys/a b?", Some("x=1"), Some("/v2/keys/a%20b%3F?x=1"));
        check("/v2/./keys/../auth//", None, Some("/v2/auth/"));
        check("/..", None, Some("/"));
    }

    #[test]
    fn keys_stay_below_their_prefix() {
        assert_eq!(join("/1", b""), b"/1");
        assert_eq!(join("/1", b"/"), b"/1");
        assert_eq!(join("/1", b"/a/b/"), b"/1/a/b");
    }
}
