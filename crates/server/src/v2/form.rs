//! The fields of a request: those of its query and, for PUT and POST, those of a form in its body.
//!
//! Which texts are refused, and with which words, is what Go's `net/http`, `net/url` and `mime` say,
//! because clients see the words.
//!
//! Invariants:
//! - Of a field that is given more than once the first counts; the body comes before the query.

use super::path::unescape;

/// The media type of a form. Other bodies are not looked at.
const FORM: &str = "application/x-www-form-urlencoded";

/// The fields in the order in which they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(Vec<u8>, Vec<u8>)>);

/// What the `Content-Type` of a body says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContentType {
    /// Whether the body is a form.
    pub(super) is_form: bool,
    /// What is wrong with it.
    pub(super) error: Option<&'static str>,
}

impl Form {
    /// Reads the fields of a body and of a query.
    ///
    /// # Errors
    /// Returns what is wrong first.
    pub(super) fn parse(body: Option<&[u8]>, query: Option<&str>) -> Result<Self, Vec<u8>> {
        let mut form = Self::default();
        let mut first_error = None;
        for text in [body, query.map(str::as_bytes)].into_iter().flatten() {
            first_error = first_error.or(form.read(text).err());
        }
        first_error.map_or(Ok(form), Err)
    }

    /// Adds all fields that can be read, whatever is wrong with others.
    fn read(&mut self, text: &[u8]) -> Result<(), Vec<u8>> {
        let mut first_error = None;
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            if pair.contains(&b';') {
                first_error =
                    first_error.or(Some(b"invalid semicolon separator in query".to_vec()));
                continue;
            }
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            match unescape(name, true).and_then(|name| Ok((name, unescape(value, true)?))) {
                Ok(field) => self.0.push(field),
                Err(escape) => first_error = first_error.or_else(|| Some(bad_escape(escape))),
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Returns the value of a field, if it is given.
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|(given, _)| given == name.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }
}

fn bad_escape(escape: &[u8]) -> Vec<u8> {
    let mut text = b"invalid URL escape ".to_vec();
    text.extend_from_slice(quote(escape).as_bytes());
    text
}

/// Returns a text in quotes as Go's `strconv.Quote` does.
fn quote(text: &[u8]) -> String {
    let mut quoted = String::from('"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\x07' => quoted.push_str("\\a"),
                '\x08' => quoted.push_str("\\b"),
                '\x0c' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\x0b' => quoted.push_str("\\v"),
                control @ ('\0'..' ' | '\x7f') => {
                    quoted.push_str(&format!("\\x{:02x}", u32::from(control)));
                }
                other => quoted.push(other),
            }
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

impl ContentType {
    /// Reads the header. A body without one is no form.
    pub(super) fn parse(header: &str) -> Self {
        if header.is_empty() {
            return Self { is_form: false, error: None };
        }
        let (base, parameters) = header.split_at(header.find(';').unwrap_or(header.len()));
        let media_type = base.to_lowercase();
        let media_type = media_type.trim();
        if let Err(error) = check_media_type(media_type) {
            return Self { is_form: false, error: Some(error) };
        }
        match check_parameters(parameters) {
            Ok(()) => Self { is_form: media_type == FORM, error: None },
            // The type is lost with a parameter that contradicts another one.
            Err(error @ DUPLICATE) => Self { is_form: false, error: Some(error) },
            Err(error) => Self { is_form: media_type == FORM, error: Some(error) },
        }
    }
}

const DUPLICATE: &str = "mime: duplicate parameter name";

fn check_media_type(text: &str) -> Result<(), &'static str> {
    let (kind, rest) = token(text);
    if kind.is_empty() {
        return Err("mime: no media type");
    }
    if rest.is_empty() {
        return Ok(());
    }
    let Some(rest) = rest.strip_prefix('/') else {
        return Err("mime: expected slash after first token");
    };
    let (subtype, rest) = token(rest);
    if subtype.is_empty() {
        return Err("mime: expected token after slash");
    }
    if rest.is_empty() { Ok(()) } else { Err("mime: unexpected content after media subtype") }
}

fn check_parameters(text: &str) -> Result<(), &'static str> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let Some((name, value, after)) = parameter(rest) else {
            // A semicolon at the end does no harm.
            let is_end = rest.trim() == ";";
            return if is_end { Ok(()) } else { Err("mime: invalid media parameter") };
        };
        if seen.iter().any(|(other, text)| *other == name && *text != value) {
            return Err(DUPLICATE);
        }
        seen.push((name, value));
        rest = after.trim_start();
    }
    Ok(())
}

/// Reads `; name=value`.
fn parameter(text: &str) -> Option<(String, String, &str)> {
    let (name, rest) = token(text.strip_prefix(';')?.trim_start());
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    if name.is_empty() {
        return None;
    }
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let (value, rest) = token(rest);
            if value.is_empty() {
                return None;
            }
            (value.to_owned(), rest)
        }
    };
    Some((name.to_lowercase(), value, rest))
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\r' | '\n' => return None,
            '\\' => match characters.next_if(|(_, next)| is_special(*next)) {
                Some((_, next)) => value.push(next),
                None => value.push('\\'),
            },
            other => value.push(other),
        }
    }
    None
}

/// Splits off the token at the beginning.
fn token(text: &str) -> (&str, &str) {
    let is_token = |character: char| character.is_ascii_graphic() && !is_special(character);
    text.split_at(text.find(|character| !is_token(character)).unwrap_or(text.len()))
}

fn is_special(character: char) -> bool {
    "()<>@,;:\\\"/[]?=".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: Option<&str>, query: Option<&str>, fields: &[(&str, &str)]) {
        let form = Form::parse(body.map(str::as_bytes), query).expect("the form is valid");
        for (name, value) in fields {
            assert_eq!(form.first(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(form.0.len(), fields.len());
    }

    #[test]
    fn the_body_counts_before_the_query() {
        check(
            Some("value=a+b%26&dir"),
            Some("ttl=1"),
            &[("value", "a b&"), ("dir", ""), ("ttl", "1")],
        );
        let form = Form::parse(Some(b"value=1"), Some("value=2&value=3")).expect("it is valid");
        assert_eq!(form.first("value"), Some(&b"1"[..]));
        check(None, Some("&&=x&a=b=c"), &[("", "x"), ("a", "b=c")]);
    }

    #[test]
    fn a_malformed_form_is_refused_as_go_does() {
        let check = |text: &str, reason: &str| {
            let refused = Form::parse(None, Some(text)).expect_err("it is malformed");
            assert_eq!(String::from_utf8_lossy(&refused), reason);
        };
        check("x=%zz", "invalid URL escape \"%zz\"");
        check("x=1;y=2", "invalid semicolon separator in query");
        check("x=%2", "invalid URL escape \"%2\"");
        check("%\n=1&a;b", "invalid URL escape \"%\\n\"");
    }

    #[test]
    fn content_types_are_read_as_go_does() {
        let check = |header: &str, is_form: bool, error: Option<&'static str>| {
            assert_eq!(ContentType::parse(header), ContentType { is_form, error }, "{header}");
        };
        check("", false, None);
        check("application/x-www-form-urlencoded", true, None);
        check("Application/X-WWW-form-urlencoded; charset=\"utf\\\"-8\";", true, None);
        check("text/plain", false, None);
        check("a b", false, Some("mime: expected slash after first token"));
        check("/", false, Some("mime: no media type"));
        check("a/", false, Some("mime: expected token after slash"));
        check("a/b c", false, Some("mime: unexpected content after media subtype"));
        let form = "application/x-www-form-urlencoded";
        check(&format!("{form}; charset"), true, Some("mime: invalid media parameter"));
        check(&format!("{form}; a=1; a=2"), false, Some(DUPLICATE));
    }
}
