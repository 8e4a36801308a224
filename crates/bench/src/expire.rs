//! Many leases that end at once: how late the last one ends, and what puts feel meanwhile.
//!
//! Each server grants leases as fast as it can, attaches a key to each, and takes puts of other
//! keys until the last leased key is gone. The time that counts is the one after the moment when
//! the last lease has lived its time.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use quoin_api::etcdserverpb::{RangeRequest, RangeResponse};
use serde_json::{Value, json};

use crate::Error;
use crate::call::call;
use crate::compare::Cluster;
use crate::load::{self, Extent};
use crate::report::Report;
use crate::workload::{Keys, LEASED_PREFIX, Mode};

/// Connections and requests in flight on each while leases are granted.
const FILL: (usize, usize) = (20, 50);
/// How long one look at the leased keys may take while the server is busy.
const COUNT_LIMIT: Duration = Duration::from_secs(30);
/// How late the last lease may end.
const LATEST: Duration = Duration::from_secs(1800);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The programs, in turn.
    pub programs: Vec<PathBuf>,
    /// Members of each cluster.
    pub members: usize,
    /// How many leases there are.
    pub leases: u64,
    /// How long each lives, in seconds. It should be more than granting them takes.
    pub ttl_s: u32,
    /// How long each slice of puts takes.
    pub slice: Duration,
    /// Connections that put, each one at a time.
    pub connections: usize,
    /// Bytes of each value.
    pub value_size: usize,
    /// Where data directories are made.
    pub directory: PathBuf,
}

/// What became of the leases of one server.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The program.
    pub program: PathBuf,
    /// From the first grant to the last leased key.
    pub granting: Duration,
    /// How much longer than its time the last lease lived.
    pub lateness: Duration,
    /// The slowest put before the first lease ended, in milliseconds at the 99th percentile, and
    /// puts in each second.
    pub before: (f64, f64),
    /// The same of the worst slice while leases ended.
    pub meanwhile: (f64, f64),
}

/// Measures each program.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::new();
    for program in &options.programs {
        let outcome = measure(options, program, progress)?;
        progress(&outcome.to_string());
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

fn measure(
    options: &Options,
    program: &Path,
    progress: &mut dyn FnMut(&str),
) -> Result<Outcome, Error> {
    let mut cluster = Cluster::start(program, options.members, &options.directory, &[])?;
    let endpoint = cluster.leader()?;
    let started = Instant::now();
    fill(options, endpoint, Mode::LeaseGrant { ttl_s: options.ttl_s })?;
    let over = Instant::now() + Duration::from_secs(options.ttl_s.into());
    fill(options, endpoint, Mode::LeasedPut)?;
    let granting = started.elapsed();
    let total = count(endpoint)?;
    let mut before: (f64, f64) = (0.0, f64::INFINITY);
    let mut meanwhile = before;
    loop {
        let report = puts(options, endpoint)?;
        cluster.check_running()?;
        let left = count(endpoint)?;
        progress(&format!("{}: {left} leases left, {report}", program.display()));
        let slice = (report.quantile_ms(990), report.throughput());
        let worst = if left == total { &mut before } else { &mut meanwhile };
        *worst = (worst.0.max(slice.0), worst.1.min(slice.1));
        let lateness = Instant::now().saturating_duration_since(over);
        if left == 0 {
            let program = program.to_owned();
            return Ok(Outcome { program, granting, lateness, before, meanwhile });
        }
        if lateness > LATEST {
            return Err(Error::Server(format!("{left} leases do not end")));
        }
    }
}

fn fill(options: &Options, endpoint: SocketAddr, mode: Mode) -> Result<(), Error> {
    let extent = Extent::Requests(options.leases);
    let report = load(options, endpoint, mode, extent, FILL, Keys::sequential())?;
    if report.succeeded() == options.leases {
        return Ok(());
    }
    Err(Error::Server(format!("not all was done: {report}")))
}

fn puts(options: &Options, endpoint: SocketAddr) -> Result<Report, Error> {
    let (load_of, keys) = ((options.connections, 1), Keys::random(1, 10_000));
    load(options, endpoint, Mode::Put, Extent::Time(options.slice), load_of, keys)
}

fn load(
    options: &Options,
    endpoint: SocketAddr,
    mode: Mode,
    extent: Extent,
    (connections, streams): (usize, usize),
    keys: Keys,
) -> Result<Report, Error> {
    load::run(&load::Options {
        endpoints: vec![endpoint],
        connections,
        streams,
        extent,
        mode,
        keys,
        value_size: options.value_size,
        seed: 1,
        server_pids: Vec::new(),
    })
}

/// The leased keys that are still there, as far as the member knows.
fn count(endpoint: SocketAddr) -> Result<i64, Error> {
    let mut end = LEASED_PREFIX.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let all = RangeRequest {
        key: LEASED_PREFIX.as_bytes().to_vec().into(),
        range_end: end.into(),
        count_only: true,
        serializable: true,
        ..Default::default()
    };
    let path = Mode::RangeSerializable.path();
    let found: RangeResponse = call(endpoint, path, &all, COUNT_LIMIT)?;
    Ok(found.count)
}

impl Outcome {
    /// The outcome for programs.
    pub fn to_json(&self) -> Value {
        json!({
            "program": self.program.display().to_string(),
            "granting_s": self.granting.as_secs_f64(),
            "lateness_s": self.lateness.as_secs_f64(),
            "before_p99_ms": self.before.0,
            "before_puts_per_s": self.before.1,
            "meanwhile_p99_ms": self.meanwhile.0,
            "meanwhile_puts_per_s": self.meanwhile.1,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program, granting, lateness, before, meanwhile } = self;
        write!(
            f,
            "{}: granted in {:.1} s, the last lease ended {:.1} s late; puts before: p99 {:.1} ms, \
             {:.0}/s; worst slice meanwhile: p99 {:.1} ms, {:.0}/s",
            program.display(),
            granting.as_secs_f64(),
            lateness.as_secs_f64(),
            before.0,
            before.1,
            meanwhile.0,
            meanwhile.1
        )
    }
}
