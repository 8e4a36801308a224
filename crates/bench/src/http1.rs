//! HTTP/1.1 as far as a load generator needs it: one request in flight on a connection that is kept
//! open. Like [`crate::http2`] it is a value: it is given what the socket received and says what to
//! send.
//!
//! Invariants:
//! - Every started call ends in exactly one answer, unless the caller drops the connection.
//! - Bodies are counted and not kept; a head has at most [`MAX_HEAD`] bytes.
//!
//! Not here: bodies that end with the connection, which nothing that keeps it open sends.

use crate::http2::connection::{Answer, Outcome};
use quoin_front::ProtocolError;

/// The longest head of a response, and the longest line that begins a chunk.
const MAX_HEAD: usize = 1 << 16;
const HEAD_END: &[u8] = b"\r\n\r\n";
const LINE_END: &[u8] = b"\r\n";

/// What is expected next of the response to the call that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Head,
    /// So many bytes of the body.
    Body(u64),
    /// The line with the length of a chunk.
    Chunk,
    /// So many bytes of a chunk with its line end, and then another chunk.
    ChunkBytes(u64),
    /// Lines behind the last chunk, up to an empty one.
    Trailer,
}

/// The call that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Call {
    started_ns: u64,
    status: u16,
    bytes: u64,
}

/// The client's side of a connection.
#[derive(Debug)]
pub struct Connection {
    call: Option<Call>,
    expected: Expected,
    /// The server ends the connection after this response.
    closes: bool,
    /// The beginning of a head or a line whose rest has not arrived.
    partial: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            call: None,
            expected: Expected::Head,
            closes: false,
            partial: Vec::new(),
            output: Vec::new(),
            sent: 0,
        }
    }
}

impl Connection {
    /// Whether a call may begin now.
    pub fn can_start(&self) -> bool {
        self.call.is_none() && !self.closes
    }

    /// Calls that wait for their answer.
    pub fn open_calls(&self) -> usize {
        usize::from(self.call.is_some())
    }

    /// Whether the head of the response to the open call has arrived, and the rest has not.
    pub fn has_head(&self) -> bool {
        self.call.is_some() && self.expected != Expected::Head
    }

    /// Whether the connection takes no new calls, ever.
    pub fn is_finished(&self) -> bool {
        self.closes
    }

    /// What is to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Tells that the first `count` bytes of the output were sent.
    pub fn advance_output(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.output.len() {
            self.output.clear();
            self.sent = 0;
        }
    }

    /// Begins a call with a whole request. The caller has asked [`Self::can_start`].
    pub fn start(&mut self, request: &[u8], now_ns: u64) {
        self.output.extend_from_slice(request);
        self.call = Some(Call { started_ns: now_ns, status: 0, bytes: 0 });
    }

    /// Takes what the socket received and appends the answers that are complete.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ProtocolError> {
        if self.partial.is_empty() {
            let used = self.parse(bytes, now_ns, answers)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut input = std::mem::take(&mut self.partial);
            input.extend_from_slice(bytes);
            let used = self.parse(&input, now_ns, answers)?;
            input.drain(..used);
            self.partial = input;
        }
        if self.partial.len() > MAX_HEAD {
            return Err(ProtocolError("a head that is too long"));
        }
        Ok(())
    }

    /// Ends the open call, because the connection is gone.
    pub fn abandon(&mut self, now_ns: u64, answers: &mut Vec<Answer>) {
        self.closes = true;
        if let Some(call) = self.call.take() {
            answers.push(answer(call, Outcome::Lost, now_ns));
        }
    }

    /// Handles what is whole at the front of `input` and returns its length.
    fn parse(
        &mut self,
        input: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<usize, ProtocolError> {
        let mut used = 0;
        while used < input.len() {
            let rest = &input[used..];
            let Some(call) = &mut self.call else {
                return Err(ProtocolError("a response to nothing"));
            };
            // The length of what was handled, and what comes next; none is the end of the response.
            let (length, next) = match self.expected {
                Expected::Head => {
                    let Some(end) = find(rest, HEAD_END) else { return Ok(used) };
                    let head = Head::parse(&rest[..end])?;
                    self.closes |= head.closes;
                    call.status = head.status;
                    (end + HEAD_END.len(), head.body)
                }
                Expected::Body(left) => skip(rest, left, |left| match left {
                    0 => None,
                    left => Some(Expected::Body(left)),
                }),
                Expected::ChunkBytes(left) => skip(rest, left, |left| match left {
                    0 => Some(Expected::Chunk),
                    left => Some(Expected::ChunkBytes(left)),
                }),
                Expected::Chunk => {
                    let Some(end) = find(rest, LINE_END) else { return Ok(used) };
                    (end + LINE_END.len(), Some(chunk(&rest[..end])?))
                }
                Expected::Trailer => {
                    let Some(end) = find(rest, LINE_END) else { return Ok(used) };
                    (end + LINE_END.len(), (end > 0).then_some(Expected::Trailer))
                }
            };
            used += length;
            call.bytes += length as u64;
            match next {
                Some(next) => self.expected = next,
                None => {
                    let outcome = match call.status {
                        200..=299 => Outcome::Ok,
                        status => Outcome::Http(status),
                    };
                    answers.push(answer(*call, outcome, now_ns));
                    (self.call, self.expected) = (None, Expected::Head);
                }
            }
        }
        Ok(used)
    }
}

fn answer(call: Call, outcome: Outcome, now_ns: u64) -> Answer {
    let latency_ns = now_ns.saturating_sub(call.started_ns);
    Answer { outcome, latency_ns, bytes: call.bytes, body: Vec::new() }
}

/// Passes over up to `left` bytes, and says what comes then.
fn skip(
    rest: &[u8],
    left: u64,
    then: impl FnOnce(u64) -> Option<Expected>,
) -> (usize, Option<Expected>) {
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    (length, then(left - length as u64))
}

/// Reads the line that begins a chunk: its length in hexadecimal, perhaps with something behind it.
fn chunk(line: &[u8]) -> Result<Expected, ProtocolError> {
    let text = std::str::from_utf8(line).unwrap_or_default();
    let digits = text.split(';').next().unwrap_or_default().trim();
    let length =
        u64::from_str_radix(digits, 16).map_err(|_| ProtocolError("a chunk without a length"))?;
    match length {
        0 => Ok(Expected::Trailer),
        length => length
            .checked_add(LINE_END.len() as u64)
            .map(Expected::ChunkBytes)
            .ok_or(ProtocolError("a chunk that never ends")),
    }
}

/// What the head of a response says.
struct Head {
    status: u16,
    /// What comes behind it; none if there is no body.
    body: Option<Expected>,
    closes: bool,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, ProtocolError> {
        let text =
            std::str::from_utf8(head).map_err(|_| ProtocolError("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line.get(..3)?.parse().ok());
        let status = status.ok_or(ProtocolError("no status of HTTP/1.1"))?;
        let mut body = None;
        let mut is_known = status == 204 || status == 304;
        let mut closes = false;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length: u64 =
                    value.parse().map_err(|_| ProtocolError("a length that is no number"))?;
                body = (length > 0).then_some(Expected::Body(length));
                is_known = true;
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = value.eq_ignore_ascii_case("chunked").then_some(Expected::Chunk);
                is_known = body.is_some();
            } else if name.eq_ignore_ascii_case("connection") {
                closes = value.eq_ignore_ascii_case("close");
            }
        }
        if !is_known {
            return Err(ProtocolError("a body that ends with the connection"));
        }
        Ok(Self { status, body, closes })
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\
        X-Etcd-Index: 4\r\nContent-Length: 5\r\n\r\n{...}";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
        3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n";
    const MISSING: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
    const EMPTY: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

    /// Gives a response in pieces of some length.
    fn exchange(connection: &mut Connection, response: &[u8], piece: usize) -> Vec<Answer> {
        assert!(connection.can_start());
        connection.start(b"GET / HTTP/1.1\r\n\r\n", 10);
        assert!(!connection.can_start() && connection.open_calls() == 1);
        let length = connection.output().len();
        connection.advance_output(length);
        let mut answers = Vec::new();
        for bytes in response.chunks(piece) {
            assert!(answers.is_empty(), "it ended early");
            connection.receive(bytes, 40, &mut answers).unwrap();
        }
        answers
    }

    #[test]
    fn responses_come_in_any_pieces() {
        for piece in 1..CHUNKED.len() {
            let mut connection = Connection::default();
            for (response, outcome) in [
                (PLAIN, Outcome::Ok),
                (CHUNKED, Outcome::Ok),
                (MISSING, Outcome::Http(404)),
                (EMPTY, Outcome::Ok),
                (LAST, Outcome::Ok),
            ] {
                let answers = exchange(&mut connection, response, piece);
                let [answer] = answers.as_slice() else { panic!("{piece}: {answers:?}") };
                assert_eq!((answer.outcome, answer.latency_ns), (outcome, 30));
                assert_eq!(answer.bytes, response.len() as u64);
            }
            assert!(connection.is_finished() && !connection.can_start());
        }
    }

    #[test]
    fn a_long_poll_shows_its_head() {
        let mut connection = Connection::default();
        connection.start(b"GET / HTTP/1.1\r\n\r\n", 0);
        let (head, rest) = CHUNKED.split_at(47);
        let mut answers = Vec::new();
        assert!(!connection.has_head());
        connection.receive(head, 1, &mut answers).unwrap();
        assert!(connection.has_head() && answers.is_empty());
        connection.receive(rest, 2, &mut answers).unwrap();
        assert!(!connection.has_head() && answers.len() == 1);
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for broken in [
            &b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"[..],
            b"HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore",
            &[b'x'; MAX_HEAD + 1],
        ] {
            let mut connection = Connection::default();
            connection.start(b"GET / HTTP/1.1\r\n\r\n", 0);
            let text = String::from_utf8_lossy(broken);
            assert!(connection.receive(broken, 1, &mut Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_call_that_is_cut_off_is_lost() {
        let mut connection = Connection::default();
        connection.start(b"GET / HTTP/1.1\r\n\r\n", 5);
        let mut answers = Vec::new();
        connection.receive(&PLAIN[..20], 6, &mut answers).unwrap();
        connection.abandon(9, &mut answers);
        connection.abandon(9, &mut answers);
        let outcomes: Vec<Outcome> = answers.iter().map(|answer| answer.outcome).collect();
        assert_eq!(outcomes, [Outcome::Lost]);
    }
}
