//! A file system that fails on demand.
//!
//! Every operation has a number, from 1, in the order in which it is called. A test runs a
//! script once to learn how many operations it takes, and again with a failure at each of them.
//! An operation that fails has no effect on the file system below.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::{File, FileSystem, Lock, OpenMode};

/// The operations that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpKind {
    /// [`FileSystem::create_dir_all`].
    CreateDir,
    /// [`FileSystem::create`].
    Create,
    /// [`FileSystem::open`].
    Open,
    /// [`FileSystem::rename`].
    Rename,
    /// [`FileSystem::remove`].
    Remove,
    /// [`FileSystem::list`] and [`FileSystem::exists`].
    List,
    /// [`FileSystem::sync_dir`].
    SyncDir,
    /// [`FileSystem::lock`].
    Lock,
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::sync_data`] and [`File::sync_all`].
    Sync,
    /// [`File::set_len`].
    SetLen,
    /// [`File::len`].
    Len,
}

impl OpKind {
    /// Every kind of operation.
    pub const ALL: [Self; 13] = [
        Self::CreateDir,
        Self::Create,
        Self::Open,
        Self::Rename,
        Self::Remove,
        Self::List,
        Self::SyncDir,
        Self::Lock,
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::SetLen,
        Self::Len,
    ];
}

/// What a failing operation reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device failed (EIO).
    Device,
    /// The device is full (ENOSPC).
    NoSpace,
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Device => io::Error::from_raw_os_error(5),
            Self::NoSpace => io::Error::from_raw_os_error(28),
        }
    }
}

/// A file system that passes everything to another one, except for the operations that it was
/// told to fail. Clones share their plan and their count.
#[derive(Clone, Debug)]
pub struct FaultFs {
    inner: Arc<dyn FileSystem>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    counted: BTreeSet<OpKind>,
    count: u64,
    failure: Option<Failure>,
    failed: u64,
}

#[derive(Debug)]
struct Failure {
    fault: Fault,
    first: u64,
    last: u64,
}

impl FaultFs {
    /// Wraps a file system. All kinds of operations count, and none fails yet.
    #[must_use]
    pub fn new(inner: Arc<dyn FileSystem>) -> Self {
        let plan = Plan { counted: OpKind::ALL.into(), ..Plan::default() };
        Self { inner, plan: Arc::new(Mutex::new(plan)) }
    }

    /// Makes only these kinds of operations count, and fail. The count begins again.
    pub fn count_only(&self, kinds: &[OpKind]) {
        let mut plan = self.plan();
        plan.counted = kinds.iter().copied().collect();
        plan.count = 0;
    }

    /// Makes the `n`-th counted operation from now fail (1 is the next), and no other.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        let mut plan = self.plan();
        let first = plan.count.saturating_add(n);
        plan.failure = Some(Failure { fault, first, last: first });
    }

    /// Makes every counted operation after the next `n` fail.
    pub fn fail_after(&self, n: u64, fault: Fault) {
        let mut plan = self.plan();
        let first = plan.count.saturating_add(n).saturating_add(1);
        plan.failure = Some(Failure { fault, first, last: u64::MAX });
    }

    /// Makes no operation fail any more.
    pub fn heal(&self) {
        self.plan().failure = None;
    }

    /// Returns how many counted operations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.plan().count
    }

    /// Returns how many operations were made to fail.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.plan().failed
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        lock_plan(&self.plan)
    }

    fn pass(&self, kind: OpKind) -> io::Result<()> {
        self.plan().pass(kind)
    }

    fn wrap(&self, inner: Box<dyn File>) -> Box<dyn File> {
        Box::new(FaultFile { inner, plan: Arc::clone(&self.plan) })
    }
}

impl Plan {
    fn pass(&mut self, kind: OpKind) -> io::Result<()> {
        if !self.counted.contains(&kind) {
            return Ok(());
        }
        self.count += 1;
        match &self.failure {
            Some(failure) if (failure.first..=failure.last).contains(&self.count) => {
                self.failed += 1;
                Err(failure.fault.error())
            }
            _ => Ok(()),
        }
    }
}

fn lock_plan(plan: &Mutex<Plan>) -> MutexGuard<'_, Plan> {
    plan.lock().expect("nothing panics while it holds the plan")
}

impl FileSystem for FaultFs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.pass(OpKind::CreateDir)?;
        self.inner.create_dir_all(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.pass(OpKind::Create)?;
        Ok(self.wrap(self.inner.create(path)?))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        self.pass(OpKind::Open)?;
        Ok(self.wrap(self.inner.open(path, mode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(OpKind::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.pass(OpKind::Remove)?;
        self.inner.remove(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.pass(OpKind::List)?;
        self.inner.list(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpKind::SyncDir)?;
        self.inner.sync_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.pass(OpKind::List)?;
        self.inner.exists(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.pass(OpKind::Lock)?;
        self.inner.lock(path)
    }
}

#[derive(Debug)]
struct FaultFile {
    inner: Box<dyn File>,
    plan: Arc<Mutex<Plan>>,
}

impl FaultFile {
    fn pass(&self, kind: OpKind) -> io::Result<()> {
        lock_plan(&self.plan).pass(kind)
    }
}

impl File for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.pass(OpKind::Read)?;
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.pass(OpKind::Write)?;
        self.inner.write_at(data, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass(OpKind::Sync)?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.pass(OpKind::Sync)?;
        self.inner.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pass(OpKind::SetLen)?;
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.pass(OpKind::Len)?;
        self.inner.len()
    }
}
