//! The bytes of one file: what is synced, what is seen, and every version in between.

use std::collections::BTreeMap;
use std::io;

use super::CrashMode;
use super::random::Random;

/// What a disk writes whole or not at all.
const BLOCK: usize = 512;

/// More than any test wants to keep in memory; also keeps offsets within `usize`.
const MAX_LEN: u64 = 1 << 36;

#[derive(Debug, Default)]
pub(super) struct Content {
    synced: Vec<u8>,
    current: Vec<u8>,
    /// The versions of each block written since the last sync, oldest first.
    versions: BTreeMap<usize, Vec<Version>>,
    /// The lengths that the file was given since the last sync, oldest first.
    lengths: Vec<usize>,
}

#[derive(Debug)]
struct Version {
    /// How many of `lengths` came before this version or with it.
    lengths: usize,
    bytes: Box<[u8; BLOCK]>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.current.len() as u64
    }

    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let Ok(offset) = usize::try_from(offset) else { return 0 };
        let rest = self.current.get(offset..).unwrap_or(&[]);
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_LEN);
        let end =
            end.and_then(|end| usize::try_from(end).ok()).ok_or(io::ErrorKind::FileTooLarge)?;
        if data.is_empty() {
            return Ok(());
        }
        let start = end - data.len();
        if end > self.current.len() {
            self.current.resize(end, 0);
            self.lengths.push(end);
        }
        self.current[start..end].copy_from_slice(data);
        for block in start / BLOCK..=(end - 1) / BLOCK {
            let version = Version { lengths: self.lengths.len(), bytes: self.block(block) };
            self.versions.entry(block).or_default().push(version);
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let len = usize::try_from(len.min(MAX_LEN)).expect("the greatest length fits a usize");
        if len != self.current.len() {
            self.current.resize(len, 0);
            self.lengths.push(len);
        }
    }

    pub(super) fn sync(&mut self) {
        if self.lengths.iter().any(|len| *len < self.synced.len()) {
            self.synced.clone_from(&self.current);
        } else {
            self.synced.resize(self.current.len(), 0);
            for block in self.versions.keys() {
                let start = (block * BLOCK).min(self.current.len());
                let end = (start + BLOCK).min(self.current.len());
                self.synced[start..end].copy_from_slice(&self.current[start..end]);
            }
        }
        self.versions.clear();
        self.lengths.clear();
    }

    /// Takes unsynced blocks for synced, although they are not.
    pub(super) fn lose_unsynced(&mut self) {
        self.versions.clear();
    }

    /// Returns the content as a crash leaves it.
    pub(super) fn after_crash(&self, mode: CrashMode, random: &mut Random) -> Self {
        let bytes = match mode {
            CrashMode::KeepSynced => self.synced.clone(),
            CrashMode::KeepAll => self.current.clone(),
            CrashMode::Subset { .. } => self.subset(random),
        };
        Self { synced: bytes.clone(), current: bytes, ..Self::default() }
    }

    fn subset(&self, random: &mut Random) -> Vec<u8> {
        let kept_lengths = random.up_to(self.lengths.len());
        let len = match kept_lengths {
            0 => self.synced.len(),
            kept => self.lengths[kept - 1],
        };
        let mut bytes = self.synced.clone();
        bytes.truncate(self.least_length(0, kept_lengths));
        bytes.resize(len, 0);
        // Some crashes lose nearly all blocks, some nearly none.
        let taste = random.up_to(3);
        for (block, versions) in &self.versions {
            let kept = match (taste, random.up_to(7)) {
                (0, 1..) => 0,
                (1, 1..) => versions.len(),
                _ => random.up_to(versions.len()),
            };
            if kept == 0 {
                continue;
            }
            let version = &versions[kept - 1];
            let start = block * BLOCK;
            let valid = self.least_length(version.lengths, kept_lengths).saturating_sub(start);
            for (at, byte) in version.bytes.iter().enumerate() {
                if let Some(target) = bytes.get_mut(start + at) {
                    *target = if at < valid { *byte } else { 0 };
                }
            }
        }
        bytes
    }

    /// Returns the least of the lengths from the `from`-th up to the first `kept`: bytes written
    /// before those changes are cut there.
    fn least_length(&self, from: usize, kept: usize) -> usize {
        let range = self.lengths.get(from..kept).unwrap_or(&[]);
        range.iter().copied().min().unwrap_or(usize::MAX)
    }

    fn block(&self, block: usize) -> Box<[u8; BLOCK]> {
        let mut bytes = Box::new([0; BLOCK]);
        let start = block * BLOCK;
        let end = (start + BLOCK).min(self.current.len());
        bytes[..end - start].copy_from_slice(&self.current[start..end]);
        bytes
    }
}
