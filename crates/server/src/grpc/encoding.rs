//! The encoding of messages: as they are, or each one compressed with gzip.
//!
//! A client that compresses its messages gets compressed responses, as from etcd's gRPC library.
//!
//! Invariants:
//! - A message has at most the bytes of the limit, counted after decompression: what a bomb would
//!   become is never in memory.
//! - A poll works on [`SLICE_BYTES`] and then lets the other connections of its thread run.
//!
//! Not here: the lengths of messages as they arrive (`call`), what the metrics count of responses
//! (`counted`).

use std::io::{ErrorKind, Read, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use hyper::body::{Body as HttpBody, Frame};
use tonic::Status;
use tonic::body::Body;

use super::call::{COMPRESSED, PREFIX_BYTES};
use crate::metrics::Received;

#[cfg(test)]
mod tests;

/// The header that names the encoding of the messages behind it.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Bytes that one poll compresses, or decompresses to.
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
    inflating: Option<Inflating>,
    received: Option<Received>,
}

/// A message on the way to its whole length.
struct Inflating {
    decoder: MultiGzDecoder<bytes::buf::Reader<Bytes>>,
    /// Begins with room for the prefix.
    message: Vec<u8>,
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
        Self { messages, encoding, limit, held: BytesMut::new(), inflating: None, received }
    }

    /// Returns the next message that is held as a whole: a prefix and its bytes.
    fn next_held(&mut self) -> Option<BytesMut> {
        let [_, length @ ..] = *self.held.first_chunk::<PREFIX_BYTES>()?;
        let whole = PREFIX_BYTES.checked_add(usize::try_from(u32::from_be_bytes(length)).ok()?)?;
        (self.held.len() >= whole).then(|| self.held.split_to(whole))
    }

    /// Decompresses a slice. Returns the message when it is whole.
    fn inflate(&mut self) -> Result<Option<Bytes>, Status> {
        let Some(inflating) = &mut self.inflating else { return Ok(None) };
        let is_whole = inflating.step(self.limit)?;
        if !is_whole {
            return Ok(None);
        }
        let mut message = self.inflating.take().map(|it| it.message).unwrap_or_default();
        let bytes = message.len() - PREFIX_BYTES;
        if let Some(received) = &self.received {
            received.message(bytes);
        }
        write_prefix(&mut message, 0)?;
        Ok(Some(message.into()))
    }
}

impl Inflating {
    fn begin(compressed: Bytes) -> Result<Self, Status> {
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
        let decoder = MultiGzDecoder::new(compressed.reader());
        Ok(Self { decoder, message: vec![0; PREFIX_BYTES] })
    }

    /// Reads one slice. Returns whether the message has ended.
    fn step(&mut self, limit: usize) -> Result<bool, Status> {
        let slice = (&mut self.decoder).take(SLICE_BYTES as u64).read_to_end(&mut self.message);
        let read = slice.map_err(|error| {
            let reason = reason(&error);
            Status::internal(format!("grpc: failed to read decompressed data: {reason}"))
        })?;
        if self.message.len() - PREFIX_BYTES > limit {
            let text =
                format!("grpc: received message after decompression larger than max {limit}");
            return Err(Status::resource_exhausted(text));
        }
        Ok(read < SLICE_BYTES)
    }
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
            if this.inflating.is_some() {
                return match this.inflate() {
                    Ok(Some(message)) => Poll::Ready(Some(Ok(Frame::data(message)))),
                    Ok(None) => yielded(context),
                    Err(status) => Poll::Ready(Some(Err(status.into()))),
                };
            }
            if let Some(mut message) = this.next_held() {
                if message.first() != Some(&COMPRESSED) {
                    return Poll::Ready(Some(Ok(Frame::data(message.freeze()))));
                }
                message.advance(PREFIX_BYTES);
                match Inflating::begin(message.freeze()) {
                    Ok(inflating) => this.inflating = Some(inflating),
                    Err(status) => return Poll::Ready(Some(Err(status.into()))),
                }
                continue;
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
