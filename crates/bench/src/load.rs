//! The loop that drives a load: one thread, all connections, as many requests in flight as asked.
//!
//! A load is bounded in count or in time, and it ends early when no answer comes for
//! [`STALL_LIMIT`]. A connection that fails is not opened again: its calls count as lost, and the
//! report says why.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::Error;
use crate::connection::Connection;
use crate::http2::connection::{Answer, Outcome};
use crate::process::{self, MachineTime};
use crate::report::Report;
use crate::workload::{Keys, Mode, Template};

/// How long a connection may take to open, with the settings of HTTP/2.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a load waits when nothing at all is answered.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How often the loop looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_millis(200);
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 18;

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// After this many requests.
    Requests(u64),
    /// After this time; requests in flight are waited for.
    Time(Duration),
}

/// A load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to connect; connections are dealt out in turn.
    pub endpoints: Vec<SocketAddr>,
    /// How many connections.
    pub connections: usize,
    /// How many requests in flight on each.
    pub streams: usize,
    /// When to stop.
    pub extent: Extent,
    /// What to send.
    pub mode: Mode,
    /// About which keys.
    pub keys: Keys,
    /// Bytes of each value written.
    pub value_size: usize,
    /// The seed of the value.
    pub seed: u64,
    /// Processes whose CPU time is reported.
    pub server_pids: Vec<u32>,
}

/// Finds the address of an endpoint: `host:port`, with or without `http://` before it.
pub fn resolve(endpoint: &str) -> Result<SocketAddr, Error> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
    let mut found = address.to_socket_addrs().map_err(|cause| Error::io(endpoint, cause))?;
    found.next().ok_or_else(|| Error::Usage(format!("{endpoint} has no address")))
}

/// Runs a load to its end.
pub fn run(options: &Options) -> Result<Report, Error> {
    if options.endpoints.is_empty() || options.connections == 0 || options.streams == 0 {
        return Err(Error::Usage("a load needs an endpoint, a connection and a stream".into()));
    }
    if options.mode.is_v2() && options.streams > 1 {
        return Err(Error::Usage(
            "a connection of the v2 API has one request in flight: give it one stream".into(),
        ));
    }
    let mut driver = Driver::connect(options)?;
    let before = CpuTimes::now(&options.server_pids)?;
    driver.run()?;
    let after = CpuTimes::now(&options.server_pids)?;
    let mut report = driver.report;
    report.client_cpu_us = after.client_us.saturating_sub(before.client_us);
    if !options.server_pids.is_empty() {
        report.server_cpu_us = Some(after.servers_us.saturating_sub(before.servers_us));
        report.other_load = Some(after.other_share_since(&before));
    }
    Ok(report)
}

/// CPU times at one moment.
struct CpuTimes {
    servers_us: u64,
    client_us: u64,
    machine: MachineTime,
}

impl CpuTimes {
    fn now(server_pids: &[u32]) -> Result<Self, Error> {
        let servers_us = process::cpu_us(server_pids)?;
        let client_us = process::cpu_us(&[std::process::id()])?;
        Ok(Self { servers_us, client_us, machine: process::machine_time()? })
    }

    /// The share of the machine that others used.
    fn other_share_since(&self, before: &Self) -> f64 {
        let used = |times: &Self| times.servers_us + times.client_us;
        let ours = used(self).saturating_sub(used(before));
        let busy = self.machine.busy_us.saturating_sub(before.machine.busy_us);
        let total = self.machine.total_us.saturating_sub(before.machine.total_us);
        busy.saturating_sub(ours) as f64 / total.max(1) as f64
    }
}

struct Client {
    socket: TcpStream,
    connection: Connection,
    is_lost: bool,
}

struct Driver {
    clients: Vec<Client>,
    poll: Poll,
    clock: Instant,
    streams: usize,
    extent: Extent,
    template: Template,
    keys: Keys,
    /// When the first request went out; none while connections open.
    started_ns: Option<u64>,
    issued: u64,
    in_flight: usize,
    last_answer_ns: u64,
    report: Report,
    /// Room that is used again and again.
    answers: Vec<Answer>,
    buffer: Vec<u8>,
}

impl Driver {
    /// Opens all connections and waits until each may be used.
    fn connect(options: &Options) -> Result<Self, Error> {
        let poll = Poll::new().map_err(|cause| Error::io("epoll", cause))?;
        let mut clients = Vec::with_capacity(options.connections);
        for index in 0..options.connections {
            let endpoint = options.endpoints[index % options.endpoints.len()];
            let socket = open(&poll, Token(index), endpoint)
                .map_err(|cause| Error::io(endpoint.to_string(), cause))?;
            let connection = Connection::new(options.mode, &endpoint.to_string());
            clients.push(Client { socket, connection, is_lost: false });
        }
        let report = Report {
            name: options.mode.name().to_owned(),
            connections: options.connections,
            streams: options.streams,
            ..Report::default()
        };
        let mut driver = Self {
            clients,
            poll,
            clock: Instant::now(),
            streams: options.streams,
            extent: options.extent,
            template: Template::new(options.mode, options.value_size, options.seed),
            keys: options.keys.clone(),
            started_ns: None,
            issued: 0,
            in_flight: 0,
            last_answer_ns: 0,
            report,
            answers: Vec::new(),
            buffer: vec![0; READ_BYTES],
        };
        driver.wait_until_ready()?;
        Ok(driver)
    }

    fn wait_until_ready(&mut self) -> Result<(), Error> {
        (0..self.clients.len()).for_each(|index| self.flush(index));
        let mut events = Events::with_capacity(1024);
        let limit = nanoseconds(CONNECT_LIMIT);
        while !self.clients.iter().all(|client| client.connection.is_ready()) {
            if self.now_ns() > limit || self.clients.iter().any(|client| client.is_lost) {
                let reason = self.report.notes.first().map_or("no settings in time", |note| note);
                return Err(Error::Server(format!("a connection did not open: {reason}")));
            }
            self.turn(&mut events)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), Error> {
        let started_ns = self.now_ns();
        self.started_ns = Some(started_ns);
        self.last_answer_ns = started_ns;
        for index in 0..self.clients.len() {
            self.top_up(index, started_ns);
            if self.clients[index].connection.open_streams() < self.streams
                && self.wants_more(started_ns)
            {
                self.note("the server allows fewer streams on a connection than asked for");
            }
            self.flush(index);
        }
        let mut events = Events::with_capacity(1024);
        while self.is_running() {
            self.turn(&mut events)?;
            let silence_ns = self.now_ns().saturating_sub(self.last_answer_ns);
            if self.in_flight > 0 && silence_ns > nanoseconds(STALL_LIMIT) {
                let clients = 0..self.clients.len();
                clients.for_each(|index| self.lose(index, "no answer for too long".to_owned()));
            }
        }
        self.report.elapsed_ns = self.last_answer_ns.saturating_sub(started_ns);
        self.report.is_complete = !self.wants_more(self.now_ns());
        Ok(())
    }

    fn is_running(&self) -> bool {
        let usable = |client: &Client| !client.is_lost && !client.connection.is_finished();
        let more = self.wants_more(self.now_ns()) && self.clients.iter().any(usable);
        self.in_flight > 0 || more
    }

    fn wants_more(&self, now_ns: u64) -> bool {
        let Some(started_ns) = self.started_ns else { return false };
        match self.extent {
            Extent::Requests(total) => self.issued < total,
            Extent::Time(time) => now_ns.saturating_sub(started_ns) < nanoseconds(time),
        }
    }

    /// Waits for sockets and serves those that have something.
    fn turn(&mut self, events: &mut Events) -> Result<(), Error> {
        match self.poll.poll(events, Some(IDLE)) {
            Err(cause) if cause.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::io("epoll", cause));
            }
            Ok(()) | Err(_) => {}
        }
        for event in events.iter() {
            let Token(index) = event.token();
            if self.clients[index].is_lost {
                continue;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(index, event.is_read_closed() || event.is_error());
            }
            self.flush(index);
        }
        Ok(())
    }

    /// Reads what is there, counts the answers and sends the next requests in their place.
    fn read(&mut self, index: usize, until_closed: bool) {
        loop {
            let client = &mut self.clients[index];
            match client.socket.read(&mut self.buffer) {
                Ok(0) => return self.lose(index, "closed by the server".to_owned()),
                Ok(count) => {
                    let now_ns = nanoseconds(self.clock.elapsed());
                    let bytes = &self.buffer[..count];
                    let received = client.connection.receive(bytes, now_ns, &mut self.answers);
                    self.settle(now_ns);
                    if let Err(error) = received {
                        return self.lose(index, error.to_string());
                    }
                    self.top_up(index, now_ns);
                    // A stream socket that gave less than asked is empty: the next bytes, and the
                    // end if it is not known yet, raise an event of their own.
                    if count < READ_BYTES && !until_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, error.to_string()),
            }
        }
    }

    fn settle(&mut self, now_ns: u64) {
        for answer in self.answers.drain(..) {
            self.report.record(&answer);
            self.in_flight -= 1;
            // The end of a call that nobody answered is not progress.
            if answer.outcome != Outcome::Lost {
                self.last_answer_ns = now_ns;
            }
        }
    }

    /// Begins as many calls as the connection should have in flight.
    fn top_up(&mut self, index: usize, now_ns: u64) {
        while self.wants_more(now_ns) {
            let connection = &mut self.clients[index].connection;
            if connection.open_streams() >= self.streams || !connection.can_start() {
                return;
            }
            connection.start(self.template.render(self.keys.next_key()), now_ns);
            self.issued += 1;
            self.in_flight += 1;
        }
    }

    /// Sends what the socket takes; an event tells when it takes more.
    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        while !client.is_lost && !client.connection.output().is_empty() {
            match client.socket.write(client.connection.output()) {
                Ok(0) => return self.lose(index, "the socket takes nothing".to_owned()),
                Ok(count) => client.connection.advance_output(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, error.to_string()),
            }
        }
    }

    fn lose(&mut self, index: usize, reason: String) {
        let now_ns = self.now_ns();
        let client = &mut self.clients[index];
        if client.is_lost {
            return;
        }
        client.is_lost = true;
        client.connection.abandon(now_ns, &mut self.answers);
        // Closing the socket would do the same; an error here changes nothing.
        drop(self.poll.registry().deregister(&mut client.socket));
        self.settle(now_ns);
        self.note(&reason);
    }

    /// Adds a note to the report, unless it is there.
    fn note(&mut self, note: &str) {
        if !self.report.notes.iter().any(|known| known == note) {
            self.report.notes.push(note.to_owned());
        }
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.clock.elapsed())
    }
}

/// Opens a connection whose events bear this token.
pub(crate) fn open(poll: &Poll, token: Token, endpoint: SocketAddr) -> io::Result<TcpStream> {
    let socket = std::net::TcpStream::connect_timeout(&endpoint, CONNECT_LIMIT)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut socket = TcpStream::from_std(socket);
    poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(socket)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_in_two_ways() {
        let expected: SocketAddr = "127.0.0.1:2379".parse().unwrap();
        for text in ["127.0.0.1:2379", "http://127.0.0.1:2379", "http://127.0.0.1:2379/"] {
            assert_eq!(resolve(text).unwrap(), expected);
        }
        assert!(resolve("https://127.0.0.1:2379").is_err());
        assert!(resolve("127.0.0.1").is_err());
    }

    fn options(endpoint: SocketAddr) -> Options {
        Options {
            endpoints: vec![endpoint],
            connections: 1,
            streams: 1,
            extent: Extent::Requests(1),
            mode: Mode::Put,
            keys: Keys::sequential(),
            value_size: 8,
            seed: 1,
            server_pids: Vec::new(),
        }
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        let error = run(&options(endpoint)).unwrap_err();
        server.join().unwrap();
        assert!(error.to_string().starts_with("a connection did not open"), "{error}");
    }

    #[test]
    fn a_load_of_nothing_is_refused() {
        let endpoint = "127.0.0.1:1".parse().unwrap();
        for broken in [
            Options { endpoints: Vec::new(), ..options(endpoint) },
            Options { connections: 0, ..options(endpoint) },
            Options { streams: 0, ..options(endpoint) },
            Options { streams: 2, mode: Mode::V2Set, ..options(endpoint) },
        ] {
            assert!(matches!(run(&broken), Err(Error::Usage(_))));
        }
    }
}
