//! What comes from the client, frame by frame.

use std::sync::Arc;

use super::{
    Connection, ENABLE_PUSH, Event, HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
    OpenBlock, Opening,
};
use crate::error::{Code, ConnectionError};
use crate::frame::{
    self, ACK, DEFAULT_MAX_FRAME, END_HEADERS, END_STREAM, FrameHeader, HEADER_LEN, Kind,
    MAX_31_BIT, PADDED, PREFACE, PRIORITY,
};
use crate::head::{Head, check_trailers};
use crate::hpack::Field;
use crate::keep_alive::TOO_MANY_PINGS;
use crate::streams::{Past, Stream};

/// Heads that are remembered: a client makes a few calls, again and again.
const KNOWN_HEADS: usize = 16;
/// Bytes of a block that is remembered.
const KNOWN_BLOCK_BYTES: usize = 512;
/// Frames that one header block may come in (CVE-2024-27316).
const BLOCK_FRAMES_MAX: usize = 32;
/// The highest value of MAX_FRAME_SIZE.
const MAX_24_BIT: u32 = 0x00ff_ffff;
/// The largest frame we make, whatever the client would take: others wait for their turn behind it.
const OWN_FRAME_MAX: u32 = 64 << 10;

type Received<'a> = Result<Option<Event<'a>>, ConnectionError>;

impl Connection {
    /// Takes whole frames from the front of `input` until one of them says something to the
    /// application, or none is left. What remains is to be given again, with what follows it.
    ///
    /// # Errors
    /// The client broke the protocol. The output ends with the reason; the connection is over.
    pub fn next<'a>(&mut self, input: &mut &'a [u8], now_ms: u64) -> Received<'a> {
        if self.is_over {
            return Ok(None);
        }
        if !input.is_empty() {
            self.keep_alive.heard(now_ms);
        }
        let received = self.next_frames(input, now_ms);
        if let Ok(None) = received {
            let is_whole =
                input.is_empty() && self.opening == Opening::Done && self.open_block.is_none();
            self.unfinished_ms = (!is_whole).then(|| self.unfinished_ms.unwrap_or(now_ms));
        }
        received.map_err(|error| self.fail(error))
    }

    fn next_frames<'a>(&mut self, input: &mut &'a [u8], now_ms: u64) -> Received<'a> {
        if self.opening == Opening::Preface && !self.take_preface(input)? {
            return Ok(None);
        }
        while let Some(header) = FrameHeader::parse(input) {
            if header.length > DEFAULT_MAX_FRAME {
                return Err(ConnectionError::frame_size("a frame larger than agreed"));
            }
            let end = HEADER_LEN + header.length as usize;
            let Some((bytes, rest)) = input.split_at_checked(end) else { break };
            *input = rest;
            let event = self.handle(header, &bytes[HEADER_LEN..], now_ms)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Takes the preface. Returns false if its end is not there yet.
    fn take_preface(&mut self, input: &mut &[u8]) -> Result<bool, ConnectionError> {
        let length = input.len().min(PREFACE.len());
        if input[..length] != PREFACE[..length] {
            return Err(ConnectionError::protocol("a broken preface"));
        }
        let is_whole = length == PREFACE.len();
        if is_whole {
            *input = &input[length..];
            self.opening = Opening::Settings;
        }
        Ok(is_whole)
    }

    fn handle<'a>(&mut self, header: FrameHeader, payload: &'a [u8], now_ms: u64) -> Received<'a> {
        if self.opening == Opening::Settings {
            if header.kind != Kind::Settings || header.has(ACK) {
                return Err(ConnectionError::protocol("the first frame is not SETTINGS"));
            }
            self.opening = Opening::Done;
        }
        if let Some(open) = &self.open_block
            && (header.kind != Kind::Continuation || header.stream != open.stream)
        {
            return Err(ConnectionError::protocol("a header block that was interrupted"));
        }
        match header.kind {
            Kind::Data => self.on_data(header, payload, now_ms),
            Kind::Headers => self.on_headers(header, payload, now_ms),
            Kind::Continuation => self.on_continuation(header, payload, now_ms),
            Kind::Priority => self.on_priority(header, payload, now_ms),
            Kind::ResetStream => self.on_reset(header, payload, now_ms),
            Kind::Settings => self.on_settings(header, payload, now_ms).map(|()| None),
            Kind::PushPromise => Err(ConnectionError::protocol("PUSH_PROMISE from a client")),
            Kind::Ping => self.on_ping(header, payload, now_ms).map(|()| None),
            Kind::GoAway => match header.stream {
                // The client opens what it likes until it closes the connection.
                0 => Ok(None),
                _ => Err(ConnectionError::protocol("GOAWAY on a stream")),
            },
            Kind::WindowUpdate => self.on_window_update(header, payload, now_ms),
            Kind::Unknown(_) => Ok(None),
        }
    }

    fn on_data<'a>(&mut self, header: FrameHeader, payload: &'a [u8], now_ms: u64) -> Received<'a> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("DATA on no stream"));
        }
        let content = frame::content(&header, payload)
            .map_err(|_| ConnectionError::protocol("padding longer than its frame"))?;
        // The windows count the padding too.
        let length = header.length;
        if length > self.receive_window {
            let reason = "more bytes than the window of the connection lets through";
            return Err(ConnectionError::new(Code::FlowControl, reason));
        }
        self.receive_window -= length;
        let is_end = header.has(END_STREAM);
        if content.is_empty() && !is_end && !self.allowances.empty_frames.take(now_ms) {
            return Err(calm("too many frames without content"));
        }
        let Some(stream) = self.streams.get(header.stream) else {
            // Nobody takes these bytes.
            self.return_connection_window(length);
            return match self.streams.past(header.stream) {
                Past::Idle => Err(ConnectionError::protocol("DATA on a stream that is not open")),
                Past::Reset => Ok(None),
                Past::Ended | Past::Forgotten => {
                    self.reset_for(header.stream, Code::StreamClosed, now_ms)
                }
            };
        };
        let size = content.len() as u64;
        let is_too_long = stream.missing.is_some_and(|missing| missing < size);
        let is_too_short = is_end && stream.missing.is_some_and(|missing| missing > size);
        let fault = if stream.is_request_whole {
            Some(Code::StreamClosed)
        } else if length > stream.receive_window {
            Some(Code::FlowControl)
        } else if is_too_long || is_too_short {
            Some(Code::Protocol)
        } else {
            None
        };
        if let Some(code) = fault {
            self.return_connection_window(length);
            return self.reset_for(header.stream, code, now_ms);
        }
        stream.receive_window -= length;
        stream.missing = stream.missing.map(|missing| missing - size);
        stream.is_request_whole = is_end;
        stream.held += length;
        // Padding is taken at once: the application never sees it.
        let padding = length - u32::try_from(content.len()).expect("a frame's content fits");
        if padding > 0 {
            self.release(header.stream, padding);
        }
        if content.is_empty() && !is_end {
            return Ok(None);
        }
        Ok(Some(Event::Data { stream: header.stream, bytes: content, is_end }))
    }

    fn on_headers<'a>(&mut self, header: FrameHeader, payload: &[u8], now_ms: u64) -> Received<'a> {
        let id = header.stream;
        if id.is_multiple_of(2) {
            return Err(ConnectionError::protocol("HEADERS on a stream that is no client's"));
        }
        let block = frame::content(&header, payload)
            .map_err(|_| ConnectionError::protocol("padding longer than its frame"))?;
        let depends_on_itself = header.has(PRIORITY) && {
            let priority = if header.has(PADDED) { &payload[1..] } else { payload };
            depends_on(priority) == Some(id)
        };
        let ends_stream = header.has(END_STREAM);
        let mut open =
            OpenBlock { stream: id, ends_stream, depends_on_itself, block: Vec::new(), frames: 1 };
        if header.has(END_HEADERS) {
            return self.on_block(&open, block, now_ms);
        }
        open.block.extend_from_slice(block);
        self.open_block = Some(open);
        Ok(None)
    }

    fn on_continuation<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ms: u64,
    ) -> Received<'a> {
        let open = self.open_block.take();
        let mut open = open.ok_or(ConnectionError::protocol("CONTINUATION of nothing"))?;
        open.frames += 1;
        let length = open.block.len() + payload.len();
        if length > self.limits.header_block_bytes || open.frames > BLOCK_FRAMES_MAX {
            return Err(calm("a header block that is too long"));
        }
        open.block.extend_from_slice(payload);
        if header.has(END_HEADERS) {
            let block = std::mem::take(&mut open.block);
            return self.on_block(&open, &block, now_ms);
        }
        self.open_block = Some(open);
        Ok(None)
    }

    /// Takes a whole header block: of a request, or behind a body.
    fn on_block<'a>(&mut self, open: &OpenBlock, block: &[u8], now_ms: u64) -> Received<'a> {
        let id = open.stream;
        if id > self.streams.highest() {
            return self.on_request(open, block, now_ms);
        }
        // Every block is decoded, because those after it build on it.
        let fields = self.decode(block)?;
        let Some(stream) = self.streams.get(id) else {
            return match self.streams.past(id) {
                Past::Reset => Ok(None),
                Past::Ended => {
                    let reason = "HEADERS on a stream that ended";
                    Err(ConnectionError::new(Code::StreamClosed, reason))
                }
                Past::Idle | Past::Forgotten => {
                    Err(ConnectionError::protocol("a stream below an earlier one"))
                }
            };
        };
        if stream.is_request_whole {
            return self.reset_for(id, Code::StreamClosed, now_ms);
        }
        let is_well_formed = open.ends_stream
            && stream.missing.unwrap_or(0) == 0
            && fields.is_some_and(|fields| check_trailers(fields).is_ok());
        if !is_well_formed {
            return self.reset_for(id, Code::Protocol, now_ms);
        }
        stream.is_request_whole = true;
        Ok(Some(Event::Data { stream: id, bytes: &[], is_end: true }))
    }

    fn on_request<'a>(&mut self, open: &OpenBlock, block: &[u8], now_ms: u64) -> Received<'a> {
        let (id, is_end) = (open.stream, open.ends_stream);
        let known = self.known_heads.iter().find(|(known, _)| known == block);
        let head = match known {
            Some((_, head)) => Ok(Arc::clone(head)),
            None => self.read_head(block)?,
        };
        if self.last_stream.is_some() {
            // The GOAWAY has said it: the client tries these elsewhere.
            self.streams.refuse(id);
            return Ok(None);
        }
        let misses_body =
            |head: &Head| is_end && head.content_length.is_some_and(|length| length > 0);
        let refusal = match &head {
            _ if self.streams.count() >= self.limits.streams_max as usize => {
                Some(Code::RefusedStream)
            }
            Err(code) => Some(*code),
            Ok(head) if open.depends_on_itself || misses_body(head) => Some(Code::Protocol),
            Ok(_) => None,
        };
        let head = match (head, refusal) {
            (Ok(head), None) => head,
            (_, code) => {
                self.streams.refuse(id);
                return self.reset_for(id, code.unwrap_or(Code::Protocol), now_ms);
            }
        };
        let send_window = i64::from(self.peer.initial_window);
        let stream = Stream::new(send_window, self.limits.stream_window, head.content_length);
        self.streams.open(id, Stream { is_request_whole: is_end, ..stream });
        Ok(Some(Event::Request { stream: id, head, is_end }))
    }

    /// Reads the head of a request that is not known, or why the stream must be reset.
    fn read_head(&mut self, block: &[u8]) -> Result<Result<Arc<Head>, Code>, ConnectionError> {
        let before = self.decoder.generation();
        let Some(fields) = self.decode(block)? else { return Ok(Err(Code::EnhanceYourCalm)) };
        let Ok(head) = Head::parse(fields) else { return Ok(Err(Code::Protocol)) };
        let head = Arc::new(head);
        // A block that changed the table means something else the next time.
        if self.decoder.generation() == before && block.len() <= KNOWN_BLOCK_BYTES {
            if self.known_heads.len() == KNOWN_HEADS {
                self.known_heads.remove(0);
            }
            self.known_heads.push((block.to_vec(), Arc::clone(&head)));
        }
        Ok(Ok(head))
    }

    /// Decodes a block, or returns nothing if its fields are too long.
    fn decode(&mut self, block: &[u8]) -> Result<Option<Vec<Field>>, ConnectionError> {
        let before = self.decoder.generation();
        let fields = self.decoder.decode(block, self.limits.header_list_bytes);
        if self.decoder.generation() != before {
            self.known_heads.clear();
        }
        fields.map_err(|error| ConnectionError::new(Code::Compression, error.0))
    }

    fn on_priority<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ms: u64,
    ) -> Received<'a> {
        if header.stream == 0 {
            return Err(ConnectionError::protocol("PRIORITY on no stream"));
        }
        if payload.len() != 5 {
            return self.reset_for(header.stream, Code::FrameSize, now_ms);
        }
        if depends_on(payload) == Some(header.stream) {
            return self.reset_for(header.stream, Code::Protocol, now_ms);
        }
        // Advice that nobody follows any more; it costs what an empty frame costs.
        if !self.allowances.empty_frames.take(now_ms) {
            return Err(calm("too many frames without content"));
        }
        Ok(None)
    }

    fn on_reset<'a>(&mut self, header: FrameHeader, payload: &[u8], now_ms: u64) -> Received<'a> {
        let code = frame::number(payload)
            .map_err(|_| ConnectionError::frame_size("RST_STREAM of a broken length"))?;
        let id = header.stream;
        if id == 0 || self.streams.past(id) == Past::Idle {
            return Err(ConnectionError::protocol("RST_STREAM on a stream that is not open"));
        }
        if !self.streams.contains(id) {
            return Ok(None);
        }
        if !self.allowances.client_resets.take(now_ms) {
            return Err(calm("too many streams that are reset"));
        }
        self.drop_stream(id, Past::Ended);
        Ok(Some(Event::Reset { stream: id, code }))
    }

    fn on_settings(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream"));
        }
        if header.has(ACK) {
            return match payload {
                [] => Ok(()),
                _ => Err(ConnectionError::frame_size("SETTINGS that acknowledges with content")),
            };
        }
        if !self.allowances.settings.take(now_ms) {
            return Err(calm("too many changes of settings"));
        }
        let settings = frame::settings(payload)
            .map_err(|_| ConnectionError::frame_size("SETTINGS of a broken length"))?;
        for (identifier, value) in settings {
            match identifier {
                HEADER_TABLE_SIZE => self.encoder.set_table_bytes(value as usize),
                ENABLE_PUSH if value > 1 => {
                    return Err(ConnectionError::protocol("ENABLE_PUSH that is no yes or no"));
                }
                INITIAL_WINDOW_SIZE => self.set_initial_window(value)?,
                MAX_FRAME_SIZE if !(DEFAULT_MAX_FRAME..=MAX_24_BIT).contains(&value) => {
                    return Err(ConnectionError::protocol("a frame size out of its bounds"));
                }
                MAX_FRAME_SIZE => self.peer.max_frame = value.min(OWN_FRAME_MAX),
                _ => {}
            }
        }
        self.acknowledge_settings();
        self.pump();
        Ok(())
    }

    /// The windows of all open streams change by as much as the initial one.
    fn set_initial_window(&mut self, window: u32) -> Result<(), ConnectionError> {
        let overflow = ConnectionError::new(Code::FlowControl, "a window that is too large");
        if window > MAX_31_BIT {
            return Err(overflow);
        }
        let change = i64::from(window) - i64::from(self.peer.initial_window);
        self.peer.initial_window = window;
        let mut waiting = Vec::new();
        for (id, stream) in self.streams.iter_mut() {
            stream.send_window += change;
            if stream.send_window > i64::from(MAX_31_BIT) {
                return Err(overflow);
            }
            if !stream.waiting.is_empty() {
                waiting.push(id);
            }
        }
        waiting.into_iter().for_each(|id| self.get_in_line(id));
        Ok(())
    }

    fn on_ping(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ms: u64,
    ) -> Result<(), ConnectionError> {
        if header.stream != 0 {
            return Err(ConnectionError::protocol("PING on a stream"));
        }
        if payload.len() != 8 {
            return Err(ConnectionError::frame_size("PING of a broken length"));
        }
        if header.has(ACK) {
            return Ok(());
        }
        if !self.keep_alive.asked(now_ms, self.streams.count() > 0) {
            return Err(calm(TOO_MANY_PINGS));
        }
        frame::write_frame(&mut self.output, Kind::Ping, ACK, 0, payload);
        Ok(())
    }

    fn on_window_update<'a>(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
        now_ms: u64,
    ) -> Received<'a> {
        let increment = frame::number(payload)
            .map_err(|_| ConnectionError::frame_size("WINDOW_UPDATE of a broken length"))?;
        let increment = i64::from(increment & MAX_31_BIT);
        let id = header.stream;
        if id == 0 {
            self.send_window += increment;
            if increment == 0 {
                return Err(ConnectionError::protocol("WINDOW_UPDATE by nothing"));
            }
            if self.send_window > i64::from(MAX_31_BIT) {
                let reason = "the window of the connection is too large";
                return Err(ConnectionError::new(Code::FlowControl, reason));
            }
            self.pump();
            return Ok(None);
        }
        let Some(stream) = self.streams.get(id) else {
            return match self.streams.past(id) {
                Past::Idle => {
                    Err(ConnectionError::protocol("WINDOW_UPDATE on a stream that is not open"))
                }
                Past::Ended | Past::Reset | Past::Forgotten => Ok(None),
            };
        };
        if increment == 0 {
            return self.reset_for(id, Code::Protocol, now_ms);
        }
        stream.send_window += increment;
        if stream.send_window > i64::from(MAX_31_BIT) {
            return self.reset_for(id, Code::FlowControl, now_ms);
        }
        self.get_in_line(id);
        self.pump();
        Ok(None)
    }

    /// Resets a stream because of what the client did.
    fn reset_for<'a>(&mut self, id: u32, code: Code, now_ms: u64) -> Received<'a> {
        if !self.allowances.our_resets.take(now_ms) {
            return Err(calm("too many streams that must be reset"));
        }
        let was_open = self.streams.contains(id);
        self.reset(id, code);
        Ok(was_open.then(|| Event::Reset { stream: id, code: code.number() }))
    }
}

fn calm(reason: &'static str) -> ConnectionError {
    ConnectionError::new(Code::EnhanceYourCalm, reason)
}

/// The stream that a priority depends on.
fn depends_on(priority: &[u8]) -> Option<u32> {
    priority.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) & MAX_31_BIT)
}
