//! Connections whose client waits for a change of the v2 store.
//!
//! The HTTP library keeps 20 kB for a connection, which is too much for thousands of clients that do
//! nothing but wait. So when a request begins to wait its connection is taken from the library, the
//! answer is written here, and the library gets the connection back for the next request.
//!
//! Invariants:
//! - Only a connection whose earlier answers have left is taken; else the library sends this one too.
//! - What the client sends while it waits is kept for the next request, up to [`KEPT_BYTES_MAX`].
//!
//! Not here: who waits for what (`v2::watch`).

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::CONNECTION;
use http::response::Parts;
use http::{HeaderMap, HeaderName, Request, Version};
use hyper::body::{Body, Incoming};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::v2::Watching;

/// Bytes that a client may send while it waits. Beyond, nothing is read until it has its answer.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 10;

/// Where a request and the task of its connection meet.
#[derive(Default)]
pub(super) struct Parking {
    offer: Mutex<Option<Offer>>,
}

/// An answer that goes on for long.
pub(super) struct Offer {
    head: Parts,
    watching: Watching,
    /// Where it goes if the connection cannot be taken.
    back: oneshot::Sender<(Parts, Watching)>,
}

/// An answer that is written without the library.
pub(super) struct Parked {
    head: Parts,
    watching: Watching,
}

/// Whether the connection of a request may be taken from the library.
pub(super) fn may_park(request: &Request<Incoming>) -> bool {
    let keeps_alive = match request.headers().get(CONNECTION) {
        None => true,
        Some(value) => value.as_bytes().eq_ignore_ascii_case(b"keep-alive"),
    };
    keeps_alive && request.version() == Version::HTTP_11 && request.body().is_end_stream()
}

impl Parking {
    /// Offers an answer to the task of the connection. Does not return if that takes it.
    pub(super) async fn offer(&self, head: Parts, watching: Watching) -> Option<(Parts, Watching)> {
        let (back, returned) = oneshot::channel();
        *self.lock() = Some(Offer { head, watching, back });
        returned.await.ok()
    }

    /// Takes an answer that was offered while the library ran, unless something has not left yet.
    pub(super) fn take(&self, has_unsent: &AtomicBool) -> Option<Parked> {
        let Offer { head, watching, back } = self.lock().take()?;
        if !has_unsent.load(Ordering::Relaxed) {
            return Some(Parked { head, watching });
        }
        // The request waits for it as long as its connection lives.
        drop(back.send((head, watching)));
        None
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Offer>> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parked {
    /// Writes the answer until it ends. Returns the connection with what is to be read first, unless
    /// the client went away.
    pub(super) async fn run(
        self,
        mut stream: TcpStream,
        read: Bytes,
    ) -> Option<(TcpStream, Bytes)> {
        let Self { head, mut watching } = self;
        let head = head_bytes(&head.headers, OffsetDateTime::now_utc());
        stream.write_all(&head).await.ok()?;
        drop(head);
        let mut kept = BytesMut::from(read);
        loop {
            let line = tokio::select! {
                line = next(&mut watching) => line,
                kept = keep(&stream, &mut kept), if kept.len() < KEPT_BYTES_MAX => {
                    kept.ok()?;
                    continue;
                }
            };
            let Some(line) = line else { break };
            let mut chunk = format!("{:x}\r\n", line.len()).into_bytes();
            chunk.extend_from_slice(&line);
            chunk.extend_from_slice(b"\r\n");
            stream.write_all(&chunk).await.ok()?;
        }
        stream.write_all(b"0\r\n\r\n").await.ok()?;
        Some((stream, kept.freeze()))
    }
}

/// Returns the next line of an answer, or nothing at its end.
async fn next(watching: &mut Watching) -> Option<Bytes> {
    std::future::poll_fn(|context| poll_line(watching, context)).await
}

fn poll_line(watching: &mut Watching, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
    let Some(Ok(frame)) = ready!(Pin::new(watching).poll_frame(context)) else {
        return Poll::Ready(None);
    };
    Poll::Ready(frame.into_data().ok())
}

/// Keeps what the client sends; an error if it has gone away.
async fn keep(stream: &TcpStream, kept: &mut BytesMut) -> io::Result<()> {
    stream.readable().await?;
    let mut space = [0; READ_BYTES];
    match stream.try_read(&mut space) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => {
            kept.extend_from_slice(&space[..length]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the head of an answer in chunks, with the names of headers as Go writes them.
fn head_bytes(headers: &HeaderMap, now: OffsetDateTime) -> Vec<u8> {
    let mut head = b"HTTP/1.1 200 OK\r\n".to_vec();
    for (name, value) in headers {
        push_title_case(&mut head, name);
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    let (weekday, month) = (now.weekday().to_string(), now.month().to_string());
    let date = format!(
        "Date: {}, {:02} {} {} {:02}:{:02}:{:02} GMT\r\nTransfer-Encoding: chunked\r\n\r\n",
        &weekday[..3],
        now.day(),
        &month[..3],
        now.year(),
        now.hour(),
        now.minute(),
        now.second()
    );
    head.extend_from_slice(date.as_bytes());
    head
}

fn push_title_case(out: &mut Vec<u8>, name: &HeaderName) {
    let mut begins_word = true;
    for byte in name.as_str().bytes() {
        out.push(if begins_word { byte.to_ascii_uppercase() } else { byte });
        begins_word = byte == b'-';
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_head_is_as_the_library_writes_it() {
        let mut headers = HeaderMap::new();
        headers.insert("x-etcd-index", HeaderValue::from(7));
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000).expect("it is a time");
        assert_eq!(
            String::from_utf8_lossy(&head_bytes(&headers, now)),
            "HTTP/1.1 200 OK\r\nX-Etcd-Index: 7\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
        );
    }
}
