//! What a watcher of the v2 API costs: many long polls that wait, each on a connection of its own, and
//! the memory of the server beside them.
//!
//! Memory is looked at three times: before anything is connected, with all connections open and nothing
//! asked, and when every long poll has the head of its response. Then the keys are set, and all must be
//! answered: a watcher that the server forgot would cost nothing. Servers run in turn, and the table
//! shows medians of the rounds.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll, Token};
use serde_json::{Value, json};

use crate::Error;
use crate::compare::{Cluster, ENABLE_V2, median};
use crate::http1::Connection;
use crate::http2::connection::{Answer, Outcome};
use crate::load::{self, Extent, open};
use crate::process;
use crate::workload::{Keys, Mode, Template};

/// How long all watchers together may take to be accepted, or to be answered.
const LIMIT: Duration = Duration::from_secs(120);
/// How long the server is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);
/// How often the loop looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_millis(200);
/// Connections that set the keys.
const SETTERS: usize = 100;
const READ_BYTES: usize = 1 << 16;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program to compare with.
    pub reference: PathBuf,
    /// The program that is compared.
    pub ours: PathBuf,
    /// How many watchers wait.
    pub watchers: usize,
    /// How often each server runs.
    pub rounds: usize,
    /// Where data directories are made.
    pub directory: PathBuf,
}

/// What the watchers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// Each for a key of its own.
    Distinct,
    /// All for one key.
    Equal,
}

impl Spread {
    fn name(self) -> &'static str {
        match self {
            Self::Distinct => "distinct",
            Self::Equal => "equal",
        }
    }

    fn key(self, watcher: usize) -> u64 {
        match self {
            Self::Distinct => watcher as u64,
            Self::Equal => 0,
        }
    }

    /// How many keys have to be set until all are answered.
    fn keys(self, watchers: usize) -> u64 {
        match self {
            Self::Distinct => watchers as u64,
            Self::Equal => 1,
        }
    }
}

/// What the watchers of one run cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes of the server for each connection on which nothing was asked yet.
    pub connection_bytes: f64,
    /// Bytes of the server for each watcher that waits, its connection included.
    pub watcher_bytes: f64,
    /// From the first change of a key to the last answer.
    pub answered_ms: f64,
}

/// All runs. Its text is a Markdown table of medians.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<(Spread, Vec<(Cost, Cost)>)>,
}

/// Runs all rounds and tells `progress` about each run.
pub fn run(options: &Options, progress: &mut dyn FnMut(&str)) -> Result<Table, Error> {
    let spreads = [Spread::Distinct, Spread::Equal];
    let mut table = Table { rows: spreads.map(|spread| (spread, Vec::new())).into() };
    for round in 0..options.rounds {
        for (spread, pairs) in &mut table.rows {
            let mut one = |program: &Path| {
                let cost = measure(options, program, *spread)?;
                let (program, name) = (program.display(), spread.name());
                progress(&format!("round {}, {program}, {name} keys: {cost}", round + 1));
                Ok(cost)
            };
            pairs.push((one(&options.reference)?, one(&options.ours)?));
        }
    }
    Ok(table)
}

fn measure(options: &Options, program: &Path, spread: Spread) -> Result<Cost, Error> {
    let mut cluster = Cluster::start(program, 1, &options.directory, &ENABLE_V2)?;
    let (endpoint, pids) = (cluster.endpoints()[0], cluster.pids());
    // What the first requests bring into memory is no cost of watchers.
    set(endpoint, 1)?;
    let memory = || {
        std::thread::sleep(SETTLE);
        process::anonymous_bytes(pids[0])
    };
    let before = memory()?;
    let mut watchers = Watchers::connect(endpoint, options.watchers)?;
    let connected = memory()?;
    let outcome = watchers.wait(spread);
    cluster.check_running()?;
    outcome?;
    let waiting = memory()?;
    let begin = Instant::now();
    set(endpoint, spread.keys(options.watchers))?;
    watchers.finish()?;
    let answered_ms = begin.elapsed().as_secs_f64() * 1e3;
    let each = |after: u64| (after as f64 - before as f64) / options.watchers as f64;
    Ok(Cost { connection_bytes: each(connected), watcher_bytes: each(waiting), answered_ms })
}

/// Sets so many keys once.
fn set(endpoint: SocketAddr, keys: u64) -> Result<(), Error> {
    let report = load::run(&load::Options {
        endpoints: vec![endpoint],
        connections: usize::try_from(keys).unwrap_or(SETTERS).min(SETTERS),
        streams: 1,
        extent: Extent::Requests(keys),
        mode: Mode::V2Set,
        keys: Keys::sequential(),
        value_size: 256,
        seed: 1,
        server_pids: Vec::new(),
    })?;
    if report.succeeded() == keys {
        return Ok(());
    }
    Err(Error::Server(format!("not all keys were set: {report}")))
}

struct Watcher {
    socket: TcpStream,
    connection: Connection,
}

/// Long polls, each on a connection of its own.
struct Watchers {
    poll: Poll,
    watchers: Vec<Watcher>,
    answers: Vec<Answer>,
    buffer: Vec<u8>,
}

impl Watchers {
    fn connect(endpoint: SocketAddr, count: usize) -> Result<Self, Error> {
        let poll = Poll::new().map_err(|cause| Error::io("epoll", cause))?;
        let mut watchers = Vec::with_capacity(count);
        for index in 0..count {
            let socket = open(&poll, Token(index), endpoint)
                .map_err(|cause| Error::io(format!("{endpoint}, connection {index}"), cause))?;
            watchers.push(Watcher { socket, connection: Connection::default() });
        }
        Ok(Self { poll, watchers, answers: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    /// Sends all long polls, and waits until each has the head of its response.
    fn wait(&mut self, spread: Spread) -> Result<(), Error> {
        let mut template = Template::new(Mode::V2Wait, 0, 1);
        for index in 0..self.watchers.len() {
            let watcher = &mut self.watchers[index];
            watcher.connection.start(template.render(spread.key(index)), 0);
            self.flush(index)?;
        }
        self.turn_until("accepted", |watchers, _| {
            watchers.iter().filter(|watcher| watcher.connection.has_head()).count()
        })?;
        match self.answers.first() {
            Some(answer) => Err(Error::Server(format!("a watcher did not wait: {answer:?}"))),
            None => Ok(()),
        }
    }

    /// Waits until all are answered.
    fn finish(&mut self) -> Result<(), Error> {
        self.turn_until("answered", |_, answers| answers.len())?;
        let failed = self.answers.iter().find(|answer| answer.outcome != Outcome::Ok);
        failed.map_or(Ok(()), |answer| Err(Error::Server(format!("a watcher failed: {answer:?}"))))
    }

    fn turn_until(
        &mut self,
        what: &str,
        count: impl Fn(&[Watcher], &[Answer]) -> usize,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + LIMIT;
        let mut events = Events::with_capacity(1024);
        loop {
            let (found, total) = (count(&self.watchers, &self.answers), self.watchers.len());
            if found == total {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Server(format!("{found} of {total} watchers were {what}")));
            }
            match self.poll.poll(&mut events, Some(IDLE)) {
                Err(cause) if cause.kind() != io::ErrorKind::Interrupted => {
                    return Err(Error::io("epoll", cause));
                }
                Ok(()) | Err(_) => {}
            }
            for event in events.iter() {
                let Token(index) = event.token();
                self.flush(index)?;
                self.read(index)?;
            }
        }
    }

    fn flush(&mut self, index: usize) -> Result<(), Error> {
        let Watcher { socket, connection } = &mut self.watchers[index];
        while !connection.output().is_empty() {
            match socket.write(connection.output()) {
                Ok(count) => connection.advance_output(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::io(format!("watcher {index}"), cause)),
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(), Error> {
        let Watcher { socket, connection } = &mut self.watchers[index];
        loop {
            match socket.read(&mut self.buffer) {
                Ok(0) => return Err(Error::Server(format!("watcher {index} was closed"))),
                Ok(count) => connection
                    .receive(&self.buffer[..count], 0, &mut self.answers)
                    .map_err(|error| Error::Server(format!("watcher {index}: {error}")))?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::io(format!("watcher {index}"), cause)),
            }
        }
    }
}

impl Table {
    /// The medians for programs.
    pub fn to_json(&self) -> Value {
        let row = |(spread, pairs): &(Spread, Vec<(Cost, Cost)>)| {
            let side = |of: fn(&(Cost, Cost)) -> &Cost| {
                let of = |part: fn(&Cost) -> f64| middle(pairs, of, part);
                json!({
                    "connection_bytes": of(|cost| cost.connection_bytes),
                    "watcher_bytes": of(|cost| cost.watcher_bytes),
                    "answered_ms": of(|cost| cost.answered_ms),
                })
            };
            json!({
                "keys": spread.name(),
                "rounds": pairs.len(),
                "reference": side(|(reference, _)| reference),
                "ours": side(|(_, ours)| ours),
            })
        };
        self.rows.iter().map(row).collect()
    }
}

fn middle(pairs: &[(Cost, Cost)], of: fn(&(Cost, Cost)) -> &Cost, part: fn(&Cost) -> f64) -> f64 {
    median(pairs.iter().map(|pair| part(of(pair))).collect())
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("| keys | B/watcher, reference | ours | of these the connection, reference ")?;
        f.write_str("| ours | all answered ms, reference | ours |\n")?;
        f.write_str("|---|--:|--:|--:|--:|--:|--:|\n")?;
        for (spread, pairs) in &self.rows {
            write!(f, "| {} ", spread.name())?;
            let parts: [fn(&Cost) -> f64; 3] =
                [|cost| cost.watcher_bytes, |cost| cost.connection_bytes, |cost| cost.answered_ms];
            for part in parts {
                let reference = middle(pairs, |(reference, _)| reference, part);
                write!(f, "| {reference:.0} | {:.0} ", middle(pairs, |(_, ours)| ours, part))?;
            }
            f.write_str("|\n")?;
        }
        Ok(())
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection_bytes, watcher_bytes, answered_ms } = self;
        write!(
            f,
            "{watcher_bytes:.0} B for each watcher, {connection_bytes:.0} of these before it asked; \
             all answered in {answered_ms:.0} ms"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_medians() {
        let cost = |watcher_bytes| Cost { connection_bytes: 7.0, watcher_bytes, answered_ms: 2.0 };
        let pairs = [1.0, 3.0, 2.0].map(|part| (cost(part * 100.0), cost(part))).into();
        let table = Table { rows: vec![(Spread::Equal, pairs)] };
        let row = table.to_string().lines().nth(2).map(str::to_owned);
        assert_eq!(row.as_deref(), Some("| equal | 200 | 2 | 7 | 7 | 2 | 2 |"));
        assert_eq!(table.to_json()[0]["reference"]["watcher_bytes"], json!(200.0));
    }

    #[test]
    fn watchers_of_one_key_end_with_one_change() {
        assert_eq!((Spread::Equal.key(9), Spread::Equal.keys(10)), (0, 1));
        assert_eq!((Spread::Distinct.key(9), Spread::Distinct.keys(10)), (9, 10));
    }
}
