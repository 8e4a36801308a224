//! The text form that Prometheus reads, version 0.0.4.
//!
//! Invariants: families come in the order of their names, each with one help and one type line
//! before its samples; what stands between quotes is escaped, so no value can end its line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::value::{Histogram, Reading};

/// The content type of the page, as etcd's library names it.
pub(crate) const CONTENT_TYPE: &str =
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// What a family is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The names and values of a sample.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    families: BTreeMap<&'static str, String>,
}

/// One family of a page.
pub(super) struct Family<'a> {
    name: &'static str,
    text: &'a mut String,
}

impl Page {
    /// Begins a family, whose samples follow.
    pub(super) fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
    ) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let text = self.families.entry(name).or_default();
        assert!(text.is_empty(), "a family is written once");
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        append(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { name, text }
    }

    /// Writes a counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, value: u64, help: &'static str) {
        self.family(Kind::Counter, name, help).sample(&[], value as f64);
    }

    /// Writes a gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, value: f64, help: &'static str) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    /// Writes a histogram without labels.
    pub(super) fn histogram(&mut self, name: &'static str, value: &Histogram, help: &'static str) {
        self.family(Kind::Histogram, name, help).histogram(&[], value);
    }

    /// Ends the page.
    pub(super) fn finish(self) -> String {
        self.families.into_values().collect::<Vec<_>>().concat()
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.line("", labels, None, value);
    }

    /// Writes the samples of a histogram.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, value: &Histogram) {
        let Reading { buckets, sum, count } = value.read();
        for (bound, below) in buckets {
            self.line("_bucket", labels, Some(&number(bound)), below as f64);
        }
        self.line("_bucket", labels, Some("+Inf"), count as f64);
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count as f64);
    }

    /// Writes the samples of a histogram, unless there is nothing in it.
    pub(super) fn histogram_if_any(&mut self, labels: Labels<'_>, value: &Histogram) {
        if !value.is_empty() {
            self.histogram(labels, value);
        }
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: f64) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (name, value) in all {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        append(self.text, format_args!(" {}\n", number(value)));
    }
}

fn append(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes all");
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// Writes a number as Go does: the shortest digits that mean it, with an exponent below 0.0001 and
/// from 1000000 on. Bounds of buckets are compared as text, so this must be the same.
fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("this form has an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a number");
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests;
