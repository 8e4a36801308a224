//! Two servers that get the same requests, one after the other, and must give the same answers.
//!
//! They have one name and one peer URL, so that the IDs of cluster and member are equal; the URL of
//! their clients is replaced in bodies before these are compared.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cluster::Member;
use crate::server::Server;
use crate::temp_dir::TempDir;
use crate::v2::compare::Judge;
use crate::v2::http::{Connection, Request, Response};
use crate::v2::json::Json;
use crate::v2::watches::Watches;

/// What stands for the URL of a server's clients.
const CLIENT_URL: &str = "http://client-url";
/// How long both servers may take to agree on what happens by itself.
pub const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests shown before the one that differed.
const SHOWN: usize = 12;
/// The longest part of a body that is shown.
const SHOWN_BYTES: usize = 600;
const POLL: Duration = Duration::from_millis(20);

/// One of the two.
#[derive(Debug)]
pub struct Twin {
    /// Its process.
    pub server: Server,
    /// Its client URL.
    pub url: String,
    connection: Connection,
}

impl Twin {
    fn start(program: &Path, home: &Path, peer_url: &str) -> Self {
        std::fs::create_dir(home).expect("a new directory");
        let mut member = Member::alone(home, "twin");
        member.initial_cluster = format!("twin={peer_url}");
        peer_url.clone_into(&mut member.advertised_peer_url);
        member.settings.push(("enable-v2", "true".to_owned()));
        let server = Server::start(&member.launch(program, home));
        let server = server.unwrap_or_else(|error| panic!("{}: {error}", home.display()));
        let connection = Connection::new(&member.client_url);
        Self { server, url: member.client_url, connection }
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// If there is none.
    pub fn ask(&mut self, request: &Request) -> Result<Response, String> {
        let mut response = self.connection.send(request)?;
        let text = String::from_utf8(response.body);
        let text = text.map_err(|_| "a body that is not UTF-8".to_owned())?;
        if text.contains(&self.url) {
            // The URLs have one length, so that Content-Length says the same of both.
            response.body = text.replace(&self.url, CLIENT_URL).into_bytes();
        } else {
            response.body = text.into_bytes();
        }
        Ok(response)
    }
}

/// Both, with what is waiting on them.
#[derive(Debug)]
pub struct Twins {
    /// Whose answers are right.
    pub reference: Twin,
    /// Whose answers are compared.
    pub subject: Twin,
    /// Requests that wait.
    pub watches: Watches,
    /// The peer URL that both advertise.
    pub peer_url: String,
    judge: Judge,
    /// The counts of requests at the beginning, the reference's first.
    counted_before: [Vec<(String, u64)>; 2],
    recent: VecDeque<String>,
    // Last, so that the processes end before their files go.
    _dir: TempDir,
}

impl Twins {
    /// Starts both and waits until they have done what a new member does by itself.
    ///
    /// # Panics
    /// If one of them does not serve.
    pub fn start(reference: &Path, subject: &Path, label: &str) -> Self {
        let dir = TempDir::new(label);
        let peer_url = Member::alone(dir.path(), "twin").advertised_peer_url;
        let start = |program: &Path, role: &str| -> Twin {
            let home: PathBuf = dir.join(role);
            Twin::start(program, &home, &peer_url)
        };
        let reference = start(reference, "reference");
        let subject = start(subject, "subject");
        let watches = Watches::new(&reference.url, &subject.url);
        let mut twins = Self {
            reference,
            subject,
            watches,
            peer_url: peer_url.clone(),
            judge: Judge::default(),
            counted_before: [Vec::new(), Vec::new()],
            recent: VecDeque::new(),
            _dir: dir,
        };
        twins.wait_until_equal(&Request::new("GET", "/v2/keys/"));
        // Counts begin with the first change in a cluster that may have come from an etcd 3.6.
        for method in ["PUT", "DELETE"] {
            let outcome = twins.ask(&Request::new(method, "/v2/keys/first"));
            outcome.unwrap_or_else(|text| panic!("{text}"));
        }
        twins.begin_to_count();
        twins
    }

    /// Waits until the cluster version is set, which takes an index, and the v2 indexes are equal.
    fn wait_until_equal(&mut self, root: &Request) {
        let deadline = Instant::now() + AGREEMENT_TIMEOUT;
        let version = Request::new("GET", "/version");
        loop {
            let decided = [&mut self.reference, &mut self.subject].map(|twin| {
                let answer = twin.ask(&version).expect("a server that serves").text();
                let index = twin.ask(root).expect("a server that serves");
                let index = index.head.number("X-Etcd-Index");
                (!answer.contains("not_decided"), index)
            });
            let [(one, index), (two, other)] = decided;
            if one && two && index == other {
                return;
            }
            assert!(Instant::now() < deadline, "the first indexes are {index:?} and {other:?}");
            std::thread::sleep(POLL);
        }
    }

    /// Sends a request to both and compares the answers. Returns the reference's.
    ///
    /// # Errors
    /// What is different, with the requests before it.
    pub fn ask(&mut self, request: &Request) -> Result<Response, String> {
        let changes_members = request.target.starts_with("/v2/members")
            && matches!(request.method.as_str(), "POST" | "PUT" | "DELETE");
        if changes_members {
            self.settle_counts()?;
        }
        let answers = self.ask_both(request);
        if changes_members {
            self.begin_to_count();
        }
        let (expected, found) = answers.map_err(|text| self.report(request, &text))?;
        let verdict = self.judge.compare(request, &expected, &found);
        if let Err(text) = verdict {
            let shown = [&expected, &found].map(show_response);
            let text = format!("{text}\nreference: {}\nsubject:   {}", shown[0], shown[1]);
            return Err(self.report(request, &text));
        }
        self.note(request, &expected);
        Ok(expected)
    }

    /// Sends a request to both without comparing the answers.
    ///
    /// # Errors
    /// If one of them does not answer.
    pub fn ask_both(&mut self, request: &Request) -> Result<(Response, Response), String> {
        let expected = self.reference.ask(request).map_err(|text| format!("reference: {text}"))?;
        let found = self.subject.ask(request).map_err(|text| format!("subject: {text}"))?;
        Ok((expected, found))
    }

    /// Sends a request that waits. Returns the reference's answer if it does not.
    ///
    /// # Errors
    /// What is different, with the requests before it.
    pub fn wait(&mut self, request: &Request) -> Result<Option<Response>, String> {
        let outcome = self.watches.open(request, &mut self.judge);
        let answer = outcome.map_err(|text| self.report(request, &text))?;
        if let Some(response) = &answer {
            self.note(request, response);
        }
        Ok(answer)
    }

    /// Compares what those who wait were told, the counts of requests, and the whole tree.
    ///
    /// # Errors
    /// What is different.
    pub fn settle(&mut self) -> Result<(), String> {
        self.watches.settle().map_err(|text| self.report_text(&text))?;
        self.ask(&Request::new("GET", "/v2/keys/?recursive=true&sorted=true"))?;
        self.settle_counts()?;
        self.agree("/v2/stats/self", |text, _| {
            Json::parse(text).map_or_else(|error| error, |json| json.shape().to_string())
        })
    }

    fn settle_counts(&mut self) -> Result<(), String> {
        let counted_before = self.counted_before.clone();
        self.agree("/v2/stats/store", |text, twin| show_counts(text, &counted_before[twin]))
    }

    /// What both have counted by now: an etcd reads in its own tree when it starts and when it
    /// changes members, and counts that.
    fn begin_to_count(&mut self) {
        let request = Request::new("GET", "/v2/stats/store");
        let (one, two) = self.ask_both(&request).expect("servers that serve");
        self.counted_before = [counts(&one.text()), counts(&two.text())];
    }

    /// Waits until both answer the same: who has left is noticed a little later.
    fn agree(&mut self, path: &str, view: impl Fn(&str, usize) -> String) -> Result<(), String> {
        let request = Request::new("GET", path);
        let deadline = Instant::now() + AGREEMENT_TIMEOUT;
        loop {
            let (expected, found) = self.ask_both(&request)?;
            let (expected, found) = (view(&expected.text(), 0), view(&found.text(), 1));
            if expected == found {
                return Ok(());
            }
            if Instant::now() > deadline {
                let text = format!("reference: {expected}\nsubject:   {found}");
                return Err(self.report(&request, &text));
            }
            std::thread::sleep(POLL);
        }
    }

    fn note(&mut self, request: &Request, response: &Response) {
        self.recent.push_back(format!("{}\n    -> {}", show(request), show_response(response)));
        if self.recent.len() > SHOWN {
            self.recent.pop_front();
        }
    }

    fn report(&self, request: &Request, text: &str) -> String {
        self.report_text(&format!("{}\n{text}", show(request)))
    }

    fn report_text(&self, text: &str) -> String {
        let recent: Vec<&str> = self.recent.iter().map(String::as_str).collect();
        format!("before:\n{}\nthe answers differ: {text}", recent.join("\n"))
    }
}

fn counts(text: &str) -> Vec<(String, u64)> {
    let Ok(Json::Object(members)) = Json::parse(text) else { panic!("no counts: {text}") };
    let number = |value: &Json| value.as_number().unwrap_or_else(|| panic!("no counts: {text}"));
    members.iter().map(|(name, value)| (name.clone(), number(value))).collect()
}

/// The counts without what was counted before.
fn show_counts(text: &str, before: &[(String, u64)]) -> String {
    let counts = counts(text).into_iter().zip(before).map(|((name, count), (before, base))| {
        assert_eq!(name, *before, "{text}");
        format!("{name}: {}", count.wrapping_sub(*base))
    });
    counts.collect::<Vec<String>>().join(", ")
}

fn show(request: &Request) -> String {
    let Request { method, target, headers, body } = request;
    let body: String = String::from_utf8_lossy(body).chars().take(SHOWN_BYTES).collect();
    format!("{method} {target} {headers:?} {body:?}")
}

fn show_response(response: &Response) -> String {
    let body: String = response.text().chars().take(SHOWN_BYTES).collect();
    let Response { head, .. } = response;
    let apart = |name: &str| name == "Date" || name.starts_with("Access-Control");
    let headers: Vec<String> = head
        .headers
        .iter()
        .filter(|(name, _)| !apart(name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    format!("{} {} {headers:?} {body:?}", head.status, head.reason)
}
