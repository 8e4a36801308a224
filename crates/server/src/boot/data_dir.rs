//! The data directory before a member opens it: is it one, is it private, can it be written?
//!
//! The texts are etcd's, and so is the order: what lies in the directory is looked at before a port
//! is bound, and its permissions before the log is opened.
//!
//! Not here: what is in the files.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::config::go_io_error;
use crate::log;

/// The permissions of directories that hold data: their owner's alone.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// The permissions among the bits of a mode.
const PERMISSIONS: u32 = 0o777;
/// The directory of the proxy of etcd 2, which no etcd serves any more.
const PROXY: &str = "proxy";
const MEMBER: &str = "member";

/// The data directory cannot be one of a member. It has been said.
pub(super) struct Unusable;

/// Looks at what lies in the directory. One that is not there yet is as good as an empty one.
pub(super) fn identify(dir: &str) -> Result<(), Unusable> {
    let names = match list(Path::new(dir)) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let error = format!("open {dir}: {}", go_io_error(&error));
            log::fatal!("failed to list data directory", "dir" => dir.to_owned(), "error" => error);
            return Err(Unusable);
        }
    };
    let has = |name: &str| names.iter().any(|known| known == name);
    for name in names.iter().filter(|name| ![MEMBER, PROXY].contains(&name.as_str())) {
        log::warn!("found invalid file under data directory",
            "filename" => name, "data-dir" => dir.to_owned());
    }
    match (has(MEMBER), has(PROXY)) {
        (true, true) => {
            log::fatal!("invalid datadir; both member and proxy directories exist");
            Err(Unusable)
        }
        (false, true) => {
            log::fatal!("v2 http proxy has already been deprecated in 3.6", "dir-type" => PROXY);
            Err(Unusable)
        }
        (true | false, false) => Ok(()),
    }
}

/// Returns the names in a directory in order.
fn list(dir: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    let mut names = fs::read_dir(dir)?.map(name).collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}

/// Makes the directories that are missing, and warns of those that others may read.
///
/// # Errors
/// Returns the reason, in Go's words, if one of them cannot be written.
pub(super) fn prepare(data_dir: &Path) -> Result<(), String> {
    touch(data_dir).map_err(|reason| format!("cannot access data directory: {reason}"))?;
    let member_dir = data_dir.join(MEMBER);
    touch(&member_dir).map_err(|reason| format!("cannot access member directory: {reason}"))
}

fn touch(dir: &Path) -> Result<(), String> {
    let failed = |what: &str, path: &Path, error: io::Error| {
        format!("{what} {}: {}", path.display(), go_io_error(&error))
    };
    match fs::metadata(dir) {
        Ok(found) => {
            if found.mode() & PERMISSIONS != PRIVATE_DIR {
                let error = format!(
                    "directory \"{}\" exist, but the permission is \"{}\". The recommended permission \
                     is \"{}\" to prevent possible unprivileged access to the data",
                    dir.display(),
                    mode_text(found.mode(), found.is_dir()),
                    mode_text(PRIVATE_DIR, false),
                );
                log::warn!("check file permission", "error" => error);
            }
        }
        Err(_) => {
            let made = fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir);
            made.map_err(|error| failed("mkdir", dir, error))?;
        }
    }
    let probe = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).join(".touch");
    let mut options = fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(PRIVATE_FILE).open(&probe);
    opened.map_err(|error| failed("open", &probe, error))?;
    fs::remove_file(&probe).map_err(|error| failed("remove", &probe, error))
}

/// Writes a mode as Go does.
fn mode_text(mode: u32, is_dir: bool) -> String {
    const KINDS: [(u32, char); 3] = [(0o4000, 'u'), (0o2000, 'g'), (0o1000, 't')];
    let mut text = if is_dir { "d".to_owned() } else { String::new() };
    text.extend(KINDS.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, letter)| letter));
    if text.is_empty() {
        text.push('-');
    }
    for (place, letter) in "rwxrwxrwx".chars().enumerate() {
        let is_set = mode & (0o400 >> place) != 0;
        text.push(if is_set { letter } else { '-' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::mode_text;

    #[test]
    fn modes_are_written_as_go_writes_them() {
        assert_eq!(mode_text(0o40755, true), "drwxr-xr-x");
        assert_eq!(mode_text(0o42750, true), "dgrwxr-x---");
        assert_eq!(mode_text(0o41777, true), "dtrwxrwxrwx");
        assert_eq!(mode_text(0o700, false), "-rwx------");
        assert_eq!(mode_text(0o500, true), "dr-x------");
    }
}
