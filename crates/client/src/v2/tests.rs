//! Calls against servers of a few lines: what is sent, where it goes next, what comes of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that gives one answer to each connection, in turn, and reports the requests.
async fn server(
    answers: &'static [&'static str],
) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let length = stream.read(&mut buffer).await.unwrap();
            requests.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    (url, served)
}

fn client(endpoints: &[String]) -> Client {
    Client::new(Options {
        endpoints: endpoints.to_vec(),
        credentials: Some(("u".to_owned(), "p".to_owned())),
        dial_timeout: Duration::from_secs(1),
        header_timeout: Some(Duration::from_millis(200)),
        in_order: true,
        trace: None,
    })
    .unwrap()
}

const FOUND: &str = "HTTP/1.1 200 OK\r\nX-Etcd-Index: 9\r\nContent-Length: 57\r\n\r\n\
                     {\"action\":\"get\",\"node\":{\"key\":\"/a\",\"value\":\"1\",\"ttl\":5}}\n";
const NO_LEADER: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn the_next_endpoint_is_asked_and_remembered() {
    let (bad, _served) = server(&[NO_LEADER]).await;
    let (good, served) = server(&[FOUND, FOUND]).await;
    let mut client = client(&[bad, good]);
    for _ in 0..2 {
        let event = client.get(b"a b", false, true, false, None).await.unwrap();
        assert_eq!(event.index, 9);
        let node = event.node.unwrap();
        assert_eq!((node.key.as_str(), node.value.as_str(), node.ttl), ("/a", "1", 5));
    }
    let requests = served.await.unwrap();
    let line = "GET /v2/keys/a%20b?quorum=false&recursive=false&sorted=true HTTP/1.1\r\n";
    for request in &requests {
        assert!(request.starts_with(line), "{request}");
        assert!(request.to_lowercase().contains("authorization: basic dtpw\r\n"), "{request}");
    }
}

#[tokio::test]
async fn all_reasons_are_told_and_what_may_be_done_is_not_repeated() {
    let (first, _served) = server(&[NO_LEADER, NO_LEADER]).await;
    let (second, _served) = server(&[NO_LEADER]).await;
    let mut client = client(&[first.clone(), second.clone()]);
    let error = client.members(None).await.unwrap_err();
    let reasons = [first.clone(), second].map(Error::NoLeader);
    assert_eq!(error, Error::Cluster(reasons.to_vec()));
    let error = client.delete(b"a", &Removal::default(), None).await.unwrap_err();
    assert_eq!(error, Error::NoLeader(first));
}

#[tokio::test]
async fn silence_ends_at_the_header_timeout_and_the_call_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut client = client(std::slice::from_ref(&url));
    let error = client.members(None).await.unwrap_err();
    assert_eq!(error, Error::Cluster(vec![Error::HeaderTimeout(url)]));
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    assert_eq!(client.members(deadline).await.unwrap_err(), Error::Deadline);
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let (good, served) = server(&[FOUND]).await;
    let target = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: {good}/v2/keys/b\r\nContent-Length: 0\r\n\r\n"
    );
    let answers: &'static [&'static str] = vec![&*target.leak()].leak();
    let (first, _served) = server(answers).await;
    client(&[first]).get(b"a", false, false, false, None).await.unwrap();
    assert!(served.await.unwrap()[0].starts_with("GET /v2/keys/b HTTP/1.1\r\n"));
    const ROUND: &str = "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n\r\n";
    let (first, _served) = server(&[ROUND]).await;
    let error = client(&[first]).members(None).await.unwrap_err();
    assert_eq!(error, Error::Cluster(vec![Error::Text("location header not set".to_owned())]));
}

#[test]
fn bodies_that_are_no_json() {
    let fault = |body: &[u8]| {
        let error = serde_json::from_slice::<serde_json::Value>(body).unwrap_err();
        auth::json_fault(body, &error).to_string()
    };
    assert_eq!(fault(b""), "unexpected end of JSON input");
    assert_eq!(fault(b"404 page not found\n"), "invalid character 'p' after top-level value");
    assert_eq!(fault(b"<html>"), "invalid character '<' looking for beginning of value");
}

#[test]
fn peer_urls_are_checked_and_sorted() {
    assert_eq!(peer_urls(&["http://b:1", " http://a:1"]).unwrap(), ["http://a:1", "http://b:1"]);
    let refused = |text| peer_urls(&[text]).unwrap_err().to_string();
    assert_eq!(refused("foo"), "URL scheme must be http, https, unix, or unixs: foo");
    let form = "URL address does not have the form \"host:port\": http://a/b";
    assert_eq!(refused("http://a/b"), form);
    assert_eq!(refused("http://a:1/b"), "URL must not contain a path: http://a:1/b");
}
