//! Records: a change of a key as stored bytes.
//!
//! A record is the canonical encoding of an `mvccpb.KeyValue`, byte for byte what etcd stores,
//! because hashes of the store are compared between members and cover these bytes:
//!
//! | tag | field | form |
//! |---|---|---|
//! | 0x0a | key | length, bytes |
//! | 0x10 | create revision | varint |
//! | 0x18 | mod revision | varint |
//! | 0x20 | version | varint |
//! | 0x2a | value | length, bytes |
//! | 0x30 | lease | varint |
//!
//! Fields come in this order and are left out when zero or empty. The record of a deletion has
//! the key only.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint};
use quoin_api::mvccpb::KeyValue;

#[cfg(test)]
mod tests;

const KEY: u8 = 0x0a;
const CREATE: u8 = 0x10;
const MODIFIED: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// Encodes a put.
pub(crate) fn encode(pair: &KeyValue) -> Bytes {
    let length = bytes_len(&pair.key)
        + number_len(pair.create_revision)
        + number_len(pair.mod_revision)
        + number_len(pair.version)
        + bytes_len(&pair.value)
        + number_len(pair.lease);
    let mut out = BytesMut::with_capacity(length);
    put_bytes(&mut out, KEY, &pair.key);
    put_number(&mut out, CREATE, pair.create_revision);
    put_number(&mut out, MODIFIED, pair.mod_revision);
    put_number(&mut out, VERSION, pair.version);
    put_bytes(&mut out, VALUE, &pair.value);
    put_number(&mut out, LEASE, pair.lease);
    out.freeze()
}

/// Encodes a deletion.
pub(crate) fn encode_tombstone(key: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(bytes_len(key));
    put_bytes(&mut out, KEY, key);
    out.freeze()
}

/// Decodes a record without copying: key and value are parts of it. None if it is not canonical.
pub(crate) fn decode(record: &Bytes) -> Option<KeyValue> {
    let mut reader = Reader { record, at: 0 };
    let pair = KeyValue {
        key: reader.bytes(KEY)?,
        create_revision: reader.number(CREATE)?,
        mod_revision: reader.number(MODIFIED)?,
        version: reader.number(VERSION)?,
        value: reader.bytes(VALUE)?,
        lease: reader.number(LEASE)?,
    };
    (reader.at == record.len()).then_some(pair)
}

/// The key of a record, as a part of it.
pub(crate) fn key(record: &Bytes) -> Option<Bytes> {
    Reader { record, at: 0 }.bytes(KEY)
}

/// Whether a change at a main revision can have this record, which decodes to `pair`: a deletion
/// has the key only.
pub(crate) fn is_of(record: &Bytes, pair: &KeyValue, main: i64, tombstone: bool) -> bool {
    if tombstone { *record == encode_tombstone(&pair.key) } else { is_put_at(record, pair, main) }
}

/// Whether a put can have this record at a main revision; there must be a next version. An empty
/// record can be anywhere: the offline tool of etcd writes one where it moves the revision of a
/// restored store to, and hashes cover it. An empty key is no client's, as no server lets it
/// through; but apply would carry it out, and so it can be stored.
fn is_put_at(record: &Bytes, pair: &KeyValue, main: i64) -> bool {
    let fits = pair.mod_revision == main
        && (1..=main).contains(&pair.create_revision)
        && (1..i64::MAX).contains(&pair.version);
    record.is_empty() || fits
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

/// A negative number takes ten bytes, as protobuf has it.
fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number as u64) }
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.put_u8(tag);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

fn put_number(out: &mut BytesMut, tag: u8, number: i64) {
    if number != 0 {
        out.put_u8(tag);
        encode_varint(number as u64, out);
    }
}

/// Reads the fields in their order.
struct Reader<'a> {
    record: &'a Bytes,
    at: usize,
}

impl Reader<'_> {
    /// The field if it comes next, or nothing.
    fn bytes(&mut self, tag: u8) -> Option<Bytes> {
        if !self.take_tag(tag) {
            return Some(Bytes::new());
        }
        let length = usize::try_from(self.varint()?).ok()?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.record.len())?;
        let bytes = self.record.slice(self.at..end);
        self.at = end;
        (length > 0).then_some(bytes)
    }

    /// The field if it comes next, or zero.
    fn number(&mut self, tag: u8) -> Option<i64> {
        if !self.take_tag(tag) {
            return Some(0);
        }
        self.varint().filter(|number| *number != 0).map(|number| number as i64)
    }

    fn take_tag(&mut self, tag: u8) -> bool {
        let found = self.record.get(self.at) == Some(&tag);
        self.at += usize::from(found);
        found
    }

    /// A varint in its shortest form.
    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.record.get(self.at)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return (byte != 0 || shift == 0).then_some(number);
            }
        }
        None
    }
}
