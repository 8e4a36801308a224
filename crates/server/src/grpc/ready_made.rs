//! Large answers that are made into bytes off the thread that serves connections.
//!
//! The gRPC library encodes an answer when the connection asks for its body, on the thread that
//! serves it and in a buffer that it makes twice as large again and again. An answer of hundreds of
//! MiB stops every other client of the thread for seconds that way. So it is encoded on another
//! thread, once its length is known, and the bytes take the place of the library's body.
//!
//! Invariants:
//! - The bytes and the trailers are those that the library would have sent.
//! - The room of the answer (`large`) is held while it is encoded, whether its client waits or not.

use bytes::{BufMut, Bytes};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use quoin_api::error::Error;
use tonic::body::Body;
use tonic::{Response, Status};

use super::call::PREFIX_BYTES;
use super::large::Held;

/// The bytes of an answer, prefix and all.
#[derive(Clone, Debug)]
struct ReadyMade(Bytes);

/// Makes an answer into bytes if it has a part of the room. Nothing of it is left but those.
pub(super) async fn make<T>(reply: Result<Response<T>, Status>) -> Result<Response<T>, Status>
where
    T: Message + Default + Send + 'static,
{
    let (metadata, message, mut extensions) = reply?.into_parts();
    let Some(held) = extensions.get::<Held>().cloned() else {
        return Ok(Response::from_parts(metadata, message, extensions));
    };
    let work = move || {
        let made = encode(&message);
        drop((message, held));
        made
    };
    let made = tokio::task::spawn_blocking(work).await;
    extensions.insert(ReadyMade(made.map_err(|_| Status::from(Error::Stopped))??));
    Ok(Response::from_parts(metadata, T::default(), extensions))
}

/// Encodes a message with its prefix, in one buffer of its length.
pub(super) fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).map_err(|_| {
        let text = format!("trying to send message larger than max ({length} vs. {})", u32::MAX);
        Status::resource_exhausted(text)
    })?;
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + length);
    bytes.put_u8(0);
    bytes.put_u32(announced);
    message.encode(&mut bytes).map_err(|error| Status::internal(error.to_string()))?;
    Ok(bytes.into())
}

/// Puts bytes that are ready in the place of the library's body.
pub(super) fn replace_body(mut response: http::Response<Body>) -> http::Response<Body> {
    let Some(ReadyMade(bytes)) = response.extensions_mut().remove() else { return response };
    response.map(|_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::new(bytes).with_trailers(async move { Some(Ok(trailers)) });
        Body::new(body.map_err(|never| match never {}))
    })
}

#[cfg(test)]
mod tests {
    use quoin_api::etcdserverpb::RangeResponse;
    use quoin_api::mvccpb::KeyValue;

    use super::super::large::{LargeRead, Room};
    use super::*;

    struct Read;

    impl LargeRead for Read {
        type Answer = RangeResponse;

        fn bytes(&self) -> Result<usize, Error> {
            Ok(3 << 20)
        }

        fn make(&self) -> Result<(RangeResponse, usize), Error> {
            let value = Bytes::from(vec![7; 1 << 20]);
            let pair = KeyValue { value, ..KeyValue::default() };
            let response = RangeResponse { kvs: vec![pair; 3], ..RangeResponse::default() };
            Ok((response, 3 << 20))
        }
    }

    /// What a client gets of an answer, body and trailers.
    async fn sent(response: http::Response<Body>) -> (Bytes, Option<HeaderMap>) {
        let body = response.into_body().collect().await.expect("a body");
        let trailers = body.trailers().cloned();
        (body.to_bytes(), trailers)
    }

    /// A read-only transaction of 25 ranges stopped the other clients of its thread for three seconds
    /// while its answer of 400 MiB was encoded there.
    #[tokio::test]
    async fn an_answer_that_is_ready_made_is_the_one_of_the_library() {
        let (answer, held) = Room::default().read(Read).await.expect("there is room");
        let expected = answer.encode_to_vec();
        let mut response = Response::new(answer);
        response.metadata_mut().insert("x", "y".parse().expect("a value"));
        response.extensions_mut().insert(held);
        let response = make(Ok(response)).await.expect("it can be encoded");
        assert_eq!(response.get_ref(), &RangeResponse::default(), "nothing is left to encode");
        assert_eq!(response.metadata().get("x").map(|value| value.as_bytes()), Some(&b"y"[..]));

        let (_, _, extensions) = response.into_parts();
        let mut response = http::Response::new(Body::empty());
        response.extensions_mut().extend(extensions);
        let (bytes, trailers) = sent(replace_body(response)).await;
        assert_eq!(bytes[..PREFIX_BYTES], (expected.len() as u64).to_be_bytes()[3..]);
        assert_eq!(bytes[PREFIX_BYTES..], expected);
        assert_eq!(
            trailers.and_then(|it| it.get("grpc-status").cloned()),
            Some("0".parse().expect("a value"))
        );
    }
}
