//! The encoder: fields that repeat are told once and named by a number then.

use std::collections::VecDeque;

use super::{
    ENTRY_OVERHEAD, FIRST_DYNAMIC, STATIC, TABLE_BYTES, write_integer, write_literal_bytes,
};

/// The fields whose values repeat from response to response. Others would push these out.
const REPEATED: [&[u8]; 8] = [
    b"content-type",
    b"grpc-status",
    b"grpc-encoding",
    b"grpc-accept-encoding",
    b"access-control-allow-origin",
    b"server",
    b"vary",
    b"x-etcd-cluster-id",
];
/// Bytes of a value that may be remembered.
const REMEMBERED_VALUE_BYTES: usize = 128;

/// A name and a value that the other side remembers.
#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

/// Encodes the header blocks of one connection, in the order in which they are sent.
#[derive(Debug)]
pub struct Encoder {
    /// Newest first.
    dynamic: VecDeque<Entry>,
    bytes: usize,
    max_bytes: usize,
    /// The other side wants another table, and was not told yet that it has it.
    resized: bool,
    generation: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        let (dynamic, max_bytes) = (VecDeque::new(), TABLE_BYTES);
        Self { dynamic, bytes: 0, max_bytes, resized: false, generation: 0 }
    }
}

impl Encoder {
    /// Changes whenever the table does. A block that left it as it was may be sent again, byte for
    /// byte, while it is the same.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The other side keeps a table of this many bytes.
    pub fn set_table_bytes(&mut self, bytes: usize) {
        let bytes = bytes.min(TABLE_BYTES);
        if bytes != self.max_bytes {
            self.max_bytes = bytes;
            // The next block says so first. To a table that shrank and grew again between two
            // blocks the standard wants both told; the smallest is then told by emptying ours.
            self.dynamic.clear();
            self.bytes = 0;
            self.resized = true;
            self.generation += 1;
        }
    }

    /// Appends a block of these fields.
    pub fn encode<'a>(
        &mut self,
        out: &mut Vec<u8>,
        fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) {
        if std::mem::take(&mut self.resized) {
            // Zero first, which empties the table over there as ours is.
            write_integer(out, 0x20, 5, 0);
            if self.max_bytes > 0 {
                write_integer(out, 0x20, 5, self.max_bytes);
            }
            self.generation += 1;
        }
        for (name, value) in fields {
            self.field(out, name, value);
        }
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let mut name_index = 0;
        for (index, (known, text)) in STATIC.iter().enumerate() {
            if known.as_bytes() == name {
                if text.as_bytes() == value {
                    return write_integer(out, 0x80, 7, index + 1);
                }
                if name_index == 0 {
                    name_index = index + 1;
                }
            }
        }
        let is_same = |entry: &Entry| *entry.name == *name && *entry.value == *value;
        if let Some(index) = self.dynamic.iter().position(is_same) {
            return write_integer(out, 0x80, 7, FIRST_DYNAMIC + index);
        }
        let size = name.len() + value.len() + ENTRY_OVERHEAD;
        let is_remembered = REPEATED.contains(&name)
            && value.len() <= REMEMBERED_VALUE_BYTES
            && size <= self.max_bytes;
        write_literal_bytes(out, is_remembered, name_index, name, value);
        if is_remembered {
            self.bytes += size;
            self.dynamic.push_front(Entry { name: name.into(), value: value.into() });
            self.generation += 1;
            while self.bytes > self.max_bytes {
                let oldest = self.dynamic.pop_back().expect("an empty table has no bytes");
                self.bytes -= oldest.name.len() + oldest.value.len() + ENTRY_OVERHEAD;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Decoder;
    use super::*;

    const OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];

    fn check(encoder: &mut Encoder, decoder: &mut Decoder, fields: &[(&str, &str)]) -> usize {
        let mut block = Vec::new();
        let bytes = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        encoder.encode(&mut block, bytes.clone());
        let decoded = decoder.decode(&block, usize::MAX).unwrap().unwrap();
        let decoded: Vec<(&[u8], &[u8])> = decoded.iter().map(|(n, v)| (&n[..], &v[..])).collect();
        assert_eq!(decoded, bytes.collect::<Vec<_>>());
        block.len()
    }

    #[test]
    fn what_repeats_costs_a_byte() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        assert_eq!(check(&mut encoder, &mut decoder, &OK), 19);
        let generation = encoder.generation();
        assert_eq!(check(&mut encoder, &mut decoder, &OK), 2);
        assert_eq!(encoder.generation(), generation);
        check(&mut encoder, &mut decoder, &[("grpc-status", "5"), ("grpc-message", "not there")]);
    }

    #[test]
    fn the_table_follows_the_other_side() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        check(&mut encoder, &mut decoder, &OK);
        for bytes in [0, 10_000, 64, 4096, 0] {
            encoder.set_table_bytes(bytes);
            for number in 0..200 {
                let status = (number % 17).to_string();
                check(&mut encoder, &mut decoder, &[OK[0], OK[1], ("grpc-status", &status)]);
            }
            assert!(encoder.bytes <= bytes.min(TABLE_BYTES));
        }
    }
}
