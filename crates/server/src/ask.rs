//! Short questions to another member's peer port, outside of the Raft transport.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long a question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// The bytes that an answer may have.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Returns the body of a successful answer to `GET <url><path>`.
pub(crate) async fn get(url: &str, path: &str) -> Option<Bytes> {
    tokio::time::timeout(ANSWER_TIMEOUT, ask(url, path)).await.ok().flatten()
}

async fn ask(url: &str, path: &str) -> Option<Bytes> {
    let authority = url.strip_prefix("http://")?;
    let stream = TcpStream::connect(authority).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request =
        Request::get(path).header(http::header::HOST, authority).body(Empty::<Bytes>::new());
    let answer = async {
        let response = sender.send_request(request.ok()?).await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.ok()?;
        Some(body.to_bytes())
    };
    let mut connection = std::pin::pin!(connection);
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            ended = &mut connection => ended.ok()?,
        }
    }
}
