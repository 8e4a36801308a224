//! Reading the content of a checkpoint through its blocks. Nothing of a block is used before its
//! checksum was found right.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use quoin_vfs::{File, FileSystem, OpenMode};

use super::encode::block_checksum;
use super::{BLOCK_BYTES, BLOCK_HEAD_BYTES, CheckpointError};

/// The content of a file, from front to back.
pub(super) struct Content {
    path: PathBuf,
    file: Box<dyn File>,
    file_len: u64,
    /// Where the block that is being read begins, and where the next one does.
    offset: u64,
    next_offset: u64,
    payload: Vec<u8>,
    at: usize,
}

impl Content {
    pub(super) fn open(fs: &dyn FileSystem, path: &Path) -> Result<Self, CheckpointError> {
        let io = |source| CheckpointError::Io { path: path.to_owned(), source };
        let file = fs.open(path, OpenMode::Read).map_err(io)?;
        let file_len = file.len().map_err(io)?;
        let (path, payload) = (path.to_owned(), Vec::new());
        Ok(Self { path, file, file_len, offset: 0, next_offset: 0, payload, at: 0 })
    }

    /// Says what is wrong with the block that is being read.
    pub(super) fn damaged(&self, what: &'static str) -> CheckpointError {
        CheckpointError::Damaged { path: self.path.clone(), offset: self.offset, what }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CheckpointError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, CheckpointError> {
        self.array().map(i32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, CheckpointError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A byte that says yes or no.
    pub(super) fn bool(&mut self) -> Result<bool, CheckpointError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.damaged("a flag that is neither 0 nor 1")),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, CheckpointError> {
        let length = self.u32()?;
        self.bytes_of(length.into())
    }

    /// So many bytes.
    pub(super) fn bytes_of(&mut self, length: u64) -> Result<Bytes, CheckpointError> {
        let room = usize::try_from(length).ok().filter(|_| length <= self.file_len);
        let Some(length) = room else {
            return Err(self.damaged("a length beyond the file"));
        };
        let mut bytes = vec![0; length];
        self.read(&mut bytes)?;
        Ok(bytes.into())
    }

    /// A number as protobuf has it.
    pub(super) fn varint(&mut self) -> Result<u64, CheckpointError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number that is too large"))
    }

    pub(super) fn text(&mut self) -> Result<String, CheckpointError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| self.damaged("text that is not UTF-8"))
    }

    pub(super) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, CheckpointError>,
    ) -> Result<Vec<T>, CheckpointError> {
        let length = self.u32()?;
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(element(self)?);
        }
        Ok(list)
    }

    /// Checks that the content ends here, that the last block follows and that the file ends with
    /// it.
    pub(super) fn finish(mut self) -> Result<(), CheckpointError> {
        if self.at < self.payload.len() {
            return Err(self.damaged("content after its end"));
        }
        if self.next_block()? {
            return Err(self.damaged("a block after the end of the content"));
        }
        Ok(())
    }

    fn read(&mut self, mut wanted: &mut [u8]) -> Result<(), CheckpointError> {
        while !wanted.is_empty() {
            if self.at == self.payload.len() && !self.next_block()? {
                return Err(self.damaged("the content ends too early"));
            }
            let length = wanted.len().min(self.payload.len() - self.at);
            let (now, later) = wanted.split_at_mut(length);
            now.copy_from_slice(&self.payload[self.at..self.at + length]);
            self.at += length;
            wanted = later;
        }
        Ok(())
    }

    /// Reads the next block; false if it is the last one, which has no content.
    fn next_block(&mut self) -> Result<bool, CheckpointError> {
        self.offset = self.next_offset;
        let mut head = [0; BLOCK_HEAD_BYTES];
        self.read_file(&mut head, self.offset)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let checksum = u32::from_le_bytes([c0, c1, c2, c3]);
        if length > BLOCK_BYTES {
            return Err(self.damaged("a block that is too long"));
        }
        let is_last = length == 0;
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(if is_last { 8 } else { length }, 0);
        self.read_file(&mut payload, self.offset + BLOCK_HEAD_BYTES as u64)?;
        if block_checksum(self.offset, &payload) != checksum {
            return Err(self.damaged("a wrong checksum"));
        }
        self.next_offset = self.offset + (BLOCK_HEAD_BYTES + payload.len()) as u64;
        if is_last {
            let ends = payload == self.next_offset.to_le_bytes();
            if !ends || self.next_offset != self.file_len {
                return Err(self.damaged("the file has another length than it says"));
            }
            return Ok(false);
        }
        (self.payload, self.at) = (payload, 0);
        Ok(true)
    }

    fn read_file(&self, buffer: &mut [u8], offset: u64) -> Result<(), CheckpointError> {
        if self.file_len.saturating_sub(offset) < buffer.len() as u64 {
            return Err(self.damaged("the file ends too early"));
        }
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|source| CheckpointError::Io { path: self.path.clone(), source })
    }
}
