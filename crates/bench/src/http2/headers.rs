//! The header blocks of a unary gRPC call: the same few fields in every request, and a status in
//! every response.

use quoin_front::ProtocolError;
use quoin_front::hpack::{self, Decoder, FIRST_DYNAMIC, TABLE_BYTES};

/// Blocks that are remembered with their meaning: a server sends two or three different ones.
const MEMO_BLOCKS: usize = 8;
/// Bytes of the fields of one block; more is not worth reading.
const MAX_HEADER_LIST: usize = 1 << 20;

/// The fields of every request after `:method` and `:scheme`: static index of the name, name.
const FIELDS: [(usize, &str); 5] =
    [(4, ":path"), (1, ":authority"), (31, "content-type"), (0, "te"), (58, "user-agent")];

/// The header blocks of requests to one method at one authority.
#[derive(Debug)]
pub(super) struct RequestHeaders {
    /// The first block teaches the server the fields, unless it wants no table.
    first: Option<Vec<u8>>,
    later: Vec<u8>,
}

impl RequestHeaders {
    /// Prepares the blocks for a server that keeps a table of `table_bytes`.
    pub(super) fn new(authority: &str, path: &str, table_bytes: u32) -> Self {
        let values = [path, authority, "application/grpc", "trailers", "quoin-bench"];
        let fields = || FIELDS.iter().zip(values);
        // `:method: POST`, `:scheme: http`, both from the static table.
        let start = [0x83, 0x86];
        let mut first = Vec::from(start);
        let mut later = Vec::from(start);
        let needed: usize = fields().map(|((_, name), value)| name.len() + value.len() + 32).sum();
        if (table_bytes as usize) < needed.max(TABLE_BYTES) {
            // A table smaller than the default must be acknowledged in the first block. Zero is
            // always small enough.
            let mut first = vec![0x20];
            for ((index, name), value) in fields() {
                hpack::write_literal(&mut later, false, *index, name, value);
            }
            first.extend_from_slice(&later);
            return Self { first: Some(first), later };
        }
        for (number, ((index, name), value)) in fields().enumerate() {
            hpack::write_literal(&mut first, true, *index, name, value);
            // The newest entry has the lowest index.
            let age = FIELDS.len() - 1 - number;
            hpack::write_integer(&mut later, 0x80, 7, FIRST_DYNAMIC + age);
        }
        Self { first: Some(first), later }
    }

    /// Appends the next block to `out`, in the frame that `frame` puts around it.
    pub(super) fn write_next(&mut self, out: &mut Vec<u8>, frame: impl Fn(&mut Vec<u8>, &[u8])) {
        match self.first.take() {
            Some(first) => frame(out, &first),
            None => frame(out, &self.later),
        }
    }
}

/// What a block of a response says, as far as a load generator cares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The status of the call, if the block has one that is a number.
    pub(super) grpc_status: Option<u32>,
}

/// Reads the header blocks of responses. Blocks that repeat are recognised by their bytes.
#[derive(Debug, Default)]
pub(super) struct ResponseHeaders {
    decoder: Decoder,
    /// Blocks seen under the present state of the decoder's table, which they left as it was.
    memo: Vec<(Vec<u8>, Meaning)>,
}

impl ResponseHeaders {
    /// Reads the next block of the connection. Every block must pass here, also those of streams
    /// that nobody waits for, because blocks build on each other.
    pub(super) fn read(&mut self, block: &[u8]) -> Result<Meaning, ProtocolError> {
        if let Some((_, meaning)) = self.memo.iter().find(|(known, _)| known == block) {
            return Ok(*meaning);
        }
        let before = self.decoder.generation();
        let fields = self.decoder.decode(block, MAX_HEADER_LIST)?;
        let fields = fields.ok_or(ProtocolError("headers that are too long"))?;
        let status = fields.iter().find(|(name, _)| name == "grpc-status");
        let grpc_status =
            status.and_then(|(_, value)| std::str::from_utf8(value).ok()?.parse().ok());
        let meaning = Meaning { grpc_status };
        if self.decoder.generation() != before {
            self.memo.clear();
        } else if self.memo.len() < MEMO_BLOCKS {
            self.memo.push((block.to_vec(), meaning));
        }
        Ok(meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(headers: &mut RequestHeaders) -> Vec<u8> {
        let mut out = Vec::new();
        headers.write_next(&mut out, |out, block| out.extend_from_slice(block));
        out
    }

    /// Asserts that a server understands the first three blocks as the same request.
    fn check_requests(table_bytes: u32, lengths: [usize; 3]) {
        let mut headers =
            RequestHeaders::new("127.0.0.1:2379", "/etcdserverpb.KV/Put", table_bytes);
        let mut server = Decoder::default();
        for length in lengths {
            let block = sent(&mut headers);
            let fields = server.decode(&block, usize::MAX).unwrap().unwrap();
            let names: Vec<&[u8]> = fields.iter().map(|(name, _)| &name[..]).collect();
            let expected: [&[u8]; 7] = [
                b":method",
                b":scheme",
                b":path",
                b":authority",
                b"content-type",
                b"te",
                b"user-agent",
            ];
            assert_eq!(names, expected);
            assert_eq!(fields[0].1, "POST");
            assert_eq!(fields[2].1, "/etcdserverpb.KV/Put");
            assert_eq!(fields[3].1, "127.0.0.1:2379");
            assert_eq!(fields[5].1, "trailers");
            assert_eq!(block.len(), length);
        }
    }

    #[test]
    fn repeated_requests_are_indexed() {
        check_requests(4096, [84, 7, 7]);
        check_requests(65_536, [84, 7, 7]);
    }

    #[test]
    fn a_server_without_a_table_gets_literals() {
        check_requests(0, [87, 86, 86]);
    }

    fn block(indexed: bool, status: &str) -> Vec<u8> {
        let mut block = Vec::new();
        hpack::write_literal(&mut block, indexed, 0, "grpc-status", status);
        block
    }

    #[test]
    fn a_status_is_read_from_any_form() {
        let mut headers = ResponseHeaders::default();
        for (status, expected) in [("0", Some(0)), ("14", Some(14)), ("x", None), ("", None)] {
            for indexed in [false, true, false] {
                let meaning = headers.read(&block(indexed, status)).unwrap();
                assert_eq!(meaning.grpc_status, expected, "{status:?}");
            }
        }
        assert_eq!(headers.read(&[0x88]).unwrap().grpc_status, None);
    }

    #[test]
    fn a_remembered_block_is_forgotten_when_its_meaning_changes() {
        // The same single byte, an index into the dynamic table, first means success and then a
        // failure. A memo by bytes alone would count the failure as a success.
        let mut headers = ResponseHeaders::default();
        let newest = [0xbe];
        headers.read(&block(true, "0")).unwrap();
        for _ in 0..3 {
            assert_eq!(headers.read(&newest).unwrap().grpc_status, Some(0));
        }
        headers.read(&block(true, "8")).unwrap();
        for _ in 0..3 {
            assert_eq!(headers.read(&newest).unwrap().grpc_status, Some(8));
        }
    }

    #[test]
    fn the_memo_is_bounded() {
        let mut headers = ResponseHeaders::default();
        for status in 0..100 {
            let meaning = headers.read(&block(false, &status.to_string())).unwrap();
            assert_eq!(meaning.grpc_status, Some(status));
        }
        assert_eq!(headers.memo.len(), MEMO_BLOCKS);
    }
}
