//! A file system in memory that can be crashed.
//!
//! Every file knows its synced content and, in blocks of 512 bytes, each version written since;
//! every directory knows its synced names and the changes since. [`MemFs::crash`] builds a new
//! file system from what a power cut may leave:
//!
//! - synced bytes and names are always there;
//! - each unsynced block is there in any of its versions, independently of other blocks: a
//!   sector is written whole or not at all, and in no order;
//! - an unsynced length is any of those that the file had since its last sync. Cut bytes never
//!   come back as part of a later, greater length;
//! - of the unsynced changes to one directory a prefix is there, as with a journal. A file that
//!   moves between directories is never lost, but may be seen in both.
//!
//! A new file is not found after a crash until its directory is synced, however often the file
//! was. Real file systems are often kinder, which nobody should rely on.
//!
//! [`MemFs::fail_sync`] makes a sync fail as Linux does: what was to be written can still be read,
//! is taken for written, and is gone after a crash even if a later sync succeeds.
//!
//! [`MemFs::stop_after`] stops the world after a number of operations, so that a test can crash
//! a script at each of its steps. Only operations that change something are counted.

mod content;
mod directory;
mod random;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{File, FileSystem, Lock, OpenMode};
use content::Content;
use directory::{Directory, Node};

/// What survives of the bytes, lengths and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Nothing.
    KeepSynced,
    /// Everything, as if only the process had died.
    KeepAll,
    /// A part chosen by the seed, within the limits in the module's description.
    Subset {
        /// Decides what survives; the same seed decides the same for the same history.
        seed: u64,
    },
}

/// A file system in memory. Clones are handles to the same files.
#[derive(Clone)]
pub struct MemFs {
    state: Arc<Mutex<State>>,
}

/// The tree is only walked and changed under the lock of the state; files have their own locks.
struct State {
    root: Arc<Mutex<Directory>>,
    /// Identities of the locked nodes. A lock keeps its node alive, so they are unambiguous.
    locked: BTreeSet<usize>,
    /// Numbers the changes to names, so that the two halves of a move find each other.
    changes: u64,
    ops: u64,
    stop_after: Option<u64>,
    stopped: bool,
    /// How many syncs of files remain until one fails.
    failing_sync: Option<u64>,
}

impl MemFs {
    /// Creates an empty file system. Its root directory is `/`, and relative paths begin there.
    #[must_use]
    pub fn new() -> Self {
        Self::with_root(Directory::default())
    }

    fn with_root(root: Directory) -> Self {
        let state = State {
            root: Arc::new(Mutex::new(root)),
            locked: BTreeSet::new(),
            changes: 0,
            ops: 0,
            stop_after: None,
            stopped: false,
            failing_sync: None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Returns the file system as it is found after a crash at this moment. This one and its
    /// open files stay as they are. The new one has no locks, and counts operations from 0.
    #[must_use]
    pub fn crash(&self, mode: CrashMode) -> Self {
        Self::with_root(directory::after_crash(&self.state().root, mode))
    }

    /// Returns how many operations have changed something so far.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// Stops the world after `ops` changing operations, counted from the start: the next one
    /// has no effect and fails, and so does every operation after it.
    pub fn stop_after(&self, ops: u64) {
        self.state().stop_after = Some(ops);
    }

    /// Returns true if an operation was refused because of [`MemFs::stop_after`].
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state().stopped
    }

    /// Makes the `n`-th sync of a file from now fail (1 is the next), and lose what it was for.
    pub fn fail_sync(&self, n: u64) {
        self.state().failing_sync = Some(n);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Default for MemFs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemFs").field("ops", &self.ops()).finish_non_exhaustive()
    }
}

impl State {
    fn check_running(&self) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        Ok(())
    }

    /// Counts a changing operation, or refuses it.
    fn count_op(&mut self) -> io::Result<()> {
        if self.stop_after.is_some_and(|limit| self.ops >= limit) {
            self.stopped = true;
        }
        self.check_running()?;
        self.ops += 1;
        Ok(())
    }

    /// Returns true if this sync must fail.
    fn sync_fails(&mut self) -> bool {
        self.failing_sync = self.failing_sync.map(|remaining| remaining.saturating_sub(1));
        self.failing_sync.take_if(|remaining| *remaining == 0).is_some()
    }

    fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Finds the node at a path.
    fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Directory(Arc::clone(&self.root));
        for name in names_of(path)? {
            let child = lock(node.directory()?).get(name).cloned();
            node = child.ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// Finds the directory that holds a path, and the path's last name.
    fn find_parent<'a>(&self, path: &'a Path) -> io::Result<(Arc<Mutex<Directory>>, &'a str)> {
        let names = names_of(path)?;
        let name = names.last().copied().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((Arc::clone(parent.directory()?), name))
    }

    fn create_file(&mut self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        let (parent, name) = self.find_parent(path)?;
        let existing = lock(&parent).get(name).cloned();
        if let Some(node) = existing {
            return Ok(Arc::clone(node.file()?));
        }
        let content = Arc::new(Mutex::new(Content::default()));
        let change = self.next_change();
        lock(&parent).insert(change, name, Node::File(Arc::clone(&content)));
        Ok(content)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_parent, old_name) = self.find_parent(from)?;
        let (new_parent, new_name) = self.find_parent(to)?;
        let node = lock(&old_parent).get(old_name).cloned().ok_or(io::ErrorKind::NotFound)?;
        if names_of(to)?.starts_with(&names_of(from)?) {
            // A file renamed to itself stays; a directory cannot move into itself.
            return if names_of(to)?.len() == names_of(from)?.len() {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidInput.into())
            };
        }
        let replaced = lock(&new_parent).get(new_name).cloned();
        if let Some(replaced) = replaced {
            match (&node, &replaced) {
                (Node::File(_), Node::File(_)) => {}
                (Node::Directory(_), Node::Directory(target)) => lock(target).check_empty()?,
                (Node::File(_), Node::Directory(_)) => {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                (Node::Directory(_), Node::File(_)) => {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
        }
        let change = self.next_change();
        if Arc::ptr_eq(&old_parent, &new_parent) {
            lock(&old_parent).rename(change, old_name, new_name, node);
        } else {
            lock(&new_parent).insert(change, new_name, node);
            lock(&old_parent).remove(change, old_name);
        }
        Ok(())
    }
}

/// Splits a path into names. `..` is refused: no caller needs it, and it hides mistakes.
fn names_of(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds a lock of the file system")
}

impl FileSystem for MemFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count_op()?;
        let mut directory = Arc::clone(&state.root);
        for name in names_of(path)? {
            let child = lock(&directory).get(name).cloned();
            let child = match child {
                Some(node) => Arc::clone(node.directory()?),
                None => {
                    let new = Arc::new(Mutex::new(Directory::default()));
                    let change = state.next_change();
                    lock(&directory).insert(change, name, Node::Directory(Arc::clone(&new)));
                    new
                }
            };
            directory = child;
        }
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.count_op()?;
        let content = state.create_file(path)?;
        lock(&content).set_len(0);
        Ok(Box::new(MemFile { fs: self.clone(), content, mode: OpenMode::ReadWrite }))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let state = self.state();
        state.check_running()?;
        let content = Arc::clone(state.find(path)?.file()?);
        Ok(Box::new(MemFile { fs: self.clone(), content, mode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count_op()?;
        state.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count_op()?;
        let (parent, name) = state.find_parent(path)?;
        let node = lock(&parent).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        if let Node::Directory(directory) = &node {
            lock(directory).check_empty()?;
        }
        let change = state.next_change();
        lock(&parent).remove(change, name);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_running()?;
        let node = state.find(dir)?;
        let names = lock(node.directory()?).names();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.count_op()?;
        let node = state.find(dir)?;
        lock(node.directory()?).sync();
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.state();
        state.check_running()?;
        match state.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut state = self.state();
        state.check_running()?;
        let node = match state.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.count_op()?;
                Node::File(state.create_file(path)?)
            }
            other => other?,
        };
        if !state.locked.insert(node.identity()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { state: Arc::clone(&self.state), node }))
    }
}

/// An open file. It outlives its name, as files do.
#[derive(Debug)]
struct MemFile {
    fs: MemFs,
    content: Arc<Mutex<Content>>,
    mode: OpenMode,
}

impl MemFile {
    /// Counts a change, and returns the content to make it on.
    fn change(&self) -> io::Result<MutexGuard<'_, Content>> {
        if self.mode == OpenMode::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.fs.state().count_op()?;
        Ok(lock(&self.content))
    }

    fn look(&self) -> io::Result<MutexGuard<'_, Content>> {
        self.fs.state().check_running()?;
        Ok(lock(&self.content))
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.look()?.read(buf, offset))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.change()?.write(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.fs.state();
        state.count_op()?;
        if state.sync_fails() {
            lock(&self.content).lose_unsynced();
            return Err(io::Error::other("the simulated device failed"));
        }
        lock(&self.content).sync();
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change()?.set_len(len);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.look()?.len())
    }
}

struct MemLock {
    state: Arc<Mutex<State>>,
    node: Node,
}

impl fmt::Debug for MemLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemLock").finish_non_exhaustive()
    }
}

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        lock(&self.state).locked.remove(&self.node.identity());
    }
}
