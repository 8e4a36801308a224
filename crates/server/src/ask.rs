//! Short questions to another member's peer port, outside of the Raft transport.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The bytes that an answer may have.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Returns the answer to `GET <url><path>` if it is a successful one.
pub(crate) async fn get(url: &str, path: &str) -> Option<Answer> {
    try_get(url, path).await.ok()
}

/// The same, or why there is none, in Go's words.
pub(crate) async fn try_get(url: &str, path: &str) -> Result<Answer, String> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, ask(url, path)).await;
    let answer = answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
    answer.map_err(|reason| format!("Get \"{url}{path}\": {reason}"))
}

async fn ask(url: &str, path: &str) -> Result<Answer, String> {
    let authority = url.strip_prefix("http://").ok_or("unsupported protocol scheme")?;
    let stream = TcpStream::connect(authority).await.map_err(|error| {
        format!("dial tcp {authority}: connect: {}", crate::config::go_io_error(&error))
    })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request =
        Request::get(path).header(http::header::HOST, authority).body(Empty::<Bytes>::new());
    let answer = async {
        let request = request.map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("unexpected status {}", response.status()));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { headers: head.headers, body })
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            ended = &mut connection => ended.map_err(|error| error.to_string())?,
        }
    }
}
