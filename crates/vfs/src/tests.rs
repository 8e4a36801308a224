//! What every file system must do, checked on each of them, and the faults.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Fault, FaultFs, FileSystem, MemFs, OpKind, OpenMode, OsFs};

/// A directory of the operating system that is removed at the end of a test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("quoin-vfs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn kind<T>(result: io::Result<T>) -> io::ErrorKind {
    match result {
        Ok(_) => panic!("expected an error"),
        Err(error) => error.kind(),
    }
}

fn check_contract(fs: &dyn FileSystem, root: &Path) {
    let dir = root.join("a/b");
    fs.create_dir_all(&dir).unwrap();
    fs.create_dir_all(&dir).unwrap();
    assert_eq!(fs.list(&dir).unwrap(), [""; 0]);

    check_files(fs, &dir);
    check_names(fs, &dir);
    check_locks(fs, &dir);
}

fn check_files(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("file");
    assert_eq!(kind(fs.open(&path, OpenMode::ReadWrite)), io::ErrorKind::NotFound);
    let file = fs.create(&path).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_at(b"world", 1000).unwrap();
    file.write_at(b"hello", 0).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    assert_eq!(file.len().unwrap(), 1005);

    let reader = fs.open(&path, OpenMode::Read).unwrap();
    let mut buf = [1; 10];
    reader.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"hello\0\0\0\0\0");
    assert_eq!(reader.read_at(&mut buf, 1003).unwrap(), 2);
    assert_eq!(reader.read_at(&mut buf, 1005).unwrap(), 0);
    assert_eq!(reader.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(kind(reader.read_exact_at(&mut buf, 1000)), io::ErrorKind::UnexpectedEof);
    reader.write_at(b"x", 0).unwrap_err();

    file.set_len(3).unwrap();
    file.set_len(6).unwrap();
    let mut buf = [1; 6];
    reader.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"hel\0\0\0");

    fs.create(&path).unwrap();
    assert_eq!(reader.len().unwrap(), 0);
}

fn check_names(fs: &dyn FileSystem, dir: &Path) {
    fs.create(&dir.join("from")).unwrap().write_at(b"1", 0).unwrap();
    fs.create(&dir.join("to")).unwrap();
    let replaced = fs.open(&dir.join("to"), OpenMode::ReadWrite).unwrap();
    fs.rename(&dir.join("from"), &dir.join("to")).unwrap();
    assert_eq!(fs.list(dir).unwrap(), ["file", "to"]);
    assert_eq!(fs.open(&dir.join("to"), OpenMode::Read).unwrap().len().unwrap(), 1);
    // The replaced file has lost its name, and lives on for who has it open.
    replaced.write_at(b"22", 0).unwrap();
    assert_eq!(replaced.len().unwrap(), 2);

    fs.create_dir_all(&dir.join("old")).unwrap();
    fs.create(&dir.join("old/inside")).unwrap();
    fs.create_dir_all(&dir.join("new")).unwrap();
    fs.rename(&dir.join("old"), &dir.join("new")).unwrap();
    assert!(fs.exists(&dir.join("new/inside")).unwrap());
    assert!(!fs.exists(&dir.join("old")).unwrap());
    assert_eq!(kind(fs.remove(&dir.join("new"))), io::ErrorKind::DirectoryNotEmpty);
    fs.create_dir_all(&dir.join("other")).unwrap();
    let onto_full = fs.rename(&dir.join("other"), &dir.join("new"));
    assert_eq!(kind(onto_full), io::ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(fs.rename(&dir.join("new"), &dir.join("new/x"))), io::ErrorKind::InvalidInput);
    assert_eq!(kind(fs.rename(&dir.join("to"), &dir.join("new"))), io::ErrorKind::IsADirectory);
    assert_eq!(kind(fs.rename(&dir.join("new"), &dir.join("to"))), io::ErrorKind::NotADirectory);
    assert_eq!(kind(fs.rename(&dir.join("none"), &dir.join("x"))), io::ErrorKind::NotFound);

    fs.rename(&dir.join("to"), &dir.join("new/to")).unwrap();
    fs.sync_dir(dir).unwrap();
    assert_eq!(fs.list(&dir.join("new")).unwrap(), ["inside", "to"]);
    fs.remove(&dir.join("new/inside")).unwrap();
    fs.remove(&dir.join("new/to")).unwrap();
    fs.remove(&dir.join("new")).unwrap();
    fs.remove(&dir.join("other")).unwrap();
    assert_eq!(kind(fs.remove(&dir.join("none"))), io::ErrorKind::NotFound);
    assert_eq!(kind(fs.list(&dir.join("none"))), io::ErrorKind::NotFound);
    assert_eq!(fs.list(dir).unwrap(), ["file"]);
}

fn check_locks(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("lock");
    let lock = fs.lock(&path).unwrap();
    assert_eq!(kind(fs.lock(&path)), io::ErrorKind::WouldBlock);
    drop(lock);
    drop(fs.lock(&path).unwrap());

    fs.create_dir_all(&dir.join("locked")).unwrap();
    let lock = fs.lock(&dir.join("locked")).unwrap();
    fs.rename(&dir.join("locked"), &dir.join("moved")).unwrap();
    assert_eq!(kind(fs.lock(&dir.join("moved"))), io::ErrorKind::WouldBlock);
    drop(lock);
    drop(fs.lock(&dir.join("moved")).unwrap());
}

#[test]
fn every_file_system_keeps_the_contract() {
    let scratch = Scratch::new("contract");
    check_contract(&OsFs, &scratch.0);
    check_contract(&MemFs::new(), Path::new("/"));
    check_contract(&FaultFs::new(Arc::new(MemFs::new())), Path::new("/"));
}

#[test]
fn files_and_directories_belong_to_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("modes");
    OsFs.create_dir_all(&scratch.0.join("x/y")).unwrap();
    OsFs.create(&scratch.0.join("x/f")).unwrap();
    drop(OsFs.lock(&scratch.0.join("x/l")).unwrap());
    let mode = |name| {
        let metadata = std::fs::metadata(scratch.0.join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!([mode("x"), mode("x/y"), mode("x/f"), mode("x/l")], [0o700, 0o700, 0o600, 0o600]);
}

#[test]
fn faults_hit_the_chosen_operation_and_change_nothing() {
    let fs = FaultFs::new(Arc::new(MemFs::new()));
    let file = fs.create(Path::new("f")).unwrap();
    assert_eq!(fs.count(), 1);

    fs.count_only(&[OpKind::Write]);
    fs.fail_nth(2, Fault::NoSpace);
    file.write_at(b"a", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(kind(file.write_at(b"b", 0)), io::ErrorKind::StorageFull);
    file.write_at(b"c", 1).unwrap();
    let mut buf = [0; 2];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!((&buf, fs.count(), fs.failed()), (b"ac", 3, 1));

    fs.count_only(&OpKind::ALL);
    fs.fail_after(1, Fault::Device);
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    fs.open(Path::new("f"), OpenMode::Read).unwrap_err();
    fs.heal();
    fs.open(Path::new("f"), OpenMode::Read).unwrap();
}
