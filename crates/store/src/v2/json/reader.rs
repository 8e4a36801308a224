//! Reading JSON piece by piece, however deep it is nested.
//!
//! Strings are read as Go reads them: bytes that are not UTF-8 and halves of surrogate pairs become
//! U+FFFD.
//!
//! Not here: what the pieces mean.

/// How deep a value that is passed over may be nested, as in Go.
const MAX_NESTING: usize = 10_000;

type Read<T> = Result<T, String>;

/// Text that is read from left to right.
pub(in crate::v2) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Whether the last thing read began a list or an object.
    has_begun: bool,
}

impl<'a> Reader<'a> {
    pub(in crate::v2) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, has_begun: false }
    }

    /// Says where something is wrong.
    pub(in crate::v2) fn error(&self, what: &str) -> String {
        format!("{what} at byte {}", self.at)
    }

    /// The next byte that is not white space.
    pub(in crate::v2) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn skip_literal(&mut self, literal: &[u8]) -> bool {
        let found = self.peek().is_some() && self.text[self.at..].starts_with(literal);
        if found {
            self.at += literal.len();
            self.has_begun = false;
        }
        found
    }

    /// Whether nothing but white space is left.
    pub(in crate::v2) fn end(&mut self) -> Read<()> {
        self.peek().map_or(Ok(()), |_| Err(self.error("there is more than one value")))
    }

    /// Reads `null` if that is next.
    pub(in crate::v2) fn null(&mut self) -> bool {
        self.skip_literal(b"null")
    }

    /// Begins a list `[` or an object `{`.
    pub(in crate::v2) fn begin(&mut self, open: u8) -> Read<()> {
        if !self.skip_literal(&[open]) {
            return Err(self.error(&format!("no {:?}", char::from(open))));
        }
        self.has_begun = true;
        Ok(())
    }

    /// Whether the list or the object has one more element; otherwise it has ended.
    pub(in crate::v2) fn next(&mut self, close: u8) -> Read<bool> {
        let has_begun = self.has_begun;
        if self.skip_literal(&[close]) {
            return Ok(false);
        }
        if !has_begun && !self.skip_literal(b",") {
            return Err(self.error("no comma"));
        }
        self.has_begun = false;
        Ok(true)
    }

    /// The name of the next field of an object, which has been begun; none at its end.
    pub(in crate::v2) fn field(&mut self) -> Read<Option<Vec<u8>>> {
        if !self.next(b'}')? {
            return Ok(None);
        }
        let name = self.string()?;
        if !self.skip_literal(b":") {
            return Err(self.error("no colon"));
        }
        Ok(Some(name))
    }

    /// A number without sign, fraction and exponent; `null` is 0.
    pub(in crate::v2) fn u64(&mut self) -> Read<u64> {
        if self.null() {
            return Ok(0);
        }
        let digits = self.number();
        let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| self.error("no number that fits"))
    }

    fn number(&mut self) -> &'a [u8] {
        self.peek();
        let rest = &self.text[self.at..];
        let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(is_part).count();
        self.at += length;
        self.has_begun = false;
        &rest[..length]
    }

    /// `null` is false.
    pub(in crate::v2) fn bool(&mut self) -> Read<bool> {
        if self.skip_literal(b"true") {
            return Ok(true);
        }
        if self.skip_literal(b"false") || self.null() {
            return Ok(false);
        }
        Err(self.error("neither true nor false"))
    }

    /// A string.
    pub(in crate::v2) fn string(&mut self) -> Read<Vec<u8>> {
        if !self.skip_literal(b"\"") {
            return Err(self.error("no string"));
        }
        let mut string = Vec::new();
        loop {
            let plain = self.text[self.at..].iter();
            let length = plain.take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
            push_utf8(&mut string, &self.text[self.at..self.at + length]);
            self.at += length;
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => self.escape(&mut string)?,
                _ => return Err(self.error("a string does not end")),
            }
        }
    }

    fn escape(&mut self, string: &mut Vec<u8>) -> Read<()> {
        let escaped = match self.text.get(self.at + 1) {
            Some(mark @ (b'"' | b'\\' | b'/')) => *mark,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.code_point(string),
            _ => return Err(self.error("a bad escape")),
        };
        self.at += 2;
        string.push(escaped);
        Ok(())
    }

    fn code_point(&mut self, string: &mut Vec<u8>) -> Read<()> {
        let first = self.unit(self.at).ok_or_else(|| self.error("a bad escape"))?;
        self.at += 6;
        let mut character = char::from_u32(first);
        if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, self.unit(self.at)) {
            self.at += 6;
            character = char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00));
        }
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// The UTF-16 unit of an escape `\u0041` at a place.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
    }

    /// Passes over a value.
    pub(in crate::v2) fn skip(&mut self) -> Read<()> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.begin(b'{')?;
                    open.push(b'}');
                }
                Some(b'[') => {
                    self.begin(b'[')?;
                    open.push(b']');
                }
                _ => self.skip_scalar()?,
            }
            if open.len() > MAX_NESTING {
                return Err(self.error("nested too deep"));
            }
            // Continue in the innermost list or object that has not ended.
            loop {
                let has_more = match open.last() {
                    None => return Ok(()),
                    Some(b']') => self.next(b']')?,
                    Some(_) => self.field()?.is_some(),
                };
                if has_more {
                    break;
                }
                open.pop();
            }
        }
    }

    fn skip_scalar(&mut self) -> Read<()> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b't' | b'f') => self.bool().map(drop),
            Some(b'n') if self.null() => Ok(()),
            _ if self.number().is_empty() => Err(self.error("no value")),
            _ => Ok(()),
        }
    }
}

/// Appends what is UTF-8, and a replacement for each other byte.
fn push_utf8(string: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        string.extend_from_slice(chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            string.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}
