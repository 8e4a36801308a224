//! The snapshot of a server as a stream of bytes that ends with their checksum.
//!
//! Invariants:
//! - A snapshot counts as whole only if the SHA-256 behind it is there and right; the stream
//!   fails otherwise, after the last byte.
//! - One message is in memory at a time; the others wait with the server.

use bytes::Bytes;
use http::uri::PathAndQuery;
use quoin_api::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;
use tonic_prost::ProstCodec;

use crate::{Client, Error};

/// The length of the checksum.
const CHECKSUM: usize = 32;
/// Databases are whole pages, which are multiples of this, the size of a disk's sector: what is
/// left of a snapshot beyond them is the checksum.
const SECTOR: u64 = 512;

/// A snapshot that is being received.
#[derive(Debug)]
pub struct Snapshot {
    stream: Streaming<SnapshotResponse>,
    /// The message that was read ahead to know the version.
    first: Option<SnapshotResponse>,
    version: String,
    check: Check,
    deadline: Instant,
}

impl Client {
    /// Begins to receive a snapshot of a server. It is not retried.
    pub async fn snapshot(&self) -> Result<Snapshot, Error> {
        let deadline = self.deadline();
        let open = async {
            let connection = self.pool.next().await;
            let request = self.request(&SnapshotRequest {}, deadline)?;
            let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Snapshot");
            let codec: ProstCodec<SnapshotRequest, SnapshotResponse> = ProstCodec::default();
            let stream = self.grpc(connection).server_streaming(request, path, codec).await?;
            let mut stream = stream.into_inner();
            let first = stream.message().await?;
            let version = first.as_ref().map_or_else(String::new, |first| first.version.clone());
            Ok(Snapshot { stream, first, version, check: Check::default(), deadline })
        };
        match timeout_at(deadline, open).await {
            Ok(opened) => opened,
            Err(_) => Err(self.out_of_time()),
        }
    }
}

impl Snapshot {
    /// Returns the version of the storage that the server names; empty if it names none.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits for the next bytes of the snapshot, checksum included; none when it is whole.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let message = match self.first.take() {
            Some(first) => Some(first),
            None => match timeout_at(self.deadline, self.stream.message()).await {
                Ok(message) => message?,
                Err(_) => return Err(Error::Deadline { unreachable: None }),
            },
        };
        match message {
            Some(message) => {
                self.check.add(&message.blob);
                Ok(Some(message.blob))
            }
            None => self.check.finish().map(|()| None),
        }
    }
}

/// Holds the end of the bytes back, because it may be their checksum.
#[derive(Debug, Default)]
struct Check {
    hash: Sha256,
    end: Vec<u8>,
    bytes: u64,
}

impl Check {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.end.extend_from_slice(bytes);
        let before = self.end.len().saturating_sub(CHECKSUM);
        self.hash.update(&self.end[..before]);
        self.end.drain(..before);
    }

    fn finish(&self) -> Result<(), Error> {
        if self.bytes % SECTOR != CHECKSUM as u64 {
            return Err(Error::ChecksumMissing { bytes: self.bytes });
        }
        if self.hash.clone().finalize().as_slice() != self.end {
            return Err(Error::ChecksumMismatch);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(chunks: &[&[u8]], expected: Result<(), Error>) {
        let mut check = Check::default();
        chunks.iter().for_each(|chunk| check.add(chunk));
        assert_eq!(check.finish(), expected);
    }

    #[test]
    fn the_checksum_may_be_cut_anywhere() {
        let pages = vec![7; 1024];
        let sum = Sha256::digest(&pages);
        for cut in [0, 1, 31, 32] {
            check(&[&pages, &sum[..cut], &sum[cut..]], Ok(()));
        }
        let whole = [pages.as_slice(), &sum].concat();
        check(&[&whole], Ok(()));
        check(&whole.chunks(5).collect::<Vec<_>>(), Ok(()));
    }

    #[test]
    fn what_is_cut_or_changed_is_noticed() {
        let pages = vec![7; 1024];
        let sum = Sha256::digest(&pages);
        check(&[&pages], Err(Error::ChecksumMissing { bytes: 1024 }));
        check(&[&pages, &sum[..31]], Err(Error::ChecksumMissing { bytes: 1055 }));
        check(&[], Err(Error::ChecksumMissing { bytes: 0 }));
        check(&[&pages[512..], &sum], Err(Error::ChecksumMismatch));
        check(&[&pages, &[0; 32]], Err(Error::ChecksumMismatch));
    }
}
