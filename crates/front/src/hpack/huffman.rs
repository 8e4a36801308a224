//! Huffman-coded strings of HPACK (RFC 7541, section 5.2).
//!
//! The code is canonical: the lengths alone determine it, so the lengths are all that is written
//! down here.

use crate::ProtocolError;

/// The bytes, and an end-of-string symbol: its first bits pad a string, the whole never occurs.
const SYMBOLS: usize = 257;
const MAX_LENGTH: usize = 30;

/// Bits of the code of each symbol (RFC 7541, appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The canonical code, in the form a decoder wants it.
struct Code {
    /// For each length, the first code of that length.
    first: [u32; MAX_LENGTH + 1],
    /// For each length, where its symbols begin in `symbols`; one more entry closes the last.
    start: [usize; MAX_LENGTH + 2],
    /// Symbols by length, then by number.
    symbols: [u16; SYMBOLS],
}

const CODE: Code = build();

const fn build() -> Code {
    let mut code =
        Code { first: [0; MAX_LENGTH + 1], start: [0; MAX_LENGTH + 2], symbols: [0; SYMBOLS] };
    let mut next = 0u32;
    let mut filled = 0;
    let mut length = 0;
    while length <= MAX_LENGTH {
        next <<= 1;
        code.first[length] = next;
        code.start[length] = filled;
        let mut symbol = 0u16;
        while (symbol as usize) < SYMBOLS {
            if LENGTHS[symbol as usize] as usize == length {
                code.symbols[filled] = symbol;
                filled += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code.start[MAX_LENGTH + 1] = filled;
    code
}

/// Decodes a whole string.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, ProtocolError> {
    let mut text = Vec::with_capacity(bytes.len() * 2);
    let mut bits = 0u32;
    let mut length = 0;
    for byte in bytes {
        for shift in (0..8).rev() {
            bits = bits << 1 | u32::from(byte >> shift & 1);
            length += 1;
            if let Some(symbol) = symbol(bits, length) {
                // Only the end-of-string symbol does not fit into a byte.
                let symbol = u8::try_from(symbol);
                text.push(symbol.map_err(|_| ProtocolError("end of string inside a string"))?);
                (bits, length) = (0, 0);
            } else if length == MAX_LENGTH {
                return Err(ProtocolError("a string with an unknown code"));
            }
        }
    }
    let padding_is_ones = bits.count_ones() as usize == length;
    if length > 7 || !padding_is_ones {
        return Err(ProtocolError("a string with broken padding"));
    }
    Ok(text)
}

/// The symbol whose code is these bits, if they are a whole code.
fn symbol(bits: u32, length: usize) -> Option<u16> {
    let offset = usize::try_from(bits.checked_sub(CODE.first[length])?).ok()?;
    let index = CODE.start[length] + offset;
    (index < CODE.start[length + 1]).then(|| CODE.symbols[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_complete() {
        // Kraft: the codes fill the tree exactly, so no length is wrong by itself.
        let filled: u64 =
            LENGTHS.iter().map(|length| 1u64 << (MAX_LENGTH - *length as usize)).sum();
        assert_eq!(filled, 1 << MAX_LENGTH);
        assert_eq!(CODE.symbols[SYMBOLS - 1], 256);
    }

    #[test]
    fn examples_of_the_standard() {
        // RFC 7541, C.4 and C.6.
        let cases: [(&[u8], &str); 5] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], "custom-value"),
            (&[0x64, 0x02], "302"),
            (&[], ""),
        ];
        for (coded, text) in cases {
            assert_eq!(decode(coded), Ok(text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn broken_strings_are_errors() {
        // Eight bits of padding, padding of zeros, the end-of-string symbol.
        assert!(decode(&[0x64, 0x02, 0xff]).is_err());
        assert!(decode(&[0x00]).is_err());
        assert!(decode(&[0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
