//! Times as Go writes them into JSON: RFC 3339 with as many digits of a second as are needed.
//!
//! Not here: what time it is.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How Go writes that there is no time: the first second of its calendar, and that in seconds since the
/// epoch.
pub(super) const NONE: &str = "0001-01-01T00:00:00Z";
const NONE_S: i64 = -62_135_596_800;

/// A time in UTC, from nanoseconds since the epoch.
pub(super) fn format(time_ns: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(time_ns.into());
    let text = time.expect("the years 1677 to 2262").format(&Rfc3339);
    text.expect("years of four digits have this form")
}

/// Reads a time with any offset. `Some(None)` stands for no time; none is returned for what is not a
/// time, or one that nanoseconds since the epoch cannot express.
pub(super) fn parse(text: &[u8]) -> Option<Option<i64>> {
    let time = OffsetDateTime::parse(std::str::from_utf8(text).ok()?, &Rfc3339).ok()?;
    if (time.unix_timestamp(), time.nanosecond()) == (NONE_S, 0) {
        return Some(None);
    }
    i64::try_from(time.unix_timestamp_nanos()).ok().map(Some)
}
