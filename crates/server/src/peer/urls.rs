//! The addresses of a peer, and which of them to try next.

use hyper::Uri;

/// Why a text is not a peer URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// A peer must have an address.
    #[error("no peer URLs")]
    Empty,
    /// The text is not `scheme://host:port`.
    #[error("peer URL {0:?} is not of the form http://host:port")]
    Malformed(String),
}

/// How to reach a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// One address of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerUrl {
    pub(super) scheme: Scheme,
    /// `host:port`.
    pub(super) authority: String,
}

impl PeerUrl {
    fn parse(text: &str) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        let bare = uri.path_and_query().is_none_or(|path| path.as_str() == "/");
        if !bare || authority.port_u16().is_none() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        Ok(Self { scheme, authority: authority.as_str().to_owned() })
    }
}

/// The addresses of a peer; the first that is not known to fail is used.
#[derive(Debug)]
pub(super) struct UrlPicker {
    urls: Vec<PeerUrl>,
    picked: usize,
}

impl UrlPicker {
    pub(super) fn new(urls: &[String]) -> Result<Self, UrlError> {
        if urls.is_empty() {
            return Err(UrlError::Empty);
        }
        let urls = urls.iter().map(|url| PeerUrl::parse(url)).collect::<Result<_, _>>()?;
        Ok(Self { urls, picked: 0 })
    }

    pub(super) fn has_urls_of(&self, other: &Self) -> bool {
        self.urls == other.urls
    }

    pub(super) fn pick(&self) -> PeerUrl {
        self.urls[self.picked].clone()
    }

    /// Moves on to the next address, unless another task has done so already.
    pub(super) fn unreachable(&mut self, url: &PeerUrl) {
        if self.urls[self.picked] == *url {
            self.picked = (self.picked + 1) % self.urls.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_must_be_scheme_host_port() {
        let check = |url: &str| PeerUrl::parse(url).ok().map(|url| url.authority);
        assert_eq!(check("http://127.0.0.1:2380"), Some("127.0.0.1:2380".to_owned()));
        assert_eq!(check("https://node-1.example:2380/"), Some("node-1.example:2380".to_owned()));
        assert_eq!(check("http://[::1]:2380"), Some("[::1]:2380".to_owned()));
        for bad in ["", "127.0.0.1:2380", "http://host", "http://h:1/path", "ftp://h:1", "http://"]
        {
            assert_eq!(check(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_failing_address_is_left_once() {
        let urls = ["http://a:1".to_owned(), "http://b:1".to_owned()];
        let mut picker = UrlPicker::new(&urls).expect("both URLs are well formed");
        let first = picker.pick();
        picker.unreachable(&first);
        picker.unreachable(&first);
        assert_eq!(picker.pick().authority, "b:1");
        let second = picker.pick();
        picker.unreachable(&second);
        assert_eq!(picker.pick(), first);
        assert_eq!(UrlPicker::new(&[]).err(), Some(UrlError::Empty));
    }
}
