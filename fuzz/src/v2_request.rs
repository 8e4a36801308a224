//! Requests of the v2 API as they come over HTTP.

use bytes::Bytes;
use prost::Message as _;
use quoin_api::etcdserverpb::Request;
use quoin_server::v2::read_request;
use quoin_store::V2Store;

use crate::input::{Input, with_length};

const METHODS: &[&str] = &["GET", "PUT", "POST", "DELETE", "HEAD", "PATCH"];
const NOW_NS: i64 = 1_700_000_000_000_000_000;
/// Requests of an input that go to the same store.
const REQUESTS_MAX: usize = 64;

/// Reads bytes as requests for keys, with their forms, paths and JSON. What one would propose is the
/// same after it was in the log, and the store carries it out or refuses it.
///
/// A request is a byte for the method, then target, content type and body, each with its length.
pub fn v2_request(data: &[u8]) {
    let mut input = Input::new(data);
    let mut store = V2Store::new();
    for _ in 0..REQUESTS_MAX {
        if input.is_empty() {
            break;
        }
        let method = METHODS[usize::from(input.u8()) % METHODS.len()];
        let target = String::from_utf8_lossy(input.bytes()).into_owned();
        let content_type = String::from_utf8_lossy(input.bytes()).into_owned();
        let body = input.bytes();
        let method = method.parse().expect("it is a method");
        let Some(request) = read_request(&method, &target, &content_type, body, NOW_NS) else {
            continue;
        };
        let logged = Bytes::from(request.encode_to_vec());
        assert_eq!(Request::decode(logged).as_ref(), Ok(&request));
        drop(store.apply(&request));
        drop(store.take_notices());
    }
}

/// Where fuzzing begins.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let form = "application/x-www-form-urlencoded";
    let requests: [(u8, &str, &str, &str); 8] = [
        (1, "/v2/keys/a%2Fb", form, "value=%3Cx%3E&ttl=5"),
        (1, "/v2/keys/a?prevExist=true&refresh=true", form, "ttl=10"),
        (1, "/v2/keys/dir?dir=true", "", ""),
        (2, "/v2/keys/dir", form, "value=in+order"),
        (3, "/v2/keys/dir?recursive=true&prevIndex=3", "", ""),
        (0, "/v2/keys/?recursive=true&sorted=true&wait=true&waitIndex=7&stream=1", "", ""),
        (1, "/v2/keys/a?prevValue=x&prevIndex=4&noValueOnSuccess=1", form, "value=y"),
        (1, "/v2/auth/users/u", "application/json", r#"{"user":"u","password":"p","roles":["r"]}"#),
    ];
    let bytes = requests.map(|(method, target, kind, body)| {
        let parts = [target, kind, body].map(|part| with_length(part.as_bytes()));
        [&[method], &parts.concat()[..]].concat()
    });
    bytes.iter().cloned().chain([bytes.concat()]).collect()
}
