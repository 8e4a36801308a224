//! A batch: the events of some whole revisions, encoded once, and who wants them.
//!
//! An event is encoded when the first watcher wants it. With the previous value it is encoded a
//! second time, if a watcher wants that. All streams share the encoded bytes (`encoded`).
//!
//! Invariants:
//! - The events of a revision are in one batch.
//! - The events of a watcher are in the order in which they happened.

use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use quoin_api::error::Error;
use quoin_api::mvccpb::KeyValue;

use super::Slot;
use super::encoded::{Encoded, Run, SharedBytes};
use super::queue::Parts;
use crate::view::{Event, View};

/// Field `events` of a `WatchResponse`, and the fields of an `Event`.
const EVENTS: u8 = 0x5a;
const TYPE: u8 = 0x08;
const DELETE: u8 = 1;
const PAIR: u8 = 0x12;
const PREVIOUS: u8 = 0x1a;

/// Events and who wants them.
#[derive(Debug)]
pub(super) struct Batch {
    events: Vec<Place>,
    plain: Encoded,
    with_previous: Encoded,
    hits: Vec<Hit>,
    /// Bytes that sending all this takes, without the heads of responses.
    hit_bytes: usize,
}

/// Where the bytes of an event are.
#[derive(Debug)]
struct Place {
    revision: i64,
    plain: Run,
    with_previous: Option<Run>,
}

/// An event for a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    slot: Slot,
    event: u32,
    with_previous: bool,
}

/// How a watcher wants an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    pub(super) slot: Slot,
    pub(super) previous: bool,
}

/// Neighbouring events for one watcher, as they are in a response.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    run: Run,
    with_previous: bool,
}

impl Stretch {
    /// Makes this one longer if `next` follows it without a gap.
    pub(super) fn join(&mut self, next: Self) -> bool {
        self.with_previous == next.with_previous && self.run.join(next.run)
    }
}

impl Batch {
    /// An empty batch, whose runs of at least `shared_min_bytes` streams share.
    pub(super) fn new(shared: &SharedBytes, shared_min_bytes: usize) -> Self {
        let encoded = || Encoded::new(shared.clone(), shared_min_bytes);
        Self {
            events: Vec::new(),
            plain: encoded(),
            with_previous: encoded(),
            hits: Vec::new(),
            hit_bytes: 0,
        }
    }

    /// Number of events for watchers; one for two watchers counts twice.
    pub(super) fn hits(&self) -> usize {
        self.hits.len()
    }

    pub(super) fn hit_bytes(&self) -> usize {
        self.hit_bytes
    }

    /// Adds an event for those who want it.
    pub(super) fn add(&mut self, view: &View, event: &Event, wants: &[Want]) -> Result<(), Error> {
        if wants.is_empty() {
            return Ok(());
        }
        let plain = self.plain.append(|out| append(out, event, None));
        let with_previous = if wants.iter().any(|want| want.previous) {
            let previous = previous(view, event)?;
            Some(self.with_previous.append(|out| append(out, event, previous.as_ref())))
        } else {
            None
        };
        let number = u32::try_from(self.events.len()).expect("a batch is cut long before");
        self.events.push(Place { revision: event.revision.main, plain, with_previous });
        for want in wants {
            let hit = Hit { slot: want.slot, event: number, with_previous: want.previous };
            self.hit_bytes = self.hit_bytes.saturating_add(self.length_of(hit));
            self.hits.push(hit);
        }
        Ok(())
    }

    /// Drops the events from `revision` on.
    pub(super) fn truncate(&mut self, revision: i64) {
        let kept = self.events.partition_point(|event| event.revision < revision);
        self.hits.retain(|hit| (hit.event as usize) < kept);
    }

    /// Brings the hits of each watcher together.
    pub(super) fn sort(&mut self) {
        self.hits.sort_unstable();
    }

    /// Ends a slice: forgets who wants what, and keeps the encoded bytes.
    pub(super) fn clear_hits(&mut self) {
        self.events.clear();
        self.hits.clear();
        self.hit_bytes = 0;
    }

    /// No event follows: streams can share what there is.
    pub(super) fn seal(&mut self) {
        self.plain.seal();
        self.with_previous.seal();
    }

    /// The watchers, each with its hits.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Slot, &[Hit])> {
        self.hits.chunk_by(|left, right| left.slot == right.slot).map(|hits| (hits[0].slot, hits))
    }

    pub(super) fn revision(&self, hit: Hit) -> i64 {
        self.events[hit.event as usize].revision
    }

    /// How many bytes the events take in a response.
    pub(super) fn length(&self, hits: &[Hit]) -> usize {
        hits.iter().map(|hit| self.length_of(*hit)).sum()
    }

    /// Where the bytes of an event for a watcher are.
    pub(super) fn stretch(&self, hit: Hit) -> Stretch {
        let place = &self.events[hit.event as usize];
        match (place.with_previous, hit.with_previous) {
            (Some(run), true) => Stretch { run, with_previous: true },
            (_, _) => Stretch { run: place.plain, with_previous: false },
        }
    }

    /// Writes the events of one watcher; neighbours are shared or copied at once.
    pub(super) fn write(&self, hits: &[Hit], out: &mut Parts) {
        let Some((first, others)) = hits.split_first() else { return };
        let mut stretch = self.stretch(*first);
        for hit in others {
            let next = self.stretch(*hit);
            if !stretch.join(next) {
                self.write_stretch(stretch, out);
                stretch = next;
            }
        }
        self.write_stretch(stretch, out);
    }

    /// Writes neighbouring events.
    pub(super) fn write_stretch(&self, stretch: Stretch, out: &mut Parts) {
        let encoded = if stretch.with_previous { &self.with_previous } else { &self.plain };
        encoded.write(stretch.run, out);
    }

    fn length_of(&self, hit: Hit) -> usize {
        self.stretch(hit).run.length()
    }
}

/// The value that the event replaced, if compaction has left it.
fn previous(view: &View, event: &Event) -> Result<Option<KeyValue>, Error> {
    let (pair, before) = (&event.pair, event.revision.main - 1);
    let is_create = !event.is_delete && pair.create_revision == pair.mod_revision;
    if is_create || before < view.compact_revision() {
        return Ok(None);
    }
    view.value_at(&pair.key, before)
}

fn append(out: &mut Vec<u8>, event: &Event, previous: Option<&KeyValue>) {
    let pair = event.pair.encoded_len();
    let kind = if event.is_delete { 2 } else { 0 };
    let length = kind + field_len(pair) + previous.map_or(0, |old| field_len(old.encoded_len()));
    out.push(EVENTS);
    encode_varint(length as u64, out);
    if event.is_delete {
        out.extend_from_slice(&[TYPE, DELETE]);
    }
    put_pair(out, PAIR, pair, &event.pair);
    if let Some(old) = previous {
        put_pair(out, PREVIOUS, old.encoded_len(), old);
    }
}

fn field_len(length: usize) -> usize {
    1 + encoded_len_varint(length as u64) + length
}

fn put_pair(out: &mut Vec<u8>, tag: u8, length: usize, pair: &KeyValue) {
    out.push(tag);
    encode_varint(length as u64, out);
    pair.encode(out).expect("a vector grows");
}
