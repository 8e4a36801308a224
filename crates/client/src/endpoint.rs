//! Endpoints as users write them, and where they lead.
//!
//! An endpoint that names no usable address is kept: it behaves like a server that is down,
//! because the other endpoints of the list may still work.

use crate::Error;

/// One endpoint of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port, or a path: what remains of the text without its scheme.
    pub(crate) authority: String,
    pub(crate) address: Address,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `host:port`; the host may be a name.
    Tcp(String),
    /// The path of a socket.
    Unix(String),
    /// Nowhere, and why.
    Invalid(String),
}

impl Endpoint {
    /// Reads an endpoint. Fails only if it asks for TLS.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
        // The scheme of a URL may be written in capitals, too.
        let scheme = scheme.to_ascii_lowercase();
        let behind = rest.strip_prefix("//");
        match (scheme.as_str(), behind) {
            ("https", Some(_)) | ("unixs", _) => Err(Error::TlsEndpoint(text.to_owned())),
            ("unix", _) => {
                let path = behind.unwrap_or(rest).to_owned();
                Ok(Self { authority: path.clone(), address: Address::Unix(path) })
            }
            ("http", Some(url)) => {
                let authority = url.split(['/', '?', '#']).next().unwrap_or(url);
                // Names and passwords in URLs say nothing here.
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                let address = if is_host_of_url(host) { tcp(host) } else { tcp(text) };
                Ok(Self { authority: host.to_owned(), address })
            }
            (_, behind) => {
                Ok(Self { authority: behind.unwrap_or(text).to_owned(), address: tcp(text) })
            }
        }
    }
}

/// Whether a URL may have this host and port. Go's parser gives up otherwise, and etcd's client then
/// takes the whole text for an address.
fn is_host_of_url(host: &str) -> bool {
    let port = match host.rsplit_once(']') {
        Some((_, rest)) => rest.strip_prefix(':').unwrap_or(rest),
        None => host.rsplit_once(':').map_or("", |(_, port)| port),
    };
    port.bytes().all(|byte| byte.is_ascii_digit()) && !host.contains([' ', '"', '<', '>', '\\'])
}

fn tcp(text: &str) -> Address {
    let Some((host, port)) = text.rsplit_once(':') else {
        let reason = if text.is_empty() {
            "missing address".to_owned()
        } else {
            format!("address {text}: missing port in address")
        };
        return Address::Invalid(reason);
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Address::Invalid(format!("address {text}: too many colons in address"));
    }
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Address::Invalid(format!("lookup tcp/{port}: unknown port"));
    }
    if port.parse::<u16>().is_err() {
        return Address::Invalid(format!("address {port}: invalid port"));
    }
    Address::Tcp(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, authority: &str, address: Address) {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint, Endpoint { authority: authority.to_owned(), address });
    }

    #[test]
    fn plain_addresses() {
        check("127.0.0.1:2379", "127.0.0.1:2379", Address::Tcp("127.0.0.1:2379".into()));
        check(" etcd-0:2379 ", "etcd-0:2379", Address::Tcp("etcd-0:2379".into()));
        check("[::1]:2379", "[::1]:2379", Address::Tcp("[::1]:2379".into()));
        check(":2379", ":2379", Address::Tcp(":2379".into()));
    }

    #[test]
    fn urls() {
        check("http://h:1/x?y", "h:1", Address::Tcp("h:1".into()));
        check("unix:///run/etcd.sock", "/run/etcd.sock", Address::Unix("/run/etcd.sock".into()));
        check("unix:local", "local", Address::Unix("local".into()));
        for text in ["https://h:1", "HTTPS://h:1", "unixs://s", "unixs:s"] {
            assert_eq!(Endpoint::parse(text), Err(Error::TlsEndpoint(text.to_owned())));
        }
    }

    /// `HTTP://...`, which etcd's clients accept, was taken for an address with too many colons, and so
    /// was a URL with a user.
    #[test]
    fn schemes_in_capitals_and_users_are_read() {
        for text in ["HTTP://h:1", "Http://h:1/", "http://user:word@h:1"] {
            check(text, "h:1", Address::Tcp("h:1".into()));
        }
        check("UNIX:///s", "/s", Address::Unix("/s".into()));
    }

    #[test]
    fn unusable_addresses_are_kept_with_the_reason() {
        let reason = "address h: missing port in address".to_owned();
        check("h", "h", Address::Invalid(reason));
        check("", "", Address::Invalid("missing address".into()));
        let reason = "address ::1:2379: too many colons in address".to_owned();
        check("::1:2379", "::1:2379", Address::Invalid(reason));
        let invalid = |reason: &str| Address::Invalid(reason.to_owned());
        check("h:1/", "h:1/", invalid("lookup tcp/1/: unknown port"));
        check("http://h:99999", "h:99999", invalid("address 99999: invalid port"));
        check("http://h:x", "h:x", invalid("address http://h:x: too many colons in address"));
        check("ftp://h:1", "h:1", invalid("address ftp://h:1: too many colons in address"));
    }
}
