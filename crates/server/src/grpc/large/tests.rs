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
