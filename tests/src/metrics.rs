//! The page of `/metrics`, read strictly: whatever is not in the grammar is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

pub mod families;

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// A page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The families by name.
    pub families: BTreeMap<String, Family>,
}

/// One family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Its type.
    pub kind: String,
    /// Its samples in order: the name, the labels and the value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// Fetches the page of a server by its URL.
///
/// # Panics
/// If there is no answer, or it is no page.
pub fn page(url: &str) -> Page {
    let (head, body) = fetch(url, "/metrics");
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{url}: {head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    parse(&body).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// Fetches any page of a server: the head and the body of the answer.
///
/// # Panics
/// If there is no answer.
pub fn fetch(url: &str, path: &str) -> (String, String) {
    let host = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(host).unwrap_or_else(|error| panic!("{host}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
    // This version of HTTP has no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request of one packet");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_else(|error| panic!("{url}{path}: {error}"));
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

impl Page {
    /// The value of the only sample of this name whose labels include these.
    ///
    /// # Panics
    /// If there is none, or more than one.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.values(name, labels);
        assert_eq!(values.len(), 1, "{name}{labels:?}: {values:?}");
        values[0]
    }

    /// The values of all samples of this name whose labels include these.
    pub fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let samples = self.families.values().flat_map(|family| &family.samples);
        let found = samples.filter(|(known, of, _)| {
            let has = |(label, value): &(&str, &str)| of.get(*label).is_some_and(|it| it == value);
            known == name && labels.iter().all(has)
        });
        found.map(|(_, _, value)| *value).collect()
    }
}

impl Family {
    /// The sets of label names that its samples have, without those of buckets.
    pub fn label_names(&self) -> BTreeSet<Vec<String>> {
        let names = |labels: &Labels| labels.keys().filter(|name| *name != "le").cloned().collect();
        self.samples.iter().map(|(_, labels, _)| names(labels)).collect()
    }

    /// The bounds of its buckets.
    pub fn bounds(&self) -> BTreeSet<String> {
        self.samples.iter().filter_map(|(_, labels, _)| labels.get("le").cloned()).collect()
    }
}

/// Reads a page.
///
/// # Errors
/// The first line that is not in its place, and why.
pub fn parse(text: &str) -> Result<Page, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut page = Page::default();
    let mut current = String::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        let wrong = |why: &str| format!("{why}: {line:?}");
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
            let is_new = is_name(name) && !help.is_empty() && helped.insert(name.to_owned());
            current = if is_new { name.to_owned() } else { return Err(wrong("a second help")) };
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
            let known = ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind);
            if name != current || !known || page.families.contains_key(name) {
                return Err(wrong("a type out of place"));
            }
            let family = Family { kind: kind.to_owned(), samples: Vec::new() };
            page.families.insert(name.to_owned(), family);
        } else {
            let sample = sample(line).ok_or_else(|| wrong("no sample"))?;
            let family = page.families.get_mut(&current).ok_or_else(|| wrong("no family"))?;
            let suffix = sample.0.strip_prefix(&current);
            let fits = match (family.kind.as_str(), suffix) {
                ("histogram", Some("_bucket")) => sample.1.contains_key("le"),
                ("histogram" | "summary", Some("_sum" | "_count")) => true,
                ("histogram", _) => false,
                (_, suffix) => suffix == Some(""),
            };
            let is_known = family
                .samples
                .iter()
                .any(|(name, labels, _)| (name.as_str(), labels) == (sample.0.as_str(), &sample.1));
            if !fits || is_known {
                return Err(wrong("a sample out of place"));
            }
            family.samples.push(sample);
        }
    }
    for (name, family) in &page.families {
        check_values(name, family)?;
    }
    Ok(page)
}

/// The buckets of a histogram, each with its bound, and its count.
type Series = (Vec<(f64, f64)>, Option<f64>);

/// Counters do not fall below zero, and buckets add up.
fn check_values(name: &str, family: &Family) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{name}: {why}"));
    if family.kind == "counter" && family.samples.iter().any(|(_, _, value)| *value < 0.0) {
        return wrong("a counter below zero");
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let mut series: BTreeMap<Labels, Series> = BTreeMap::new();
    for (sample, labels, value) in &family.samples {
        let mut labels = labels.clone();
        let bound = labels.remove("le");
        let (buckets, count) = series.entry(labels).or_default();
        if let Some(bound) = bound {
            buckets.push((number(&bound).ok_or_else(|| format!("{name}: {bound}"))?, *value));
        } else if sample.ends_with("_count") {
            *count = Some(*value);
        }
    }
    for (buckets, count) in series.values() {
        let ascends = buckets.is_sorted_by(|one, two| one.0 < two.0 && one.1 <= two.1);
        let last = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY);
        if !ascends || last.map(|(_, value)| *value) != *count {
            return wrong("buckets that do not add up");
        }
    }
    Ok(())
}

fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = number(value.strip_prefix(' ')?)?;
    is_name(name).then(|| (name.to_owned(), labels, value))
}

/// Reads labels up to the brace that ends them; returns what follows it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut all = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        if !is_name(name) || all.insert(name.to_owned(), value).is_some() {
            return None;
        }
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((all, after.strip_prefix('}')?)),
        }
    }
}

/// Reads a value up to the quote that ends it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    loop {
        match characters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match characters.next()?.1 {
                'n' => '\n',
                same @ ('\\' | '"') => same,
                _ => return None,
            }),
            (_, other) => value.push(other),
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let plain = text.trim_start_matches('+');
    (!plain.is_empty() && !plain.contains(' ')).then(|| plain.parse().ok())?
}

fn is_name(text: &str) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == ':';
    text.starts_with(|it: char| !it.is_ascii_digit()) && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a Help.\n# TYPE a counter\na{x=\"1\\\"\\n\",y=\"\"} 2\na 1e+06\n\
        # HELP h Help.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 3\n\
        h_sum 7.5\nh_count 3\n";

    #[test]
    fn a_page_is_read() {
        let page = parse(GOOD).unwrap();
        assert_eq!(page.value("a", &[("x", "1\"\n")]), 2.0);
        assert_eq!(page.values("a", &[]), [2.0, 1e6]);
        assert_eq!(page.value("h_bucket", &[("le", "+Inf")]), 3.0);
        assert_eq!(page.families["h"].bounds().len(), 2);
        assert_eq!(page.families["a"].label_names().len(), 2);
    }

    #[test]
    fn what_is_not_in_the_grammar_is_an_error() {
        let bad = [
            ("a 1e+06\n", "a 1e+06\na 2\n"),
            ("a 1e+06\n", "b 1\n"),
            ("a 1e+06\n", "a x\n"),
            ("a 1e+06\n", "a 1 1\n"),
            ("a 1e+06\n", "a -1\n"),
            ("y=\"\"}", "y=\"}"),
            ("y=\"\"}", "x=\"\"}"),
            ("# TYPE h", "# TYPE g"),
            ("# HELP h Help.\n", ""),
            ("# HELP h", "# HELP a"),
            ("h_count 3", "h_count 4"),
            ("h_bucket{le=\"0.5\"} 1", "h_bucket{le=\"0.5\"} 4"),
            ("h_bucket{le=\"+Inf\"} 3\n", ""),
            ("h_sum", "h_bucket"),
            ("h_count 3\n", "h_count 3"),
        ];
        for (good, wrong) in bad {
            let text = GOOD.replace(good, wrong);
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
