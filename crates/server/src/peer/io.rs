//! A connection that fails when it stands still.
//!
//! A stream may carry a megabyte or nothing but a heartbeat every 1.67 s, for years. Each read and
//! each write gets a deadline, counted from the last byte that moved, so that a dead link is
//! noticed in seconds and not when TCP gives up. The clock is armed only when an operation has to
//! wait.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// A connection with deadlines.
#[derive(Debug)]
pub(super) struct Deadlined<T> {
    io: T,
    read: Option<Deadline>,
    write: Deadline,
}

impl<T> Deadlined<T> {
    /// Bounds each write. Reads wait as long as they must: the side that reads requests.
    pub(super) fn writes(io: T, limit: Duration) -> Self {
        Self { io, read: None, write: Deadline::new(limit) }
    }

    /// Bounds each read and each write: the side that reads a stream.
    pub(super) fn reads_and_writes(io: T, limit: Duration) -> Self {
        Self { io, read: Some(Deadline::new(limit)), write: Deadline::new(limit) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Deadlined<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        match &mut this.read {
            Some(deadline) => deadline.watch(context, polled, "read"),
            None => polled,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Deadlined<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write(context, bytes);
        this.write.watch(context, polled, "write")
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_write_vectored(context, buffers);
        this.write.watch(context, polled, "write")
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_flush(context);
        this.write.watch(context, polled, "write")
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.io).poll_shutdown(context);
        this.write.watch(context, polled, "write")
    }
}

/// How long one direction may stand still.
#[derive(Debug)]
struct Deadline {
    limit: Duration,
    /// When the operation that waits now began to wait.
    waiting_since: Option<Instant>,
    /// Kept from one wait to the next and moved only when it fires, so that a busy link touches
    /// no timer.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(limit: Duration) -> Self {
        Self { limit, waiting_since: None, alarm: None }
    }

    /// Passes on what an operation returned, or fails it when it has waited for too long.
    fn watch<R>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
        operation: &str,
    ) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.waiting_since = None;
            return polled;
        }
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let due = since + self.limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(alarm.as_mut().poll(context));
            if Instant::now() >= due {
                let text = format!("{operation} deadline of {:?} exceeded", self.limit);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            alarm.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_read_fails_only_after_silence() {
        let (mut far, near) = tokio::io::duplex(64);
        let mut near = Deadlined::reads_and_writes(near, LIMIT);
        let mut byte = [0];
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(4)).await;
            far.write_all(b"x").await.expect("the pipe is open");
            near.read_exact(&mut byte).await.expect("the byte is there");
        }
        let start = Instant::now();
        let error = near.read_exact(&mut byte).await.expect_err("nothing was sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_when_the_reader_stops() {
        let (_far, near) = tokio::io::duplex(16);
        let mut near = Deadlined::writes(near, LIMIT);
        let error = near.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
