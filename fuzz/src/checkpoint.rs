//! A checkpoint: bytes as its file, beside segments that are as they should be.

use std::path::Path;

use bytes::Bytes;
use quoin_api::etcdserverpb::RangeRequest;
use quoin_store::{Checkpoint, Loaded, ReceivedId};

use crate::files::with_files;
use crate::input::Input;
use crate::sample::Sample;
use crate::state::State;

pub(crate) const DIR: &str = "/store";
/// The longest payload of a block, and the version of a whole state.
const BLOCK_BYTES: usize = 64 * 1024;
const WHOLE: u8 = 1;

/// Reads bytes as a checkpoint. What it shows can be looked at, and may turn out to be unreadable.
/// A whole state that loads is the same after it was sent to another member.
///
/// If the first byte is odd, the rest is the content, and the blocks with their checksums are made
/// by the target.
pub fn checkpoint(data: &[u8]) {
    let mut input = Input::new(data);
    let seals = input.u8() % 2 == 1;
    let rest = input.rest();
    let bytes = if seals { blocks(rest) } else { rest.to_vec() };
    let Ok(mut loaded) = load(&bytes) else { return };
    let view = loaded.store.view();
    let all = RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        ..RangeRequest::default()
    };
    drop(view.range(&all));
    view.events_from(view.compact_revision().max(0))
        .expect("from the compacted one on")
        .for_each(drop);
    let state = State::of(&view);
    let sent: Result<Vec<Bytes>, _> =
        loaded.store.checkpoint(loaded.conf.clone()).stream().collect();
    let is_whole = bytes.get(16) == Some(&WHOLE);
    if !is_whole {
        return;
    }
    let sent = sent.expect("all of it is in memory").concat();
    let mut again = received(&sent);
    assert_eq!(State::of(&again.store.view()), state);
    assert_eq!(again.conf, loaded.conf);
    let sent_again = again.store.checkpoint(again.conf.clone()).stream();
    let sent_again: Vec<Bytes> = sent_again.map(|piece| piece.expect("it is in memory")).collect();
    assert_eq!(sent_again.concat(), sent);
}

/// What another member makes of a state that was sent to it.
pub(crate) fn received(sent: &[u8]) -> Loaded {
    let id = ReceivedId { index: 1, term: 1 };
    let fs = with_files(Path::new(DIR), [(&id.to_string()[..], sent)]);
    id.load(&fs, Path::new(DIR)).expect("it was just sent")
}

fn load(bytes: &[u8]) -> Result<Loaded, quoin_store::CheckpointError> {
    let id = Sample::shared().checkpoint;
    let name = id.to_string();
    let segments = Sample::shared().files.iter().filter(|(name, _)| name.starts_with("segment"));
    let segments = segments.map(|(name, bytes)| (&name[..], &bytes[..]));
    let files = segments.chain([(&name[..], bytes)]);
    Checkpoint::load(&with_files(Path::new(DIR), files), Path::new(DIR), id)
}

/// Puts content into blocks.
fn blocks(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in content.chunks(BLOCK_BYTES) {
        put_block(&mut out, payload.len(), payload);
    }
    let length = out.len() as u64 + 16;
    put_block(&mut out, 0, &length.to_le_bytes());
    out
}

fn put_block(out: &mut Vec<u8>, length: usize, payload: &[u8]) {
    let offset = crc32c::crc32c(&(out.len() as u64).to_le_bytes());
    let checksum = crc32c::crc32c_append(offset, payload);
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Takes the content out of blocks.
pub(crate) fn content_of(mut file: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some((head, rest)) = file.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if length == 0 {
            break;
        }
        content.extend_from_slice(&rest[..length]);
        file = &rest[length..];
    }
    content
}
