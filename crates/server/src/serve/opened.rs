//! The beginning of a connection: which protocol its client speaks.
//!
//! An idle connection costs little more than its socket, because nothing is made for a protocol before
//! the first bytes are there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How a connection of HTTP/2 begins. No method of HTTP/1 does.
const HTTP2_OPENING: &[u8] = b"PRI ";

/// A connection of which some bytes were read already.
#[derive(Debug)]
pub(super) struct Opened {
    stream: TcpStream,
    /// What was read and is to be read again.
    read: Bytes,
    /// Whether something was written that may not have left yet.
    has_unsent: Arc<AtomicBool>,
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
}

impl Opened {
    pub(super) fn new(stream: TcpStream, read: Bytes) -> Self {
        Self { stream, read, has_unsent: Arc::default() }
    }

    /// Reads until the protocol is known. Nothing if the client goes away before.
    pub(super) async fn begin(mut stream: TcpStream) -> io::Result<Option<(Self, Protocol)>> {
        let mut opening = [0; HTTP2_OPENING.len()];
        let mut length = 0;
        loop {
            let protocol = protocol(&opening[..length]);
            if let Some(protocol) = protocol {
                let read = Bytes::copy_from_slice(&opening[..length]);
                return Ok(Some((Self::new(stream, read), protocol)));
            }
            match stream.read(&mut opening[length..]).await? {
                0 => return Ok(None),
                count => length += count,
            }
        }
    }

    /// Returns the address of the client.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }

    /// Says whether something was written that may not have left yet.
    pub(super) fn unsent_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_unsent)
    }

    /// Returns the stream and what is to be read again before it.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        (self.stream, self.read)
    }
}

fn protocol(opening: &[u8]) -> Option<Protocol> {
    if opening == HTTP2_OPENING {
        Some(Protocol::Http2)
    } else if HTTP2_OPENING.starts_with(opening) {
        None
    } else {
        Some(Protocol::Http1)
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.read.len().min(buffer.remaining());
        buffer.put_slice(&self.read[..length]);
        self.read.advance(length);
        if self.read.is_empty() {
            self.read = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Opened {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.has_unsent.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // The HTTP library flushes only behind the last byte that it has.
        if let Poll::Ready(Ok(())) = flushed {
            self.has_unsent.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_of_http1_are_told_from_http2() {
        assert_eq!(protocol(b""), None);
        assert_eq!(protocol(b"P"), None);
        assert_eq!(protocol(b"PRI"), None);
        assert_eq!(protocol(b"PRI "), Some(Protocol::Http2));
        for text in [&b"G"[..], b"PU", b"PO", b"PA", b"PRO", b"\r\n"] {
            assert_eq!(protocol(text), Some(Protocol::Http1), "{text:?}");
        }
    }
}
