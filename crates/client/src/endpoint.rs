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
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        if matches!(scheme, "https" | "unixs") {
            return Err(Error::TlsEndpoint(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path).to_owned();
            return Ok(Self { authority: path.clone(), address: Address::Unix(path) });
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Ok(Self { authority: text.to_owned(), address: tcp(text) });
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        Ok(Self { authority: host.to_owned(), address: tcp(host) })
    }
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
    if host.is_empty() {
        return Address::Tcp(format!("localhost:{port}"));
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
        check(":2379", ":2379", Address::Tcp("localhost:2379".into()));
    }

    #[test]
    fn urls() {
        check("http://h:1/x?y", "h:1", Address::Tcp("h:1".into()));
        check("unix:///run/etcd.sock", "/run/etcd.sock", Address::Unix("/run/etcd.sock".into()));
        check("unix:local", "local", Address::Unix("local".into()));
        for text in ["https://h:1", "unixs://s"] {
            assert_eq!(Endpoint::parse(text), Err(Error::TlsEndpoint(text.to_owned())));
        }
    }

    #[test]
    fn unusable_addresses_are_kept_with_the_reason() {
        let reason = "address h: missing port in address".to_owned();
        check("h", "h", Address::Invalid(reason));
        check("", "", Address::Invalid("missing address".into()));
        let reason = "address ::1:2379: too many colons in address".to_owned();
        check("::1:2379", "::1:2379", Address::Invalid(reason));
    }
}
