//! Lists as one line of comma-separated values, where double quotes protect a comma.

/// Reads the values. The error names the column, as Go's reader does.
pub(crate) fn read(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let error =
        |column: usize, what: &str| Err(format!("parse error on line 1, column {column}: {what}"));
    let mut values = Vec::new();
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(mark) = rest[..end].find('"') {
                return error(start + mark + 1, "bare \" in non-quoted field");
            }
            values.push(rest[..end].to_owned());
            start += end + 1;
            if end == rest.len() {
                return Ok(values);
            }
            continue;
        };
        let mut value = String::new();
        let mut inside = quoted;
        loop {
            let Some((part, after)) = inside.split_once('"') else {
                return error(text.len() + 1, "extraneous or missing \" in quoted-field");
            };
            value.push_str(part);
            inside = after;
            match after.strip_prefix('"') {
                Some(after) => {
                    value.push('"');
                    inside = after;
                }
                None => break,
            }
        }
        values.push(value);
        let Some(after) = inside.strip_prefix(',') else {
            if inside.is_empty() {
                return Ok(values);
            }
            let column = text.len() - inside.len();
            return error(column, "extraneous or missing \" in quoted-field");
        };
        start = text.len() - after.len();
    }
}

/// Writes values so that [`read`] finds them again.
pub(crate) fn write(values: &[String]) -> String {
    let quote = |value: &String| {
        if value.contains([',', '"', '\n']) || value.starts_with(' ') {
            format!("\"{}\"", value.replace('"', "\"\""))
        } else {
            value.clone()
        }
    };
    let values: Vec<String> = values.iter().map(quote).collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let values = read(text).unwrap();
        assert_eq!(values, expected);
        assert_eq!(read(&write(&values)).unwrap(), expected);
    }

    #[test]
    fn values() {
        check("", &[]);
        check("a", &["a"]);
        check("a,,b", &["a", "", "b"]);
        check("a,", &["a", ""]);
        check("\"a,b\",c", &["a,b", "c"]);
        check("\"a\"\"b\"", &["a\"b"]);
        assert_eq!(write(&["a".to_owned(), "b,c".to_owned()]), "a,\"b,c\"");
    }

    #[test]
    fn errors_name_the_column() {
        let error = |text| read(text).unwrap_err();
        let quoted = "extraneous or missing \" in quoted-field";
        assert_eq!(
            error("\"127.0.0.1:23790"),
            format!("parse error on line 1, column 17: {quoted}")
        );
        assert_eq!(error("\"a\"b"), format!("parse error on line 1, column 3: {quoted}"));
        assert_eq!(error("a\"b"), "parse error on line 1, column 2: bare \" in non-quoted field");
    }
}
