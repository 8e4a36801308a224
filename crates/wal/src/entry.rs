//! Entries as bytes (`raftpb.Entry`): what an entry record holds, and what peers send.
//!
//! | field | type | content | written |
//! |---|---|---|---|
//! | 1 | number | kind: 0 normal, 1 change of members, 2 the same in its second version | always |
//! | 2 | number | term | always |
//! | 3 | number | index | always |
//! | 4 | bytes | payload | unless empty |
//!
//! etcd writes a kind of 0 up to version 3.6, and leaves it out since; its `etcd-dump-logs` of
//! version 3.7 fails where it is left out.

use bytes::Bytes;
use quoin_raft::{Entry, EntryKind, Index, Term};

use crate::wire::{self, DecodeError, Fields};

/// Appends the bytes of an entry to `buffer`.
pub fn encode_entry(buffer: &mut Vec<u8>, entry: &Entry) {
    put_head(buffer, entry);
    buffer.extend_from_slice(&entry.data);
}

/// Returns the entry that `message` is the bytes of. The payload shares the memory of `message`.
///
/// # Errors
/// If the bytes are no entry. Unknown fields are skipped, missing numbers are 0.
pub fn decode_entry(message: &Bytes) -> Result<Entry, DecodeError> {
    let mut entry = Entry::default();
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => entry.kind = kind(value.number()?)?,
            2 => entry.term = Term(value.number()?),
            3 => entry.index = Index(value.number()?),
            4 => entry.data = message.slice_ref(value.bytes()?),
            _ => {}
        }
    }
    Ok(entry)
}

/// Writes everything of an entry that comes before its payload.
pub(crate) fn put_head(buffer: &mut Vec<u8>, entry: &Entry) {
    wire::put_field(buffer, 1, entry.kind as u64);
    wire::put_field(buffer, 2, entry.term.0);
    wire::put_field(buffer, 3, entry.index.0);
    if !entry.data.is_empty() {
        wire::put_bytes_head(buffer, 4, entry.data.len());
    }
}

fn kind(number: u64) -> Result<EntryKind, DecodeError> {
    match number {
        0 => Ok(EntryKind::Normal),
        1 => Ok(EntryKind::ConfChange),
        2 => Ok(EntryKind::ConfChangeV2),
        _ => Err(DecodeError("an entry has an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &Entry, bytes: &[u8]) {
        let mut buffer = b"before".to_vec();
        encode_entry(&mut buffer, entry);
        assert_eq!(&buffer[6..], bytes);
        assert_eq!(decode_entry(&Bytes::copy_from_slice(bytes)).as_ref(), Ok(entry));
    }

    #[test]
    fn entries_are_written_as_etcd_writes_them() {
        let empty = Entry { term: Term(2), index: Index(2), ..Entry::default() };
        check(&empty, &[0x08, 0, 0x10, 2, 0x18, 2]);
        let data = Bytes::from_static(b"ab");
        let change = Entry { kind: EntryKind::ConfChange, term: Term(1), index: Index(300), data };
        check(&change, &[0x08, 1, 0x10, 1, 0x18, 0xac, 2, 0x22, 2, b'a', b'b']);
    }

    #[test]
    fn what_older_and_newer_versions_write_is_read() {
        // Zeros written out, fields in another order, and unknown fields of each type.
        let bytes: &[u8] = &[
            0x22, 0, 0x18, 7, 0x10, 3, 0x08, 0, 0x28, 1, 0x32, 1, 9, 0x39, 1, 2, 3, 4, 5, 6, 7, 8,
            0x45, 1, 2, 3, 4,
        ];
        let entry = Entry { term: Term(3), index: Index(7), ..Entry::default() };
        assert_eq!(decode_entry(&Bytes::from_static(bytes)), Ok(entry));
    }

    #[test]
    fn the_payload_is_not_copied() {
        let message = Bytes::from_static(&[0x22, 3, 1, 2, 3]);
        let entry = decode_entry(&message).unwrap();
        assert_eq!(entry.data.as_ptr(), message[2..].as_ptr());
    }

    #[test]
    fn every_cut_and_wrong_type_is_refused() {
        let bytes: &[u8] = &[0x08, 1, 0x10, 1, 0x18, 0xac, 2, 0x22, 2, b'a', b'b'];
        for len in [1, 3, 5, 6, 8, 9, 10] {
            decode_entry(&Bytes::copy_from_slice(&bytes[..len])).unwrap_err();
        }
        for wrong in [&[0x08, 3][..], &[0x0a, 0], &[0x12, 0], &[0x20, 0], &[0x0d, 0, 0, 0, 0]] {
            decode_entry(&Bytes::copy_from_slice(wrong)).unwrap_err();
        }
    }
}
