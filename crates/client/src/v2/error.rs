//! Why a call of the v2 API failed, in the texts of etcd's v2 client: scripts look for them.
//!
//! Not here: how a program ends because of one.

use std::fmt;

/// A failure of the v2 client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Every endpoint failed, each for its own reason, in the order they were tried.
    Cluster(Vec<Self>),
    /// The server refused a request on keys.
    Keys {
        /// The error code of the v2 API.
        code: i64,
        /// What the code means.
        message: String,
        /// What it is about.
        cause: String,
        /// The index of the store.
        index: u64,
    },
    /// The server refused a request on members, users or roles, for this reason.
    Refused(String),
    /// The server answered with a status that the request does not have.
    Status(u16),
    /// The time of the whole call is over.
    Deadline,
    /// The endpoint did not answer in time.
    HeaderTimeout(String),
    /// The endpoint says that it has no leader.
    NoLeader(String),
    /// The endpoint failed with another status; the last part is the status in words.
    Server(String, String),
    /// No connection, or one that broke: the text says where and why.
    Connection(String),
    /// The endpoint needs TLS, which this client does not have.
    Tls(String),
    /// There is nothing to talk to.
    NoEndpoints,
    /// The servers sent the client around in circles.
    TooManyRedirects,
    /// The answer is no JSON of the v2 API.
    InvalidJson,
    /// The answer is empty.
    EmptyBody,
    /// Any other reason.
    Text(String),
}

impl Error {
    /// Whether the servers could not be reached at all, as opposed to answering badly.
    pub fn is_connection(&self) -> bool {
        match self {
            Self::Cluster(errors) => errors.iter().all(Self::is_connection),
            Self::Deadline | Self::Connection(_) => true,
            Self::Keys { .. }
            | Self::Refused(_)
            | Self::Status(_)
            | Self::HeaderTimeout(_)
            | Self::NoLeader(_)
            | Self::Server(..)
            | Self::Tls(_)
            | Self::NoEndpoints
            | Self::TooManyRedirects
            | Self::InvalidJson
            | Self::EmptyBody
            | Self::Text(_) => false,
        }
    }

    /// The reasons of all endpoints, one a line; none if it is not about all endpoints.
    pub fn detail(&self) -> Option<String> {
        let Self::Cluster(errors) = self else {
            return None;
        };
        let line = |(index, error)| format!("error #{index}: {error}\n");
        Some(errors.iter().enumerate().map(line).collect())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(errors) => {
                f.write_str("client: etcd cluster is unavailable or misconfigured")?;
                for (index, error) in errors.iter().enumerate() {
                    writeln!(f, "; error #{index}: {error}")?;
                }
                Ok(())
            }
            Self::Keys { code, message, cause, index } => {
                write!(f, "{code}: {message} ({cause}) [{index}]")
            }
            Self::Refused(text) | Self::Connection(text) | Self::Text(text) => f.write_str(text),
            Self::Status(status) => write!(f, "unexpected status code {status}"),
            Self::Deadline => f.write_str("context deadline exceeded"),
            Self::HeaderTimeout(endpoint) => {
                write!(f, "client: endpoint {endpoint} exceeded header timeout")
            }
            Self::NoLeader(endpoint) => write!(f, "client: etcd member {endpoint} has no leader"),
            Self::Server(endpoint, status) => {
                write!(f, "client: etcd member {endpoint} returns server error [{status}]")
            }
            Self::Tls(endpoint) => write!(f, "TLS is not supported: {endpoint}"),
            Self::NoEndpoints => f.write_str("client: no endpoints available"),
            Self::TooManyRedirects => f.write_str("client: too many redirects"),
            Self::InvalidJson => f.write_str(
                "client: response is invalid json. The endpoint is probably not valid etcd \
                 cluster endpoint",
            ),
            Self::EmptyBody => f.write_str("client: response body is empty"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_error_lists_every_endpoint_twice() {
        let refused = |port| Error::Connection(format!("dial tcp h:{port}: connection refused"));
        let error = Error::Cluster(vec![refused(1), refused(2)]);
        let text = "client: etcd cluster is unavailable or misconfigured; \
                    error #0: dial tcp h:1: connection refused\n; \
                    error #1: dial tcp h:2: connection refused\n";
        assert_eq!(error.to_string(), text);
        let detail = "error #0: dial tcp h:1: connection refused\n\
                      error #1: dial tcp h:2: connection refused\n";
        assert_eq!(error.detail().as_deref(), Some(detail));
        assert!(error.is_connection());
        assert!(!Error::Cluster(vec![refused(1), Error::NoEndpoints]).is_connection());
    }
}
