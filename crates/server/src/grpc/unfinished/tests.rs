use http_body_util::{BodyExt as _, StreamBody};
use tonic::Code;

use super::*;

const MIB: usize = 1 << 20;

/// One client began 300 requests of 2.4 MB each on one connection and finished none: that took
/// 720 MB, for as long as the client liked.
#[test]
fn unfinished_requests_are_bounded_on_a_connection_and_in_all() {
    let all = Arc::new(Unfinished::new(2 * MIB));
    let connection = all.connection();
    let mut charges: Vec<Charge> = (0..300).map(|_| connection.charge()).collect();
    let refused = charges.iter_mut().filter_map(|charge| charge.add(MIB).err());
    let codes: Vec<Code> = refused.map(|status| status.code()).collect();
    assert_eq!(codes, vec![Code::ResourceExhausted; 300 - CONNECTION_BYTES_MAX / MIB]);
    assert_eq!(all.refused(), codes.len() as u64);

    // A refused request is dropped, and what it held is free; others go on where there is room.
    charges.truncate(CONNECTION_BYTES_MAX / MIB);
    assert_eq!(all.bytes(), CONNECTION_BYTES_MAX);
    let others: Vec<_> = (0..8)
        .map(|_| {
            let mut charge = all.connection().charge();
            let taken = charge.add(CONNECTION_BYTES_MAX).is_ok();
            if !taken {
                charge.clear();
            }
            (charge, taken)
        })
        .collect();
    let taken = others.iter().filter(|(_, taken)| *taken).count();
    assert_eq!(taken, PROCESS_BYTES_MAX / CONNECTION_BYTES_MAX - 1);
    assert_eq!(all.bytes(), all.max_bytes());
    drop(others);
    charges[0].clear();
    assert!(charges[1].add(MIB).is_ok(), "a request that is whole gives its place to others");
    drop(charges);
    assert_eq!(all.bytes(), 0);
}

#[test]
fn the_largest_request_always_has_a_place() {
    let all = Arc::new(Unfinished::new(500 * MIB));
    assert!(all.connection().charge().add(500 * MIB).is_ok());
}

/// The bodies of the v2 API, of 1 MB each, were held by nobody's account and without a deadline.
#[tokio::test(start_paused = true)]
async fn a_body_is_counted_while_it_is_there_and_must_end_in_time() {
    let all = Arc::new(Unfinished::new(2 * MIB));
    let connection = all.connection();
    let part = || Ok::<_, Status>(Frame::data(Bytes::from(vec![7; 40 * MIB])));
    let stalled = tokio_stream::StreamExt::chain(
        tokio_stream::iter([part()]),
        tokio_stream::pending::<Result<Frame<Bytes>, Status>>(),
    );
    let mut first = Charged::new(StreamBody::new(stalled), &connection);
    first.frame().await.unwrap().unwrap();
    let mut second = Charged::new(StreamBody::new(tokio_stream::iter([part()])), &connection);
    let refused = second.frame().await.unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "etcdserver: too many requests");
    drop(second);
    assert_eq!(all.bytes(), 40 * MIB);

    let late = first.frame().await.unwrap().unwrap_err();
    assert_eq!(late.to_string(), "the request was not finished in time");
    drop(first);
    assert_eq!(all.bytes(), 0);
}
