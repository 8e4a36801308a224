//! JSON that is read to be compared: members stay in their order, and strings and numbers stay as
//! they are written, so that a different escape is a difference.

use std::fmt;

/// Arrays and objects within each other before a text is refused.
const MAX_DEPTH: usize = 64;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// A string (with its quotes), a number, `true`, `false` or `null`.
    Scalar(String),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads one value, and nothing but white space behind it.
    ///
    /// # Errors
    /// Where the text stops being JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { text, position: 0 };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.position < text.len() {
            return Err(parser.error("more than one value"));
        }
        Ok(value)
    }

    /// The member of an object.
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// The text of a string that has no escapes.
    pub fn as_plain(&self) -> Option<&str> {
        let Self::Scalar(text) = self else { return None };
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        (!inner.contains('\\')).then_some(inner)
    }

    /// A number that is not negative.
    pub fn as_number(&self) -> Option<u64> {
        let Self::Scalar(text) = self else { return None };
        text.parse().ok()
    }

    /// Every array called `nodes`, at any depth, in the order of the keys of its nodes.
    pub fn sort_nodes(&mut self) {
        match self {
            Self::Scalar(_) => {}
            Self::Array(values) => values.iter_mut().for_each(Self::sort_nodes),
            Self::Object(members) => {
                for (name, value) in members {
                    value.sort_nodes();
                    if name == "nodes"
                        && let Self::Array(nodes) = value
                    {
                        nodes.sort_by_key(|node| node.member("key").map(Self::to_string));
                    }
                }
            }
        }
    }

    /// Its names without its values, for what is different each time.
    #[must_use]
    pub fn shape(&self) -> Self {
        match self {
            Self::Scalar(_) => Self::Scalar("_".to_owned()),
            Self::Array(values) => Self::Array(values.iter().map(Self::shape).collect()),
            Self::Object(members) => {
                let members = members.iter().map(|(name, value)| (name.clone(), value.shape()));
                Self::Object(members.collect())
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => out.write_str(text),
            Self::Array(values) => {
                out.write_str("[")?;
                for (position, value) in values.iter().enumerate() {
                    write!(out, "{}{value}", if position > 0 { "," } else { "" })?;
                }
                out.write_str("]")
            }
            Self::Object(members) => {
                out.write_str("{")?;
                for (position, (name, value)) in members.iter().enumerate() {
                    write!(out, "{}\"{name}\":{value}", if position > 0 { "," } else { "" })?;
                }
                out.write_str("}")
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    position: usize,
}

impl Parser<'_> {
    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::Scalar(format!("\"{}\"", self.string()?))),
            Some(_) => self.word(),
            None => Err(self.error("no value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members = Vec::new();
        self.expect(b'{')?;
        while self.peek() != Some(b'}') {
            if !members.is_empty() {
                self.expect(b',')?;
            }
            self.skip_space();
            let name = self.string()?;
            self.expect(b':')?;
            members.push((name, self.value(depth + 1)?));
        }
        self.expect(b'}')?;
        Ok(Json::Object(members))
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        let mut values = Vec::new();
        self.expect(b'[')?;
        while self.peek() != Some(b']') {
            if !values.is_empty() {
                self.expect(b',')?;
            }
            values.push(self.value(depth + 1)?);
        }
        self.expect(b']')?;
        Ok(Json::Array(values))
    }

    /// A string without its quotes, with its escapes.
    fn string(&mut self) -> Result<String, String> {
        self.expect(b'"')?;
        let bytes = self.text.as_bytes();
        let from = self.position;
        loop {
            match bytes.get(self.position) {
                None => return Err(self.error("a string does not end")),
                Some(b'"') => break,
                Some(b'\\') => self.position += 2,
                Some(0..0x20) => return Err(self.error("a control character in a string")),
                Some(_) => self.position += 1,
            }
        }
        let inner = self.text.get(from..self.position).ok_or_else(|| self.error("half a char"))?;
        self.position += 1;
        Ok(inner.to_owned())
    }

    fn word(&mut self) -> Result<Json, String> {
        let rest = &self.text[self.position..];
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && !"+-.".contains(char));
        let word = &rest[..end.unwrap_or(rest.len())];
        let number = word.parse::<f64>().is_ok();
        if !number && !matches!(word, "true" | "false" | "null") {
            return Err(self.error("neither number nor word"));
        }
        self.position += word.len();
        Ok(Json::Scalar(word.to_owned()))
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.text.as_bytes().get(self.position).copied()
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() != Some(byte) {
            return Err(self.error(&format!("no {:?}", char::from(byte))));
        }
        self.position += 1;
        Ok(())
    }

    fn skip_space(&mut self) {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.position), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.position += 1;
        }
    }

    fn error(&self, what: &str) -> String {
        format!("{what} at byte {} of {:?}", self.position, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_the_same() {
        let text = r#"{"b":[1,-2.5,"\u003c\"",null],"a":{"key":"/x","dir":true}}"#;
        assert_eq!(Json::parse(text).unwrap().to_string(), text);
        for bad in ["", "{", "[1 2]", "\"a", "tru", "{\"a\":1}x", "{a:1}"] {
            assert!(Json::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nodes_are_sorted_at_every_depth() {
        let text =
            r#"{"nodes":[{"key":"/b","nodes":[{"key":"/b/2"},{"key":"/b/1"}]},{"key":"/a"}]}"#;
        let mut json = Json::parse(text).unwrap();
        json.sort_nodes();
        let sorted =
            r#"{"nodes":[{"key":"/a"},{"key":"/b","nodes":[{"key":"/b/1"},{"key":"/b/2"}]}]}"#;
        assert_eq!(json.to_string(), sorted);
    }
}
