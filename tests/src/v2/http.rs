//! HTTP/1.1 as bytes: what is sent is exactly what the test says, and every header of the answer
//! is kept, in its order and with its capitals.
//!
//! Not here: TLS, redirects, retries.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long an answer may take; etcd itself gives up on a request after 7 s.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head of an answer.
const MAX_HEAD_BYTES: usize = 1 << 16;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 16;

/// A request as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The verb, whatever it is.
    pub method: String,
    /// Path and query, with their escapes.
    pub target: String,
    /// Headers beside `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body: Vec::new() }
    }

    /// The same with a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with a body of this type.
    #[must_use]
    pub fn body(mut self, content_type: &str, body: &str) -> Self {
        self.body = body.as_bytes().to_owned();
        self.header("Content-Type", content_type)
    }

    /// The same with a form as its body.
    #[must_use]
    pub fn form(self, form: &str) -> Self {
        self.body("application/x-www-form-urlencoded", form)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: etcd.test\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.body.is_empty() || matches!(self.method.as_str(), "PUT" | "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// How an answer says where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length.
    Length(usize),
    /// In chunks.
    Chunked,
    /// With the connection.
    Close,
    /// There is no body.
    Empty,
}

/// Status and headers of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number.
    pub status: u16,
    /// The words behind it.
    pub reason: String,
    /// All headers.
    pub headers: Vec<(String, String)>,
    /// Where the body ends.
    pub framing: Framing,
}

impl Head {
    /// The value of the first header of this name, without regard to capitals.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// A header that is a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name)?.parse().ok()
    }
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body, without its chunks.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to one server, opened with the first request and again after the server closed it.
#[derive(Debug)]
pub struct Connection {
    address: String,
    stream: Option<TcpStream>,
    /// What was read and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    /// A connection to the server at `url` (`http://127.0.0.1:2379`); nothing is opened yet.
    pub fn new(url: &str) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        Self { address, stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// If the server does not answer as HTTP demands, within [`ANSWER_TIMEOUT`].
    pub fn send(&mut self, request: &Request) -> Result<Response, String> {
        self.send_within(request, ANSWER_TIMEOUT)
    }

    /// The same within another time.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_within(&mut self, request: &Request, time: Duration) -> Result<Response, String> {
        let deadline = Instant::now() + time;
        let head = self.open(request, deadline)?;
        let outcome = self.read_body(&head, deadline);
        let closes = head.header("Connection").is_some_and(|value| value == "close");
        if closes || head.framing == Framing::Close || outcome.is_err() {
            self.close();
        }
        Ok(Response { head, body: outcome? })
    }

    /// Sends a request and reads status and headers; the body may come much later.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn open(&mut self, request: &Request, deadline: Instant) -> Result<Head, String> {
        if let Err(error) = self.write(request) {
            self.close();
            return Err(format!("sending: {error}"));
        }
        let head = self.read_head(request, deadline);
        if head.is_err() {
            self.close();
        }
        head
    }

    /// Reads the body behind a head.
    ///
    /// # Errors
    /// If the connection ends before the body, or the time is over.
    pub fn read_body(&mut self, head: &Head, deadline: Instant) -> Result<Vec<u8>, String> {
        match head.framing {
            Framing::Empty => Ok(Vec::new()),
            Framing::Length(length) => {
                while self.buffer.len() < length {
                    self.read_more(deadline)?;
                }
                Ok(self.buffer.drain(..length).collect())
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                while !self.take_chunks(&mut body)? {
                    self.read_more(deadline)?;
                }
                Ok(body)
            }
            Framing::Close => {
                while self.read_some(deadline)? > 0 {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    /// Takes what has come of a body in chunks. True if that was the end of it.
    ///
    /// # Errors
    /// If what has come is not a chunk.
    pub fn take_chunks(&mut self, body: &mut Vec<u8>) -> Result<bool, String> {
        loop {
            let Some(line_end) = find(&self.buffer, b"\r\n") else { return Ok(false) };
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            let size = usize::from_str_radix(&line, 16);
            let size = size.map_err(|error| format!("the size of a chunk is {line:?}: {error}"))?;
            let data = line_end + 2;
            if self.buffer.len() < data + size + 2 {
                return Ok(false);
            }
            if &self.buffer[data + size..data + size + 2] != b"\r\n" {
                return Err("a chunk does not end with its line".to_owned());
            }
            body.extend_from_slice(&self.buffer[data..data + size]);
            self.buffer.drain(..data + size + 2);
            if size == 0 {
                return Ok(true);
            }
        }
    }

    /// Reads what is there now. False if the server has closed the connection.
    ///
    /// # Errors
    /// If the connection fails.
    pub fn poll(&mut self) -> Result<bool, String> {
        let Some(stream) = self.stream.as_mut() else { return Ok(false) };
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; READ_BYTES];
        let outcome = loop {
            match stream.read(&mut bytes) {
                Ok(0) => break Ok(false),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(true),
                Err(error) => break Err(error.to_string()),
            }
        };
        stream.set_nonblocking(false).map_err(|error| error.to_string())?;
        outcome
    }

    /// Closes the connection; the next request opens another.
    pub fn close(&mut self) {
        self.stream = None;
        self.buffer.clear();
    }

    fn write(&mut self, request: &Request) -> std::io::Result<()> {
        let stream = match self.stream.as_mut() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&self.address)?;
                stream.set_nodelay(true)?;
                self.stream.insert(stream)
            }
        };
        stream.write_all(&request.bytes())
    }

    fn read_head(&mut self, request: &Request, deadline: Instant) -> Result<Head, String> {
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                    break end;
                }
                if self.buffer.len() > MAX_HEAD_BYTES {
                    return Err("the head of the answer does not end".to_owned());
                }
                self.read_more(deadline)?;
            };
            let text = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..end + 4);
            let head = parse_head(&text, request.method == "HEAD")?;
            // An interim answer; the real one follows.
            if head.status != 100 {
                return Ok(head);
            }
        }
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), String> {
        if self.read_some(deadline)? == 0 {
            return Err("the server closed the connection within an answer".to_owned());
        }
        Ok(())
    }

    fn read_some(&mut self, deadline: Instant) -> Result<usize, String> {
        let stream = self.stream.as_mut().ok_or("the connection is closed")?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("no answer in time".to_owned());
        }
        stream.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        let mut bytes = vec![0; READ_BYTES];
        let count = stream.read(&mut bytes).map_err(|error| format!("reading: {error}"))?;
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// Where `wanted` first stands in `bytes`.
fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn parse_head(text: &str, bodiless: bool) -> Result<Head, String> {
    let bad = |what: &str| format!("{what} in the head of an answer: {text:?}");
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").ok_or_else(|| bad("no HTTP/1.1"))?;
    let (status, reason) = status.split_once(' ').unwrap_or((status, ""));
    let status = status.parse().map_err(|_| bad("no status"))?;
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(": ").ok_or_else(|| bad("no header"))?;
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut head = Head { status, reason: reason.to_owned(), headers, framing: Framing::Close };
    let chunked = head.header("Transfer-Encoding").is_some_and(|value| value == "chunked");
    if bodiless || status == 204 || status == 304 || status == 100 {
        head.framing = Framing::Empty;
    } else if chunked {
        head.framing = Framing::Chunked;
    } else if let Some(length) = head.number("Content-Length") {
        head.framing = Framing::Length(usize::try_from(length).map_err(|_| bad("bad length"))?);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_keeps_its_headers_as_they_are() {
        let head =
            parse_head("HTTP/1.1 201 Created\r\nX-Etcd-Index: 4\r\nContent-Length: 2", false);
        let head = head.unwrap();
        assert_eq!((head.status, head.reason.as_str()), (201, "Created"));
        assert_eq!(head.headers[0], ("X-Etcd-Index".to_owned(), "4".to_owned()));
        assert_eq!((head.number("x-etcd-index"), head.framing), (Some(4), Framing::Length(2)));
        assert!(parse_head("HTTP/1.0 200 OK", false).is_err());
    }

    #[test]
    fn chunks_are_taken_when_they_are_whole() {
        let mut connection = Connection::new("http://127.0.0.1:1");
        let mut body = Vec::new();
        connection.buffer = b"3\r\nabc\r\n2\r\nd".to_vec();
        assert_eq!(connection.take_chunks(&mut body), Ok(false));
        assert_eq!(body, b"abc");
        connection.buffer.extend_from_slice(b"e\r\n0\r\n\r\n");
        assert_eq!(connection.take_chunks(&mut body), Ok(true));
        assert_eq!((body.as_slice(), connection.buffer.len()), (&b"abcde"[..], 0));
    }
}
