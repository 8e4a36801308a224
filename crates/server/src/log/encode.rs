//! How a record becomes bytes: zap's JSON form and its console form; the old form is in `capnslog`.

use std::fmt::Write as _;

use time::OffsetDateTime;

use super::capnslog;
use super::record::{Record, Value};

/// The form of a line, `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// Columns divided by tabs, the fields as a JSON object in the last.
    Console,
    /// The lines of etcd 3.4 and older, `--logger=capnslog`.
    Capnslog,
}

/// Appends the line of `record` and its line feed to `line`.
pub(super) fn encode(line: &mut String, format: Format, record: &Record, now: OffsetDateTime) {
    match format {
        Format::Json => json(line, record, now),
        Format::Console => console(line, record, now),
        Format::Capnslog => capnslog::encode(line, record, now),
    }
    line.push('\n');
}

fn json(line: &mut String, record: &Record, now: OffsetDateTime) {
    line.push_str("{\"level\":\"");
    line.push_str(record.level.name());
    line.push_str("\",\"ts\":\"");
    timestamp(line, now);
    if !record.logger.is_empty() {
        line.push_str("\",\"logger\":\"");
        escape(line, record.logger);
    }
    put(line, format_args!("\",\"caller\":\"{}\",\"msg\":", record.caller));
    string(line, &record.message);
    for (key, value) in &record.fields {
        line.push(',');
        field(line, key, value, "");
    }
    line.push('}');
}

fn console(line: &mut String, record: &Record, now: OffsetDateTime) {
    timestamp(line, now);
    put(line, format_args!("\t{}\t", record.level.name()));
    if !record.logger.is_empty() {
        put(line, format_args!("{}\t", record.logger));
    }
    put(line, format_args!("{}\t{}", record.caller, record.message));
    for (position, (key, value)) in record.fields.iter().enumerate() {
        line.push_str(if position == 0 { "\t{" } else { ", " });
        field(line, key, value, " ");
    }
    if !record.fields.is_empty() {
        line.push('}');
    }
}

/// Appends `"key":value`; `space` stands after each colon and comma.
fn field(line: &mut String, key: &str, value: &Value, space: &str) {
    string(line, key);
    line.push(':');
    line.push_str(space);
    match value {
        Value::Text(text) => string(line, text),
        Value::Texts(texts) => {
            line.push('[');
            for (position, text) in texts.iter().enumerate() {
                if position > 0 {
                    line.push(',');
                    line.push_str(space);
                }
                string(line, text);
            }
            line.push(']');
        }
        Value::Bool(flag) => put(line, format_args!("{flag}")),
        Value::Int(number) => put(line, format_args!("{number}")),
        Value::Uint(number) => put(line, format_args!("{number}")),
        Value::Nanos(nanos) => string(line, &duration_text(*nanos)),
    }
}

fn string(line: &mut String, text: &str) {
    line.push('"');
    escape(line, text);
    line.push('"');
}

/// Escapes what JSON requires and no more, as zap does: `<`, `>` and `&` stay.
fn escape(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                put(line, format_args!("\\u{:04x}", u32::from(control)));
            }
            other => line.push(other),
        }
    }
}

/// Appends Go's layout `2006-01-02T15:04:05.000000Z0700`.
fn timestamp(line: &mut String, now: OffsetDateTime) {
    let (year, month, day) = (now.year(), u8::from(now.month()), now.day());
    let (hour, minute, second) = (now.hour(), now.minute(), now.second());
    put(line, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
    put(line, format_args!(".{:06}", now.microsecond()));
    let offset_minutes = now.offset().whole_minutes();
    if offset_minutes == 0 {
        line.push('Z');
        return;
    }
    let sign = if offset_minutes < 0 { '-' } else { '+' };
    let minutes = offset_minutes.unsigned_abs();
    put(line, format_args!("{sign}{:02}{:02}", minutes / 60, minutes % 60));
}

pub(super) fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("writing to a string cannot fail");
}

/// Returns a span of nanoseconds as Go prints it: `1h0m5s`, `1.5s`, `200ms`, `7ns`, `0s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    const SECOND: u64 = 1_000_000_000;
    let sign = if nanos < 0 { "-" } else { "" };
    let rest = nanos.unsigned_abs();
    if rest < SECOND {
        let (unit, digits) = match rest {
            0 => return "0s".to_owned(),
            1..1_000 => ("ns", 0),
            1_000..1_000_000 => ("\u{b5}s", 3),
            _ => ("ms", 6),
        };
        return format!("{sign}{}{unit}", decimal(rest, digits));
    }
    let (minutes, seconds) = (rest / (60 * SECOND), rest % (60 * SECOND));
    let seconds = decimal(seconds, 9);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// Returns `value / 10^digits` without trailing zeros.
fn decimal(value: u64, digits: usize) -> String {
    let scale = 10_u64.pow(digits as u32);
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}
