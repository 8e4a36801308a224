//! What clients of the v2 API ask for: few files and directories, values written once, times to
//! live of which some end within the run.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::Request;
use quoin_store::V2Node;

use crate::queue::{SECOND, Time};
use crate::rng::Rng;

/// When runs begin, in nanoseconds since the epoch: times before the year 2000 are none to etcd.
const BEGIN_NS: i64 = 1_800_000_000_000_000_000;
const FILES: [&str; 6] = ["/1/a", "/1/b", "/1/dir/a", "/1/dir/b", "/1/dir/sub/a", "/1/queue/a"];
const DIRECTORIES: [&str; 3] = ["/1/dir", "/1/dir/sub", "/1/queue"];
/// Times to live, in seconds. A run is over before the last one is.
const TTL_S: [u64; 5] = [1, 2, 3, 5, 600];

/// Makes requests.
#[derive(Debug)]
pub(crate) struct V2Workload {
    rng: Rng,
    written: u64,
}

impl V2Workload {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, written: 0 }
    }

    /// Returns the next request of a client that has seen a file.
    pub(crate) fn next(&mut self, seen: Option<&V2Node>, now: Time) -> Request {
        let mut request = match self.rng.between(0, 99) {
            0..30 => self.put(),
            30..40 => Request { prev_exist: Some(false), ..self.put() },
            40..50 => Request { prev_exist: Some(true), ..self.put() },
            50..65 => self.compare("PUT", seen),
            65..72 => self.compare("DELETE", seen),
            72..82 => self.delete(),
            82..92 => {
                let path = Bytes::from_static(b"/1/queue");
                Request { method: "POST".to_owned(), path, ..self.put() }
            }
            92..96 => self.directory(),
            _ => Request { method: "QGET".to_owned(), path: self.path(), ..Request::default() },
        };
        let is_write = matches!(request.method.as_str(), "PUT" | "POST");
        if is_write && self.rng.chance(250) {
            let ttl_s = *self.rng.pick(&TTL_S);
            request.expiration = unix_ns(now + ttl_s * SECOND);
            if self.rng.chance(200) {
                request.refresh = Some(true);
                request.val = Bytes::new();
            }
        }
        request
    }

    fn put(&mut self) -> Request {
        self.written += 1;
        let val = Bytes::from(self.written.to_string());
        Request { method: "PUT".to_owned(), path: self.path(), val, ..Request::default() }
    }

    /// Mostly a file, sometimes a directory or a path below a file.
    fn path(&mut self) -> Bytes {
        match self.rng.between(0, 19) {
            0 => Bytes::from_static(self.rng.pick(&DIRECTORIES).as_bytes()),
            1 => Bytes::from_static(b"/1/a/below"),
            _ => Bytes::from_static(self.rng.pick(&FILES).as_bytes()),
        }
    }

    fn compare(&mut self, method: &str, seen: Option<&V2Node>) -> Request {
        let mut request = Request { method: method.to_owned(), ..self.put() };
        match seen {
            Some(seen) => {
                request.path = seen.key.clone();
                if self.rng.chance(500) {
                    request.prev_value = seen.value.clone().unwrap_or_default();
                }
                if request.prev_value.is_empty() || self.rng.chance(200) {
                    request.prev_index = seen.modified_index;
                }
            }
            None => request.prev_index = self.rng.between(1, 20),
        }
        request
    }

    fn delete(&mut self) -> Request {
        let is_directory = self.rng.chance(300);
        let path = if is_directory { *self.rng.pick(&DIRECTORIES) } else { *self.rng.pick(&FILES) };
        Request {
            method: "DELETE".to_owned(),
            path: Bytes::from_static(path.as_bytes()),
            dir: self.rng.chance(300),
            recursive: self.rng.chance(500),
            ..Request::default()
        }
    }

    fn directory(&mut self) -> Request {
        let path = Bytes::from_static(self.rng.pick(&DIRECTORIES).as_bytes());
        let prev_exist = *self.rng.pick(&[None, Some(false), Some(true)]);
        Request { method: "PUT".to_owned(), path, dir: true, prev_exist, ..Request::default() }
    }
}

/// The time as the members' clocks show it, in nanoseconds since the epoch.
pub(crate) fn unix_ns(now: Time) -> i64 {
    BEGIN_NS + i64::try_from(now).expect("a run is short") * 1000
}

/// Returns the request by which a leader ends what is due.
pub(crate) fn sync(now: Time) -> Request {
    Request { method: "SYNC".to_owned(), time: unix_ns(now), ..Request::default() }
}

/// Returns the entry that a request makes with the ID of the member that proposes it.
pub(crate) fn entry(request: &Request, id: u64) -> Bytes {
    Bytes::from(Request { id, ..request.clone() }.encode_to_vec())
}
