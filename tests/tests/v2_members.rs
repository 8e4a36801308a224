//! `/v2/members` and `/v2/stats` of three members, through each of them, against a real etcd 3.4:
//! members are added, changed and removed. IDs and URLs differ, so names stand for them.

use std::path::Path;
use std::time::{Duration, Instant};

use quoin_tests::cluster::Cluster;
use quoin_tests::programs;
use quoin_tests::v2::http::{Connection, Request, Response};
use quoin_tests::v2::json::Json;

const MEMBERS: usize = 3;
/// How long a follower may take to apply what the leader has applied.
const APPLY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new cluster may take to call itself healthy, which is five seconds and some more.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(30);
/// What a release says that cannot change members, whatever API is used.
const UNSUPPORTED: &str = "membership changes are not supported by this release";
/// Peer URLs of members that are never started.
const NEW_URL: &str = "http://127.0.0.1:1";
const CHANGED_URL: &str = "http://127.0.0.1:2";

#[test]
fn members_come_change_and_go_as_in_etcd() {
    let expected = story(&programs::reference_v2_etcd());
    let found = story(&programs::subject_etcd());
    for (number, (expected, found)) in expected.iter().zip(&found).enumerate() {
        if found.contains(UNSUPPORTED) {
            println!("the subject cannot change members; its answers were compared until then");
            return;
        }
        assert_eq!(expected, found, "step {number}");
    }
    assert_eq!(expected.len(), found.len());
}

/// What the cluster answers, with names instead of IDs and URLs.
fn story(program: &Path) -> Vec<String> {
    let cluster = Cluster::start_with(program, MEMBERS, "v2-members", &[("enable-v2", "true")]);
    let mut story = Story::new(&cluster);
    story.everywhere("GET", "/v2/members");
    story.everywhere("GET", "/v2/members/leader");
    story.everywhere("GET", "/v2/machines");
    story.stats();
    let json = |urls: &str| format!("{{\"peerURLs\":[\"{urls}\"]}}");
    let Some(id) = story.add(&json(NEW_URL)) else { return story.told };
    story.everywhere("GET", "/v2/members");
    story.everywhere("GET", "/v2/machines");
    // A URL that is taken, also by the new one.
    story.send(0, "POST", "/v2/members", &json(NEW_URL));
    story.send(1, "POST", "/v2/members", &json(&cluster.members[2].peer_url));
    let new = format!("/v2/members/{id}");
    story.send(1, "PUT", &new, &json(&cluster.members[0].peer_url));
    story.send(2, "PUT", &new, &json(CHANGED_URL));
    story.everywhere("GET", "/v2/members");
    story.send(2, "GET", &new, "");
    story.send(1, "DELETE", &new, "");
    story.send(0, "DELETE", &new, "");
    story.send(2, "PUT", &new, &json(NEW_URL));
    story.everywhere("GET", "/v2/members");
    story.told
}

struct Story {
    connections: Vec<Connection>,
    /// What is replaced in answers, and by what.
    names: Vec<(String, String)>,
    told: Vec<String>,
}

impl Story {
    fn new(cluster: &Cluster) -> Self {
        let endpoints = cluster.endpoints();
        let connections = endpoints.iter().map(|url| Connection::new(url)).collect();
        let mut names = Vec::new();
        for member in &cluster.members {
            names.push((member.client_url.clone(), format!("<clients of {}>", member.name)));
            names.push((member.peer_url.clone(), format!("<peers of {}>", member.name)));
        }
        let mut story = Self { connections, names, told: Vec::new() };
        for member in story.members(0) {
            let field = |name| member.member(name).and_then(Json::as_plain).expect("a member");
            story.names.push((field("id").to_owned(), format!("<{}>", field("name"))));
        }
        story
    }

    fn ask(&mut self, member: usize, request: &Request) -> Response {
        let response = self.connections[member].send(request);
        response.unwrap_or_else(|text| panic!("{request:?}: {text}"))
    }

    /// The members in the order of their names and peer URLs; that of an answer is that of the IDs.
    fn members(&mut self, member: usize) -> Vec<Json> {
        let text = self.ask(member, &Request::new("GET", "/v2/members")).text();
        let json = Json::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let Some(Json::Array(members)) = json.member("members").cloned() else { panic!("{text}") };
        members
    }

    /// Adds a member and returns its ID, if it can be done at all.
    fn add(&mut self, body: &str) -> Option<String> {
        let request = Request::new("POST", "/v2/members").body("application/json", body);
        // A cluster takes no member while its own have not been connected for some seconds.
        let deadline = Instant::now() + HEALTHY_TIMEOUT;
        let mut response = self.ask(0, &request);
        let is_final = |response: &Response| {
            response.head.status == 201 || response.text().contains(UNSUPPORTED)
        };
        while !is_final(&response) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(500));
            response = self.ask(0, &request);
        }
        let json = Json::parse(&response.text()).unwrap_or_else(|_| panic!("{response:?}"));
        let id = json.member("id").and_then(Json::as_plain).map(str::to_owned);
        self.names.extend(id.clone().map(|id| (id, "<new>".to_owned())));
        let told = self.show(&request, &response);
        self.told.push(told);
        id
    }

    fn send(&mut self, member: usize, method: &str, target: &str, body: &str) {
        let mut request = Request::new(method, target);
        if !body.is_empty() {
            request = request.body("application/json", body);
        }
        let response = self.ask(member, &request);
        let told = self.show(&request, &response);
        self.told.push(told);
    }

    /// Asks every member until all say the same.
    fn everywhere(&mut self, method: &str, target: &str) {
        let request = Request::new(method, target);
        let deadline = Instant::now() + APPLY_TIMEOUT;
        loop {
            let mut answers = Vec::new();
            for member in 0..self.connections.len() {
                let response = self.ask(member, &request);
                answers.push(self.show(&request, &response));
            }
            if answers.iter().all(|answer| *answer == answers[0]) {
                self.told.push(answers.swap_remove(0));
                return;
            }
            assert!(Instant::now() < deadline, "{answers:#?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One is leader and has two followers; the others say that they are not.
    fn stats(&mut self) {
        for target in ["/v2/stats/self", "/v2/stats/leader"] {
            let mut shapes = Vec::new();
            for member in 0..self.connections.len() {
                let request = Request::new("GET", target);
                let response = self.ask(member, &request);
                let json = Json::parse(&response.text()).expect("statistics");
                let followers = match json.member("followers") {
                    Some(Json::Object(followers)) => followers.len(),
                    _ => 0,
                };
                let first = match &json {
                    Json::Object(members) => members.iter().map(|(name, _)| name.as_str()),
                    _ => panic!("{target}: {json}"),
                };
                // Rates are there only when there is traffic.
                let names = first.filter(|name| !name.ends_with("Rate")).collect::<Vec<_>>();
                shapes.push(format!("{} {names:?} {followers}", response.head.status));
            }
            shapes.sort();
            self.told.push(format!("{target}: {shapes:?}"));
        }
    }

    /// Status, headers that do not depend on IDs and times, and the body.
    fn show(&self, request: &Request, response: &Response) -> String {
        let apart = ["Date", "X-Etcd-Cluster-Id", "Content-Length"];
        let headers =
            response.head.headers.iter().filter(|(name, _)| !apart.contains(&name.as_str()));
        let mut headers: Vec<String> =
            headers.map(|(name, value)| format!("{name}: {value}")).collect();
        headers.sort();
        let mut body = response.text();
        for (text, name) in &self.names {
            body = body.replace(text, name);
        }
        // Lists are in the order of the IDs.
        let mut body = Json::parse(&body).map_or(body, |mut json| {
            if let Json::Object(members) = &mut json {
                for (_, value) in members {
                    if let Json::Array(values) = value {
                        values.sort_by_key(Json::to_string);
                    }
                }
            }
            json.to_string()
        });
        if request.target.ends_with("/machines") {
            let mut urls: Vec<&str> = body.split(", ").collect();
            urls.sort_unstable();
            body = urls.join(", ");
        }
        if request.target.ends_with("/leader") {
            // Who leads is chance.
            body = Json::parse(&body).map_or(body, |json| json.shape().to_string());
        }
        let mut target = request.target.clone();
        for (text, name) in &self.names {
            target = target.replace(text, name);
        }
        format!("{} {target} -> {} {headers:?} {body}", request.method, response.head.status)
    }
}
