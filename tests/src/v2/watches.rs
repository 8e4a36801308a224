//! The same waiting requests on two servers: what each is told must be the same, in the same order.
//!
//! Each has a connection of its own. Nothing is read while other requests are sent; what has come
//! by then is compared when the caller says so, and a server has [`DELIVERY_TIMEOUT`] to deliver
//! what the other has delivered.

use std::time::{Duration, Instant};

use crate::v2::compare::{Judge, compare_events};
use crate::v2::http::{ANSWER_TIMEOUT, Connection, Framing, Request, Response};

/// How long an event may be under way.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Pairs that wait at the same time; the oldest goes when there are more.
const MAX_PAIRS: usize = 16;
const POLL: Duration = Duration::from_millis(2);

/// One request that waits on both servers.
#[derive(Debug)]
struct Pair {
    request: Request,
    reference: Waiting,
    subject: Waiting,
}

/// One answer that comes bit by bit.
#[derive(Debug)]
struct Waiting {
    connection: Connection,
    /// What has come and is not compared yet.
    body: Vec<u8>,
    /// Whether the answer is complete, or the connection is closed.
    ended: Option<&'static str>,
}

impl Waiting {
    fn poll(&mut self) -> Result<(), String> {
        if self.ended.is_some() {
            return Ok(());
        }
        let open = self.connection.poll()?;
        if self.connection.take_chunks(&mut self.body)? {
            self.ended = Some("complete");
        } else if !open {
            self.ended = Some("cut off");
        }
        Ok(())
    }

    fn events(&self) -> usize {
        self.body.iter().filter(|&&byte| byte == b'\n').count()
    }

    /// Takes the events that have come whole.
    fn take_events(&mut self) -> Vec<String> {
        let end = self.body.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let text: Vec<u8> = self.body.drain(..end).collect();
        String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
    }
}

/// The pairs that wait.
#[derive(Debug)]
pub struct Watches {
    reference: String,
    subject: String,
    pairs: Vec<Pair>,
    /// Events that were compared.
    pub events: usize,
}

impl Watches {
    /// None yet, for the servers at these URLs.
    pub fn new(reference: &str, subject: &str) -> Self {
        let (reference, subject) = (reference.to_owned(), subject.to_owned());
        Self { reference, subject, pairs: Vec::new(), events: 0 }
    }

    /// Sends a waiting request to both servers and compares how they begin to answer. Returns the
    /// reference's answer if it is one already.
    ///
    /// # Errors
    /// What is different.
    pub fn open(
        &mut self,
        request: &Request,
        judge: &mut Judge,
    ) -> Result<Option<Response>, String> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut one = Connection::new(&self.reference);
        let mut two = Connection::new(&self.subject);
        let expected = one.open(request, deadline).map_err(|text| format!("reference: {text}"))?;
        let found = two.open(request, deadline).map_err(|text| format!("subject: {text}"))?;
        if expected.framing != Framing::Chunked || found.framing != Framing::Chunked {
            let body = one.read_body(&expected, deadline)?;
            let expected = Response { head: expected, body };
            let body = two.read_body(&found, deadline)?;
            judge.compare(request, &expected, &Response { head: found, body })?;
            return Ok(Some(expected));
        }
        judge.compare_heads(&expected, &found)?;
        let [reference, subject] =
            [one, two].map(|connection| Waiting { connection, body: Vec::new(), ended: None });
        self.pairs.push(Pair { request: request.clone(), reference, subject });
        if self.pairs.len() > MAX_PAIRS {
            self.settle()?;
            if self.pairs.len() > MAX_PAIRS {
                self.pairs.remove(0);
            }
        }
        Ok(None)
    }

    /// Waits until both servers have delivered equally much, and compares it. Requests that have
    /// got all they asked for are dropped.
    ///
    /// # Errors
    /// What is different, and for which request.
    pub fn settle(&mut self) -> Result<(), String> {
        for pair in &mut self.pairs {
            let events = settle(pair).map_err(|text| format!("{:?}: {text}", pair.request));
            self.events += events?;
        }
        self.pairs.retain(|pair| pair.reference.ended.is_none());
        Ok(())
    }

    /// Closes all connections.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

fn settle(pair: &mut Pair) -> Result<usize, String> {
    let deadline = Instant::now() + DELIVERY_TIMEOUT;
    loop {
        pair.reference.poll().map_err(|text| format!("reference: {text}"))?;
        pair.subject.poll().map_err(|text| format!("subject: {text}"))?;
        let (reference, subject) = (&pair.reference, &pair.subject);
        if (reference.events(), reference.ended) == (subject.events(), subject.ended) {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("the events differ:\n{reference:?}\n{subject:?}"));
        }
        std::thread::sleep(POLL);
    }
    let (expected, found) = (pair.reference.take_events(), pair.subject.take_events());
    for (expected, found) in expected.iter().zip(&found) {
        // A read through the log is answered at once, also when it says that it waits.
        compare_events(expected, found, false)
            .map_err(|text| format!("{text}\nreference: {expected}\nsubject:   {found}"))?;
    }
    Ok(expected.len())
}
