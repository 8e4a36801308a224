//! A file system in memory that calls somebody before each operation that changes something.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use quoin_vfs::{File, FileSystem, Lock, MemFs, OpenMode};

/// Told before each operation that changes something.
pub(crate) type Hook = Arc<dyn Fn(&MemFs) + Send + Sync>;

/// The file system.
#[derive(Clone)]
pub(crate) struct HookFs {
    pub(crate) disk: MemFs,
    pub(crate) hook: Hook,
}

impl fmt::Debug for HookFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(f)
    }
}

#[derive(Debug)]
struct HookFile {
    fs: HookFs,
    file: Box<dyn File>,
}

impl HookFs {
    fn changes(&self) -> &MemFs {
        (self.hook)(&self.disk);
        &self.disk
    }

    fn wrap(&self, file: Box<dyn File>) -> Box<dyn File> {
        Box::new(HookFile { fs: self.clone(), file })
    }
}

impl FileSystem for HookFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.changes().create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.changes().create(path).map(|file| self.wrap(file))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.disk.open(path, mode).map(|file| self.wrap(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changes().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.changes().remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.changes().sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.disk.lock(path)
    }
}

impl File for HookFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.fs.changes();
        self.file.write_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.changes();
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.fs.changes();
        self.file.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.changes();
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
