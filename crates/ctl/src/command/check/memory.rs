//! What a server says about its own memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const METRIC: &str = "process_resident_memory_bytes ";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const LARGEST: u64 = 16 << 20;

/// Asks a server for its resident memory in bytes; none if it does not say.
pub(super) async fn resident(endpoint: &str) -> Option<f64> {
    timeout(PATIENCE, metrics(endpoint)).await.ok()?.ok().and_then(|text| find(&text))
}

async fn metrics(endpoint: &str) -> std::io::Result<String> {
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    let mut stream = TcpStream::connect(address).await?;
    // This version of HTTP ends the answer with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn find(text: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(METRIC))?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_is_found() {
        let text = "HTTP/1.0 200 OK\r\n\r\n# TYPE process_resident_memory_bytes gauge\n\
                    process_resident_memory_bytes 2.3109632e+07\nx 1\n";
        assert_eq!(find(text), Some(23_109_632.0));
        assert_eq!(find("HTTP/1.0 404 Not Found\r\n\r\n"), None);
    }
}
