//! `check perf` and `check datascale`: what a cluster does under a load of known size.
//!
//! Invariants:
//! - The keys of a check begin with its prefix; a check does not begin while such keys exist, and
//!   deletes them when it ends, also when it is interrupted.
//! - Each worker has one request in flight, so no more requests wait than there are workers.
//!
//! Not here: how requests are timed and judged (see `load`).

mod load;
mod memory;

use std::sync::Arc;
use std::time::Duration;

use quoin_api::etcdserverpb::{CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest};
use quoin_client::Client;

use super::key::prefix_end;
use crate::exit::Exit;
use crate::flags::{Flag, Values};
use crate::globals::Globals;
use crate::text::quote;
use crate::{Invocation, output, refused};

use load::{Load, Pace, Report};

pub(crate) const PERF_HELP: &str = "\
Checks that the cluster writes fast enough.

For a minute, the command writes keys of 256 bytes with values of 1024 bytes. The cluster passes if
it takes nine tenths of the load, no request takes half a second, and their times are alike.

    load          writes a second   clients
    s, small      150               50
    m, medium     1000              200
    l, large      8000              500
    xl, xLarge    15000             1000
";

pub(crate) const DATASCALE_HELP: &str = "\
Shows how much memory a server needs for some keys.

The server is the first one of --endpoints. The command writes keys and values of 512 bytes each and
compares what the server reports of its memory before and after.

    load          keys      clients
    s, small      10000     50
    m, medium     100000    200
    l, large      1000000   500
    xl, xLarge    3000000   1000
";

const LOAD: Flag = Flag::text("load", "size of the load: s, m, l or xl").or("s");
const COMPACT: Flag = Flag::bool("auto-compact", "drop the history when the check has ended");
const DEFRAG: Flag = Flag::bool("auto-defrag", "give unused space back when the check has ended");

pub(crate) static PERF_FLAGS: &[Flag] = &[
    LOAD,
    Flag::text("prefix", "what the keys of the check begin with").or("/etcdctl-check-perf/"),
    COMPACT,
    DEFRAG,
];

pub(crate) static DATASCALE_FLAGS: &[Flag] = &[
    LOAD,
    Flag::text("prefix", "what the keys of the check begin with").or("/etcdctl-check-datascale/"),
    COMPACT,
    DEFRAG,
];

const PERF_SECONDS: u64 = 60;
/// How long deleting the keys may take.
const CLEANUP: Duration = Duration::from_secs(30);

/// The four sizes that a load can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Medium,
    Large,
    Extra,
}

impl Size {
    fn read(flags: &Values) -> Result<Self, Exit> {
        let load = flags.text("load");
        match load.as_str() {
            "s" | "small" => Ok(Self::Small),
            "m" | "medium" => Ok(Self::Medium),
            "l" | "large" => Ok(Self::Large),
            "xl" | "xLarge" => Ok(Self::Extra),
            _ => Err(Exit::bad_feature(format!("unknown load option {load}"))),
        }
    }

    fn workers(self) -> usize {
        match self {
            Self::Small => 50,
            Self::Medium => 200,
            Self::Large => 500,
            Self::Extra => 1000,
        }
    }

    /// Writes a second.
    fn rate(self) -> u32 {
        match self {
            Self::Small => 150,
            Self::Medium => 1000,
            Self::Large => 8000,
            Self::Extra => 15000,
        }
    }

    fn keys(self) -> u64 {
        match self {
            Self::Small => 10_000,
            Self::Medium => 100_000,
            Self::Large => 1_000_000,
            Self::Extra => 3_000_000,
        }
    }
}

pub(super) async fn perf(invocation: &Invocation) -> Result<(), Exit> {
    let size = Size::read(&invocation.flags)?;
    let check = Check::new(invocation, size)?;
    check.refuse_keys("'").await?;
    let pace = Pace::Rate { each_second: size.rate(), seconds: PERF_SECONDS };
    let report = check.run(pace, 256, 1024).await?;
    check.clean_up().await?;
    let (text, passed) = report.judge(size.rate());
    output::print(&text)?;
    if passed { Ok(()) } else { Err(Exit::silent()) }
}

pub(super) async fn datascale(invocation: &Invocation) -> Result<(), Exit> {
    let size = Size::read(&invocation.flags)?;
    let check = Check::new(invocation, size)?;
    check.refuse_keys("").await?;
    let endpoint = check.globals.endpoints.first().cloned().unwrap_or_default();
    let before = check.memory(&endpoint, "before").await?;
    let (keys, workers) = (size.keys(), size.workers());
    output::print(&format!(
        "Start data scale check for work load [{keys} key-value pairs, 1024 bytes per key-value, \
         {workers} concurrent clients].\n"
    ))?;
    let report = check.run(Pace::Count(keys), 512, 512).await?;
    let after = check.memory(&endpoint, "after").await?;
    check.clean_up().await?;
    if let Some(errors) = report.errors() {
        output::print(&errors)?;
        return Err(Exit::silent());
    }
    let megabytes = (after - before) / (1024.0 * 1024.0);
    output::print(&format!("PASS: Approximate system memory used : {megabytes:.2} MB.\n"))
}

/// A check that is under way.
struct Check {
    globals: Globals,
    prefix: String,
    /// One client for each worker.
    clients: Vec<Client>,
}

impl Check {
    fn new(invocation: &Invocation, size: Size) -> Result<Self, Exit> {
        let globals = Globals::read(invocation)?;
        let prefix = invocation.flags.text("prefix");
        let clients: Result<Vec<Client>, Exit> =
            (0..size.workers()).map(|_| globals.client()).collect();
        Ok(Self { globals, prefix, clients: clients? })
    }

    /// Fails if keys with the prefix exist; `mark` stands around the command to use.
    async fn refuse_keys(&self, mark: &str) -> Result<(), Exit> {
        let request = RangeRequest {
            key: self.prefix.clone().into(),
            range_end: prefix_end(self.prefix.as_bytes()),
            limit: 1,
            ..RangeRequest::default()
        };
        if self.clients[0].range(request).await.map_err(refused)?.kvs.is_empty() {
            return Ok(());
        }
        let (quoted, prefix) = (quote(self.prefix.as_bytes()), &self.prefix);
        let command = format!("{mark}etcdctl del --prefix {prefix}{mark}");
        Err(Exit::invalid_input(format!("prefix {quoted} has keys. Delete with {command} first")))
    }

    /// Runs the load. An interrupt ends it early.
    async fn run(&self, pace: Pace, key_bytes: usize, value_bytes: usize) -> Result<Report, Exit> {
        let prefix = self.prefix.clone();
        let value = bytes::Bytes::from(vec![0; value_bytes]);
        let put = move |number: u64| {
            let mut key = prefix.clone().into_bytes();
            key.extend(number.to_be_bytes());
            key.resize(prefix.len() + key_bytes, 0);
            PutRequest { key: key.into(), value: value.clone(), ..PutRequest::default() }
        };
        let load = Load::new(pace, Arc::new(put));
        tokio::select! {
            report = load.run(&self.clients) => report,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt?;
                self.clean_up().await?;
                Err(Exit::interrupted("interrupted"))
            }
        }
    }

    async fn memory(&self, endpoint: &str, when: &str) -> Result<f64, Exit> {
        if let Some(bytes) = memory::resident(endpoint).await {
            return Ok(bytes);
        }
        let what = "FAIL: Could not read process_resident_memory_bytes";
        output::print(&format!("{what} {when} the put operations.\n"))?;
        Err(Exit::silent())
    }

    async fn clean_up(&self) -> Result<(), Exit> {
        let client = self.globals.patient_client().map_err(refused)?;
        let request = DeleteRangeRequest {
            key: self.prefix.clone().into(),
            range_end: prefix_end(self.prefix.as_bytes()),
            prev_kv: false,
        };
        let deleted = match tokio::time::timeout(CLEANUP, client.delete_range(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("context deadline exceeded".to_owned()),
        };
        let revision = match deleted {
            Ok(response) => response.header.unwrap_or_default().revision,
            Err(error) => {
                let what = "FAIL: Cleanup failed during key deletion";
                return output::print(&format!("{what}: ERROR({error})\n"));
            }
        };
        if self.globals.flags.bool("auto-compact") {
            output::print(&format!("Compacting with revision {revision}\n"))?;
            client
                .compact(CompactionRequest { revision, physical: true })
                .await
                .map_err(refused)?;
            output::print(&format!("Compacted with revision {revision}\n"))?;
        }
        if self.globals.flags.bool("auto-defrag") {
            for endpoint in &self.globals.endpoints {
                let quoted = quote(endpoint.as_bytes());
                output::print(&format!("Defragmenting {quoted}\n"))?;
                client.defragment(endpoint).await.map_err(refused)?;
                output::print(&format!("Defragmented {quoted}\n"))?;
            }
        }
        Ok(())
    }
}
