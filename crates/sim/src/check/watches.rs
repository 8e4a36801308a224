//! Watchers that move between members: each follows the history without a gap.
//!
//! A follower watches on one member until that dies or the follower leaves, and goes on elsewhere,
//! even on a member that is behind. What it gets is compared with the model: events in order, each
//! once, none left out, those of a revision together; a notification of progress is a place from
//! which it can go on; only compaction may end a watcher.
//!
//! It decides by a sequence of its own, so that a run is the same with and without it.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use prost::Message as _;
use quoin_api::etcdserverpb::watch_request::RequestUnion;
use quoin_api::etcdserverpb::{
    WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use quoin_api::mvccpb::event::EventType;
use quoin_api::mvccpb::{Event, KeyValue};
use quoin_store::{View, WatchHub, WatchLimits, WatchOptions, WatchStreamId};

use super::{Checked, Violation, ensure};
use crate::coverage::{Coverage, Mark};
use crate::model::Model;
use crate::rng::Rng;

const FOLLOWERS: usize = 6;
/// What a watcher wants that was ended.
const ENDED: i64 = i64::MIN;

/// A member, in one of its lives.
type Life = (usize, u32);

/// What a step happens in.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) model: &'a Model,
    pub(crate) coverage: &'a mut Coverage,
    /// Responses get lost, which no check may miss.
    pub(crate) lossy: bool,
}

/// All followers, and the hubs of the members that have some.
#[derive(Debug)]
pub(crate) struct Watches {
    rng: Rng,
    hubs: BTreeMap<usize, (u32, WatchHub)>,
    followers: Vec<Follower>,
}

/// A client with two watchers: one of all keys, one of a single key.
#[derive(Clone, Debug)]
struct Follower {
    at: Option<(Life, WatchStreamId)>,
    key: Bytes,
    /// The first revision that each watcher still wants.
    next: [i64; 2],
}

impl Watches {
    pub(crate) fn new(seed: u64) -> Self {
        let follower = |number: usize| {
            let key = Bytes::from(format!("key/{}", number % 3));
            Follower { at: None, key, next: [1, 1] }
        };
        let followers = (0..FOLLOWERS).map(follower).collect();
        Self { rng: Rng::new(seed ^ 0x77a7), hubs: BTreeMap::new(), followers }
    }

    /// A member publishes a view.
    pub(crate) fn published(
        &mut self,
        life: Life,
        passed: Vec<View>,
        view: &View,
        scene: &mut Scene<'_>,
    ) -> Checked {
        let hub = self.hub(life);
        passed.into_iter().for_each(|view| hub.publish(view));
        hub.publish(view.clone());
        for _ in 0..self.rng.between(0, 3) {
            self.hub(life).dispatch();
        }
        for number in 0..FOLLOWERS {
            self.follow(number, life, view, scene)?;
        }
        Ok(())
    }

    /// All is over: every follower gets all there is.
    pub(crate) fn finish(&mut self, life: Life, view: &View, scene: &mut Scene<'_>) -> Checked {
        // What an earlier life of this member served has ended.
        self.hub(life);
        for number in 0..FOLLOWERS {
            if self.followers[number].at.is_none_or(|(at, _)| !self.is_running(at)) {
                self.connect(number, life, view, scene);
            }
        }
        self.hub(life).publish(view.clone());
        while self.hub(life).dispatch() {}
        for number in 0..FOLLOWERS {
            while self.read(number, life, scene)? {}
            let follower = &self.followers[number];
            if follower.at.is_some_and(|(at, _)| at == life) {
                for watcher in 0..2 {
                    let due = follower.due(watcher, scene.model, view.revision());
                    ensure(due.is_none(), || format!("{follower:?} never heard of {due:?}"))?;
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, number: usize, life: Life, view: &View, scene: &mut Scene<'_>) -> Checked {
        match self.followers[number].at {
            Some((at, stream)) if at == life => {
                if self.rng.chance(50) {
                    self.ask(life, stream, RequestUnion::ProgressRequest(WatchProgressRequest {}));
                }
                if self.rng.chance(20) {
                    self.hub(life).close(stream);
                    self.followers[number].at = None;
                } else if self.rng.chance(400) {
                    for _ in 0..self.rng.between(1, 6) {
                        self.read(number, life, scene)?;
                    }
                }
            }
            Some((at, _)) if self.is_running(at) => {}
            _ if self.rng.chance(200) => self.connect(number, life, view, scene),
            _ => {}
        }
        Ok(())
    }

    fn is_running(&self, (member, life): Life) -> bool {
        self.hubs.get(&member).is_some_and(|(present, _)| *present == life)
    }

    /// The hub of a member; that of an earlier life is gone, with what its streams held.
    fn hub(&mut self, (member, life): Life) -> &mut WatchHub {
        let limits = WatchLimits {
            stream_bytes: 2000,
            floor_bytes: 500,
            hub_bytes: 5000,
            response_bytes: 600,
            slice_hits: 20,
            slice_bytes: 2000,
            slice_events: 30,
            ..WatchLimits::default()
        };
        let options = WatchOptions {
            cluster_id: 1,
            member_id: 1,
            fragment_bytes: usize::MAX,
            seed: u64::from(life),
            limits,
        };
        let (present, hub) =
            self.hubs.entry(member).or_insert_with(|| (life, WatchHub::new(options)));
        if *present != life {
            (*present, *hub) = (life, WatchHub::new(options));
        }
        hub
    }

    fn ask(&mut self, life: Life, stream: WatchStreamId, union: RequestUnion) {
        self.hub(life).request(stream, WatchRequest { request_union: Some(union) });
    }

    fn connect(&mut self, number: usize, life: Life, view: &View, scene: &mut Scene<'_>) {
        let stream = self.hub(life).open(view.clone());
        self.followers[number].at = Some((life, stream));
        let Follower { key, next, .. } = self.followers[number].clone();
        if next[0] > 1 {
            scene.coverage.hit(Mark::WatchResumed);
        }
        if next[0] > view.revision() + 1 {
            scene.coverage.hit(Mark::WatchAhead);
        }
        let all = (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
        let ranges = [all, (key, Bytes::new())];
        for ((key, range_end), start_revision) in ranges.into_iter().zip(next) {
            let create =
                WatchCreateRequest { key, range_end, start_revision, ..Default::default() };
            self.ask(life, stream, RequestUnion::CreateRequest(create));
        }
    }

    /// Takes a chunk, or catches up a slice. False if there is nothing to do.
    fn read(
        &mut self,
        number: usize,
        life: Life,
        scene: &mut Scene<'_>,
    ) -> Result<bool, Violation> {
        let Some((at, stream)) = self.followers[number].at else { return Ok(false) };
        if at != life {
            return Ok(false);
        }
        let hub = self.hub(life);
        if !hub.has_room(stream) {
            scene.coverage.hit(Mark::WatchBehind);
        }
        let waiting = hub.take(stream);
        let more = waiting.is_none() && hub.catch_up(stream);
        let Some(mut bytes) = waiting.or_else(|| hub.take(stream)) else { return Ok(more) };
        if scene.lossy && self.rng.chance(100) {
            return Ok(true);
        }
        while bytes.has_remaining() {
            bytes.advance(1);
            let length = bytes.get_u32() as usize;
            let response = WatchResponse::decode(bytes.split_to(length));
            let response = response.map_err(|error| format!("a bad response: {error}"))?;
            self.followers[number].take(&response, scene)?;
        }
        let follower = &mut self.followers[number];
        if follower.next.contains(&ENDED) {
            // The client reads everything anew, at the compacted revision, and goes on from there.
            follower.at = None;
            let compacted = scene.model.now().compacted;
            follower.next.iter_mut().for_each(|next| *next = compacted.max(*next));
            self.hub(life).close(stream);
        }
        Ok(true)
    }
}

impl Follower {
    fn take(&mut self, response: &WatchResponse, scene: &mut Scene<'_>) -> Checked {
        let model = scene.model;
        if response.created {
            return ensure(!response.canceled, || format!("refused: {response:?}"));
        }
        if response.watch_id == -1 {
            scene.coverage.hit(Mark::WatchProgress);
            let revision = response.header.as_ref().map_or(0, |header| header.revision);
            for watcher in 0..2 {
                let due = self.due(watcher, model, revision);
                ensure(due.is_none() || self.next[watcher] == ENDED, || {
                    format!("progress {revision} was told to {self:?} before {due:?}")
                })?;
                if self.next[watcher] != ENDED {
                    self.next[watcher] = self.next[watcher].max(revision + 1);
                }
            }
            return Ok(());
        }
        let watcher = usize::try_from(response.watch_id).map_err(|error| error.to_string())?;
        if response.canceled {
            let (compacted, next) = (response.compact_revision, self.next[watcher]);
            scene.coverage.hit(Mark::WatchCompacted);
            self.next[watcher] = ENDED;
            return ensure(next < compacted && compacted <= model.now().compacted, || {
                format!("a watcher at {next} was cancelled: {response:?}")
            });
        }
        scene.coverage.hit(Mark::WatchEvent);
        let told: Vec<Told> = response.events.iter().map(told).collect();
        let Some(last) = told.last().map(|(revision, ..)| *revision) else {
            return Err(format!("a response without events: {response:?}").into());
        };
        let due: Vec<Told> = self.wanted(watcher, model, last).collect();
        ensure(told == due, || format!("{self:?} was told {told:?}, expected {due:?}"))?;
        self.next[watcher] = last + 1;
        Ok(())
    }

    /// What a watcher is still to be told, up to a revision.
    fn wanted<'a>(
        &'a self,
        watcher: usize,
        model: &'a Model,
        upto: i64,
    ) -> impl Iterator<Item = Told> + 'a {
        let next = self.next[watcher];
        let upto = if next == ENDED { ENDED } else { upto };
        let changes = model.changes(next.saturating_sub(1), upto);
        let wants = move |key: &Bytes| watcher == 0 || *key == self.key;
        changes
            .filter(move |(_, (key, _))| wants(key))
            .map(|(revision, (key, pair))| (revision, key.clone(), pair.clone()))
    }

    fn due(&self, watcher: usize, model: &Model, upto: i64) -> Option<Told> {
        self.wanted(watcher, model, upto).next()
    }
}

/// Revision, key, and the new pair unless the key was deleted.
type Told = (i64, Bytes, Option<KeyValue>);

fn told(event: &Event) -> Told {
    let pair = event.kv.clone().unwrap_or_default();
    let is_delete = event.r#type() == EventType::Delete;
    (pair.mod_revision, pair.key.clone(), (!is_delete).then_some(pair))
}
