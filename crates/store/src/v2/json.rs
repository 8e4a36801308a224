//! JSON as Go writes and reads it.

use std::fmt::Write as _;

mod reader;

pub(super) use reader::Reader;

/// Appends `text` as a JSON string as Go writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped, what is
/// not UTF-8 replaced.
pub fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        push_valid(out, chunk.valid());
        // Go replaces each byte, not each broken sequence.
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn push_valid(out: &mut Vec<u8>, text: &str) {
    let mut copied = 0;
    for (at, character) in text.char_indices() {
        let escape: &[u8] = match character {
            '"' => b"\\\"",
            '\\' => b"\\\\",
            '\n' => b"\\n",
            '\r' => b"\\r",
            '\t' => b"\\t",
            '<' => b"\\u003c",
            '>' => b"\\u003e",
            '&' => b"\\u0026",
            '\u{2028}' => b"\\u2028",
            '\u{2029}' => b"\\u2029",
            '\0'..=' ' if character != ' ' => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[copied..at]);
        copied = at + character.len_utf8();
        if escape.is_empty() {
            let mut code = String::new();
            write!(code, "\\u{:04x}", u32::from(character)).expect("a string takes all");
            out.extend_from_slice(code.as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
}
