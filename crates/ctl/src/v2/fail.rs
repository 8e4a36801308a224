//! How a command of v2 mode ends when it fails: the texts and the exit codes in one place.

use std::fmt::Display;

use quoin_client::v2::Error;

use crate::exit::Exit;

/// The exit codes of v2 mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The arguments are wrong; every failure of members, users and roles as well.
    BadArguments,
    /// No server can be reached.
    BadConnection,
    /// A server refused, or none answered as it should.
    Server,
    /// Not every member is healthy.
    Unhealthy,
}

impl Code {
    fn number(self) -> u8 {
        match self {
            Self::BadArguments => 1,
            Self::BadConnection => 2,
            Self::Server => 4,
            Self::Unhealthy => 5,
        }
    }
}

/// Fails as the commands on keys do. That all servers failed is told twice: in one line, then one
/// server a line.
pub(super) fn framed(code: Code, error: &Error) -> Exit {
    let detail = error.detail().map(|detail| format!("{detail}\n")).unwrap_or_default();
    Exit::of(code.number(), format!("Error:  {error}\n{detail}"))
}

/// Fails because an argument is missing, as the commands on keys do.
pub(super) fn missing(what: &str) -> Exit {
    framed(Code::BadArguments, &Error::Text(format!("{what} required")))
}

/// Fails as the commands on members, users and roles do: with the reason alone.
pub(super) fn plain(reason: impl Display) -> Exit {
    Exit::of(Code::BadArguments.number(), format!("{reason}\n"))
}

/// Fails with a text whose line end is the caller's.
pub(super) fn unended(text: String) -> Exit {
    Exit::of(Code::BadArguments.number(), text)
}

/// Fails without a word.
pub(super) fn silent(code: Code) -> Exit {
    Exit::of(code.number(), String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let refused = Error::Connection("dial tcp h:1: connect: connection refused".to_owned());
        let text = "Error:  client: etcd cluster is unavailable or misconfigured; \
                    error #0: dial tcp h:1: connect: connection refused\n\n\
                    error #0: dial tcp h:1: connect: connection refused\n\n";
        let exit = framed(Code::BadConnection, &Error::Cluster(vec![refused]));
        assert_eq!(exit, Exit::of(2, text.to_owned()));
        assert_eq!(missing("key"), Exit::of(1, "Error:  key required\n".to_owned()));
        assert_eq!(plain("no"), Exit::of(1, "no\n".to_owned()));
    }
}
