//! Watchers on one stream of one server, and what they were told.
//!
//! How events are cut into responses is the server's choice, so only their order is compared; but
//! a revision must come in one piece unless the watcher lets it be cut.

use std::collections::BTreeMap;
use std::time::Duration;

use quoin_api::etcdserverpb::{WatchCreateRequest, WatchResponse};
use quoin_api::mvccpb::Event;
use tonic::transport::Channel;

use crate::watch::WatchStream;

/// How long a response may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a server is asked whether all watchers know everything.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How often in vain.
const QUIET_ASKS: usize = 8;
/// How long a server that said so too early may take for the rest.
const LATE: Duration = Duration::from_secs(10);

/// What one watcher was told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// The ID that it got; negative if it was refused.
    pub watch_id: i64,
    /// Why and at which compacted revision it was canceled, if it was.
    pub canceled: Option<(String, i64)>,
    /// The events in their order.
    pub events: Vec<Event>,
}

/// A stream with watchers.
#[derive(Debug)]
pub struct Watching {
    stream: WatchStream,
    /// The watchers in the order of their creation.
    told: Vec<Told>,
    /// The position of a watcher in `told`, by its ID.
    positions: BTreeMap<i64, usize>,
    fragments: Vec<bool>,
}

impl Watching {
    /// Opens a stream with its first watcher: etcd answers a stream only when it has something to
    /// say.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn open(channel: Channel, first: WatchCreateRequest) -> Result<Self, String> {
        let (told, positions, fragments) = (Vec::new(), BTreeMap::new(), vec![first.fragment]);
        let opened = tokio::time::timeout(PATIENCE, WatchStream::open(channel, first));
        let opened = opened.await.map_err(|_| "the stream does not open".to_owned())?;
        let stream = opened.map_err(|status| status.to_string())?;
        let mut watching = Self { stream, told, positions, fragments };
        watching.answered().await?;
        Ok(watching)
    }

    /// Creates a watcher and waits until the server has answered.
    ///
    /// # Errors
    /// If it does not, or if what it sends is not in order.
    pub async fn create(&mut self, request: WatchCreateRequest) -> Result<(), String> {
        self.fragments.push(request.fragment);
        self.stream.create(request).await;
        self.answered().await
    }

    /// Waits until the server has answered to the last watcher.
    async fn answered(&mut self) -> Result<(), String> {
        while self.told.len() < self.fragments.len() {
            let response = self.next(PATIENCE).await?.ok_or("no response")?;
            self.take(response)?;
        }
        Ok(())
    }

    /// Waits until the server says that all watchers know everything, or says nothing for a while:
    /// etcd never says it on a stream that has a watcher which was canceled by a compaction.
    ///
    /// # Errors
    /// If what it sends is not in order.
    pub async fn catch_up(&mut self) -> Result<(), String> {
        for _ in 0..QUIET_ASKS {
            self.stream.ask_progress().await;
            while let Some(response) = self.next(ASK_AGAIN).await? {
                if response.watch_id == -1 && !response.created {
                    return Ok(());
                }
                self.take(response)?;
            }
        }
        Ok(())
    }

    /// Waits until this much was told, because an old server speaks of progress too early: before
    /// the events of the past, and before it ends a watcher whose past was compacted.
    ///
    /// # Errors
    /// If what the server sends is not in order.
    pub async fn wait_for(&mut self, said: usize) -> Result<(), String> {
        while self.said() < said {
            let Some(response) = self.next(LATE).await? else { return Ok(()) };
            self.take(response)?;
        }
        Ok(())
    }

    /// How many events and cancellations there were.
    pub fn said(&self) -> usize {
        self.count() + self.told.iter().filter(|told| told.canceled.is_some()).count()
    }

    /// How many events there were.
    pub fn count(&self) -> usize {
        self.told.iter().map(|told| told.events.len()).sum()
    }

    /// What the watchers were told so far.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// The next response, if one comes in time. The end of the stream is an error.
    async fn next(&mut self, within: Duration) -> Result<Option<WatchResponse>, String> {
        self.stream.next(within).await.map_err(|status| status.to_string())
    }

    fn take(&mut self, response: WatchResponse) -> Result<(), String> {
        if response.created {
            let watch_id = response.watch_id;
            if watch_id >= 0 && self.positions.insert(watch_id, self.told.len()).is_some() {
                return Err(format!("watch ID {watch_id} is given twice"));
            }
            let canceled = cancellation(&response);
            self.told.push(Told { watch_id, canceled, events: response.events });
            return Ok(());
        }
        if response.watch_id == -1 && response.events.is_empty() {
            return Ok(());
        }
        let position = self.positions.get(&response.watch_id).copied();
        let position = position.ok_or_else(|| format!("nobody watches: {response:?}"))?;
        let told = &mut self.told[position];
        if let Some(canceled) = cancellation(&response)
            && told.canceled.replace(canceled).is_some()
        {
            return Err(format!("canceled twice: {response:?}"));
        }
        let revision = |event: &Event| event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
        let joins = told.events.last().zip(response.events.first());
        let may_join = self.fragments[position];
        if joins.is_some_and(|(last, first)| {
            let (last, first) = (revision(last), revision(first));
            first < last || (first == last && !may_join)
        }) {
            return Err(format!("out of order or cut within a revision: {response:?}"));
        }
        told.events.extend(response.events);
        Ok(())
    }
}

fn cancellation(response: &WatchResponse) -> Option<(String, i64)> {
    response.canceled.then(|| (response.cancel_reason.clone(), response.compact_revision))
}

/// Whether two servers told their watchers the same. What a key was before may have been compacted
/// before one of them could say it, if something was compacted meanwhile.
///
/// # Errors
/// The first watcher that was told something else.
pub fn compare(reference: &[Told], subject: &[Told], compacted: bool) -> Result<(), String> {
    if reference.len() != subject.len() {
        return Err(format!("{} watchers and {}", reference.len(), subject.len()));
    }
    for (position, (one, other)) in reference.iter().zip(subject).enumerate() {
        let pairs = one.events.iter().zip(&other.events);
        let first = pairs.clone().position(|(one, other)| !same(one, other, compacted));
        if let Some(first) = first {
            let (one, other) = (&one.events[first], &other.events[first]);
            return Err(format!("watcher {position}, event {first}: {one:?}\nsubject: {other:?}"));
        }
        let heads = |told: &Told| (told.watch_id, told.canceled.clone(), told.events.len());
        let (one_head, other_head) = (heads(one), heads(other));
        if one_head != other_head {
            let longer = if one.events.len() > other.events.len() { one } else { other };
            let next = longer.events.get(pairs.len());
            return Err(format!(
                "watcher {position}: (ID, canceled, events) {one_head:?}, subject {other_head:?}, \
                 only one has {next:?}"
            ));
        }
    }
    Ok(())
}

fn same(one: &Event, other: &Event, compacted: bool) -> bool {
    let lacks = one.prev_kv.is_none() || other.prev_kv.is_none();
    let without = |event: &Event| Event { prev_kv: None, ..event.clone() };
    one == other || (compacted && lacks && without(one) == without(other))
}
