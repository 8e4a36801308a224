//! `snapshot status`: what a snapshot holds.
//!
//! Every page and every row is read, so a file that gets a status can be restored.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use quoin_api::mvccpb::KeyValue;
use quoin_bolt::{Db, Pair};
use quoin_cli::exit::Exit;
use quoin_vfs::FileSystem;

use crate::Invocation;
use crate::files::{check_exists, check_sum, path_of};
use crate::printer::{self, Format, Status};

pub(super) const HELP: &str = "\
Shows what a snapshot holds.

The simple output has these columns separated by commas: hash, revision, number of keys, size,
version of the storage. A file that is cut off or damaged is refused.
";

/// The length of the key of a row: main revision, a sign, sub revision. A deletion has one more.
const ROW_KEY_BYTES: usize = 17;

pub(super) fn run(invocation: &Invocation) -> Result<(), Exit> {
    let [path] = invocation.arguments.as_slice() else {
        return Err(Exit::bad_arguments("snapshot status requires exactly one argument"));
    };
    let (fs, path) = (invocation.fs.as_ref(), path_of(path));
    check_exists(fs, &path).map_err(Exit::failure)?;
    let format = Format::read(&invocation.flags)?;
    let status = status(fs, &path).map_err(Exit::failure)?;
    printer::status(format, &status)
}

fn status(fs: &dyn FileSystem, path: &Path) -> Result<Status, String> {
    check_sum(fs, path)?;
    let db = Db::open(fs, path).map_err(|error| error.to_string())?;
    let mut count = Count::default();
    for bucket in db.buckets() {
        let (name, bucket) = bucket.map_err(|error| error.to_string())?;
        count.hash = crc32c::crc32c_append(count.hash, &name);
        for pair in bucket.pairs() {
            count.add(&name, &pair.map_err(|error| error.to_string())?, path)?;
        }
    }
    Ok(Status {
        hash: count.hash,
        revision: count.revision,
        total_keys: count.keys.len() as u64,
        total_bytes: db.pages().saturating_mul(u64::from(db.page_bytes())),
        version: count.version,
    })
}

#[derive(Default)]
struct Count {
    hash: u32,
    revision: i64,
    keys: BTreeSet<Bytes>,
    version: String,
}

impl Count {
    fn add(&mut self, bucket: &[u8], pair: &Pair, path: &Path) -> Result<(), String> {
        let Pair { key, value, .. } = pair;
        self.hash = crc32c::crc32c_append(crc32c::crc32c_append(self.hash, key), value);
        match bucket {
            b"key" => self.add_row(key, value).ok_or_else(|| {
                format!("{path:?} has a bad row in bucket \"key\": not a record of a revision")
            }),
            b"meta" if key.as_ref() == b"storageVersion" => {
                self.version = String::from_utf8_lossy(value).into_owned();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn add_row(&mut self, key: &Bytes, value: &Bytes) -> Option<()> {
        let is_deletion = match key.len().checked_sub(ROW_KEY_BYTES)? {
            0 => false,
            1 => key.last() == Some(&b't'),
            _ => return None,
        };
        self.revision = i64::from_be_bytes(*key.first_chunk()?);
        // A page is freed as a whole, so a key that shared it would keep all of it.
        let pair = KeyValue::decode(value.clone()).ok()?;
        let key = Bytes::copy_from_slice(&pair.key);
        if is_deletion {
            self.keys.remove(&key);
        } else {
            self.keys.insert(key);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::restore::tests::{SNAPSHOT, saved};

    #[test]
    fn a_snapshot_is_counted() {
        let fs = saved();
        let status = status(&fs, Path::new(SNAPSHOT)).unwrap();
        assert_eq!((status.revision, status.total_keys), (5, 2));
        assert_eq!(status.total_bytes % 4096, 0);
    }

    #[test]
    fn no_damaged_byte_passes() {
        let fs = saved();
        let file = fs.open(Path::new(SNAPSHOT), quoin_vfs::OpenMode::ReadWrite).unwrap();
        for offset in (0..file.len().unwrap()).step_by(97) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            file.write_at(&[byte[0] ^ 0x10], offset).unwrap();
            let error = status(&fs, Path::new(SNAPSHOT)).unwrap_err();
            assert!(error.contains(SNAPSHOT), "byte {offset}: {error}");
            file.write_at(&byte, offset).unwrap();
        }
        status(&fs, Path::new(SNAPSHOT)).unwrap();
    }

    #[test]
    fn a_file_that_was_cut_off_is_refused() {
        let fs = saved();
        let file = fs.open(Path::new(SNAPSHOT), quoin_vfs::OpenMode::ReadWrite).unwrap();
        // The checksum alone may be missing: then the pages speak for themselves.
        file.set_len(file.len().unwrap() - 32).unwrap();
        status(&fs, Path::new(SNAPSHOT)).unwrap();
        for length in [0, 100, 4096, 8192, file.len().unwrap() - 4096] {
            file.set_len(length).unwrap();
            let error = status(&fs, Path::new(SNAPSHOT)).unwrap_err();
            assert!(error.contains(SNAPSHOT), "{length}: {error}");
        }
    }
}
