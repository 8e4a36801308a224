//! The head of a request, and what makes one malformed (RFC 9113, section 8).

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::hpack::Field;

/// Fields about one connection of HTTP/1, which have no place in HTTP/2.
const CONNECTION_FIELDS: [&str; 5] =
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// What a request says before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The path with its query.
    pub path: PathAndQuery,
    /// The fields. The `:authority` is among them as `host`, unless the client sent both. It may be
    /// any text: clients of etcd 3.4 send a URL.
    pub headers: HeaderMap,
    /// The bytes that the body must have, if the client says so.
    pub(crate) content_length: Option<u64>,
}

/// The request breaks a rule, and what rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The fields that begin with a colon.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    path: Option<Bytes>,
    authority: Option<Bytes>,
}

impl Head {
    /// Reads the fields of a request in the order in which they came.
    pub(crate) fn parse(fields: Vec<Field>) -> Result<Self, Malformed> {
        let mut pseudo = Pseudo::default();
        let mut headers = HeaderMap::with_capacity(fields.len());
        for (name, value) in fields {
            if let Some(name) = name.strip_prefix(b":") {
                if !headers.is_empty() {
                    return Err(Malformed("a pseudo field behind a field"));
                }
                pseudo.set(name, value)?;
            } else {
                let (name, value) = field(&name, value)?;
                headers.append(name, value);
            }
        }
        let method = pseudo.method.ok_or(Malformed("a request without a method"))?;
        let method = Method::from_bytes(&method).map_err(|_| Malformed("an unknown method"))?;
        pseudo.scheme.ok_or(Malformed("a request without a scheme"))?;
        let path = pseudo.path.ok_or(Malformed("a request without a path"))?;
        let path = PathAndQuery::from_maybe_shared(path).map_err(|_| Malformed("a broken path"))?;
        if let Some(authority) = pseudo.authority
            && !headers.contains_key(HOST)
        {
            let host = HeaderValue::from_maybe_shared(authority);
            headers.insert(HOST, host.map_err(|_| Malformed("a broken authority"))?);
        }
        let content_length = content_length(&headers)?;
        Ok(Self { method, path, headers, content_length })
    }
}

impl Pseudo {
    fn set(&mut self, name: &[u8], value: Bytes) -> Result<(), Malformed> {
        let place = match name {
            b"method" => &mut self.method,
            b"scheme" => &mut self.scheme,
            b"path" => &mut self.path,
            b"authority" => &mut self.authority,
            _ => return Err(Malformed("an unknown pseudo field")),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(Malformed("a pseudo field that comes twice")),
        }
    }
}

/// Checks one field that is no pseudo field.
fn field(name: &[u8], value: Bytes) -> Result<(HeaderName, HeaderValue), Malformed> {
    // Names with capital letters are refused here, as the standard asks.
    let name = HeaderName::from_lowercase(name).map_err(|_| Malformed("a broken field name"))?;
    if CONNECTION_FIELDS.contains(&name.as_str()) {
        return Err(Malformed("a field about the connection"));
    }
    if name == TE && value != "trailers" {
        return Err(Malformed("a TE field other than trailers"));
    }
    let value = HeaderValue::from_maybe_shared(value);
    Ok((name, value.map_err(|_| Malformed("a broken field value"))?))
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        // `parse` takes a sign, which the standard does not.
        let digits = value.to_str().ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        let number = digits.and_then(|text| text.parse().ok());
        let number: u64 = number.ok_or(Malformed("a broken content length"))?;
        if length.is_some_and(|length| length != number) {
            return Err(Malformed("two content lengths"));
        }
        length = Some(number);
    }
    Ok(length)
}

/// Checks the fields behind a body, of which nothing is used.
pub(crate) fn check_trailers(fields: Vec<Field>) -> Result<(), Malformed> {
    for (name, value) in fields {
        if name.starts_with(b":") {
            return Err(Malformed("a pseudo field behind the body"));
        }
        field(&name, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Put"),
        (":authority", "http://127.0.0.1:2379"),
    ];

    fn fields(pairs: &[(&'static str, &'static str)]) -> Vec<Field> {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
    }

    fn parse(more: &[(&'static str, &'static str)]) -> Result<Head, Malformed> {
        Head::parse(fields(&[&GOOD[..], more].concat()))
    }

    #[test]
    fn a_request_of_etcd_34_is_taken_with_its_url() {
        let head = parse(&[("te", "trailers"), ("content-type", "application/grpc")]).unwrap();
        assert_eq!(head.method, Method::POST);
        assert_eq!(head.path.as_str(), "/etcdserverpb.KV/Put");
        assert_eq!(head.headers.get("host").unwrap(), "http://127.0.0.1:2379");
        assert_eq!(head.content_length, None);
        let head = parse(&[("host", "a"), ("content-length", "7")]).unwrap();
        assert_eq!(head.headers.get("host").unwrap(), "a");
        assert_eq!(head.content_length, Some(7));
    }

    #[test]
    fn malformed_requests_are_refused() {
        let bad: &[&[(&str, &str)]] = &[
            &[(":method", "GET")],
            &[("a", "b"), (":authority", "late")],
            &[(":status", "200")],
            &[("Upper", "case")],
            &[("connection", "close")],
            &[("transfer-encoding", "chunked")],
            &[("te", "gzip")],
            &[("a", "line\nbreak")],
            &[("", "no name")],
            &[("content-length", "-1")],
            &[("content-length", "+1")],
            &[("content-length", "1"), ("content-length", "2")],
            &[("content-length", "18446744073709551616")],
        ];
        for more in bad {
            assert!(parse(more).is_err(), "{more:?}");
        }
        for missing in &GOOD[..3] {
            let pairs: Vec<_> = GOOD.into_iter().filter(|pair| pair != missing).collect();
            assert!(Head::parse(fields(&pairs)).is_err(), "without {missing:?}");
        }
        assert!(check_trailers(fields(&[("a", "b")])).is_ok());
        assert!(check_trailers(fields(&[(":path", "/")])).is_err());
    }
}
