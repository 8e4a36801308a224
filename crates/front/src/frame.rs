//! Frames of HTTP/2 (RFC 9113, section 4): the nine bytes before each payload, and the payloads
//! that have a fixed shape.
//!
//! | bytes | content |
//! |---|---|
//! | 0..3 | length of the payload, big endian |
//! | 3 | type |
//! | 4 | flags |
//! | 5..9 | stream, big endian, highest bit reserved |

use crate::ProtocolError;

/// Bytes before each payload.
pub const HEADER_LEN: usize = 9;
/// What a client says first on a connection.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The window of a connection, and of a stream unless the settings say otherwise.
pub const DEFAULT_WINDOW: u32 = 65_535;
/// The largest window there can be, and the highest stream.
pub const MAX_31_BIT: u32 = 0x7fff_ffff;
/// The largest payload that needs no agreement.
pub const DEFAULT_MAX_FRAME: u32 = 16_384;

/// The last frame of one direction of a stream (HEADERS, DATA).
pub const END_STREAM: u8 = 0x1;
/// An answer to the other side's frame (SETTINGS, PING).
pub const ACK: u8 = 0x1;
/// The header block is complete (HEADERS, CONTINUATION).
pub const END_HEADERS: u8 = 0x4;
/// The payload has padding (HEADERS, DATA).
pub const PADDED: u8 = 0x8;
/// The payload begins with a priority (HEADERS).
pub const PRIORITY: u8 = 0x20;

/// The types of frames by their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Payload of a request or response.
    Data,
    /// A header block, or its first part.
    Headers,
    /// Advice that nobody follows any more.
    Priority,
    /// One stream ended early.
    ResetStream,
    /// What the sender accepts.
    Settings,
    /// A response without a request; we forbid it.
    PushPromise,
    /// Asks for an echo.
    Ping,
    /// The sender will accept no new streams.
    GoAway,
    /// More bytes may be sent.
    WindowUpdate,
    /// The next part of a header block.
    Continuation,
    /// A type from an extension; to be ignored.
    Unknown(u8),
}

const KINDS: [Kind; 10] = [
    Kind::Data,
    Kind::Headers,
    Kind::Priority,
    Kind::ResetStream,
    Kind::Settings,
    Kind::PushPromise,
    Kind::Ping,
    Kind::GoAway,
    Kind::WindowUpdate,
    Kind::Continuation,
];

impl Kind {
    fn from_byte(byte: u8) -> Self {
        KINDS.get(usize::from(byte)).copied().unwrap_or(Self::Unknown(byte))
    }

    fn to_byte(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Headers => 1,
            Self::Priority => 2,
            Self::ResetStream => 3,
            Self::Settings => 4,
            Self::PushPromise => 5,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::WindowUpdate => 8,
            Self::Continuation => 9,
            Self::Unknown(byte) => byte,
        }
    }
}

/// The nine bytes before each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of payload that follow; 24 bits on the wire.
    pub length: u32,
    /// What the payload is.
    pub kind: Kind,
    /// Flags, whose meaning depends on the kind.
    pub flags: u8,
    /// The stream, or zero for the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads a header from the front of `bytes`; none if there are too few.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *bytes;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & MAX_31_BIT,
        })
    }

    /// Appends the header to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let [_, l0, l1, l2] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        out.extend_from_slice(&[l0, l1, l2, self.kind.to_byte(), self.flags, s0, s1, s2, s3]);
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame to `out`.
pub fn write_frame(out: &mut Vec<u8>, kind: Kind, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("callers split at the agreed frame size");
    FrameHeader { length, kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// Appends a WINDOW_UPDATE for a stream, or for the connection if `stream` is zero.
pub fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write_frame(out, Kind::WindowUpdate, 0, stream, &increment.to_be_bytes());
}

/// Appends a SETTINGS frame with these (identifier, value) pairs.
pub fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let mut payload = Vec::with_capacity(settings.len() * 6);
    for (identifier, value) in settings {
        payload.extend_from_slice(&identifier.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    write_frame(out, Kind::Settings, 0, 0, &payload);
}

/// The (identifier, value) pairs of a SETTINGS payload.
pub fn settings(payload: &[u8]) -> Result<impl Iterator<Item = (u16, u32)>, ProtocolError> {
    let (pairs, []) = payload.as_chunks::<6>() else {
        return Err(ProtocolError("SETTINGS of a broken length"));
    };
    let pair = |&[i0, i1, v0, v1, v2, v3]: &[u8; 6]| {
        (u16::from_be_bytes([i0, i1]), u32::from_be_bytes([v0, v1, v2, v3]))
    };
    Ok(pairs.iter().map(pair))
}

/// The number in a payload that is one number: a window increment, an error code.
pub fn number(payload: &[u8]) -> Result<u32, ProtocolError> {
    let bytes = payload.try_into().map_err(|_| ProtocolError("a payload of a broken length"))?;
    Ok(u32::from_be_bytes(bytes))
}

/// What is left of a HEADERS or DATA payload without padding and priority.
pub fn content<'a>(header: &FrameHeader, payload: &'a [u8]) -> Result<&'a [u8], ProtocolError> {
    let broken = ProtocolError("a payload shorter than its padding");
    let mut rest = payload;
    let mut padding = 0;
    if header.has(PADDED) {
        let (length, after) = rest.split_first().ok_or(broken)?;
        padding = usize::from(*length);
        rest = after;
    }
    if header.kind == Kind::Headers && header.has(PRIORITY) {
        rest = rest.get(5..).ok_or(broken)?;
    }
    let end = rest.len().checked_sub(padding).ok_or(broken)?;
    Ok(&rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_survive_the_round_trip() {
        for byte in 0..=255 {
            let kind = Kind::from_byte(byte);
            assert_eq!(kind.to_byte(), byte);
            let header = FrameHeader { length: 0x01_02_03, kind, flags: 5, stream: MAX_31_BIT };
            let mut bytes = Vec::new();
            header.write(&mut bytes);
            assert_eq!(bytes.len(), HEADER_LEN);
            assert_eq!(FrameHeader::parse(&bytes), Some(header));
            assert_eq!(FrameHeader::parse(&bytes[..8]), None);
        }
    }

    #[test]
    fn the_layout_is_the_standard_one() {
        let mut bytes = Vec::new();
        write_window_update(&mut bytes, 3, 0x1_0000);
        assert_eq!(bytes, [0, 0, 4, 8, 0, 0, 0, 0, 3, 0, 1, 0, 0]);
    }

    #[test]
    fn the_reserved_bit_of_the_stream_is_ignored() {
        let header = FrameHeader::parse(&[0, 0, 0, 0, 1, 0x80, 0, 0, 1]).unwrap();
        assert_eq!((header.stream, header.has(END_STREAM)), (1, true));
    }

    #[test]
    fn settings_come_in_pairs() {
        let mut bytes = Vec::new();
        write_settings(&mut bytes, &[(3, 100), (4, MAX_31_BIT)]);
        let read: Vec<(u16, u32)> = settings(&bytes[HEADER_LEN..]).unwrap().collect();
        assert_eq!(read, [(3, 100), (4, MAX_31_BIT)]);
        assert!(settings(&bytes[HEADER_LEN + 1..]).is_err());
    }

    #[test]
    fn padding_and_priority_are_taken_off() {
        let header = |kind, flags| FrameHeader { length: 0, kind, flags, stream: 1 };
        let data = header(Kind::Data, PADDED);
        assert_eq!(content(&data, &[2, b'a', 0, 0]), Ok(&b"a"[..]));
        assert_eq!(content(&data, &[3, 0, 0, 0]), Ok(&b""[..]));
        assert!(content(&data, &[4, 0, 0, 0]).is_err());
        assert!(content(&data, &[]).is_err());
        let headers = header(Kind::Headers, PADDED | PRIORITY);
        assert_eq!(content(&headers, &[1, 0, 0, 0, 0, 9, b'a', b'b', 0]), Ok(&b"ab"[..]));
        assert!(content(&headers, &[0, 0, 0]).is_err());
    }
}
