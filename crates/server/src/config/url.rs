//! The URLs of listeners and members: `http`, `https`, `unix` and `unixs`, with etcd's checks and
//! Go's error texts.
//!
//! A URL keeps the text it was given, apart from the case of its scheme, because members compare
//! and hash these texts.

use std::fmt;
use std::net::IpAddr;

use super::go::quote;

/// How a URL is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A socket in the file system.
    Unix,
    /// TLS over a socket in the file system.
    Unixs,
}

/// A URL of a listener or a member. Two are equal, and ordered, as their texts are.
#[derive(Clone, Debug)]
pub struct Url {
    text: String,
    scheme: Scheme,
    authority: String,
    path: String,
}

impl Url {
    /// Reads one URL; surrounding blanks are dropped.
    ///
    /// # Errors
    ///
    /// Returns Go's text for a malformed URL, and etcd's for one that is of no use as an address.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parts = Parts::split(text).map_err(|reason| {
            let text = quote(text);
            format!("parse {text}: {reason}")
        })?;
        let scheme = match parts.scheme.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => {
                return Err(format!("URL scheme must be http, https, unix, or unixs: {text}"));
            }
        };
        if matches!(scheme, Scheme::Http | Scheme::Https) {
            if split_port(&parts.authority).is_none() {
                return Err(format!("URL address does not have the form \"host:port\": {text}"));
            }
            if !parts.path.is_empty() {
                return Err(format!("URL must not contain a path: {text}"));
            }
        }
        let text = format!("{}{}", parts.scheme, &text[parts.scheme.len()..]);
        Ok(Self { text, scheme, authority: parts.authority, path: parts.path })
    }

    /// Reads a comma-separated list and sorts it, as etcd does: members of one URL list compare
    /// equal in any order.
    ///
    /// # Errors
    ///
    /// Returns the text of the first URL that is refused.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let urls: Result<Vec<Self>, String> = text.split(',').map(Self::parse).collect();
        let mut urls = urls?;
        urls.sort();
        Ok(urls)
    }

    /// Returns how the URL is reached.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns whether the URL is reached through TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// Returns whether the URL is a socket in the file system.
    pub fn is_unix(&self) -> bool {
        matches!(self.scheme, Scheme::Unix | Scheme::Unixs)
    }

    /// Returns the URL as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns host and port as they were given, for instance `[::1]:2379`.
    pub fn host_port(&self) -> String {
        self.authority.clone()
    }

    /// Returns the host without brackets; it may be empty.
    pub fn host(&self) -> &str {
        split_port(&self.authority).map_or(self.authority.as_str(), |(host, _)| host)
    }

    /// Returns the digits of the port; they may be missing.
    pub fn port_text(&self) -> &str {
        split_port(&self.authority).map_or("", |(_, port)| port)
    }

    /// Returns the port, unless it is missing or too large.
    pub fn port(&self) -> Option<u16> {
        self.port_text().parse().ok()
    }

    /// Returns the path of a socket in the file system, relative or absolute. etcd takes the
    /// authority for its beginning: `unix://localhost:2379` is the file `localhost:2379`.
    pub fn socket_path(&self) -> String {
        format!("{}{}", self.authority, self.path)
    }

    /// Returns the same scheme at another host and port.
    pub(super) fn with_authority(&self, authority: String) -> Self {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
            Scheme::Unix => "unix",
            Scheme::Unixs => "unixs",
        };
        let text = format!("{scheme}://{authority}");
        Self { text, scheme: self.scheme, authority, path: String::new() }
    }

    /// Returns why nothing can listen on the URL: a listener binds an address, not a name.
    pub(super) fn check_bindable(&self) -> Result<(), String> {
        let host = self.host();
        if self.is_unix() || host == "localhost" || host.parse::<IpAddr>().is_ok() {
            return Ok(());
        }
        Err(format!("expected IP in URL for binding ({self})"))
    }

    /// Returns why nobody can be told to connect to the URL.
    pub(super) fn check_reachable(&self) -> Result<(), String> {
        if !self.is_unix() && self.host().is_empty() {
            return Err(format!("unexpected empty host ({self})"));
        }
        Ok(())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Url {}

impl PartialOrd for Url {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Url {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

/// Returns host and port of `host:port` or `[host]:port`. The port may be empty.
fn split_port(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').map(|host| (host, port)),
        None if host.contains(['[', ']', ':']) => None,
        None => Some((host, port)),
    }
}

struct Parts {
    /// In lower case; empty if there is none.
    scheme: String,
    /// Without the user.
    authority: String,
    path: String,
}

impl Parts {
    /// Splits as Go's `url.Parse` does. Errors are Go's reasons.
    fn split(text: &str) -> Result<Self, String> {
        if text.chars().any(|c| c.is_ascii_control()) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
        check_escapes(fragment)?;
        let (scheme, rest) = split_scheme(rest)?;
        let rest = rest.split_once('?').map_or(rest, |(before, _)| before);
        if !rest.starts_with('/') {
            if !scheme.is_empty() {
                return Ok(Self { scheme, authority: String::new(), path: String::new() });
            }
            let first_segment = rest.split('/').next().unwrap_or(rest);
            if first_segment.contains(':') {
                return Err("first path segment in URL cannot contain colon".to_owned());
            }
        }
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() || !rest.starts_with('/') => {
                rest.split_at(rest.find('/').unwrap_or(rest.len()))
            }
            _ => ("", rest),
        };
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        check_authority(authority)?;
        check_escapes(path)?;
        Ok(Self { scheme, authority: authority.to_owned(), path: path.to_owned() })
    }
}

/// Splits `scheme:rest`; what does not begin like a scheme has none.
fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (position, character) in text.char_indices() {
        match character {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if position > 0 => {}
            ':' if position == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((text[..position].to_ascii_lowercase(), &text[position + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn check_authority(authority: &str) -> Result<(), String> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let Some((host, after)) = bracketed.rsplit_once(']') else {
            return Err("missing ']' in host".to_owned());
        };
        check_port(after)?;
        let address = host.split('%').next().unwrap_or(host);
        return match address.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => Ok(()),
            Ok(IpAddr::V4(_)) => Err("invalid IP-literal".to_owned()),
            Err(_) => {
                Err(format!("invalid host: ParseAddr({}): unable to parse IP", quote(address)))
            }
        };
    }
    if let Some(colon) = authority.find(':') {
        check_port(&authority[colon..])?;
    }
    // A host may be escaped, but not its plain characters, so no escape at all is needed here.
    if let Some(escape) = authority.find('%') {
        let escape: String = authority[escape..].chars().take(3).collect();
        return Err(format!("invalid URL escape {}", quote(&escape)));
    }
    match authority.chars().find(|c| matches!(c, ' ' | '^' | '`' | '{' | '|' | '}' | '\\')) {
        Some(bad) => Err(format!("invalid character {} in host name", quote(&bad.to_string()))),
        None => Ok(()),
    }
}

/// Checks what follows a host: nothing, or a colon and digits.
fn check_port(after: &str) -> Result<(), String> {
    let digits = after.strip_prefix(':');
    if after.is_empty() || digits.is_some_and(|port| port.chars().all(|c| c.is_ascii_digit())) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quote(after)))
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (position, _) in text.match_indices('%') {
        let escape: String = text[position..].chars().take(3).collect();
        let digits = escape.chars().skip(1).filter(char::is_ascii_hexdigit).count();
        if digits != 2 {
            return Err(format!("invalid URL escape {}", quote(&escape)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, error: &str) {
        let result = Url::parse(text).map(|url| url.to_string());
        assert_eq!(result, Err(error.to_owned()), "{text}");
    }

    #[test]
    fn refuses_with_the_texts_of_etcd() {
        let form = "URL address does not have the form \"host:port\": ";
        let scheme = "URL scheme must be http, https, unix, or unixs: ";
        for text in ["http://1.2.3.4", "http:a:1", "http://[::1]"] {
            refused(text, &format!("{form}{text}"));
        }
        for text in ["foo", "a:1", "localhost:2380", "http", "ftp://a:1", ""] {
            refused(text, &format!("{scheme}{text}"));
        }
        refused("http://1.2.3.4:1/", "URL must not contain a path: http://1.2.3.4:1/");
        refused("http:///a", &format!("{form}http:///a"));
        let colon = "first path segment in URL cannot contain colon";
        refused("127.0.0.1:2380", &format!("parse \"127.0.0.1:2380\": {colon}"));
        refused("1http://a", &format!("parse \"1http://a\": {colon}"));
        refused("://x", "parse \"://x\": missing protocol scheme");
        refused("http://a:x", "parse \"http://a:x\": invalid port \":x\" after host");
        refused("http://a:b:1", "parse \"http://a:b:1\": invalid port \":b:1\" after host");
        refused("http://[::1]2:3", "parse \"http://[::1]2:3\": invalid port \"2:3\" after host");
        refused("http://[::1:1", "parse \"http://[::1:1\": missing ']' in host");
        refused("http://[1.2.3.4]:5", "parse \"http://[1.2.3.4]:5\": invalid IP-literal");
        refused(
            "http://[a]:1",
            "parse \"http://[a]:1\": invalid host: ParseAddr(\"a\"): unable to parse IP",
        );
        refused("http://a b:1", "parse \"http://a b:1\": invalid character \" \" in host name");
        refused("http://%41:1", "parse \"http://%41:1\": invalid URL escape \"%41\"");
        refused("%zz", "parse \"%zz\": invalid URL escape \"%zz\"");
    }

    #[test]
    fn takes_apart_what_etcd_accepts() {
        let cases = [
            (" http://a:1 ", "http://a:1", "a", Some(1)),
            ("HTTPS://A:02", "https://A:02", "A", Some(2)),
            ("http://[::1]:0", "http://[::1]:0", "::1", Some(0)),
            ("http://[fe80::1%25en0]:1", "http://[fe80::1%25en0]:1", "fe80::1%25en0", Some(1)),
            ("http://u:p@a:1?q#f", "http://u:p@a:1?q#f", "a", Some(1)),
            ("http://:1", "http://:1", "", Some(1)),
            ("http://a:", "http://a:", "a", None),
            ("http://a:99999", "http://a:99999", "a", None),
        ];
        for (given, text, host, port) in cases {
            let url = Url::parse(given).expect("etcd accepts it");
            assert_eq!((url.as_str(), url.host(), url.port()), (text, host, port), "{given}");
        }
    }

    #[test]
    fn a_socket_path_begins_with_the_authority() {
        let cases = [("unix://a:1", "a:1"), ("unix:///tmp/a", "/tmp/a"), ("unixs://x/y", "x/y")];
        for (text, path) in cases {
            let url = Url::parse(text).expect("etcd accepts it");
            assert!(url.is_unix());
            assert_eq!(url.socket_path(), path);
        }
    }

    #[test]
    fn a_list_is_sorted() {
        let urls = Url::parse_list("unix:a,http://b:10,http://b:9").expect("three URLs");
        let texts: Vec<&str> = urls.iter().map(Url::as_str).collect();
        assert_eq!(texts, ["http://b:10", "http://b:9", "unix:a"]);
    }
}
