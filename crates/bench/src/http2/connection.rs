//! One connection as a value: it is given what the socket received and says what to send.
//!
//! Requests wait for the server's settings, as those of every gRPC client do. A request that the
//! windows allow in one piece goes out at once; others wait in line and go out as windows open.
//!
//! Invariants:
//! - Every started call ends in exactly one answer, unless the caller drops the connection.
//! - What the server sends is bounded by the windows and by one frame of unparsed input.

use std::collections::VecDeque;
use std::mem;

use quoin_front::ProtocolError;
use quoin_front::frame::{
    self, ACK, DEFAULT_MAX_FRAME, DEFAULT_WINDOW, END_HEADERS, END_STREAM, FrameHeader, HEADER_LEN,
    Kind, MAX_31_BIT,
};

use super::headers::{RequestHeaders, ResponseHeaders};
use super::streams::Streams;

/// Bytes the server may send on the connection before it hears from us.
const CONNECTION_WINDOW: u32 = 1 << 28;
/// Bytes the server may send on a stream before it hears from us.
const STREAM_WINDOW: u32 = 1 << 22;
/// The largest header block; longer ones are not worth reading.
const MAX_HEADER_BLOCK: usize = 1 << 20;
/// Bytes before each gRPC message: a flag and the length.
pub const MESSAGE_PREFIX: usize = 5;

/// Settings by their number on the wire.
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
/// The error code that says "no longer wanted".
const CANCEL: u32 = 8;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Status zero, and a message.
    Ok,
    /// A gRPC status other than zero.
    Status(u32),
    /// A status of HTTP that is no success.
    Http(u16),
    /// The server ended the stream with this HTTP/2 error code.
    Reset(u32),
    /// The response ended without a status, or with success and without a message.
    Incomplete,
    /// The connection ended, or the server refused the stream before it began.
    Lost,
}

/// The end of one call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the call to its end.
    pub latency_ns: u64,
    /// Bytes of the response message with its prefix.
    pub bytes: u64,
    /// The response message with its prefix, if the connection keeps bodies.
    pub body: Vec<u8>,
}

/// What the server said that it accepts.
#[derive(Clone, Copy, Debug)]
struct PeerSettings {
    header_table: u32,
    max_streams: u32,
    initial_window: u32,
    max_frame: u32,
}

/// A request of which the windows did not let everything pass.
#[derive(Debug)]
struct Blocked {
    stream: u32,
    message: Vec<u8>,
    sent: usize,
    window: i64,
}

/// A header block that continues in the next frame.
#[derive(Debug)]
struct OpenBlock {
    stream: u32,
    ends_stream: bool,
    block: Vec<u8>,
}

/// The client's side of a connection on which all calls go to one method.
#[derive(Debug)]
pub struct Connection {
    authority: String,
    path: String,
    keep_bodies: bool,
    /// None until the server's settings are there.
    request: Option<RequestHeaders>,
    response: ResponseHeaders,
    peer: PeerSettings,
    streams: Streams,
    blocked: VecDeque<Blocked>,
    open_block: Option<OpenBlock>,
    /// Bytes we may send on the connection.
    send_window: i64,
    /// Bytes received for which no window was given back.
    unreturned: u32,
    going_away: bool,
    /// The beginning of a frame whose rest has not arrived.
    partial: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

impl Connection {
    /// A new connection, with the preface ready to be sent. With `keep_bodies`, answers carry the
    /// message.
    pub fn new(authority: &str, path: &str, keep_bodies: bool) -> Self {
        let mut output = frame::PREFACE.to_vec();
        frame::write_settings(
            &mut output,
            &[(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)],
        );
        frame::write_window_update(&mut output, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
        Self {
            authority: authority.to_owned(),
            path: path.to_owned(),
            keep_bodies,
            request: None,
            response: ResponseHeaders::default(),
            peer: PeerSettings {
                header_table: 4096,
                max_streams: u32::MAX,
                initial_window: DEFAULT_WINDOW,
                max_frame: DEFAULT_MAX_FRAME,
            },
            streams: Streams::default(),
            blocked: VecDeque::new(),
            open_block: None,
            send_window: i64::from(DEFAULT_WINDOW),
            unreturned: 0,
            going_away: false,
            partial: Vec::new(),
            output,
            sent: 0,
        }
    }

    /// Whether the server's settings have arrived.
    pub fn is_ready(&self) -> bool {
        self.request.is_some()
    }

    /// Whether a call may begin now.
    pub fn can_start(&self) -> bool {
        self.is_ready()
            && !self.going_away
            && self.streams.open() < self.peer.max_streams as usize
            && self.streams.next_id().is_some()
    }

    /// Calls that wait for their answer.
    pub fn open_streams(&self) -> usize {
        self.streams.open()
    }

    /// Whether the connection takes no new calls, ever.
    pub fn is_finished(&self) -> bool {
        self.going_away || self.streams.next_id().is_none()
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

    /// Begins a call. `message` has its prefix. The caller has asked [`Self::can_start`].
    pub fn start(&mut self, message: &[u8], now_ns: u64) {
        let request = self.request.as_mut().expect("calls begin after the settings");
        let stream = self.streams.next_id().expect("calls begin while there are numbers");
        request.write_next(&mut self.output, |out, block| {
            frame::write_frame(out, Kind::Headers, END_HEADERS, stream, block);
        });
        self.streams.push(now_ns);
        let length = message.len();
        let window = self.send_window.min(i64::from(self.peer.initial_window));
        let fits = length <= self.peer.max_frame as usize
            && i64::try_from(length).is_ok_and(|length| length <= window);
        if fits && self.blocked.is_empty() {
            self.send_window -= length as i64;
            frame::write_frame(&mut self.output, Kind::Data, END_STREAM, stream, message);
        } else {
            let window = i64::from(self.peer.initial_window);
            self.blocked.push_back(Blocked { stream, message: message.to_vec(), sent: 0, window });
            self.pump();
        }
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
            let mut input = mem::take(&mut self.partial);
            input.extend_from_slice(bytes);
            let used = self.parse(&input, now_ns, answers)?;
            input.drain(..used);
            self.partial = input;
        }
        Ok(())
    }

    /// Shows the bodies of all calls that are open, as far as they have arrived. What is removed
    /// from one is not in the answer.
    pub fn take_bodies(&mut self, mut each: impl FnMut(&mut Vec<u8>)) {
        for id in self.streams.open_above(0) {
            if let Some(stream) = self.streams.find(id) {
                each(&mut stream.body);
            }
        }
    }

    /// Ends all calls that are still open, because the connection is gone.
    pub fn abandon(&mut self, now_ns: u64, answers: &mut Vec<Answer>) {
        self.going_away = true;
        for stream in self.streams.open_above(0) {
            self.finish(stream, Some(Outcome::Lost), now_ns, answers);
        }
    }

    /// Handles all whole frames at the front of `input` and returns their length.
    fn parse(
        &mut self,
        input: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<usize, ProtocolError> {
        let mut rest = input;
        while let Some(header) = FrameHeader::parse(rest) {
            if header.length > DEFAULT_MAX_FRAME {
                return Err(ProtocolError("a frame larger than agreed"));
            }
            let end = HEADER_LEN + header.length as usize;
            let Some((bytes, after)) = rest.split_at_checked(end) else { break };
            self.handle(header, &bytes[HEADER_LEN..], now_ns, answers)?;
            rest = after;
        }
        Ok(input.len() - rest.len())
    }

    fn handle(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ProtocolError> {
        if self.open_block.is_some() && header.kind != Kind::Continuation {
            return Err(ProtocolError("a header block that was interrupted"));
        }
        match header.kind {
            Kind::Data => self.on_data(header, payload, now_ns, answers)?,
            Kind::Headers => {
                let (stream, ends_stream) = (header.stream, header.has(END_STREAM));
                let block = frame::content(&header, payload)?;
                if header.has(END_HEADERS) {
                    self.on_block(stream, ends_stream, block, now_ns, answers)?;
                } else {
                    let block = block.to_vec();
                    self.open_block = Some(OpenBlock { stream, ends_stream, block });
                }
            }
            Kind::Continuation => {
                let open = self.open_block.take().filter(|open| open.stream == header.stream);
                let mut open = open.ok_or(ProtocolError("CONTINUATION of nothing"))?;
                open.block.extend_from_slice(payload);
                if open.block.len() > MAX_HEADER_BLOCK {
                    return Err(ProtocolError("a header block that is too long"));
                }
                if header.has(END_HEADERS) {
                    self.on_block(open.stream, open.ends_stream, &open.block, now_ns, answers)?;
                } else {
                    self.open_block = Some(open);
                }
            }
            Kind::ResetStream => {
                let code = frame::number(payload)?;
                self.finish(header.stream, Some(Outcome::Reset(code)), now_ns, answers);
            }
            Kind::Settings => self.on_settings(header, payload)?,
            Kind::PushPromise => return Err(ProtocolError("PUSH_PROMISE, which we forbid")),
            Kind::Ping if header.has(ACK) => {}
            Kind::Ping => frame::write_frame(&mut self.output, Kind::Ping, ACK, 0, payload),
            Kind::GoAway => {
                let last = payload.first_chunk().ok_or(ProtocolError("GOAWAY too short"))?;
                self.going_away = true;
                for stream in self.streams.open_above(u32::from_be_bytes(*last) & MAX_31_BIT) {
                    self.finish(stream, Some(Outcome::Lost), now_ns, answers);
                }
            }
            Kind::WindowUpdate => self.on_window_update(header.stream, frame::number(payload)?)?,
            Kind::Priority | Kind::Unknown(_) => {}
        }
        Ok(())
    }

    fn on_data(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ProtocolError> {
        let content = frame::content(&header, payload)?;
        // Padding counts against the windows too.
        self.unreturned += header.length;
        if self.unreturned >= CONNECTION_WINDOW / 2 {
            let increment = mem::take(&mut self.unreturned);
            frame::write_window_update(&mut self.output, 0, increment);
        }
        let Some(stream) = self.streams.find(header.stream) else { return Ok(()) };
        stream.received += content.len() as u64;
        if self.keep_bodies {
            stream.body.extend_from_slice(content);
        }
        if header.has(END_STREAM) {
            self.finish(header.stream, None, now_ns, answers);
            return Ok(());
        }
        stream.unreturned += header.length;
        if stream.unreturned >= STREAM_WINDOW / 2 {
            let increment = mem::take(&mut stream.unreturned);
            frame::write_window_update(&mut self.output, header.stream, increment);
        }
        Ok(())
    }

    fn on_block(
        &mut self,
        stream: u32,
        ends_stream: bool,
        block: &[u8],
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) -> Result<(), ProtocolError> {
        let meaning = self.response.read(block)?;
        if let Some(stream) = self.streams.find(stream) {
            stream.status = meaning.grpc_status.or(stream.status);
        }
        if ends_stream {
            self.finish(stream, None, now_ns, answers);
        }
        Ok(())
    }

    fn on_settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), ProtocolError> {
        if header.has(ACK) {
            return Ok(());
        }
        for (identifier, value) in frame::settings(payload)? {
            match identifier {
                HEADER_TABLE_SIZE => self.peer.header_table = value,
                MAX_CONCURRENT_STREAMS => self.peer.max_streams = value,
                INITIAL_WINDOW_SIZE if value > MAX_31_BIT => {
                    return Err(ProtocolError("an initial window that is too large"));
                }
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - i64::from(self.peer.initial_window);
                    self.blocked.iter_mut().for_each(|blocked| blocked.window += change);
                    self.peer.initial_window = value;
                }
                MAX_FRAME_SIZE if value < DEFAULT_MAX_FRAME => {
                    return Err(ProtocolError("a frame size below the least"));
                }
                MAX_FRAME_SIZE => self.peer.max_frame = value,
                _ => {}
            }
        }
        frame::write_frame(&mut self.output, Kind::Settings, ACK, 0, &[]);
        if self.request.is_none() {
            let table = self.peer.header_table;
            self.request = Some(RequestHeaders::new(&self.authority, &self.path, table));
        }
        self.pump();
        Ok(())
    }

    fn on_window_update(&mut self, stream: u32, increment: u32) -> Result<(), ProtocolError> {
        let increment = i64::from(increment & MAX_31_BIT);
        if stream == 0 {
            self.send_window += increment;
            if self.send_window > i64::from(MAX_31_BIT) {
                return Err(ProtocolError("a window that is too large"));
            }
        } else if let Some(blocked) = self.blocked.iter_mut().find(|b| b.stream == stream) {
            blocked.window += increment;
        } else {
            return Ok(());
        }
        self.pump();
        Ok(())
    }

    /// Sends what the windows allow of the requests that wait, oldest first.
    fn pump(&mut self) {
        let max_frame = i64::from(self.peer.max_frame);
        for blocked in &mut self.blocked {
            loop {
                let rest = &blocked.message[blocked.sent..];
                let allowed = self.send_window.min(blocked.window).min(max_frame);
                let count = rest.len().min(usize::try_from(allowed).unwrap_or(0));
                if count == 0 {
                    break;
                }
                let flags = if count == rest.len() { END_STREAM } else { 0 };
                let (kind, stream) = (Kind::Data, blocked.stream);
                frame::write_frame(&mut self.output, kind, flags, stream, &rest[..count]);
                blocked.sent += count;
                blocked.window -= count as i64;
                self.send_window -= count as i64;
            }
        }
        self.blocked.retain(|blocked| blocked.sent < blocked.message.len());
    }

    /// Ends a call; without an `outcome`, by the status that it received.
    fn finish(
        &mut self,
        id: u32,
        outcome: Option<Outcome>,
        now_ns: u64,
        answers: &mut Vec<Answer>,
    ) {
        let Some(stream) = self.streams.close(id) else { return };
        let unsent = self.blocked.len();
        self.blocked.retain(|blocked| blocked.stream != id);
        if self.blocked.len() < unsent && outcome.is_none() {
            let code = CANCEL.to_be_bytes();
            frame::write_frame(&mut self.output, Kind::ResetStream, 0, id, &code);
        }
        let outcome = outcome.unwrap_or(match stream.status {
            Some(0) if stream.received >= MESSAGE_PREFIX as u64 => Outcome::Ok,
            Some(0) | None => Outcome::Incomplete,
            Some(status) => Outcome::Status(status),
        });
        answers.push(Answer {
            outcome,
            latency_ns: now_ns.saturating_sub(stream.started_ns),
            bytes: stream.received,
            body: stream.body,
        });
    }
}

#[cfg(test)]
mod tests;
