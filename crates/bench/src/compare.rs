//! Two servers under the same loads in turn, and the ratios between them.
//!
//! Only one of the two runs at a time. Each round starts the reference, takes all its samples,
//! ends it, and does the same with ours; what the machine does beside it then hits both. A ratio
//! is taken within a round, and the table shows the median of the rounds.
//!
//! Invariant: nothing started here outlives the comparison, and no file stays behind.

mod cluster;
mod table;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quoin_api::etcdserverpb::{RangeRequest, RangeResponse};

use crate::Error;
use crate::call::call;
use crate::load::{self, Extent};
use crate::report::Report;
use crate::workload::{KEY_PREFIX, Keys, Mode};

pub(crate) use cluster::Cluster;
pub(crate) use table::median;
pub use table::{Cell, Sample, Table};

/// Connections and requests in flight on each while keys are written ahead.
const FILL: Load = Load { connections: 20, streams: 50 };
/// The same for keys of the v2 API.
const FILL_V2: Load = Load { connections: 200, streams: 1 };
/// The v2 API is off by default in etcd 3.4 and 3.5.
pub(crate) const ENABLE_V2: [&str; 1] = ["--enable-v2"];
/// How long the check of the keys written ahead may take.
const COUNT_LIMIT: Duration = Duration::from_secs(30);

/// How long the leases of a comparison live.
const LEASE_TTL_S: u32 = 24 * 3600;

/// How much is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// How many connections.
    pub connections: usize,
    /// How many requests in flight on each.
    pub streams: usize,
}

/// A comparison.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to compare with.
    pub reference: PathBuf,
    /// The program that is compared.
    pub ours: PathBuf,
    /// Members of each cluster.
    pub members: usize,
    /// Whether requests go to the leader only, or to all members in turn.
    pub target_leader: bool,
    /// How often each server runs.
    pub rounds: usize,
    /// How long each sample takes.
    pub sample_time: Duration,
    /// What is sent.
    pub modes: Vec<Mode>,
    /// How much is in flight.
    pub loads: Vec<Load>,
    /// Keys written ahead, and used.
    pub key_space: u64,
    /// Bytes of each value.
    pub value_size: usize,
    /// The seed of keys and values.
    pub seed: u64,
    /// Where data directories are made.
    pub directory: PathBuf,
}

/// Runs a comparison to its end and tells `progress` about each sample.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Table, Error> {
    let mut table = Table::default();
    for round in 0..options.rounds {
        let reference = samples(options, &options.reference, round, progress)?;
        let ours = samples(options, &options.ours, round, progress)?;
        for ((cell, reference), (_, ours)) in reference.into_iter().zip(ours) {
            table.add(cell, reference, ours);
        }
    }
    Ok(table)
}

/// Starts one server, takes all samples of one round, and ends it.
fn samples(
    options: &Options,
    program: &Path,
    round: usize,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<(Cell, Sample)>, Error> {
    let has_v2 = options.modes.iter().any(|mode| mode.is_v2());
    let flags: &[&str] = if has_v2 { &ENABLE_V2 } else { &[] };
    let mut cluster = Cluster::start(program, options.members, &options.directory, flags)?;
    let endpoints =
        if options.target_leader { vec![cluster.leader()?] } else { cluster.endpoints().to_vec() };
    if !options.modes.iter().all(|mode| mode.is_v2()) {
        fill(options, &endpoints)?;
    }
    if has_v2 {
        write_all(options, &endpoints, Mode::V2Set, FILL_V2)?;
    }
    if options.modes.contains(&Mode::KeepAlive) {
        grant(options, &endpoints)?;
    }
    let mut samples = Vec::new();
    for mode in &options.modes {
        for load in &options.loads {
            let report = sample(options, &cluster, &endpoints, *mode, *load);
            // A server that ended says more in its log than its absence says here.
            cluster.check_running()?;
            let report = report?;
            progress(&format!("round {}, {}: {report}", round + 1, program.display()));
            if !report.is_complete {
                return Err(Error::Server(format!("{}: {report}", program.display())));
            }
            samples.push((Cell { mode: *mode, load: *load }, Sample::from(&report)));
        }
    }
    Ok(samples)
}

fn sample(
    options: &Options,
    cluster: &Cluster,
    endpoints: &[SocketAddr],
    mode: Mode,
    load: Load,
) -> Result<Report, Error> {
    load::run(&load::Options {
        endpoints: endpoints.to_vec(),
        connections: load.connections,
        streams: load.streams,
        extent: Extent::Time(options.sample_time),
        mode,
        keys: Keys::random(options.seed, options.key_space),
        value_size: options.value_size,
        seed: options.seed,
        server_pids: cluster.pids(),
    })
}

/// Grants a lease for every key, for much longer than a comparison takes.
fn grant(options: &Options, endpoints: &[SocketAddr]) -> Result<(), Error> {
    let report = load::run(&load::Options {
        endpoints: endpoints.to_vec(),
        connections: FILL.connections,
        streams: FILL.streams,
        extent: Extent::Requests(options.key_space),
        mode: Mode::LeaseGrant { ttl_s: LEASE_TTL_S },
        keys: Keys::sequential(),
        value_size: 0,
        seed: options.seed,
        server_pids: Vec::new(),
    })?;
    if report.succeeded() == options.key_space {
        return Ok(());
    }
    Err(Error::Server(format!("not all leases were granted: {report}")))
}

/// Writes every key once.
fn write_all(
    options: &Options,
    endpoints: &[SocketAddr],
    mode: Mode,
    load: Load,
) -> Result<(), Error> {
    let report = load::run(&load::Options {
        endpoints: endpoints.to_vec(),
        connections: load.connections,
        streams: load.streams,
        extent: Extent::Requests(options.key_space),
        mode,
        keys: Keys::sequential(),
        value_size: options.value_size,
        seed: options.seed,
        server_pids: Vec::new(),
    })?;
    if report.succeeded() == options.key_space {
        return Ok(());
    }
    Err(Error::Server(format!("not all keys were written: {report}")))
}

/// Writes every key once, and makes sure that they are there.
fn fill(options: &Options, endpoints: &[SocketAddr]) -> Result<(), Error> {
    write_all(options, endpoints, Mode::Put, FILL)?;
    let (start, mut end) = (KEY_PREFIX.as_bytes().to_vec(), KEY_PREFIX.as_bytes().to_vec());
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let all = RangeRequest {
        key: start.into(),
        range_end: end.into(),
        count_only: true,
        ..Default::default()
    };
    let path = Mode::RangeLinearizable.path();
    let found: RangeResponse = call(endpoints[0], path, &all, COUNT_LIMIT)?;
    if u64::try_from(found.count) != Ok(options.key_space) {
        let reason = format!("{} keys are there after {}", found.count, options.key_space);
        return Err(Error::Server(reason));
    }
    Ok(())
}
