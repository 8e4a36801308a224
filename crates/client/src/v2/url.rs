//! Addresses as etcd's v2 tools read and show them: what a user writes comes back in errors and in
//! `--debug` lines, so reading and showing follow Go's `net/url`.
//!
//! Invariants:
//! - The path is bytes without percent signs; it is escaped when it is shown or sent.
//!
//! Not here: where an address leads (see `transport`).

use std::fmt;

use super::Error;

/// An address, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Url {
    /// The scheme in lower case; empty if there is none.
    pub scheme: String,
    /// What follows a scheme without a slash, as in `localhost:2379`; empty otherwise.
    pub opaque: String,
    /// `user:password` as written, before the `@`.
    pub user: Option<String>,
    /// Host and port as written.
    pub host: String,
    /// The path, not escaped.
    pub path: Vec<u8>,
    /// The query, escaped, without its question mark.
    pub query: String,
}

impl Url {
    /// Reads an address.
    ///
    /// # Errors
    /// If it cannot be one; the text is Go's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = |reason: String| Error::Text(format!("parse {text:?}: {reason}"));
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err(fault("net/url: invalid control character in URL".to_owned()));
        }
        let bare = text.split_once('#').map_or(text, |(before, _)| before);
        let (scheme, rest) = split_scheme(bare).map_err(fault)?;
        let mut url = Self { scheme: scheme.to_ascii_lowercase(), ..Self::default() };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        query.clone_into(&mut url.query);
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                rest.clone_into(&mut url.opaque);
                return Ok(url);
            }
            if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
                return Err(fault("first path segment in URL cannot contain colon".to_owned()));
            }
        }
        let mut path = rest;
        let has_authority = !scheme.is_empty() || !rest.starts_with("///");
        if let Some(after) = rest.strip_prefix("//").filter(|_| has_authority) {
            let end = after.find('/').unwrap_or(after.len());
            let (authority, tail) = after.split_at(end);
            url.set_authority(authority).map_err(fault)?;
            path = tail;
        }
        url.path = unescape(path).map_err(fault)?;
        Ok(url)
    }

    fn set_authority(&mut self, authority: &str) -> Result<(), String> {
        let host = match authority.rsplit_once('@') {
            Some((user, host)) => {
                self.user = Some(user.to_owned());
                host
            }
            None => authority,
        };
        let port = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or("missing ']' in host")?.1,
            None => host.find(':').map_or("", |colon| &host[colon..]),
        };
        let digits = port.strip_prefix(':').unwrap_or(if port.is_empty() { "" } else { "x" });
        if !digits.chars().all(|c| c.is_ascii_digit()) {
            return Err(format!("invalid port {port:?} after host"));
        }
        if let Some(wrong) = host.chars().find(|c| " <>\"\\^`{|}".contains(*c)) {
            return Err(format!("invalid character {:?} in host name", wrong.to_string()));
        }
        host.clone_into(&mut self.host);
        Ok(())
    }

    /// The path as it is sent: escaped, at least a slash.
    pub fn request_target(&self) -> String {
        let path = if self.path.is_empty() { "/".to_owned() } else { escape_path(&self.path) };
        if self.query.is_empty() { path } else { format!("{path}?{}", self.query) }
    }

    /// The host without its port and brackets, and the port if there is one.
    pub fn host_and_port(&self) -> (&str, Option<&str>) {
        if let Some(rest) = self.host.strip_prefix('[')
            && let Some((host, port)) = rest.split_once(']')
        {
            return (host, port.strip_prefix(':').filter(|port| !port.is_empty()));
        }
        match self.host.split_once(':') {
            Some((host, port)) => (host, Some(port).filter(|port| !port.is_empty())),
            None => (&self.host, None),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if !self.opaque.is_empty() {
            f.write_str(&self.opaque)?;
        } else {
            let has_authority = !self.host.is_empty() || self.user.is_some();
            if has_authority || !self.scheme.is_empty() && !self.path.is_empty() {
                f.write_str("//")?;
            }
            if let Some(user) = &self.user {
                write!(f, "{user}@")?;
            }
            f.write_str(&self.host)?;
            if !self.host.is_empty() && self.path.first().is_some_and(|&first| first != b'/') {
                f.write_str("/")?;
            }
            f.write_str(&escape_path(&self.path))?;
        }
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        Ok(())
    }
}

/// Splits a scheme off; what cannot be a scheme belongs to the rest.
fn split_scheme(text: &str) -> Result<(&str, &str), String> {
    for (index, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if index > 0 => {}
            ':' if index == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((&text[..index], &text[index + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        if byte != b'%' {
            path.push(byte);
            index += 1;
            continue;
        }
        let digits =
            bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        let value = digits.filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let Some(value) = value.and_then(|pair| u8::from_str_radix(pair, 16).ok()) else {
            let wrong: Vec<u8> = bytes[index..].iter().take(3).copied().collect();
            return Err(format!("invalid URL escape {:?}", String::from_utf8_lossy(&wrong)));
        };
        path.push(value);
        index += 3;
    }
    Ok(path)
}

/// Escapes a path: letters, digits and the characters that Go leaves alone stay.
pub(super) fn escape_path(path: &[u8]) -> String {
    escape(path, |byte| b"-_.~$&+,/:;=@".contains(&byte))
}

/// Escapes a name or a value of a query or of a form: a space becomes a plus sign.
pub(super) fn escape_query(bytes: &[u8]) -> String {
    escape(bytes, |byte| b"-_.~ ".contains(&byte)).replace(' ', "+")
}

fn escape(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || is_plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The shortest path that means the same, without a slash at its end: no `//`, `.` and `..`.
pub(super) fn clean_path(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = Vec::from(b"/");
    clean.extend(parts.join(&b'/'));
    clean
}

/// As [`clean_path`], but a slash at the end stays, because it is part of a key's name.
pub fn canonical_path(path: &[u8]) -> Vec<u8> {
    let mut clean = clean_path(path);
    if path.ends_with(b"/") && clean != b"/" {
        clean.push(b'/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shown(text: &str, expected: &str) {
        match Url::parse(text) {
            Ok(url) => assert_eq!(url.to_string(), expected),
            Err(error) => assert_eq!(error.to_string(), expected),
        }
    }

    #[test]
    fn addresses_come_back_as_go_shows_them() {
        shown("http://127.0.0.1:2379", "http://127.0.0.1:2379");
        shown("HTTP://h:1/a%20b?x=y#z", "http://h:1/a%20b?x=y");
        shown("localhost:2379", "localhost:2379");
        shown("http://u:p@h", "http://u:p@h");
        shown("http://[::1]:2379/", "http://[::1]:2379/");
        let colon = "first path segment in URL cannot contain colon";
        shown("127.0.0.1:2379", &format!("parse \"127.0.0.1:2379\": {colon}"));
        shown(" http://h", &format!("parse \" http://h\": {colon}"));
        shown("http://h:x", "parse \"http://h:x\": invalid port \":x\" after host");
        shown("http://[::1", "parse \"http://[::1\": missing ']' in host");
        shown(":1", "parse \":1\": missing protocol scheme");
        shown("http://h/%zz", "parse \"http://h/%zz\": invalid URL escape \"%zz\"");
    }

    #[test]
    fn a_bare_host_with_a_scheme_is_a_host() {
        let mut url = Url::parse("127.0.0.1").unwrap();
        url.scheme = "http".to_owned();
        assert_eq!(url.to_string(), "http://127.0.0.1");
        assert_eq!(Url::parse(&url.to_string()).unwrap().host, "127.0.0.1");
    }

    #[test]
    fn hosts_and_ports() {
        let parts = |text| {
            let url = Url::parse(text).unwrap();
            let (host, port) = url.host_and_port();
            (host.to_owned(), port.map(str::to_owned))
        };
        assert_eq!(parts("http://h:1"), ("h".to_owned(), Some("1".to_owned())));
        assert_eq!(parts("http://h"), ("h".to_owned(), None));
        assert_eq!(parts("http://[::1]:1"), ("::1".to_owned(), Some("1".to_owned())));
        assert_eq!(parts("http://[::1]"), ("::1".to_owned(), None));
    }

    #[test]
    fn paths_are_cleaned_and_escaped() {
        assert_eq!(canonical_path(b"/v2/keys//a/../b/./c/"), b"/v2/keys/b/c/");
        assert_eq!(clean_path(b"/v2/members/"), b"/v2/members");
        assert_eq!(clean_path(b"../.."), b"/");
        assert_eq!(escape_path("/a b?c#%d/\u{e9}!*".as_bytes()), "/a%20b%3Fc%23%25d/%C3%A9%21%2A");
        assert_eq!(escape_query(b"x y&<>~"), "x+y%26%3C%3E~");
    }
}
