//! Revisions: when a change happened.

/// One change: the main revision counts the requests that changed something, the sub revision the
/// changes within one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// Number of the request; the first one that changes an empty store is 2.
    pub main: i64,
    /// Number of the change within the request, from 0.
    pub sub: u32,
}

impl Revision {
    /// The first change of request `main`.
    pub fn first_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }

    /// The key of the change in etcd's table of changes, which hashes cover: the main revision,
    /// `_` and the sub revision, big endian, and `t` after them for a deletion.
    pub(crate) fn row_key(self, tombstone: bool) -> RowKey {
        let mut bytes = [0; 18];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..17].copy_from_slice(&u64::from(self.sub).to_be_bytes());
        bytes[17] = b't';
        RowKey { bytes, length: if tombstone { 18 } else { 17 } }
    }
}

/// See [`Revision::row_key`].
pub(crate) struct RowKey {
    bytes: [u8; 18],
    length: usize,
}

impl RowKey {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}
