//! Reading directories that may be large.
//!
//! A small one is listed where it is asked for. A larger one is listed and written on a thread for such
//! work, a few at a time, and its answer takes its turn among the large answers of this member.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use quoin_store::{V2Listing, V2View, View};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;

use super::error::KeyError;
use super::{V2, answer, now_ns, render};
use crate::grpc::large::{self, Room};

/// Directories that are listed at once.
pub(super) const LISTINGS_AT_ONCE: usize = 4;
/// Nodes up to which a directory is listed on the network thread.
const SMALL_NODES_MAX: usize = 100;
/// Bytes of paths and values up to which it is listed there.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// What was read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) listing: V2Listing,
    /// The v2 index at which it was read.
    pub(super) index: u64,
    /// Held as long as a large listing is there.
    permit: Option<OwnedSemaphorePermit>,
}

impl V2 {
    /// Reads from the view of this member, and counts it.
    pub(super) fn read(&self, path: &[u8], recursive: bool) -> Result<Reading, KeyError> {
        let read = read_view(&self.member.view(), path, recursive);
        self.count_read(read.is_ok());
        read
    }

    /// The same for a directory that may be large.
    pub(super) async fn read_listed(
        &self,
        path: &[u8],
        recursive: bool,
    ) -> Result<Reading, KeyError> {
        let read = self.list(path, recursive).await;
        self.count_read(read.is_ok());
        read
    }

    /// Reads what may be large without counting it.
    pub(super) async fn list(&self, path: &[u8], recursive: bool) -> Result<Reading, KeyError> {
        let view = self.member.view();
        if is_small(view.v2(), path) {
            return read_view(&view, path, recursive);
        }
        let permit = Arc::clone(&self.listing).acquire_owned().await.map_err(stopped)?;
        let (view, path) = (self.member.view(), path.to_vec());
        let read = tokio::task::spawn_blocking(move || read_view(&view, &path, recursive));
        let reading = read.await.map_err(stopped)??;
        Ok(Reading { permit: Some(permit), ..reading })
    }

    /// Returns the answer to a read, with its body and no header.
    pub(super) async fn render(&self, reading: Reading) -> Result<Response<Body>, KeyError> {
        let Reading { listing, permit, .. } = reading;
        let now_ns = now_ns();
        let Some(permit) = permit else {
            return Ok(answer::plain(StatusCode::OK, render::listing(&listing, now_ns)));
        };
        let bytes = render::listing_bytes(&listing);
        let room = match Room::is_large(bytes) {
            true => Some(self.room.enter(bytes).await.map_err(KeyError::raft)?),
            false => None,
        };
        let rendered = tokio::task::spawn_blocking(move || {
            let body = render::listing(&listing, now_ns);
            // The nodes are gone before others are listed.
            drop((listing, permit));
            body
        });
        let body = rendered.await.map_err(stopped)?;
        let Some(room) = room else { return Ok(answer::plain(StatusCode::OK, body)) };
        let held = self.room.settle(room, body.len());
        let mut response = Response::new(Body::new(Full::from(body)));
        response.extensions_mut().insert(held);
        Ok(large::pace(response))
    }
}

fn read_view(view: &View, path: &[u8], recursive: bool) -> Result<Reading, KeyError> {
    let listing = view.v2().get(path, recursive)?;
    Ok(Reading { listing, index: view.v2().index(), permit: None })
}

/// Whether a path is a file, nothing, or a directory with little below it.
fn is_small(view: &V2View, path: &[u8]) -> bool {
    let mut bytes = 0_usize;
    for (position, row) in view.rows(Some(path)).enumerate() {
        let below = row.path.strip_prefix(path);
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        if !is_below || (position == 0 && row.value.is_some()) {
            return true;
        }
        bytes += row.path.len() + row.value.as_ref().map_or(0, Bytes::len);
        if position > SMALL_NODES_MAX || bytes > SMALL_BYTES_MAX {
            return false;
        }
    }
    true
}

fn stopped<E>(_: E) -> KeyError {
    KeyError::raft(quoin_api::error::Error::Stopped)
}

#[cfg(test)]
mod tests {
    use quoin_api::etcdserverpb::Request;
    use quoin_store::V2Store;

    use super::*;

    /// A directory was small if it had few nodes: a hundred values of a megabyte were listed and
    /// written as JSON on the thread that serves connections.
    #[test]
    fn a_few_long_values_are_not_small() {
        let mut store = V2Store::new();
        let mut put = |path: String, bytes: usize| {
            let (path, val) = (Bytes::from(path), Bytes::from(vec![b'v'; bytes]));
            let request = Request { method: "PUT".to_owned(), path, val, ..Request::default() };
            store.apply(&request).expect("the key can be set");
        };
        for number in 0..100 {
            put(format!("/1/short/{number}"), 10);
        }
        put("/1/long/a".to_owned(), SMALL_BYTES_MAX);
        put("/1/long/b".to_owned(), 0);
        let view = store.view();
        assert!(is_small(&view, b"/1/short"));
        assert!(!is_small(&view, b"/1/long"));
        assert!(is_small(&view, b"/1/long/a"), "one value is not longer than a request");
        assert!(!is_small(&view, b"/1"), "there are many");
    }
}
