//! The words that requests are made of, as they stand in a target or in a form.

/// Directories of most keys, and what is in them.
pub(super) const DIRECTORIES: &[&str] = &["a", "b", "_h"];
pub(super) const FILES: &[&str] = &["f", "g", "h", "_i"];
/// Components of a few keys, as they stand in a target.
pub(super) const ODD: &[&str] = &[
    "",
    ".",
    "..",
    "%2e%2e",
    "%2F",
    "a%2Fb",
    "d%20e",
    "d+e",
    "%C3%BC",
    "%3Cx%3E&y",
    "%22q%22",
    "%5C",
    "%ff",
    "%00",
    "%7F",
    "_",
    "__h",
    "a_",
    "1",
    "00000000000000000007",
    "~!$&'()*,;=:@",
    "%E2%80%A8",
    "a%",
    "%zz",
    "\u{fc}",
    "{x}",
    "a|b",
    "\"q\"",
    "[]",
    "very-long-component-very-long-component-very-long-component-very-long-component",
];
/// Values, as they stand in a form.
pub(super) const VALUES: &[&str] = &[
    "1",
    "2",
    "v",
    "",
    "two+words",
    "%3Ca%3E%26b",
    "%C3%BC",
    "%E2%80%A8%E2%80%A9",
    "%ff%fe",
    "%00%01%1f%7f",
    "%22%5C%2F%08%0C%0A%0D%09",
    "%F0%9F%A6%80",
    "%7B%22json%22%3Atrue%7D",
];
pub(super) const TRUE: &[&str] = &["true", "1", "t", "T", "TRUE", "True"];
pub(super) const FALSE: &[&str] = &["false", "0", "f", "F", "FALSE", "False"];
pub(super) const NO_BOOL: &[&str] = &["", "yes", "tRUE", "2", "%20true"];
pub(super) const NO_NUMBER: &[&str] =
    &["", "-1", "abc", "1.5", "0x10", "+7", "18446744073709551616", "1_0"];
