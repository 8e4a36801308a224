//! Questions about leases: by hand as a Go member sends them, and from transport to transport.

use prost::Message as _;
use quoin_api::etcdserverpb::{LeaseKeepAliveRequest, LeaseTimeToLiveRequest};
use quoin_api::leasepb::LeaseInternalRequest;

use super::harness::{Member, ask, introduction};
use crate::peer::{LeaseCallError, LeaseQuestion};

#[tokio::test]
async fn questions_are_answered_with_the_codes_that_go_members_act_on() {
    let member = Member::start(1).await;
    let renew = |id| LeaseKeepAliveRequest { id }.encode_to_vec();
    let time = |id| {
        let lease_time_to_live_request = Some(LeaseTimeToLiveRequest { id, keys: true });
        LeaseInternalRequest { lease_time_to_live_request }.encode_to_vec()
    };
    let late = "waiting for node to catch up its applied index has timed out\n";
    let cases = [
        ("POST /leases", renew(404), 404, "lease not found\n"),
        ("POST /leases", renew(400), 400, "not a primary lessor\n"),
        ("POST /leases", renew(408), 408, late),
        ("POST /leases", vec![0xff; 9], 400, "error unmarshalling request\n"),
        ("POST /leases", vec![0; 64 * 1024 + 1], 413, "request body too large\n"),
        ("POST /leases/internal", time(404), 404, "lease not found\n"),
        ("POST /leases/internal", time(400), 500, "not a primary lessor\n"),
        ("POST /leases/internal", time(408), 408, late),
        // It would stop the goroutine of a Go member.
        ("POST /leases/internal", Vec::new(), 400, "error unmarshalling request\n"),
        ("GET /leases", Vec::new(), 405, "Method Not Allowed\n"),
        ("PUT /leases/internal", Vec::new(), 405, "Method Not Allowed\n"),
    ];
    for (line, body, status, text) in cases {
        let (got, _, answer) = ask(&member.address, line, &introduction(2), &body).await;
        assert_eq!((got, answer.as_str()), (status, text), "{line} {body:?}");
    }
    let (status, head, _) = ask(&member.address, "POST /leases", "", &renew(1)).await;
    assert_eq!(status, 200, "a Go member does not introduce itself here");
    assert!(head.contains("Content-Type: application/protobuf"), "{head}");
}

#[tokio::test]
async fn a_transport_asks_another_over_kept_connections() {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    two.knows(&one);
    for _ in 0..3 {
        let renewed = two.transport.ask_lease(1, LeaseQuestion::Renew(1)).await;
        let renewed = renewed.expect("it is answered").expect("the lease exists");
        assert_eq!((renewed.id, renewed.ttl), (1, 59));
        let question = LeaseQuestion::Time { id: 1, keys: true };
        let time = two.transport.ask_lease(1, question).await;
        let time = time.expect("it is answered").expect("the lease exists");
        assert_eq!((time.ttl, time.granted_ttl, time.keys.len()), (59, 60, 1));
        let unknown = two.transport.ask_lease(1, LeaseQuestion::Renew(404)).await;
        assert_eq!(unknown.expect("it is answered"), None);
        let refused = two.transport.ask_lease(1, LeaseQuestion::Renew(400)).await;
        assert!(matches!(refused, Err(LeaseCallError::Refused(_))), "{refused:?}");
    }
    let unknown = two.transport.ask_lease(9, LeaseQuestion::Renew(1)).await;
    assert!(matches!(unknown, Err(LeaseCallError::Unknown)), "{unknown:?}");
}

#[tokio::test]
async fn many_questions_at_once_are_all_answered() {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    two.knows(&one);
    let asked = (0..300).map(|_| two.transport.ask_lease(1, LeaseQuestion::Renew(1)));
    for answer in futures_util::future::join_all(asked).await {
        assert!(matches!(answer, Ok(Some(_))), "{answer:?}");
    }
}
