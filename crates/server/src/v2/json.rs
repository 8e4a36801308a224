//! JSON as Go's `encoding/json` reads it, with its words for what is malformed.
//!
//! Names of fields count in any case, an unknown one is ignored, `null` leaves a field as it was, and
//! what is not UTF-8 is replaced.
//!
//! Not here: writing.

/// How deep arrays and objects may be nested.
const DEPTH_MAX: usize = 500;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number,
    Text(String),
    Array(Vec<Self>),
    /// The fields in the order in which they stand.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads a text that is one value.
    ///
    /// # Errors
    /// Returns Go's text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_blanks();
        match reader.peek() {
            None => Ok(value),
            Some(byte) => Err(invalid(byte, "after top-level value")),
        }
    }

    /// Reads the value at the beginning of a text.
    ///
    /// # Errors
    /// Returns Go's text.
    pub(super) fn parse_first(text: &[u8]) -> Result<Self, String> {
        Reader { text, at: 0 }.value(0)
    }

    /// What Go calls a value of this kind.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Returns a field of an object; the one that stands last counts.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else { return None };
        let found = fields.iter().rev().find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| **value != Self::Null)
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, String> {
        let byte = self.peek().ok_or_else(|| "unexpected end of JSON input".to_owned())?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn next_after_blanks(&mut self) -> Result<u8, String> {
        self.skip_blanks();
        self.next()
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEPTH_MAX {
            return Err("exceeded max depth".to_owned());
        }
        match self.next_after_blanks()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string().map(Json::Text),
            b't' => self.literal("true", Json::Bool(true)),
            b'f' => self.literal("false", Json::Bool(false)),
            b'n' => self.literal("null", Json::Null),
            first @ (b'-' | b'0'..=b'9') => self.number(first),
            other => Err(invalid(other, "looking for beginning of value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut fields = Vec::new();
        loop {
            match self.next_after_blanks()? {
                b'"' => {}
                b'}' if fields.is_empty() => return Ok(Json::Object(fields)),
                other => return Err(invalid(other, "looking for beginning of object key string")),
            }
            let name = self.string()?;
            match self.next_after_blanks()? {
                b':' => {}
                other => return Err(invalid(other, "after object key")),
            }
            fields.push((name, self.value(depth + 1)?));
            match self.next_after_blanks()? {
                b',' => {}
                b'}' => return Ok(Json::Object(fields)),
                other => return Err(invalid(other, "after object key:value pair")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        let mut values = Vec::new();
        self.skip_blanks();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            match self.next_after_blanks()? {
                b',' => {}
                b']' => return Ok(Json::Array(values)),
                other => return Err(invalid(other, "after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, value: Json) -> Result<Json, String> {
        for expected in word.bytes().skip(1) {
            let byte = self.next()?;
            if byte != expected {
                let place = format!("in literal {word} (expecting {})", quote(expected));
                return Err(invalid(byte, &place));
            }
        }
        Ok(value)
    }

    fn number(&mut self, first: u8) -> Result<Json, String> {
        let mut leading = first;
        if leading == b'-' {
            leading = self.next()?;
            if !leading.is_ascii_digit() {
                return Err(invalid(leading, "in numeric literal"));
            }
        }
        if leading != b'0' {
            self.digits();
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(Json::Number)
    }

    fn digit(&mut self, place: &str) -> Result<(), String> {
        let byte = self.next()?;
        if byte.is_ascii_digit() { Ok(()) } else { Err(invalid(byte, place)) }
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// Reads a string behind its first quote.
    fn string(&mut self) -> Result<String, String> {
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Ok(replace_invalid(&text)),
                b'\\' => self.escape(&mut text)?,
                control @ 0..b' ' => return Err(invalid(control, "in string literal")),
                other => text.push(other),
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let byte = match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.unicode()?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => return Err(invalid(other, "in string escape code")),
        };
        text.push(byte);
        Ok(())
    }

    /// Reads a character behind `\u`. Half a pair of surrogates is replaced.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.four_digits()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        let after = self.at;
        if (0xd800..0xdc00).contains(&first) && self.text.get(after..after + 2) == Some(b"\\u") {
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn four_digits(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let byte = self.next()?;
            let digit = char::from(byte).to_digit(16);
            let place = "in \\u hexadecimal character escape";
            code = code << 4 | digit.ok_or_else(|| invalid(byte, place))?;
        }
        Ok(code)
    }
}

/// Returns a text with a replacement for each byte that is not UTF-8.
fn replace_invalid(text: &[u8]) -> String {
    let mut valid = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        valid.push_str(chunk.valid());
        valid.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    valid
}

fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quote(byte))
}

/// Returns a byte as Go quotes a character.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0..b' ' | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        other => format!("'{}'", char::from(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Json {
        Json::Text(text.to_owned())
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        let check = |given: &[u8], value: Json| assert_eq!(Json::parse(given), Ok(value));
        check(b" null ", Json::Null);
        check(b"-0.5e+7", Json::Number);
        check(br#""a\n\u00e9\ud83d\ude00\ud83dx\"""#, text("a\n\u{e9}\u{1f600}\u{fffd}x\""));
        check(b"\"\xe2\x82\"", text("\u{fffd}\u{fffd}"));
        check(
            br#"{"a":[true,[]],"b":{}}"#,
            Json::Object(vec![
                ("a".to_owned(), Json::Array(vec![Json::Bool(true), Json::Array(vec![])])),
                ("b".to_owned(), Json::Object(vec![])),
            ]),
        );
        assert_eq!(Json::parse_first(b"true}"), Ok(Json::Bool(true)));
    }

    #[test]
    fn fields_count_in_any_case() {
        let object = Json::parse(br#"{"user":"a","USER":"b","roles":null}"#).expect("it is valid");
        assert_eq!(object.field("User"), Some(&text("b")));
        assert_eq!(object.field("roles"), None);
        assert_eq!(object.field("other"), None);
    }

    #[test]
    fn what_is_malformed_is_named_as_in_go() {
        let check = |given: &str, reason: &str| {
            assert_eq!(Json::parse(given.as_bytes()), Err(reason.to_owned()), "{given}");
        };
        check("", "unexpected end of JSON input");
        check("{", "unexpected end of JSON input");
        check("x", "invalid character 'x' looking for beginning of value");
        check("{x", "invalid character 'x' looking for beginning of object key string");
        check("{\"a\":1,}", "invalid character '}' looking for beginning of object key string");
        check("{\"a\" 1}", "invalid character '1' after object key");
        check("{\"a\":1 2}", "invalid character '2' after object key:value pair");
        check("[1 2]", "invalid character '2' after array element");
        check("[1,]", "invalid character ']' looking for beginning of value");
        check("\"a\nb\"", "invalid character '\\n' in string literal");
        check("\"\\x\"", "invalid character 'x' in string escape code");
        check("\"\\u12g\"", "invalid character 'g' in \\u hexadecimal character escape");
        check("-x", "invalid character 'x' in numeric literal");
        check("1.x", "invalid character 'x' after decimal point in numeric literal");
        check("1ex", "invalid character 'x' in exponent of numeric literal");
        check("trux", "invalid character 'x' in literal true (expecting 'e')");
        check("01", "invalid character '1' after top-level value");
        check("{}'", "invalid character '\\'' after top-level value");
        check(&"[".repeat(600), "exceeded max depth");
    }
}
