//! What goes to the client: the parts of answers, in turn and as the windows allow.

use bytes::Bytes;
use http::HeaderMap;

use super::{Connection, Prepared};
use crate::error::Code;
use crate::frame::{self, DEFAULT_MAX_FRAME, END_HEADERS, END_STREAM, Kind};
use crate::streams::{Past, Tail};

/// Blocks that are remembered: the head of every answer and the end of every success.
const PREPARED_MAX: usize = 8;

impl Connection {
    /// Sends the head of an answer, once. With `is_end` it is the whole answer.
    pub fn send_head(&mut self, id: u32, status: u16, headers: &HeaderMap, is_end: bool) {
        let Some(stream) = self.streams.get(id) else { return };
        if stream.has_head {
            return;
        }
        stream.has_head = true;
        self.write_block(id, Some(status), headers, is_end);
        if is_end {
            self.finish(id);
        }
    }

    /// Sends the next part of a body, or keeps it until the windows and the output have room.
    pub fn send_data(&mut self, id: u32, bytes: Bytes) {
        let Some(stream) = self.streams.get(id) else { return };
        if bytes.is_empty() || stream.tail.is_some() {
            return;
        }
        stream.waiting.push_back(bytes);
        self.get_in_line(id);
        self.pump();
    }

    /// Ends an answer behind its data, with these fields if there are any.
    pub fn send_end(&mut self, id: u32, trailers: Option<&HeaderMap>) {
        let is_output_full = self.is_output_full();
        let Some(stream) = self.streams.get(id) else { return };
        if stream.tail.is_some() {
            return;
        }
        if let Some(fields) = trailers
            && stream.waiting.is_empty()
            && !is_output_full
        {
            // Nothing is before it, so it need not be kept.
            self.write_block(id, None, fields, true);
            self.finish(id);
            return;
        }
        stream.tail = Some(trailers.cloned().map_or(Tail::Empty, Tail::Trailers));
        self.get_in_line(id);
        self.pump();
    }

    /// Ends a stream with a reason instead of an answer.
    pub fn reset(&mut self, id: u32, code: Code) {
        let number = code.number().to_be_bytes();
        frame::write_frame(&mut self.output, Kind::ResetStream, 0, id, &number);
        self.drop_stream(id, Past::Reset);
    }

    /// Whether the next part of an answer would be sent at once.
    pub fn has_room(&mut self, id: u32) -> bool {
        !self.is_output_full() && self.streams.get(id).is_some_and(|s| s.waiting.is_empty())
    }

    /// Tells that the application took so many bytes of a request.
    pub fn release(&mut self, id: u32, bytes: u32) {
        // What a stream held when it ended was given back then.
        let Some(stream) = self.streams.get(id) else { return };
        let bytes = bytes.min(stream.held);
        stream.held -= bytes;
        stream.unreturned += bytes;
        // No more bytes come on a stream that ended.
        if !stream.is_request_whole && stream.unreturned >= self.limits.stream_window / 2 {
            let increment = std::mem::take(&mut stream.unreturned);
            stream.receive_window += increment;
            frame::write_window_update(&mut self.output, id, increment);
        }
        self.return_connection_window(bytes);
    }

    pub(super) fn get_in_line(&mut self, id: u32) {
        if let Some(stream) = self.streams.get(id)
            && !stream.is_in_line
            && (stream.tail.is_some() || !stream.waiting.is_empty())
        {
            stream.is_in_line = true;
            self.line.push_back(id);
        }
    }

    /// Gives each stream in line a frame in turn, until nothing is left that could be sent.
    pub(super) fn pump(&mut self) {
        while !self.is_output_full() {
            let Some(id) = self.line.pop_front() else { break };
            let Some(stream) = self.streams.get(id) else { continue };
            stream.is_in_line = false;
            let Some(first) = stream.waiting.front_mut() else {
                self.write_tail(id);
                continue;
            };
            let window = stream.send_window.min(self.send_window).max(0);
            let window = usize::try_from(window).unwrap_or(usize::MAX);
            let count = first.len().min(window).min(self.peer.max_frame as usize);
            if count == 0 {
                // One that waits for its own window leaves the line until that grows. While the
                // connection has no window, all keep their places.
                if self.send_window <= 0 {
                    stream.is_in_line = true;
                    self.line.push_front(id);
                    break;
                }
                continue;
            }
            let part = first.split_to(count);
            if first.is_empty() {
                stream.waiting.pop_front();
            }
            let sent = i64::try_from(count).expect("a frame fits");
            stream.send_window -= sent;
            self.send_window -= sent;
            let is_last = stream.waiting.is_empty() && matches!(stream.tail, Some(Tail::Empty));
            let flags = if is_last { END_STREAM } else { 0 };
            frame::write_frame(&mut self.output, Kind::Data, flags, id, &part);
            self.keep_alive.answered();
            if is_last {
                self.finish(id);
            } else {
                self.get_in_line(id);
            }
        }
    }

    fn write_tail(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        match stream.tail.take() {
            None => return,
            Some(Tail::Empty) => {
                frame::write_frame(&mut self.output, Kind::Data, END_STREAM, id, &[]);
            }
            Some(Tail::Trailers(fields)) => self.write_block(id, None, &fields, true),
        }
        self.finish(id);
    }

    /// The answer is complete.
    fn finish(&mut self, id: u32) {
        let Some(stream) = self.streams.get(id) else { return };
        if stream.is_request_whole {
            self.drop_stream(id, Past::Ended);
        } else {
            // The client need not send the rest of its request.
            self.reset(id, Code::NoError);
        }
    }

    /// Writes a header block, as many frames as it needs.
    fn write_block(&mut self, id: u32, status: Option<u16>, fields: &HeaderMap, is_end: bool) {
        self.keep_alive.answered();
        let generation = self.encoder.generation();
        let known = self.prepared.iter().find(|known| {
            known.generation == generation && known.status == status && known.fields == *fields
        });
        let flags = if is_end { END_STREAM } else { 0 };
        if let Some(known) = known {
            write_block_frames(&mut self.output, id, flags, &known.block);
            return;
        }
        let mut block = Vec::new();
        let digits = status.map(|status| status.to_string());
        let status_field = digits.iter().map(|digits| (&b":status"[..], digits.as_bytes()));
        let others = fields.iter().map(|(name, value)| (name.as_ref(), value.as_bytes()));
        self.encoder.encode(&mut block, status_field.chain(others));
        write_block_frames(&mut self.output, id, flags, &block);
        // A block that changed the table would mean something else the next time.
        if self.encoder.generation() == generation {
            if self.prepared.len() == PREPARED_MAX {
                self.prepared.remove(0);
            }
            self.prepared.push(Prepared { generation, status, fields: fields.clone(), block });
        }
    }
}

fn write_block_frames(out: &mut Vec<u8>, id: u32, flags: u8, block: &[u8]) {
    let largest = DEFAULT_MAX_FRAME as usize;
    let ends = |rest: &[u8]| if rest.is_empty() { END_HEADERS } else { 0 };
    let (part, mut rest) = block.split_at(block.len().min(largest));
    frame::write_frame(out, Kind::Headers, flags | ends(rest), id, part);
    while !rest.is_empty() {
        let (part, after) = rest.split_at(rest.len().min(largest));
        rest = after;
        frame::write_frame(out, Kind::Continuation, ends(rest), id, part);
    }
}
