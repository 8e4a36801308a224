//! Random requests to every path of the v2 API, most of them to the keys.
//!
//! Not here: users, roles and passwords that matter, see [`crate::v2::auth`].

use crate::rng::Rng;
use crate::v2::http::{Request, Response};
use crate::v2::keys::KeyRequests;

/// Paths that answer, that once answered, and that never did. What they answer depends on nothing
/// but the request.
const PATHS: &[&str] = &[
    "/v2/machines",
    "/v2/machines/",
    "/v2/machines/x",
    "/v2/members",
    "/v2/members/",
    "/v2/members/leader",
    "/v2/members/leader/",
    "/v2/members/nothing",
    "/v2/members/12ab",
    "/v2/members/0",
    "/v2/members/ffffffffffffffffff",
    "/v2/stats",
    "/v2/stats/",
    "/v2/stats/leader",
    "/v2/stats/nothing",
    "/v2/auth",
    "/v2/auth/",
    "/v2/auth/enable",
    "/v2/auth/enable/",
    "/v2/auth/users",
    "/v2/auth/users/",
    "/v2/auth/users/nobody",
    "/v2/auth/users/a/b",
    "/v2/auth/roles",
    "/v2/auth/roles/",
    "/v2/auth/roles/root",
    "/v2/auth/roles/nothing",
    "/v2/auth/roles/a/b",
    "/v2",
    "/v2/",
    "/v2/keysx",
    "/v2/key",
    "/v1/keys/a",
    "/",
    "/nothing",
    "/v2/../v2/keys",
    "/v2//members",
];

/// Bodies for `/v2/members` that do not make a member.
const MEMBER_BODIES: &[&str] = &[
    "",
    "{",
    "{}",
    "null",
    "[]",
    "{\"peerURLs\":[]}",
    "{\"peerURLs\":null}",
    "{\"peerURLs\":\"http://127.0.0.1:1\"}",
    "{\"peerURLs\":[\"\"]}",
    "{\"peerURLs\":[\"127.0.0.1:1\"]}",
    "{\"peerURLs\":[\"http://127.0.0.1\"]}",
    "{\"peerURLs\":[\"http://127.0.0.1:1/path\"]}",
    "{\"peerURLs\":[\"ftp://127.0.0.1:1\"]}",
    "{\"peerURLs\":[\"http://%zz:1\"]}",
    "{\"peerURLs\":[1]}",
];

/// What is sent next.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request that is answered at once.
    Ask(Request),
    /// A request whose answer may come with a later change.
    Wait(Request),
}

/// Yields requests; the same seed and the same answers give the same requests.
#[derive(Clone, Debug)]
pub struct Generator {
    rng: Rng,
    keys: KeyRequests,
    /// A peer URL that a member has.
    peer_url: String,
}

impl Generator {
    /// A generator for servers without keys, one of whose members has this peer URL.
    pub fn new(seed: u64, peer_url: &str) -> Self {
        let mut rng = Rng::new(seed);
        let keys = KeyRequests::new(rng.fork());
        Self { rng, keys, peer_url: peer_url.to_owned() }
    }

    /// The next request.
    pub fn step(&mut self) -> Step {
        match self.rng.below(100) {
            0..88 => Step::Ask(self.keys.request()),
            88..95 => Step::Wait(self.keys.wait()),
            95..98 => Step::Ask(self.other()),
            _ => Step::Ask(self.member()),
        }
    }

    /// Takes note of an answer.
    pub fn learn(&mut self, response: &Response) {
        self.keys.learn(response);
    }

    /// The keys of the generator.
    pub fn keys(&mut self) -> &mut KeyRequests {
        &mut self.keys
    }

    fn other(&mut self) -> Request {
        let path = *self.rng.pick(PATHS);
        let method = *self
            .rng
            .pick(&["GET", "GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "FOO"]);
        // The switch of authentication is for the test of its own.
        let method = if path.starts_with("/v2/auth/enable") { "GET" } else { method };
        let query = if self.rng.chance(10) { "?recursive=true" } else { "" };
        Request::new(method, &format!("{path}{query}"))
    }

    /// A request about members that leaves them as they are.
    fn member(&mut self) -> Request {
        let body = match self.rng.below(4) {
            0 => format!("{{\"peerURLs\":[\"{}\"]}}", self.peer_url),
            _ => self.rng.pick(MEMBER_BODIES).to_string(),
        };
        let content_type = *self.rng.pick(&[
            "application/json",
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;",
            "text/plain",
            "",
        ]);
        let (method, path) = *self.rng.pick(&[
            ("POST", "/v2/members"),
            ("POST", "/v2/members/"),
            ("PUT", "/v2/members/12ab"),
            ("PUT", "/v2/members/"),
            ("PUT", "/v2/members/xyz"),
            ("DELETE", "/v2/members/12ab"),
            ("DELETE", "/v2/members/xyz"),
            ("DELETE", "/v2/members"),
        ]);
        let request = Request::new(method, path);
        if content_type.is_empty() {
            return Request { body: body.into_bytes(), ..request };
        }
        request.body(content_type, &body)
    }
}
