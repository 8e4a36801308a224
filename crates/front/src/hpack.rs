//! Header compression (RFC 7541): a full decoder, and an encoder for fields that repeat.
//!
//! Invariant: the dynamic table never exceeds [`TABLE_BYTES`], which is the default that both
//! sides start from and that we never change.

mod encoder;
mod huffman;

use std::collections::VecDeque;

use bytes::Bytes;

pub use encoder::Encoder;

use crate::ProtocolError;

/// The size of the dynamic table that both sides start from.
pub const TABLE_BYTES: usize = 4096;
/// What an entry costs beyond its bytes.
pub const ENTRY_OVERHEAD: usize = 32;

/// A name and a value.
pub type Field = (Bytes, Bytes);

/// The entries that every table begins with (RFC 7541, appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"),
    (":path", "/index.html"), (":scheme", "http"), (":scheme", "https"), (":status", "200"),
    (":status", "204"), (":status", "206"), (":status", "304"), (":status", "400"),
    (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""),
    ("accept", ""), ("access-control-allow-origin", ""), ("age", ""), ("allow", ""),
    ("authorization", ""), ("cache-control", ""), ("content-disposition", ""),
    ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""),
    ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
    ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
    ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""),
    ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""),
    ("via", ""), ("www-authenticate", ""),
];

/// The first index of the dynamic table.
pub const FIRST_DYNAMIC: usize = STATIC.len() + 1;

/// Decodes the header blocks of one connection, in the order in which they arrive.
#[derive(Debug)]
pub struct Decoder {
    /// Newest first.
    dynamic: VecDeque<Field>,
    bytes: usize,
    max_bytes: usize,
    generation: u64,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { dynamic: VecDeque::new(), bytes: 0, max_bytes: TABLE_BYTES, generation: 0 }
    }
}

impl Decoder {
    /// Changes whenever the table does. Two equal blocks that were decoded under one generation
    /// mean the same.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Decodes a whole block, up to `max_bytes` of fields with [`ENTRY_OVERHEAD`] for each. Nothing
    /// is returned if they are more; later blocks can be decoded all the same.
    pub fn decode(
        &mut self,
        block: &[u8],
        max_bytes: usize,
    ) -> Result<Option<Vec<Field>>, ProtocolError> {
        let mut fields = Vec::new();
        let mut fields_bytes = 0;
        let mut may_resize = true;
        let mut input = Input { rest: block };
        while let Some(&first) = input.rest.first() {
            if first & 0xe0 == 0x20 {
                // A change of the table is only allowed before the fields.
                if !may_resize {
                    return Err(ProtocolError("a header table changed inside a block"));
                }
                let size = input.integer(5)?;
                self.resize(size)?;
                continue;
            }
            may_resize = false;
            let field = if first & 0x80 != 0 {
                let index = input.integer(7)?;
                self.entry(index)?
            } else if first & 0xc0 == 0x40 {
                let field = self.literal(&mut input, 6)?;
                self.insert(field.clone());
                field
            } else {
                self.literal(&mut input, 4)?
            };
            // A block of a few bytes can name a large entry thousands of times.
            fields_bytes += entry_bytes(&field);
            if fields_bytes <= max_bytes {
                fields.push(field);
            }
        }
        Ok((fields_bytes <= max_bytes).then_some(fields))
    }

    fn literal(&self, input: &mut Input<'_>, prefix: u32) -> Result<Field, ProtocolError> {
        let name = match input.integer(prefix)? {
            0 => input.string()?,
            index => self.entry(index)?.0,
        };
        Ok((name, input.string()?))
    }

    fn entry(&self, index: usize) -> Result<Field, ProtocolError> {
        let unknown = ProtocolError("a header with an unknown index");
        if let Some(index) = index.checked_sub(FIRST_DYNAMIC) {
            return self.dynamic.get(index).cloned().ok_or(unknown);
        }
        let entry = index.checked_sub(1).and_then(|index| STATIC.get(index));
        let (name, value) = entry.ok_or(unknown)?;
        Ok((Bytes::from_static(name.as_bytes()), Bytes::from_static(value.as_bytes())))
    }

    fn insert(&mut self, field: Field) {
        self.generation += 1;
        let size = entry_bytes(&field);
        self.bytes += size;
        self.dynamic.push_front(field);
        self.evict();
    }

    fn resize(&mut self, max_bytes: usize) -> Result<(), ProtocolError> {
        if max_bytes > TABLE_BYTES {
            return Err(ProtocolError("a header table larger than agreed"));
        }
        self.generation += 1;
        self.max_bytes = max_bytes;
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while self.bytes > self.max_bytes {
            let oldest = self.dynamic.pop_back().expect("an empty table has no bytes");
            self.bytes -= entry_bytes(&oldest);
        }
    }
}

fn entry_bytes((name, value): &Field) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD
}

/// What is left of a block.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, ProtocolError> {
        let (first, rest) =
            self.rest.split_first().ok_or(ProtocolError("a header block that ends early"))?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let ends_early = ProtocolError("a header block that ends early");
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(ends_early)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// An integer that begins in the low `prefix` bits of the next byte.
    fn integer(&mut self, prefix: u32) -> Result<usize, ProtocolError> {
        let mask = (1 << prefix) - 1;
        let mut value = usize::from(self.byte()? & mask);
        if value < usize::from(mask) {
            return Ok(value);
        }
        // Four more bytes hold more than any block here can refer to.
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ProtocolError("a header with a huge number"))
    }

    fn string(&mut self) -> Result<Bytes, ProtocolError> {
        let coded = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = self.integer(7)?;
        let bytes = self.bytes(length)?;
        if coded {
            huffman::decode(bytes).map(Bytes::from)
        } else {
            Ok(Bytes::copy_from_slice(bytes))
        }
    }
}

/// Appends an integer whose first byte has `pattern` above its low `prefix` bits.
pub fn write_integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(pattern | low_byte(value));
        return;
    }
    out.push(pattern | low_byte(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_byte(rest));
}

/// Appends a string that is not Huffman-coded.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    write_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Appends a field with a literal value, named by a static index or, if that is zero, by `name`.
/// `indexed` tells the other side to remember it.
pub fn write_literal(out: &mut Vec<u8>, indexed: bool, index: usize, name: &str, value: &str) {
    write_literal_bytes(out, indexed, index, name.as_bytes(), value.as_bytes());
}

fn write_literal_bytes(out: &mut Vec<u8>, indexed: bool, index: usize, name: &[u8], value: &[u8]) {
    let (pattern, prefix) = if indexed { (0x40, 6) } else { (0, 4) };
    write_integer(out, pattern, prefix, index);
    if index == 0 {
        write_string(out, name);
    }
    write_string(out, value);
}

fn low_byte(value: usize) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests;
