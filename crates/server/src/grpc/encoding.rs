//! The encoding of messages: as they are, or each one compressed with gzip.
//!
//! A client that compresses its messages gets compressed responses, as from etcd's gRPC library.
//!
//! Invariants:
//! - A message has at most the bytes of the limit, counted after decompression: what a bomb would
//!   become is never in memory.
//! - A message is decompressed in one go. So each thread holds one that grows, however many streams
//!   send what grows to just below the limit, and none keeps what it has while it is not polled.
//! - A response, which may be large, is compressed [`SLICE_BYTES`] at a time; the other connections
//!   of the thread run between.
//!
//! Not here: the lengths of messages as they arrive (`call`), what the metrics count of responses
//! (`counted`).

use std::io::{ErrorKind, Read, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::call::{COMPRESSED, PREFIX_BYTES, message_bytes};
use crate::metrics::Received;

#[cfg(test)]
mod tests;

/// The header that names the encoding of the messages behind it.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Bytes that one poll compresses.
const SLICE_BYTES: usize = 64 << 10;
/// How every stream of gzip begins.
const GZIP_OPENING: [u8; 3] = [0x1f, 0x8b, 8];
/// Bytes of the shortest head of a stream of gzip.
const GZIP_HEAD_BYTES: usize = 10;

type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// How the messages of a call are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl Encoding {
    /// Returns the encoding that a request names, or the refusal of one that is not known.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Status> {
        let Some(name) = headers.get(&ENCODING) else { return Ok(Self::Identity) };
        match name.as_bytes() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" => Ok(Self::Gzip),
            other => {
                let name = String::from_utf8_lossy(other);
                let text =
                    format!("grpc: Decompressor is not installed for grpc-encoding {name:?}");
                Err(Status::unimplemented(text))
            }
        }
    }
}

/// A body of whole messages, handed on without compression.
pub(crate) struct Inflated<M> {
    messages: M,
    encoding: Encoding,
    limit: usize,
    /// What has arrived and is not handed on.
    held: BytesMut,
    received: Option<Received>,
}

impl<M> Inflated<M> {
    /// Wraps `messages`, of which each may have `limit` bytes. Compressed ones are counted by
    /// `received`.
    pub(super) fn new(
        messages: M,
        encoding: Encoding,
        limit: usize,
        received: Option<Received>,
    ) -> Self {
        Self { messages, encoding, limit, held: BytesMut::new(), received }
    }

    /// Returns the next message that is held as a whole: a prefix and its bytes.
    fn next_held(&mut self) -> Option<BytesMut> {
        let whole = message_bytes(&self.held)?;
        (self.held.len() >= whole).then(|| self.held.split_to(whole))
    }

    /// Returns a message without compression, behind its prefix.
    fn plain(&self, message: BytesMut) -> Result<Bytes, Status> {
        if message.first() != Some(&COMPRESSED) {
            return Ok(message.freeze());
        }
        let mut message = inflate(&message[PREFIX_BYTES..], self.limit)?;
        if let Some(received) = &self.received {
            received.message(message.len() - PREFIX_BYTES);
        }
        write_prefix(&mut message, 0)?;
        Ok(message.into())
    }
}

/// Returns what a stream of gzip stands for, up to `limit` bytes, behind room for a prefix.
fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>, Status> {
    let refused = |reason: &str| {
        Status::internal(format!("grpc: failed to decompress the message: {reason}"))
    };
    if compressed.is_empty() {
        return Err(refused("EOF"));
    }
    if compressed.len() < GZIP_HEAD_BYTES {
        return Err(refused("unexpected EOF"));
    }
    if !compressed.starts_with(&GZIP_OPENING) {
        return Err(refused("gzip: invalid header"));
    }
    let mut message = vec![0; PREFIX_BYTES];
    // One byte more tells what is too large from what just fits.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = MultiGzDecoder::new(compressed).take(most).read_to_end(&mut message);
    let bytes = read.map_err(|error| {
        let reason = reason(&error);
        Status::internal(format!("grpc: failed to read decompressed data: {reason}"))
    })?;
    if bytes > limit {
        let text = format!("grpc: received message after decompression larger than max {limit}");
        return Err(Status::resource_exhausted(text));
    }
    Ok(message)
}

/// Returns what etcd's library says of a damaged stream.
fn reason(error: &std::io::Error) -> &'static str {
    let text = error.to_string();
    if error.kind() == ErrorKind::UnexpectedEof {
        "unexpected EOF"
    } else if text.contains("checksum") {
        "gzip: invalid checksum"
    } else if text.contains("header") {
        "gzip: invalid header"
    } else {
        "flate: corrupt input"
    }
}

/// Writes the prefix of a message into the room before it.
fn write_prefix(message: &mut [u8], flag: u8) -> Result<(), Status> {
    let bytes = message.len() - PREFIX_BYTES;
    let length = u32::try_from(bytes)
        .map_err(|_| Status::resource_exhausted("grpc: message too large to be sent"))?;
    message[0] = flag;
    message[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

impl<M> HttpBody for Inflated<M>
where
    M: HttpBody<Data = Bytes, Error = BoxedError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxedError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxedError>>> {
        let this = &mut *self;
        if this.encoding == Encoding::Identity {
            return Pin::new(&mut this.messages).poll_frame(context);
        }
        loop {
            if let Some(message) = this.next_held() {
                let plain = this.plain(message).map(Frame::data).map_err(BoxedError::from);
                return Poll::Ready(Some(plain));
            }
            match ready!(Pin::new(&mut this.messages).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.held.extend_from_slice(&data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
    }
}

/// Lets the others run, and is polled again after them.
fn yielded<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Compresses the messages of a response to a client that compresses its own. A refusal has none.
pub(super) fn deflate(encoding: Encoding, mut response: Response<Body>) -> Response<Body> {
    if encoding == Encoding::Identity || response.headers().contains_key("grpc-status") {
        return response;
    }
    response.headers_mut().insert(ENCODING, HeaderValue::from_static("gzip"));
    response
        .map(|body| Body::new(Deflated { body, arrived: Bytes::new(), state: State::default() }))
}

/// A body whose messages are compressed.
struct Deflated {
    body: Body,
    /// What the body gave and is not compressed.
    arrived: Bytes,
    state: State,
}

/// How far the present message is.
struct State {
    prefix: BytesMut,
    /// Bytes of the message that are not compressed.
    missing: usize,
    encoder: GzEncoder<Vec<u8>>,
}

impl Default for State {
    fn default() -> Self {
        let prefix = BytesMut::with_capacity(PREFIX_BYTES);
        // Speed counts for more than size on a thread that serves many connections.
        let encoder = GzEncoder::new(vec![0; PREFIX_BYTES], Compression::fast());
        Self { prefix, missing: 0, encoder }
    }
}

impl State {
    /// Takes what belongs to the prefix from `arrived`. Returns whether the prefix is whole.
    fn take_prefix(&mut self, arrived: &mut Bytes) -> bool {
        let wanted = (PREFIX_BYTES - self.prefix.len()).min(arrived.len());
        if wanted > 0 {
            self.prefix.put(arrived.split_to(wanted));
            if let Some([_, length @ ..]) = self.prefix.first_chunk::<PREFIX_BYTES>() {
                self.missing = u32::from_be_bytes(*length) as usize;
            }
        }
        self.prefix.len() == PREFIX_BYTES
    }

    /// Compresses at most a slice of `arrived`. Returns the message when it is whole.
    fn step(&mut self, arrived: &mut Bytes) -> Result<Option<Bytes>, Status> {
        let length = self.missing.min(arrived.len()).min(SLICE_BYTES);
        let failed = |error: std::io::Error| Status::internal(format!("grpc: gzip: {error}"));
        self.encoder.write_all(&arrived.split_to(length)).map_err(failed)?;
        self.missing -= length;
        if self.missing > 0 {
            return Ok(None);
        }
        let mut message = std::mem::take(self).encoder.finish().map_err(failed)?;
        write_prefix(&mut message, COMPRESSED)?;
        Ok(Some(message.into()))
    }
}

impl HttpBody for Deflated {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        loop {
            let has_prefix = this.state.take_prefix(&mut this.arrived);
            // An empty message is whole with its prefix.
            if has_prefix && (this.state.missing == 0 || !this.arrived.is_empty()) {
                return match this.state.step(&mut this.arrived) {
                    Ok(Some(message)) => Poll::Ready(Some(Ok(Frame::data(message)))),
                    Ok(None) => yielded(context),
                    Err(status) => Poll::Ready(Some(Err(status))),
                };
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.arrived = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
    }
}
