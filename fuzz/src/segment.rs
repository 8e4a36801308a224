//! A segment of the history: damage in it, seen through its checkpoint.

use std::path::Path;

use bytes::Bytes;
use quoin_api::error::Error;
use quoin_api::etcdserverpb::RangeRequest;
use quoin_store::Checkpoint;

use crate::checkpoint::DIR;
use crate::files::with_files;
use crate::input::Input;
use crate::sample::Sample;

/// Changes a segment as the input says: positions, and bytes to put there. A change is found by a
/// scrub, always; and no reader is given anything else than what was stored, whatever the change.
pub fn segment(data: &[u8]) {
    let sample = Sample::shared();
    let mut input = Input::new(data);
    let segments = || sample.files.iter().filter(|(name, _)| name.starts_with("segment"));
    let which = usize::from(input.u8()) % segments().count();
    let (name, intact) = segments().nth(which).expect("there are as many");
    let mut bytes = intact.clone();
    while !input.is_empty() {
        let at = usize::from(input.u16()) % (bytes.len() + 1);
        let patch = input.bytes();
        let end = (at + patch.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&patch[..end - at]);
        if patch.is_empty() {
            bytes.truncate(at);
        }
    }
    let others = sample.files.iter().filter(|(other, _)| other != name);
    let others = others.map(|(name, bytes)| (&name[..], &bytes[..]));
    let fs = with_files(Path::new(DIR), others.chain([(&name[..], &bytes[..])]));
    let scrubbed = Checkpoint::scrub(&fs, Path::new(DIR), sample.checkpoint, &mut |_| ());
    assert_eq!(scrubbed.is_ok(), bytes == *intact, "{scrubbed:?}");
    let Ok(loaded) = Checkpoint::load(&fs, Path::new(DIR), sample.checkpoint) else { return };
    let view = loaded.store.view();
    for (revision, expected) in &sample.ranges {
        match view.range(&all_at(*revision)) {
            Ok(found) => assert_eq!(&found, expected),
            Err(error) => assert_eq!(error, Error::Corrupt),
        }
    }
}

/// A range over all keys at a revision.
pub(crate) fn all_at(revision: i64) -> RangeRequest {
    let all = Bytes::from_static(&[0]);
    RangeRequest { key: all.clone(), range_end: all, revision, ..RangeRequest::default() }
}
