use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const TIME_MIN: Duration = Duration::from_secs(5);
const SETTINGS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8])
}

/// A connection, its client, and who counts.
fn connect() -> (DuplexStream, Guarded<DuplexStream>, Arc<Metrics>) {
    let (client, server) = tokio::io::duplex(1 << 20);
    let metrics = Arc::new(Metrics::new(false));
    let rule = PingRule { time_min: TIME_MIN, metrics: Arc::clone(&metrics) };
    (client, Guarded::new(server, rule), metrics)
}

/// Reads all that comes; returns how it ended.
async fn read_all(server: &mut Guarded<DuplexStream>) -> io::Result<()> {
    let mut space = [0; 100];
    while server.read(&mut space).await? > 0 {}
    Ok(())
}

/// Clients that sent half a preface, or half of a header block, had their connections for ever.
#[tokio::test(start_paused = true)]
async fn what_is_begun_must_be_finished_in_time() {
    let settings = frame(SETTINGS, 0, 0, &[]);
    let headers = frame(HEADERS, 0, 1, &[0x82; 20]);
    let continued = frame(CONTINUATION, 0, 1, &[0x82; 20]);
    let cases = [
        Vec::new(),
        PREFACE[..10].to_vec(),
        [PREFACE, &settings[..4]].concat(),
        [PREFACE, &settings, &headers].concat(),
        [PREFACE, &settings, &headers, &continued].concat(),
        [PREFACE, &settings, &frame(DATA, 0, 1, &[7; 200])[..100]].concat(),
    ];
    for bytes in cases {
        let (mut client, mut server, _) = connect();
        client.write_all(&bytes).await.unwrap();
        let begun = Instant::now();
        let error = read_all(&mut server).await.expect_err("the rest does not come");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{bytes:?}");
        assert!(begun.elapsed() >= FRAME_TIME_MAX && begun.elapsed() < FRAME_TIME_MAX * 2);
    }
}

/// One byte now and then does not make it longer; and a client that is between two frames may be
/// silent.
#[tokio::test(start_paused = true)]
async fn slow_clients_are_told_from_silent_ones() {
    let (mut client, mut server, _) = connect();
    let dripping = tokio::spawn(async move {
        for byte in PREFACE {
            client.write_all(&[*byte]).await.ok();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    });
    let begun = Instant::now();
    assert!(read_all(&mut server).await.is_err());
    assert!(begun.elapsed() < FRAME_TIME_MAX * 2);
    dripping.abort();

    let (mut client, mut server, _) = connect();
    let whole = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, END_HEADERS, 1, &[0x82])];
    client.write_all(&whole.concat()).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_secs(10_000), read_all(&mut server)).await;
    assert!(silent.is_err(), "it may wait for an answer");
}

/// Sends a ping after each of these pauses; returns how many were read before the connection ended.
async fn pings(
    client: &mut DuplexStream,
    server: &mut Guarded<DuplexStream>,
    pauses_s: &[u64],
) -> usize {
    let mut space = [0; 100];
    for (number, pause) in pauses_s.iter().enumerate() {
        tokio::time::sleep(Duration::from_secs(*pause)).await;
        client.write_all(&ping()).await.unwrap();
        if server.read(&mut space).await.is_err() {
            return number;
        }
    }
    pauses_s.len()
}

/// A client that pinged a thousand times a second was answered a thousand times a second.
#[tokio::test(start_paused = true)]
async fn pings_that_come_too_often_end_the_connection() {
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let call = frame(HEADERS, END_HEADERS, 1, &[0x82]);
    // Without a call even slow ones are too many.
    let (mut client, mut server, metrics) = connect();
    client.write_all(&opening).await.unwrap();
    assert_eq!(pings(&mut client, &mut server, &[0, 60, 60, 60, 60]).await, 3);
    assert_eq!(metrics.fronts.too_many_pings.load(), 1);
    let mut said = Vec::new();
    client.read_to_end(&mut said).await.unwrap();
    assert!(said.ends_with(b"\0\0\0\x0btoo_many_pings"), "{said:?}");

    // With one they may come as often as is configured, and seldom more often.
    let (mut client, mut server, _) = connect();
    client.write_all(&[opening.clone(), call.clone()].concat()).await.unwrap();
    assert_eq!(pings(&mut client, &mut server, &[5; 50]).await, 50);
    assert_eq!(pings(&mut client, &mut server, &[4, 5, 4, 5, 5, 4, 5]).await, 5);

    // What the server sends may be answered by a ping.
    let (mut client, mut server, _) = connect();
    client.write_all(&[opening, call].concat()).await.unwrap();
    for _ in 0..20 {
        server.write_all(&frame(DATA, 0, 1, &[7; 20])).await.unwrap();
        assert_eq!(pings(&mut client, &mut server, &[0, 0, 0]).await, 3);
    }
    // The end of the call, and then the stricter rule: the first is forgiven.
    server.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x88])).await.unwrap();
    assert_eq!(pings(&mut client, &mut server, &[60; 10]).await, 3);
}

#[tokio::test]
async fn frames_are_found_however_they_are_cut() {
    let frames = [
        frame(SETTINGS, 0, 0, &[1; 6]),
        frame(HEADERS, END_HEADERS, 1, &[2; 300]),
        frame(DATA, END_STREAM, 1, &[3; 70_000]),
        frame(PING, ACK, 0, &[4; 8]),
    ];
    let bytes = frames.concat();
    for piece in [1, 2, 8, 9, 10, 100, 4096, bytes.len()] {
        let (mut walk, mut found) = (Walk::default(), Vec::new());
        for part in bytes.chunks(piece) {
            walk.pass(part, |head| found.push((head.kind, head.flags, head.stream)));
        }
        let expected =
            [(SETTINGS, 0, 0), (HEADERS, END_HEADERS, 1), (DATA, END_STREAM, 1), (PING, ACK, 0)];
        assert_eq!(found, expected, "in pieces of {piece}");
        assert!(walk.is_between_frames());
    }
}
