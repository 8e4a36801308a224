//! Ranges of keys as the flags of a command describe them.

use bytes::Bytes;

use crate::exit::Exit;
use crate::flags::{Argument, Values};

/// The end of a range that has none, and the key before all others.
pub(super) const ZERO: &[u8] = b"\0";

/// The keys that a command means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) key: Bytes,
    /// Empty for the one key.
    pub(crate) range_end: Bytes,
}

impl Keys {
    /// Reads `key [range_end]` and the flags `--prefix` and `--from-key`, of which a user may
    /// choose one. `key` must be the first of `arguments`.
    pub(crate) fn read(key: &Argument, more: &[Argument], flags: &Values) -> Result<Self, Exit> {
        let (prefix, from_key) = (flags.bool("prefix"), flags.bool("from-key"));
        let key = Bytes::copy_from_slice(key);
        let range_end = match more.first() {
            Some(_) if prefix || from_key => {
                return Err(Exit::bad_arguments(
                    "too many arguments, only accept one argument when `--prefix` or \
                     `--from-key` is set",
                ));
            }
            Some(end) => Bytes::copy_from_slice(end),
            None => Bytes::new(),
        };
        if key.is_empty() && (prefix || from_key) {
            return Ok(Self { key: Bytes::from_static(ZERO), range_end: Bytes::from_static(ZERO) });
        }
        if from_key {
            return Ok(Self { key, range_end: Bytes::from_static(ZERO) });
        }
        if prefix {
            let range_end = prefix_end(&key);
            return Ok(Self { key, range_end });
        }
        Ok(Self { key, range_end })
    }
}

/// Fails if the user asks for a prefix and for all keys from one on.
pub(crate) fn check_choice(flags: &Values) -> Result<(), Exit> {
    if flags.bool("prefix") && flags.bool("from-key") {
        return Err(Exit::bad_arguments(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one",
        ));
    }
    Ok(())
}

/// The first key behind all keys with the prefix.
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end.into();
        }
    }
    Bytes::from_static(ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(prefix_end(b"a"), "b");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff"), "\0");
    }
}
