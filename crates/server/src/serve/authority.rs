//! Lets in clients that name the server by a URL.
//!
//! Clients of etcd 3.4 dial `http://host:port` for the calls that concern one endpoint
//! (`etcdctl endpoint status` makes one), and send all of it as the `:authority` of HTTP/2. An
//! authority has no scheme, so the HTTP library refuses these requests as malformed; etcd answers
//! them. This adapter takes the scheme out of the first header block of a connection.
//!
//! Why the first block is enough: the client adds the field to its dynamic table (RFC 7541) and
//! refers to it later by index. Indexes stay equal on both ends although the entry here is
//! shorter: the size of a table is the sum of its entries, so the table here evicts later than
//! the client's and never earlier, and eviction takes the oldest, which have the highest indexes.
//! The table here is therefore the client's, perhaps with older entries that nobody refers to.
//!
//! A client that sends the literal again is not helped: one that never indexes it, or one whose
//! table has evicted it after many other fields. The adapter goes when the HTTP/2 front is our
//! own.
//!
//! Invariants:
//! - Bytes leave as they came, except that one value and the lengths of the frames around it.
//! - Only a header block is held back, and at most `OPENING_BYTES_MAX` are looked at; whatever is
//!   unexpected ends the search, and the HTTP library judges it.
//! - After the search reads go to the stream directly. Writes always do.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an HTTP/2 client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a connection within which its first header block must end to be looked at.
const OPENING_BYTES_MAX: usize = 64 << 10;
/// Bytes asked of the stream at once during the search.
const READ_BYTES: usize = 4 << 10;
/// CONTINUATION frames that the first header block may have to be looked at.
const CONTINUATIONS_MAX: usize = 8;
/// The largest payload of a frame that a peer accepts by default.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;

const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

const AUTHORITY: &[u8] = b":authority";
/// The index of `:authority` in the static table of HPACK.
const AUTHORITY_INDEX: usize = 1;
/// The bit of a string's first byte that says it is Huffman coded.
const HUFFMAN: u8 = 0x80;

/// A stream whose first request may have a URL for its authority.
#[derive(Debug)]
pub(super) struct LenientAuthority<T> {
    stream: T,
    /// The beginning of the connection, until all of it has been handed out.
    opening: Option<Opening>,
}

impl<T> LenientAuthority<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream, opening: Some(Opening::default()) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LenientAuthority<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while let Some(opening) = &mut this.opening {
            let handed_out = opening.hand_out(buffer);
            if opening.is_spent() {
                this.opening = None;
            }
            if handed_out || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let Some(opening) = &mut this.opening else { break };
            let mut space = [0; READ_BYTES];
            let mut arrived = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut arrived))?;
            opening.arrived(arrived.filled());
        }
        Pin::new(&mut this.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LenientAuthority<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The beginning of a connection: `handed_out <= ready <= bytes.len()`.
#[derive(Debug, Default)]
struct Opening {
    /// All bytes from the first on.
    bytes: Vec<u8>,
    /// How many of them the reader has.
    handed_out: usize,
    /// How many of them the reader may have.
    ready: usize,
    /// Where the frame begins that is to be looked at next, which may not have arrived yet.
    frame_start: usize,
    /// Nothing more is to be looked at.
    is_over: bool,
}

impl Opening {
    /// Takes the next bytes of the connection; none mean its end.
    fn arrived(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.search();
        self.is_over |= bytes.is_empty() || self.bytes.len() >= OPENING_BYTES_MAX;
        // A frame before the headers may go out in part.
        let ready = if self.is_over { self.bytes.len() } else { self.frame_start };
        self.ready = ready.max(PREFACE.len()).min(self.bytes.len());
    }

    /// Moves on to the first header block and changes it once it is whole.
    fn search(&mut self) {
        let known = self.bytes.len().min(PREFACE.len());
        if self.bytes[..known] != PREFACE[..known] {
            self.is_over = true;
            return;
        }
        self.frame_start = self.frame_start.max(PREFACE.len());
        while let Some(frame) = Frame::at(&self.bytes, self.frame_start) {
            if frame.kind != HEADERS {
                self.frame_start = frame.payload.end;
                continue;
            }
            match header_block(&self.bytes, &frame) {
                Found::Partly => {}
                Found::Whole(parts) => {
                    if let Some(bytes) = without_scheme(&self.bytes, &parts) {
                        self.bytes = bytes;
                    }
                    self.is_over = true;
                }
                Found::Unexpected => self.is_over = true,
            }
            return;
        }
    }

    /// Copies what is ready, and returns true if that was anything.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let ready = &self.bytes[self.handed_out..self.ready];
        let count = ready.len().min(buffer.remaining());
        buffer.put_slice(&ready[..count]);
        self.handed_out += count;
        count > 0
    }

    fn is_spent(&self) -> bool {
        self.is_over && self.handed_out == self.bytes.len()
    }
}

/// The head of a frame, and where its payload is or will be.
struct Frame {
    kind: u8,
    flags: u8,
    stream: [u8; 4],
    payload: Range<usize>,
}

impl Frame {
    /// The frame that begins at `start`, if its head has arrived.
    fn at(bytes: &[u8], start: usize) -> Option<Self> {
        let head = bytes.get(start..)?.first_chunk::<FRAME_HEAD_BYTES>()?;
        let [high, middle, low, kind, flags, stream @ ..] = *head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let payload = start + FRAME_HEAD_BYTES;
        Some(Self { kind, flags, stream, payload: payload..payload + length })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The part of the header block in a HEADERS frame that has arrived.
    fn fragment(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let Range { mut start, mut end } = self.payload;
        if self.has(PADDED) {
            let padding = *bytes[start..end].first()?;
            start += 1;
            end = end.checked_sub(usize::from(padding))?;
        }
        if self.has(PRIORITY) {
            start += PRIORITY_BYTES;
        }
        (start <= end).then_some(start..end)
    }
}

/// A frame of a header block, and which of its bytes belong to the block.
struct Part {
    frame: Frame,
    fragment: Range<usize>,
}

/// How much of a header block has arrived.
enum Found {
    Partly,
    Whole(Vec<Part>),
    Unexpected,
}

/// Collects the frames of the header block that begins with this HEADERS frame.
fn header_block(bytes: &[u8], headers: &Frame) -> Found {
    let mut parts: Vec<Part> = Vec::new();
    let mut next = headers.payload.start - FRAME_HEAD_BYTES;
    loop {
        let Some(frame) = Frame::at(bytes, next) else { return Found::Partly };
        let is_first = parts.is_empty();
        let belongs = frame.kind == CONTINUATION && frame.stream == headers.stream;
        if !is_first && !belongs
            || parts.len() > CONTINUATIONS_MAX
            || frame.payload.len() > PAYLOAD_BYTES_MAX
        {
            return Found::Unexpected;
        }
        next = frame.payload.end;
        if next > OPENING_BYTES_MAX {
            return Found::Unexpected;
        }
        if next > bytes.len() {
            return Found::Partly;
        }
        let fragment = if is_first { frame.fragment(bytes) } else { Some(frame.payload.clone()) };
        let Some(fragment) = fragment else { return Found::Unexpected };
        let is_last = frame.has(END_HEADERS);
        parts.push(Part { frame, fragment });
        if is_last {
            return Found::Whole(parts);
        }
    }
}

/// The bytes with the scheme taken out of the header block's authority, if it has one.
fn without_scheme(bytes: &[u8], parts: &[Part]) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    for part in parts {
        block.extend_from_slice(&bytes[part.fragment.clone()]);
    }
    let edit = Fields { block: &block, at: 0 }.edit()?;
    let first = parts.first()?.frame.payload.start - FRAME_HEAD_BYTES;
    let last = parts.last()?.frame.payload.end;

    let mut changed = bytes[..first].to_vec();
    let mut block_start = 0;
    for Part { frame, fragment } in parts {
        // Where the old value is in this fragment; it may begin or end in another.
        let within = |at: usize| at.saturating_sub(block_start).min(fragment.len());
        let old = fragment.start + within(edit.old.start)..fragment.start + within(edit.old.end);
        let block_end = block_start + fragment.len();
        let begins_here = (block_start..block_end).contains(&edit.old.start);
        let new: &[u8] = if begins_here { &edit.new } else { &[] };
        block_start = block_end;

        let length = frame.payload.len() - old.len() + new.len();
        if length > PAYLOAD_BYTES_MAX {
            return None;
        }
        let [_, high, middle, low] = u32::try_from(length).ok()?.to_be_bytes();
        changed.extend_from_slice(&[high, middle, low, frame.kind, frame.flags]);
        changed.extend_from_slice(&frame.stream);
        changed.extend_from_slice(&bytes[frame.payload.start..old.start]);
        changed.extend_from_slice(new);
        changed.extend_from_slice(&bytes[old.end..frame.payload.end]);
    }
    changed.extend_from_slice(&bytes[last..]);
    Some(changed)
}

/// What to change in a header block.
struct Edit {
    old: Range<usize>,
    new: Vec<u8>,
}

/// A walk over the fields of a header block (RFC 7541, section 6).
struct Fields<'a> {
    block: &'a [u8],
    at: usize,
}

/// A string as it is in the block.
struct Text<'a> {
    is_huffman: bool,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Finds the authority and returns the change that takes its scheme out.
    fn edit(mut self) -> Option<Edit> {
        loop {
            let name_bits = match self.block.get(self.at)? {
                0x80.. => {
                    self.integer(7)?;
                    continue;
                }
                0x20..0x40 => {
                    self.integer(5)?;
                    continue;
                }
                0x40..0x80 => 6,
                0x00..0x20 => 4,
            };
            let is_authority = match self.integer(name_bits)? {
                0 => self.text()?.decoded().is_some_and(|name| name == AUTHORITY),
                index => index == AUTHORITY_INDEX,
            };
            let start = self.at;
            let value = self.text()?;
            if is_authority {
                let new = plain(host(&value.decoded()?)?);
                return Some(Edit { old: start..self.at, new });
            }
        }
    }

    /// Reads an integer that begins in the low bits of the next byte (section 5.1).
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let mask = u8::MAX >> (8 - bits);
        let first = self.byte()? & mask;
        let mut value = usize::from(first);
        if first < mask {
            return Some(value);
        }
        // Three more bytes reach beyond any string that is looked at.
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a string (section 5.2).
    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.block.get(self.at)? & HUFFMAN != 0;
        let length = self.integer(7)?;
        let bytes = self.block.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(Text { is_huffman, bytes })
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }
}

impl Text<'_> {
    /// The string itself, unless it is not text.
    fn decoded(&self) -> Option<Vec<u8>> {
        if self.is_huffman { huffman_text(self.bytes) } else { Some(self.bytes.to_vec()) }
    }
}

/// What stands between the scheme of a URL and its path.
fn host(url: &[u8]) -> Option<&[u8]> {
    let rest = url.strip_prefix(b"http://").or_else(|| url.strip_prefix(b"https://"))?;
    rest.split(|byte| *byte == b'/').next().filter(|host| !host.is_empty())
}

/// A string as it stands in a header block when it is not Huffman coded.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut string = Vec::new();
    // All of the first byte but the Huffman bit; what does not fit follows, low bits first.
    let max = HUFFMAN - 1;
    match u8::try_from(text.len()) {
        Ok(length) if length < max => string.push(length),
        Ok(_) | Err(_) => {
            string.push(max);
            let mut rest = text.len() - usize::from(max);
            while rest >= 0x80 {
                string.push(0x80 | rest.to_le_bytes()[0]);
                rest >>= 7;
            }
            string.push(rest.to_le_bytes()[0]);
        }
    }
    string.extend_from_slice(text);
    string
}

/// The bytes whose Huffman codes have 1, 2, 3 ... bits, in the order of their codes (RFC 7541,
/// appendix B). The code is canonical, so this determines it. Longer codes belong to bytes that no
/// authority has.
const SYMBOLS: [&[u8]; 15] = [
    b"",
    b"",
    b"",
    b"",
    b"012aceiost",
    b" %-./3456789=A_bdfghlmnpru",
    b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    b"&*,;XZ",
    b"",
    b"!\"()?",
    b"'+|",
    b"#>",
    b"\0$@[]~",
    b"^}",
    b"<`{",
];

/// Decodes a Huffman-coded string, unless it has bytes that no authority has.
fn huffman_text(coded: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    // The bits of the code so far, how many they are, and the first code of that length.
    let (mut code, mut length, mut first) = (0, 0, 0);
    for byte in coded {
        for shift in (0..8).rev() {
            let symbols = SYMBOLS.get(length)?;
            code = code << 1 | usize::from(byte >> shift & 1);
            first <<= 1;
            length += 1;
            // All codes of this length that are shorter codes' continuations come before `first`.
            if let Some(symbol) = symbols.get(code - first) {
                text.push(*symbol);
                (code, length, first) = (0, 0, 0);
            } else {
                first += symbols.len();
            }
        }
    }
    // What is left pads the last byte, with ones.
    (length < 8 && code + 1 == 1 << length).then_some(text)
}

#[cfg(test)]
mod tests;
