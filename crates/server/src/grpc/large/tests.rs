use hyper::body::Incoming;

use super::*;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn what_does_not_fit_waits_and_is_refused_at_last() {
    block_on(async {
        let room = Room::new(10 << 20);
        let first = room.enter(6 << 20).await.unwrap();
        assert_eq!(room.enter(6 << 20).await.unwrap_err(), Error::TooManyRequests);
        drop(first);
        assert!(room.enter(6 << 20).await.is_ok());
    });
}

#[test]
fn an_answer_larger_than_the_room_goes_alone() {
    block_on(async {
        let room = Room::new(10 << 20);
        let held = room.enter(1 << 40).await.unwrap();
        assert_eq!(room.units.available_permits(), 0);
        let held = room.settle(held, 1 << 40);
        assert_eq!(room.units.available_permits(), 0);
        drop(held);
        assert_eq!(room.units.available_permits(), 10 << 10);
    });
}

#[test]
fn an_answer_smaller_than_expected_gives_back_the_rest() {
    block_on(async {
        let room = Room::new(10 << 20);
        let held = room.enter(8 << 20).await.unwrap();
        let held = room.settle(held, 2 << 20);
        assert_eq!(room.units.available_permits(), 8 << 10);
        let other = held.clone();
        drop(held);
        assert_eq!(room.units.available_permits(), 8 << 10, "all copies hold it together");
        drop(other);
        assert_eq!(room.units.available_permits(), 10 << 10);
    });
}

/// A read of so many bytes, which must not be made if it is too long.
struct Long(usize);

impl LargeRead for Long {
    type Answer = ();

    fn bytes(&self) -> Result<usize, Error> {
        Ok(self.0)
    }

    fn make(&self) -> Result<((), usize), Error> {
        assert!(self.0 <= ANSWER_BYTES_MAX);
        Ok(((), self.0))
    }
}

/// 25 ranges of 60 MB in one transaction that only reads were one answer: 3.9 GB until it was encoded,
/// and the end of a member with less memory.
#[test]
fn an_answer_that_no_member_can_make_is_refused_before_it_is_read() {
    block_on(async {
        let room = Room::new(10 << 20);
        let (_, held) = room.read(Long(ANSWER_BYTES_MAX)).await.unwrap();
        assert_eq!(room.units.available_permits(), 0, "it goes alone");
        drop(held);
        let bytes = 25 * (60 << 20);
        let refused = room.read(Long(bytes)).await.unwrap_err();
        assert_eq!(refused, Unanswered::TooLong { bytes });
        let status = Status::from(refused);
        let text = "grpc: trying to send message larger than max (1572864000 vs. 536870912)";
        assert_eq!((status.code(), status.message()), (tonic::Code::ResourceExhausted, text));
        assert_eq!(room.units.available_permits(), 10 << 10);
    });
}

/// Large reads are looked at a few at a time, and whoever waits for a turn holds no room.
#[test]
fn large_reads_take_turns() {
    block_on(async {
        let room = Room::new(10 << 20);
        let turns = Arc::clone(&room.reading).acquire_many_owned(READING_MAX as u32).await.unwrap();
        let refused = room.read(Long(1 << 20)).await.unwrap_err();
        assert_eq!(refused, Unanswered::Failed(Error::TooManyRequests));
        assert_eq!(room.units.available_permits(), 10 << 10);
        drop(turns);
        assert!(room.read(Long(1 << 20)).await.is_ok());
    });
}

/// The room was given back when the response had been handed to the connection, which kept all of
/// it for a client that read nothing.
#[test]
fn an_answer_leaves_in_pieces_and_holds_its_room_until_the_last() {
    block_on(async {
        let room = Room::new(10 << 20);
        let held = room.enter(1 << 20).await.unwrap();
        let held = room.settle(held, 1 << 20);
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
        let full = http_body_util::Full::new(Bytes::from(bytes.clone()));
        let mut response = Response::new(Body::new(full));
        response.extensions_mut().insert(held);
        let mut body = pace(response).into_body();
        let mut seen = Vec::new();
        while let Some(frame) = std::future::poll_fn(|c| Pin::new(&mut body).poll_frame(c)).await {
            let data = frame.unwrap().into_data().unwrap();
            assert!(data.len() <= PIECE_BYTES);
            assert_eq!(room.units.available_permits(), 9 << 10);
            seen.extend_from_slice(&data);
        }
        assert_eq!(seen, bytes);
        drop(body);
        assert_eq!(room.units.available_permits(), 10 << 10);
    });
}

fn paced(room: &Room, permit: OwnedSemaphorePermit, bytes: usize) -> Body {
    let full = http_body_util::Full::new(Bytes::from(vec![7; bytes]));
    let mut response = Response::new(Body::new(full));
    response.extensions_mut().insert(room.settle(permit, bytes));
    pace(response).into_body()
}

async fn take(body: &mut Body) -> Option<Result<usize, Status>> {
    let frame = std::future::poll_fn(|c| Pin::new(&mut *body).poll_frame(c)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap().len()))
}

/// A few clients that stopped reading in the midst of large answers kept all the room for ever, and
/// everybody else was refused.
#[test]
fn an_answer_that_nobody_takes_is_given_up_when_others_wait() {
    block_on(async {
        let room = Room::new(10 << 20);
        let mut frozen = paced(&room, room.enter(6 << 20).await.unwrap(), 6 << 20);
        assert_eq!(take(&mut frozen).await.unwrap().unwrap(), PIECE_BYTES);
        tokio::time::sleep(100 * STALL_MAX).await;
        assert_eq!(room.units.available_permits(), 4 << 10, "nobody else wants the room");
        let began = Instant::now();
        let other = room.enter(6 << 20).await.unwrap();
        assert_eq!(began.elapsed(), STALL_MAX, "it has its time from when somebody waits");
        let status = take(&mut frozen).await.unwrap().unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(room.units.available_permits(), 4 << 10, "it is given back once");
        drop((frozen, other));
        assert_eq!(room.units.available_permits(), 10 << 10);
        assert!(room.leaving.lock().iter().all(|answer| answer.strong_count() == 0));
    });
}

#[test]
fn an_answer_that_is_taken_slowly_is_not_given_up() {
    block_on(async {
        let room = Room::new(10 << 20);
        let mut slow = paced(&room, room.enter(6 << 20).await.unwrap(), 6 << 20);
        let mut waits = pin!(room.enter(6 << 20));
        let mut pieces = 0;
        let refused = loop {
            tokio::select! {
                entered = &mut waits => break entered.unwrap_err(),
                () = tokio::time::sleep(STALL_MAX - STALL_POLL) => {
                    assert_eq!(take(&mut slow).await.unwrap().unwrap(), PIECE_BYTES);
                    pieces += 1;
                }
            }
        };
        assert_eq!((refused, pieces), (Error::TooManyRequests, 1));
        assert!(take(&mut slow).await.unwrap().is_ok());
    });
}

/// What is being made is not the client's fault, however long it takes.
#[test]
fn an_answer_that_has_not_begun_to_leave_is_not_given_up() {
    block_on(async {
        let room = Room::new(10 << 20);
        let made = room.enter(6 << 20).await.unwrap();
        assert_eq!(room.enter(6 << 20).await.unwrap_err(), Error::TooManyRequests);
        let mut body = paced(&room, made, 6 << 20);
        assert!(take(&mut body).await.unwrap().is_ok());
    });
}

/// An answer that was given up ends with a reset that gRPC reads as an exhausted resource, and the
/// connection goes on.
#[test]
fn the_stream_of_an_answer_that_was_given_up_is_reset() {
    block_on(async {
        const BYTES: usize = 2 << 20;
        let room = Arc::new(Room::new(BYTES));
        let (near, far) = tokio::io::duplex(1 << 20);
        let serving = Arc::clone(&room);
        let service = hyper::service::service_fn(move |_: http::Request<Incoming>| {
            let room = Arc::clone(&serving);
            async move {
                let permit = room.enter(BYTES).await.unwrap();
                Ok::<_, std::convert::Infallible>(Response::new(paced(&room, permit, BYTES)))
            }
        });
        let executor = hyper_util::rt::TokioExecutor::new();
        let server = hyper::server::conn::http2::Builder::new(executor);
        let io = hyper_util::rt::TokioIo::new(far);
        tokio::spawn(server.serve_connection(io, service));
        let (client, connection) = h2::client::handshake(near).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        let get = || http::Request::get("http://h/").body(()).unwrap();
        let (frozen, _) = client.send_request(get(), true).unwrap();
        let mut frozen = frozen.await.unwrap().into_body();
        let (other, _) = client.send_request(get(), true).unwrap();
        assert_eq!(other.await.unwrap().status(), 200, "it has the room now");
        let reset = loop {
            match frozen.data().await.expect("the body does not just end") {
                Ok(data) => frozen.flow_control().release_capacity(data.len()).unwrap(),
                Err(error) => break error,
            }
        };
        assert_eq!(reset.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    });
}
