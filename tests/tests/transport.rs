//! What clients may do on the way to a service: compress their messages, ask for the health of a
//! server. The same is asked of a real etcd.

use std::time::Duration;

use quoin_api::etcdserverpb::kv_client::KvClient;
use quoin_api::etcdserverpb::watch_client::WatchClient;
use quoin_api::etcdserverpb::{
    PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, watch_request::RequestUnion,
};
use quoin_api::healthpb::health_check_response::ServingStatus;
use quoin_api::healthpb::health_client::HealthClient;
use quoin_api::healthpb::{HealthCheckRequest, HealthListRequest};
use quoin_tests::cluster::Member;
use quoin_tests::programs::{self, etcd_version, reference_etcd, subject_etcd};
use quoin_tests::rpc;
use quoin_tests::server::Server;
use quoin_tests::temp_dir::TempDir;
use tonic::Code;
use tonic::codec::CompressionEncoding::Gzip;

const SOON: Duration = Duration::from_secs(10);
/// The first minor release of etcd 3 that this is compared with: 3.4 has no decompressor.
const GZIP_SINCE: u32 = 5;

/// The server under test, and a real etcd if there is one that is new enough.
fn servers(label: &str, since: u32) -> Vec<(Server, String, TempDir)> {
    let mut programs = vec![subject_etcd()];
    let reference = reference_etcd();
    if programs::is_original(&reference) && etcd_version(&reference).minor >= since {
        programs.push(reference);
    }
    let start = |program: &std::path::PathBuf| {
        let dir = TempDir::new(label);
        let member = Member::alone(dir.path(), "m");
        let launch = member.launch(program, dir.path());
        let server = Server::start(&launch).unwrap_or_else(|error| panic!("{error}"));
        (server, member.client_url.clone(), dir)
    };
    programs.iter().map(start).collect()
}

/// A client whose library compresses (`grpc.use_compressor("gzip")` in Go, an option of the channel
/// in Python) was refused with `Unimplemented` at its first call, and its watch with `Internal`.
#[tokio::test]
async fn a_client_that_compresses_is_served_and_gets_compressed_answers() {
    for (_server, url, _dir) in servers("gzip", GZIP_SINCE) {
        let channel = rpc::streams(&url);
        let mut kv = KvClient::new(channel.clone()).send_compressed(Gzip).accept_compressed(Gzip);
        let value = "compressible ".repeat(20_000);
        let put = PutRequest { key: "k".into(), value: value.clone().into(), ..Default::default() };
        let answer = kv.put(put).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "gzip", "{url}");
        let range = || RangeRequest { key: "k".into(), ..Default::default() };
        let answer = kv.range(range()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(answer.into_inner().kvs[0].value, value, "{url}");
        let mut plain = KvClient::new(channel.clone()).accept_compressed(Gzip);
        let answer = plain.range(range()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(answer.metadata().get("grpc-encoding"), None, "{url}");
        // Zeros of 20 MB are 20 kB of gzip.
        let bomb = PutRequest { value: vec![0; 20 << 20].into(), ..Default::default() };
        let refused = kv.put(bomb).await.expect_err("it is too large");
        let text = "grpc: received message after decompression larger than max 2097152";
        let found = (refused.code(), refused.message());
        assert_eq!(found, (Code::ResourceExhausted, text), "{url}");

        let create =
            WatchCreateRequest { key: "k".into(), start_revision: 1, ..Default::default() };
        let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests =
            tokio_stream::StreamExt::chain(tokio_stream::iter([create]), tokio_stream::pending());
        let mut watch = WatchClient::new(channel).send_compressed(Gzip).accept_compressed(Gzip);
        let watched = watch.watch(requests).await;
        let mut watched = watched.unwrap_or_else(|error| panic!("{url}: {error}")).into_inner();
        loop {
            let next = tokio::time::timeout(SOON, watched.message()).await.expect("an event");
            let next = next.unwrap_or_else(|error| panic!("{url}: {error}")).expect("no end");
            if let Some(event) = next.events.first() {
                assert_eq!(event.kv.as_ref().unwrap().value, value, "{url}");
                break;
            }
        }
    }
}

/// The health service was half of what etcd registers: no `List`, other words for a service that is
/// not known, and `Watch` of one ended instead of saying so.
#[tokio::test]
async fn the_health_service_answers_as_etcd() {
    const LIST_SINCE: u32 = 7;
    for (mut server, url, _dir) in servers("health", LIST_SINCE) {
        let mut health = HealthClient::new(rpc::streams(&url));
        let of = |service: &str| HealthCheckRequest { service: service.to_owned() };
        let answer = health.check(of("")).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{url}");
        for unknown in ["x", "etcdserverpb.KV"] {
            let refused = health.check(of(unknown)).await.expect_err("it is not registered");
            let found = (refused.code(), refused.message());
            assert_eq!(found, (Code::NotFound, "unknown service"), "{url}");
        }
        let list = health.list(HealthListRequest {}).await.unwrap().into_inner();
        let list: Vec<_> =
            list.statuses.iter().map(|(name, it)| (&name[..], it.status())).collect();
        assert_eq!(list, [("", ServingStatus::Serving)], "{url}");
        let mut known = health.watch(of("")).await.unwrap().into_inner();
        let first = known.message().await.unwrap().expect("a first status");
        assert_eq!(first.status(), ServingStatus::Serving, "{url}");
        let mut unknown = health.watch(of("x")).await.unwrap().into_inner();
        let first = unknown.message().await.unwrap().expect("a first status");
        assert_eq!(first.status(), ServingStatus::ServiceUnknown, "{url}");
        let more = tokio::time::timeout(Duration::from_millis(300), unknown.message()).await;
        assert!(more.is_err(), "{url}: the stream stays open: {more:?}");
        // Streams do not hold up a member that stops.
        server.terminate(SOON).unwrap_or_else(|error| panic!("{url}: {error}"));
        let end = tokio::time::timeout(SOON, known.message()).await.expect("an end");
        assert!(end.is_err(), "{url}: {end:?}");
    }
}
