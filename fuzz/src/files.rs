//! Files in memory.

use std::path::Path;

use quoin_vfs::{FileSystem, MemFs, OpenMode};

/// A file system with these files in one directory.
pub(crate) fn with_files<'a>(
    dir: &Path,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir_all(dir).expect("memory has room");
    for (name, bytes) in files {
        let file = fs.create(&dir.join(name)).expect("memory has room");
        file.write_at(bytes, 0).expect("memory has room");
    }
    fs
}

/// All files of a directory by name, with their bytes.
pub(crate) fn files_of(fs: &MemFs, dir: &Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let file = fs.open(&dir.join(&name), OpenMode::Read).expect("the file was listed");
        let length = file.len().expect("memory can be read");
        let mut bytes = vec![0; usize::try_from(length).expect("the file is in memory")];
        file.read_exact_at(&mut bytes, 0).expect("memory can be read");
        (name, bytes)
    };
    fs.list(dir).expect("the directory was made").into_iter().map(read).collect()
}
