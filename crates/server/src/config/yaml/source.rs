//! The bytes of the configuration file as text, made ready for the scanner.
//!
//! A byte order mark says how the text is encoded, and is no part of it. The scanner below takes a
//! mark at the beginning of any line for one, where etcd's takes it for a letter, so such a file is
//! refused; and it needs a line break behind some endings.
//!
//! Not here: what the text means.

const MARK: char = '\u{feff}';

const LINE_BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Returns the text without its byte order mark.
///
/// # Errors
///
/// Returns why the bytes are no text.
pub(super) fn decode(bytes: &[u8]) -> Result<String, String> {
    let text = match bytes {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes)?,
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes)?,
        [0xef, 0xbb, 0xbf, text @ ..] | text => utf8(text)?,
    };
    if text.split(LINE_BREAKS).any(|line| line.starts_with(MARK)) {
        return Err("yaml: a byte order mark stands inside the file".to_owned());
    }
    Ok(text)
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    let error = match str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error,
    };
    let is_incomplete = error.error_len().is_none();
    let problem = match bytes.get(error.valid_up_to()) {
        _ if is_incomplete => "incomplete UTF-8 octet sequence",
        Some(0x80..=0xbf | 0xf8..) => "invalid leading UTF-8 octet",
        _ => "invalid trailing UTF-8 octet",
    };
    Err(format!("yaml: {problem}"))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err("yaml: incomplete UTF-16 character".to_owned());
    }
    let units = pairs.iter().map(|pair| unit(*pair));
    let text: Result<String, _> = char::decode_utf16(units).collect();
    text.map_err(|_| "yaml: incomplete UTF-16 surrogate pair".to_owned())
}

/// Ends the last line where the scanner needs it, which is where a block scalar (`|`, `>`) or a
/// backslash ends the file. Returns whether that took a line break that the file does not have.
pub(super) fn end_line(text: &mut String) -> bool {
    let without_spaces = text.trim_end_matches(' ');
    if without_spaces.ends_with(LINE_BREAKS) {
        // Spaces alone on the last line are no line.
        text.truncate(without_spaces.len());
    }
    let needs_end = text.contains(['|', '>']) || text.ends_with('\\');
    if !needs_end || text.ends_with(LINE_BREAKS) {
        return false;
    }
    text.push('\n');
    true
}
