//! The snapshot file, in which etcd keeps the store of the v2 API and with it its members beside the
//! database.
//!
//! It is called `<term>-<index>.snap`, with 16 hexadecimal digits each, and is a `snappb.Snapshot`:
//! the CRC-32C of its data, and the data, which is a `raftpb.Snapshot` with the store as JSON as its
//! data.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::{raftpb, snappb};

use crate::checkpoint::ConfState;

/// A snapshot file of etcd: the v2 store at one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapFile {
    /// Index of the entry.
    pub index: u64,
    /// Term of the entry.
    pub term: u64,
    /// Who voted and who learned then.
    pub conf: ConfState,
    /// The store as JSON, with the members then. A downgrade does not stand here.
    pub v2_store: Bytes,
}

impl SnapFile {
    /// The name of the file.
    pub fn name(index: u64, term: u64) -> String {
        format!("{term:016x}-{index:016x}.snap")
    }

    /// Reads a file. The error says why it cannot be taken over.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let bad = |_| "it is no snapshot file".to_owned();
        let snappb::Snapshot { crc, data } = snappb::Snapshot::decode(file).map_err(bad)?;
        if data.is_empty() || crc32c::crc32c(&data) != crc {
            return Err("its checksum is wrong".to_owned());
        }
        let raftpb::Snapshot { data, metadata } = raftpb::Snapshot::decode(data).map_err(bad)?;
        let metadata = metadata.ok_or("it does not say of which entry it is")?;
        let conf = metadata.conf_state.unwrap_or_default();
        Ok(Self {
            index: metadata.index,
            term: metadata.term,
            conf: ConfState { voters: conf.voters, learners: conf.learners },
            v2_store: data,
        })
    }

    /// Writes a file.
    pub fn encode(&self) -> Vec<u8> {
        let ConfState { voters, learners } = self.conf.clone();
        let conf_state = Some(raftpb::ConfState { voters, learners, ..Default::default() });
        let (index, term) = (self.index, self.term);
        let snapshot = raftpb::Snapshot {
            data: self.v2_store.clone(),
            metadata: Some(raftpb::SnapshotMetadata { conf_state, index, term }),
        };
        let data = Bytes::from(snapshot.encode_to_vec());
        snappb::Snapshot { crc: crc32c::crc32c(&data), data }.encode_to_vec()
    }
}
