//! Files as the tool needs them: errors in the words of Go, and the checksum behind a snapshot.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use quoin_vfs::{File, FileSystem, OpenMode};
use sha2::{Digest, Sha256};

/// The length of the checksum.
const CHECKSUM: usize = 32;
/// Databases are whole pages, which are multiples of this, the size of a disk's sector: what is
/// left of a snapshot beyond them is the checksum.
const SECTOR: u64 = 512;
/// Bytes that are read at once.
const CHUNK: usize = 64 * 1024;

/// A path as it stands on the command line.
pub(crate) fn path_of(argument: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(argument))
}

/// Words a failure as Go does.
pub(crate) fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    let text = error.to_string();
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => text.split(" (os error").next().unwrap_or(&text).to_lowercase(),
    };
    format!("{what} {}: {reason}", path.display())
}

/// Fails if there is no such file.
pub(crate) fn check_exists(fs: &dyn FileSystem, path: &Path) -> Result<(), String> {
    match fs.exists(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed("stat", path, &io::ErrorKind::NotFound.into())),
        Err(error) => Err(failed("stat", path, &error)),
    }
}

/// What stands behind the pages of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// No checksum: the file is not from the snapshot API, or it was cut off.
    Missing,
    /// The right one.
    Right,
}

/// Compares a file with the checksum behind it.
pub(crate) fn check_sum(fs: &dyn FileSystem, path: &Path) -> Result<Checksum, String> {
    let file = fs.open(path, OpenMode::Read).map_err(|error| failed("open", path, &error))?;
    let read = |error: io::Error| failed("read", path, &error);
    let bytes = file.len().map_err(read)?;
    if bytes % SECTOR != CHECKSUM as u64 {
        return Ok(Checksum::Missing);
    }
    let end = bytes - CHECKSUM as u64;
    let mut expected = [0; CHECKSUM];
    file.read_exact_at(&mut expected, end).map_err(read)?;
    let found = sum_of(file.as_ref(), end).map_err(read)?;
    if found == expected {
        return Ok(Checksum::Right);
    }
    let (expected, found) = (decimal(&expected), decimal(&found));
    Err(format!("expected sha256 {expected}, got {found}: {} is damaged", path.display()))
}

fn sum_of(file: &dyn File, end: u64) -> io::Result<[u8; CHECKSUM]> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    while offset < end {
        let length = usize::try_from(end - offset).unwrap_or(CHUNK).min(CHUNK);
        file.read_exact_at(&mut chunk[..length], offset)?;
        hash.update(&chunk[..length]);
        offset += length as u64;
    }
    Ok(hash.finalize().into())
}

/// Bytes as Go prints them.
fn decimal(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", bytes.join(" "))
}

/// Creates a directory that a crash does not take away again: what becomes durable in it is lost
/// with its name, or with the name of one above it.
pub(crate) fn create_dir_durably(fs: &dyn FileSystem, path: &Path) -> Result<(), String> {
    let make = || {
        let mut unsynced = Vec::new();
        for dir in path.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            if fs.exists(dir)? {
                break;
            }
            unsynced.push(parent_of(dir));
        }
        fs.create_dir_all(path)?;
        unsynced.iter().rev().try_for_each(|dir| fs.sync_dir(dir))
    };
    make().map_err(|error| failed("mkdir", path, &error))
}

/// The directory that holds a name.
pub(crate) fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use quoin_vfs::MemFs;

    use super::*;

    fn written(bytes: &[u8]) -> MemFs {
        let fs = MemFs::new();
        fs.create(Path::new("f")).unwrap().write_at(bytes, 0).unwrap();
        fs
    }

    #[test]
    fn the_checksum_tells_a_whole_file() {
        let pages = vec![7; 1024];
        let sum = Sha256::digest(&pages);
        let check = |bytes: &[u8]| check_sum(&written(bytes), Path::new("f"));
        assert_eq!(check(&[pages.as_slice(), &sum].concat()), Ok(Checksum::Right));
        assert_eq!(check(&pages), Ok(Checksum::Missing));
        assert_eq!(check(&[]), Ok(Checksum::Missing));
        let mut flipped = [pages.as_slice(), &sum].concat();
        flipped[100] ^= 1;
        let error = check(&flipped).unwrap_err();
        assert!(error.starts_with("expected sha256 [") && error.ends_with(": f is damaged"));
    }

    #[test]
    fn failures_are_in_the_words_of_go() {
        let fs = MemFs::new();
        let path = Path::new("no/file");
        let missing = "no/file: no such file or directory";
        assert_eq!(check_exists(&fs, path), Err(format!("stat {missing}")));
        assert_eq!(check_sum(&fs, path), Err(format!("open {missing}")));
    }
}
