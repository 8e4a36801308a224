//! Versions of etcd to go to, as users write them.

use quoin_cli::exit::Exit;
use quoin_cli::text::quote;

/// Reads `X.Y`, which must not be before `oldest`, in the words of etcdutl.
pub(crate) fn read(text: &str, oldest: (u64, u64)) -> Result<(u64, u64), Exit> {
    let numbers: Vec<&str> = text.split('.').collect();
    let [major, minor] = numbers.as_slice() else {
        let text = quote(text.as_bytes());
        return Err(Exit::bad_arguments(format!(
            "wrong target version format, expected \"X.Y\", got {text}"
        )));
    };
    let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else {
        let text = quote(text.as_bytes());
        return Err(Exit::bad_arguments(format!("failed to parse target version: {text}")));
    };
    if (major, minor) < oldest {
        let oldest = format!("{}.{}", oldest.0, oldest.1);
        let message =
            format!("target version \"{major}.{minor}\" not supported. Minimal {oldest:?}");
        return Err(Exit::bad_arguments(message));
    }
    Ok((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        assert_eq!(read(text, (3, 5)), Err(Exit::bad_arguments(expected)));
    }

    #[test]
    fn versions_have_two_numbers() {
        assert_eq!(read("3.6", (3, 5)), Ok((3, 6)));
        refused("3", "wrong target version format, expected \"X.Y\", got \"3\"");
        refused("3.6.1", "wrong target version format, expected \"X.Y\", got \"3.6.1\"");
        refused("3.4", "target version \"3.4\" not supported. Minimal \"3.5\"");
        refused("3.x", "failed to parse target version: \"3.x\"");
    }
}
