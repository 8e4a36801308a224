//! Whether two servers gave the same answer to one request.
//!
//! Status, headers and bodies are compared whole, and JSON member by member in its order. What
//! may differ:
//! - `Date`, and that Go writes none where it could not read the request.
//! - Whether the connection is closed after a request that asked whether to send its body.
//! - When a key ends, and how long that is: by [`CLOCK_TOLERANCE_S`], because the requests come one
//!   after the other.
//! - The order of a listing for which `sorted` was not asked: etcd's has none.
//! - `X-Raft-Index`: the log also has what a member writes by itself. It must not go back.
//! - How long bodies are framed: Go's server knows the length of a body of less than
//!   [`BUFFERED_BYTES`] and sends a longer one in chunks.

use crate::v2::http::{Framing, Head, Request, Response};
use crate::v2::json::Json;

/// By how much two clocks of one request may differ.
const CLOCK_TOLERANCE_S: u64 = 2;
/// A body from this size on may be framed in another way.
const BUFFERED_BYTES: usize = 2_000;
/// Headers that are looked at apart.
const APART: [&str; 4] = ["Date", "X-Raft-Index", "Content-Length", "Transfer-Encoding"];

/// What is known of the two servers from the answers before.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    /// The highest log index that each has named, the reference first.
    raft_index: [u64; 2],
}

impl Judge {
    /// Compares the answers to a request.
    ///
    /// # Errors
    /// What is different.
    pub fn compare(
        &mut self,
        request: &Request,
        reference: &Response,
        subject: &Response,
    ) -> Result<(), String> {
        // Go closes a connection on which it did not wait for the body; waiting is allowed too.
        let asked_first = request.headers.iter().any(|(name, _)| name == "Expect");
        if asked_first {
            let kept = |head: &Head| {
                let mut head = head.clone();
                head.headers.retain(|(name, _)| name != "Connection");
                head
            };
            self.compare_heads(&kept(&reference.head), &kept(&subject.head))?;
        } else {
            self.compare_heads(&reference.head, &subject.head)?;
        }
        compare_framing(request, reference, subject)?;
        let sorted = is_sorted(request);
        compare_bodies(&reference.head, &reference.text(), &subject.text(), sorted)
    }

    /// Compares two heads.
    ///
    /// # Errors
    /// What is different.
    pub fn compare_heads(&mut self, reference: &Head, subject: &Head) -> Result<(), String> {
        if (reference.status, &reference.reason) != (subject.status, &subject.reason) {
            return Err("status".to_owned());
        }
        let (expected, found) = (comparable(reference), comparable(subject));
        if expected != found {
            return Err(format!("headers: {expected:?} and {found:?}"));
        }
        for (head, highest) in [reference, subject].into_iter().zip(&mut self.raft_index) {
            if head.header("X-Raft-Index").is_none() {
                continue;
            }
            let index = head.number("X-Raft-Index").ok_or("X-Raft-Index is no number")?;
            if index < *highest {
                return Err(format!("X-Raft-Index went back from {highest} to {index}"));
            }
            *highest = index;
        }
        let indexes = [reference, subject].map(|head| head.header("X-Raft-Index").is_some());
        if indexes[0] != indexes[1] {
            return Err("X-Raft-Index in one answer only".to_owned());
        }
        Ok(())
    }
}

/// Compares how two answers say where their bodies end.
fn compare_framing(
    request: &Request,
    reference: &Response,
    subject: &Response,
) -> Result<(), String> {
    let lengths = [reference, subject].map(|answer| answer.head.number("Content-Length"));
    let framings = [reference, subject].map(|answer| match answer.head.framing {
        Framing::Length(_) => "length",
        Framing::Chunked => "chunks",
        Framing::Close => "close",
        Framing::Empty => "empty",
    });
    // Go answers what it cannot read at all by hand, and closes the connection.
    let by_hand = reference.head.header("Date").is_none();
    if by_hand || reference.body.len() >= BUFFERED_BYTES {
        return Ok(());
    }
    if framings[0] != framings[1] {
        return Err(format!("framing: {} and {}", framings[0], framings[1]));
    }
    if lengths[0].is_some() && lengths[1].is_none() {
        return Err(format!("Content-Length: {lengths:?}"));
    }
    // Numbers of remaining seconds and fractions of instants have no fixed width.
    let timed = reference.text().contains("\"expiration\":") || request.method == "HEAD";
    if lengths[0].is_some() && !timed && lengths[0] != lengths[1] {
        return Err(format!("Content-Length: {lengths:?}"));
    }
    Ok(())
}

/// Compares two bodies of one type: JSON values, one a line, or text.
///
/// # Errors
/// What is different.
pub fn compare_bodies(
    head: &Head,
    reference: &str,
    subject: &str,
    sorted: bool,
) -> Result<(), String> {
    if head.header("Content-Type") != Some("application/json") {
        if reference == subject {
            return Ok(());
        }
        return Err("bodies".to_owned());
    }
    if reference.ends_with('\n') != subject.ends_with('\n') {
        return Err("the end of the line behind the body".to_owned());
    }
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (reference.lines().collect(), subject.lines().collect());
    if expected.len() != found.len() {
        return Err(format!("{} and {} lines", expected.len(), found.len()));
    }
    for (expected, found) in expected.into_iter().zip(found) {
        compare_events(expected, found, sorted)?;
    }
    Ok(())
}

/// Compares two JSON values.
///
/// # Errors
/// What is different.
pub fn compare_events(expected: &str, found: &str, sorted: bool) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let (mut expected, mut found) = (Json::parse(expected)?, Json::parse(found)?);
    if !sorted {
        expected.sort_nodes();
        found.sort_nodes();
    }
    agree(&expected, &found, "")
}

fn agree(expected: &Json, found: &Json, name: &str) -> Result<(), String> {
    let differ = || format!("{name}: {expected} and {found}");
    match (expected, found) {
        (Json::Scalar(one), Json::Scalar(two)) => match name {
            "ttl" => close(one.parse().ok(), two.parse().ok()).then_some(()).ok_or_else(differ),
            "expiration" => {
                let same = close(instant_s(one), instant_s(two));
                same.then_some(()).ok_or_else(differ)
            }
            _ if one == two => Ok(()),
            _ => Err(differ()),
        },
        (Json::Array(one), Json::Array(two)) if one.len() == two.len() => {
            one.iter().zip(two).try_for_each(|(one, two)| agree(one, two, name))
        }
        (Json::Object(one), Json::Object(two)) if one.len() == two.len() => {
            for ((name, one), (other, two)) in one.iter().zip(two) {
                if name != other {
                    return Err(differ());
                }
                agree(one, two, name)?;
            }
            Ok(())
        }
        _ => Err(differ()),
    }
}

fn close(one: Option<i64>, two: Option<i64>) -> bool {
    matches!((one, two), (Some(one), Some(two)) if one.abs_diff(two) <= CLOCK_TOLERANCE_S)
}

/// The seconds since the epoch of an instant as Go writes it: UTC, up to nine digits behind the
/// second and no zero at their end (`"2026-11-28T07:31:38.753275179Z"`).
fn instant_s(text: &str) -> Option<i64> {
    let text = text.strip_prefix('"')?.strip_suffix("Z\"")?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "1"));
    let digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || fraction.is_empty() || fraction.len() > 9 || fraction.ends_with('0') {
        return None;
    }
    let (date, time) = whole.split_once('T')?;
    if date.len() != 10 || time.len() != 8 {
        return None;
    }
    let numbers = |text: &str, separator| -> Option<Vec<i64>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let ([year, month, day], [hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    Some(days_since_epoch(*year, *month, *day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1970 on, in the calendar that begins its years in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Whether a request asks for an order in the usual way.
fn is_sorted(request: &Request) -> bool {
    request.target.matches("sorted=").count() == 1 && request.target.contains("sorted=true")
}

/// The headers that must be equal, by name.
fn comparable(head: &Head) -> Vec<(&str, &str)> {
    let headers = head.headers.iter().filter(|(name, _)| !APART.contains(&name.as_str()));
    let mut headers: Vec<(&str, &str)> =
        headers.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    headers.sort_unstable();
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_go_writes_them() {
        assert_eq!(instant_s("\"1970-01-01T00:00:00Z\""), Some(0));
        assert_eq!(instant_s("\"2026-11-28T07:31:38.75Z\""), Some(1_795_851_098));
        assert_eq!(instant_s("\"2024-02-29T00:00:00.5Z\""), Some(1_709_164_800));
        for bad in ["\"2026-11-28T07:31:38.750Z\"", "\"2026-11-28T07:31:38+00:00\"", "1", "\"\""] {
            assert_eq!(instant_s(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_times_and_orders_may_differ() {
        let one = r#"{"node":{"nodes":[{"key":"/b"},{"key":"/a","ttl":7}]}}"#;
        let two = r#"{"node":{"nodes":[{"key":"/a","ttl":8},{"key":"/b"}]}}"#;
        assert_eq!(compare_events(one, two, false), Ok(()));
        assert!(compare_events(one, two, true).is_err());
        let late = two.replace('8', "10");
        assert!(compare_events(one, &late, false).is_err());
        assert!(compare_events(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, false).is_err());
    }
}
