//! Answers in every form, against outputs captured from etcdctl 3.7.1.

use quoin_api::etcdserverpb::response_op::Response;
use quoin_api::mvccpb::KeyValue;

use super::*;

const CLUSTER: u64 = 15118495548433857066;
const MEMBER: u64 = 13668033151171901709;

fn printer(format: &str, hex: bool) -> Printer {
    Printer { format: Format::parse(format).unwrap(), hex, value_only: false }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { cluster_id: CLUSTER, member_id: MEMBER, revision, raft_term: 2 })
}

fn pair(key: &'static str, value: &'static [u8]) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: value.into(),
        create_revision: 5,
        mod_revision: 6,
        version: 2,
        lease: 0,
    }
}

const VALUE: &[u8] = b"v<>&\x01\xff\xc3\xa9";

/// Checks what `print` writes.
#[track_caller]
fn check(print: impl FnOnce(Output<'_>) -> Result<(), Exit>, expected: impl AsRef<[u8]>) {
    let mut output = Vec::new();
    print(&mut output).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&output), text(expected.as_ref()));
    assert_eq!(output, expected.as_ref());
}

/// Checks that a form is not offered.
#[track_caller]
fn refused(printed: Result<(), Exit>, format: &str) {
    let message = format!("{format} not supported as output format");
    assert_eq!(printed, Err(Exit::bad_feature(message)));
}

#[test]
fn get() {
    let mut lease = pair("l", b"x");
    lease.lease = 0x7f;
    let kvs = vec![pair("k", VALUE), lease];
    let r = pb::RangeResponse { header: header(6), kvs, more: true, count: 3 };
    check(|output| printer("simple", false).get(output, &r), [b"k\n", VALUE, b"\nl\nx\n"].concat());
    let hex = "\\x6b\n\\x76\\x3c\\x3e\\x26\\x01\\xff\\xc3\\xa9\n\\x6c\n\\x78\n";
    check(|output| printer("simple", true).get(output, &r), hex);
    let value_only = Printer { value_only: true, ..printer("simple", false) };
    check(|output| value_only.get(output, &r), [VALUE, b"\nx\n"].concat());
    let json = concat!(
        r#"{"header":{"cluster_id":15118495548433857066,"member_id":13668033151171901709,"#,
        r#""revision":6,"raft_term":2},"kvs":[{"key":"aw==","create_revision":5,"#,
        r#""mod_revision":6,"version":2,"value":"djw+JgH/w6k="},{"key":"bA==","#,
        r#""create_revision":5,"mod_revision":6,"version":2,"value":"eA==","lease":127}],"#,
        r#""more":true,"count":3}"#,
        "\n"
    );
    check(|output| printer("json", false).get(output, &r), json);
    check(|output| printer("json", true).get(output, &r), json);
    check(
        |output| printer("fields", false).get(output, &r),
        "\"ClusterID\" : 15118495548433857066\n\"MemberID\" : 13668033151171901709\n\
         \"Revision\" : 6\n\"RaftTerm\" : 2\n\"Key\" : \"k\"\n\"CreateRevision\" : 5\n\
         \"ModRevision\" : 6\n\"Version\" : 2\n\"Value\" : \"v<>&\\x01\\xff\u{e9}\"\n\
         \"Lease\" : 0\n\"Key\" : \"l\"\n\"CreateRevision\" : 5\n\"ModRevision\" : 6\n\
         \"Version\" : 2\n\"Value\" : \"x\"\n\"Lease\" : 127\n\"More\" : true\n\"Count\" : 3\n",
    );
    refused(printer("table", false).get(&mut Vec::new(), &r), "table");
}

#[test]
fn an_empty_answer() {
    let r = pb::RangeResponse { header: header(7), ..pb::RangeResponse::default() };
    check(|output| printer("simple", false).get(output, &r), "");
    check(
        |output| printer("json", false).get(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":7,\"raft_term\":2}}\n",
    );
}

#[test]
fn protobuf_is_the_answer_itself() {
    let r = pb::RangeResponse {
        header: header(9),
        kvs: vec![KeyValue { version: 1, create_revision: 9, mod_revision: 9, ..pair("k", VALUE) }],
        more: false,
        count: 1,
    };
    let expected: &[u8] =
        b"\x0a\x1a\x08\xaa\xf4\xe5\xf5\x99\xf3\xeb\xe7\xd1\x01\x10\x8d\xf2\xf4\x8e\
        \xc1\xf7\xa6\xd7\xbd\x01\x18\x09\x20\x02\x12\x13\x0a\x01k\x10\x09\x18\x09\x20\x01\x2a\x08\
        v<>&\x01\xff\xc3\xa9\x20\x01";
    check(|output| printer("protobuf", false).get(output, &r), expected);
}

#[test]
fn put() {
    let mut r = pb::PutResponse { header: header(6), prev_kv: None };
    check(|output| printer("simple", false).put(output, &r), "OK\n");
    r.prev_kv = Some(pair("k", b"old"));
    check(|output| printer("simple", false).put(output, &r), "OK\nk\nold\n");
    check(
        |output| printer("fields", true).put(output, &r),
        "\"ClusterID\" : d1cfaf999eb97a2a\n\"MemberID\" : bdae9bbc11dd390d\n\"Revision\" : 6\n\
         \"RaftTerm\" : 2\n\"PrevKey\" : \"k\"\n\"PrevCreateRevision\" : 5\n\
         \"PrevModRevision\" : 6\n\"PrevVersion\" : 2\n\"PrevValue\" : \"old\"\n\
         \"PrevLease\" : 0000000000000000\n",
    );
    check(
        |output| printer("json", false).put(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":6,\"raft_term\":2},\"prev_kv\":{\"key\":\"aw==\",\"create_revision\":5,\
         \"mod_revision\":6,\"version\":2,\"value\":\"b2xk\"}}\n",
    );
}

#[test]
fn del() {
    let prev_kvs = vec![pair("k", b"v")];
    let r = pb::DeleteRangeResponse { header: header(6), deleted: 1, prev_kvs };
    check(|output| printer("simple", false).del(output, &r), "1\nk\nv\n");
    check(
        |output| printer("json", false).del(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":6,\"raft_term\":2},\"deleted\":1,\"prev_kvs\":[{\"key\":\"aw==\",\
         \"create_revision\":5,\"mod_revision\":6,\"version\":2,\"value\":\"dg==\"}]}\n",
    );
    check(
        |output| printer("fields", false).del(output, &r),
        "\"ClusterID\" : 15118495548433857066\n\"MemberID\" : 13668033151171901709\n\
         \"Revision\" : 6\n\"RaftTerm\" : 2\n\"Deleted\" : 1\n\"PrevKey\" : \"k\"\n\
         \"PrevCreateRevision\" : 5\n\"PrevModRevision\" : 6\n\"PrevVersion\" : 2\n\
         \"PrevValue\" : \"v\"\n\"PrevLease\" : 0\n",
    );
}

fn transaction() -> pb::TxnResponse {
    let header = || Some(pb::ResponseHeader { revision: 35, ..pb::ResponseHeader::default() });
    let put = pb::PutResponse { header: header(), prev_kv: Some(pair("k", b"v")) };
    let range = pb::RangeResponse { header: header(), count: 7, ..pb::RangeResponse::default() };
    let del = pb::DeleteRangeResponse { header: header(), ..pb::DeleteRangeResponse::default() };
    let responses = [
        Response::ResponsePut(put),
        Response::ResponseRange(range),
        Response::ResponseDeleteRange(del),
    ];
    pb::TxnResponse {
        header: self::header(35),
        succeeded: true,
        responses: responses.map(|r| pb::ResponseOp { response: Some(r) }).to_vec(),
    }
}

#[test]
fn txn() {
    let r = transaction();
    check(|output| printer("simple", false).txn(output, &r), "SUCCESS\n\nOK\nk\nv\n\n\n0\n");
    let failed = pb::TxnResponse::default();
    check(|output| printer("simple", false).txn(output, &failed), "FAILURE\n");
    check(
        |output| printer("json", false).txn(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":35,\"raft_term\":2},\"succeeded\":true,\"responses\":[{\"Response\":\
         {\"response_put\":{\"header\":{\"revision\":35},\"prev_kv\":{\"key\":\"aw==\",\
         \"create_revision\":5,\"mod_revision\":6,\"version\":2,\"value\":\"dg==\"}}}},\
         {\"Response\":{\"response_range\":{\"header\":{\"revision\":35},\"count\":7}}},\
         {\"Response\":{\"response_delete_range\":{\"header\":{\"revision\":35}}}}]}\n",
    );
    let head = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 35\n\"RaftTerm\" : 0\n";
    let fields = format!(
        "\"ClusterID\" : d1cfaf999eb97a2a\n\"MemberID\" : bdae9bbc11dd390d\n\"Revision\" : 35\n\
         \"RaftTerm\" : 2\n\"Succeeded\" : true\n{head}\"PrevKey\" : \"k\"\n\
         \"PrevCreateRevision\" : 5\n\"PrevModRevision\" : 6\n\"PrevVersion\" : 2\n\
         \"PrevValue\" : \"v\"\n\"PrevLease\" : 0000000000000000\n{head}\"More\" : false\n\
         \"Count\" : 7\n{head}\"Deleted\" : 0\n"
    );
    check(|output| printer("fields", true).txn(output, &r), fields);
}

#[test]
fn member_list() {
    let started = pb::Member {
        id: MEMBER,
        name: "m1".to_owned(),
        peer_ur_ls: vec!["http://127.0.0.1:23801".to_owned()],
        client_ur_ls: vec!["http://127.0.0.1:23790".to_owned()],
        is_learner: false,
    };
    let r = pb::MemberListResponse { header: header(0), members: vec![started] };
    check(
        |output| printer("simple", true).member_list(output, &r),
        "bdae9bbc11dd390d, started, m1, http://127.0.0.1:23801, http://127.0.0.1:23790, false\n",
    );
    check(
        |output| printer("json", false).member_list(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"raft_term\":2},\"members\":[{\"ID\":13668033151171901709,\"name\":\"m1\",\
         \"peerURLs\":[\"http://127.0.0.1:23801\"],\
         \"clientURLs\":[\"http://127.0.0.1:23790\"]}]}\n",
    );
    check(
        |output| printer("json", true).member_list(output, &r),
        "{\"header\":{\"cluster_id\":\"d1cfaf999eb97a2a\",\"member_id\":\"bdae9bbc11dd390d\",\
         \"raft_term\":2},\"members\":[{\"ID\":\"bdae9bbc11dd390d\",\"name\":\"m1\",\
         \"peerURLs\":[\"http://127.0.0.1:23801\"],\
         \"clientURLs\":[\"http://127.0.0.1:23790\"]}]}\n",
    );
    check(
        |output| printer("fields", false).member_list(output, &r),
        "\"ClusterID\" : 15118495548433857066\n\"MemberID\" : 13668033151171901709\n\
         \"RaftTerm\" : 2\n\"ID\" : 13668033151171901709\n\"Name\" : \"m1\"\n\
         \"PeerURL\" : \"http://127.0.0.1:23801\"\n\
         \"ClientURL\" : \"http://127.0.0.1:23790\"\n\"IsLearner\" : false\n\n",
    );
    let unstarted = pb::Member { id: 0x1f, is_learner: true, ..pb::Member::default() };
    let r = pb::MemberListResponse { header: header(0), members: vec![unstarted] };
    check(|output| printer("simple", false).member_list(output, &r), "1f, unstarted, , , , true\n");
}

/// The characters of a table, drawn with those that a source file may hold.
fn drawn(table: &str) -> String {
    let line = |line: &str| {
        let pieces: [(&str, &str); 4] = match line.chars().next() {
            Some('/') => {
                [("/", "\u{250c}"), ("+", "\u{252c}"), ("\\", "\u{2510}"), ("-", "\u{2500}")]
            }
            Some('>') => {
                [(">", "\u{251c}"), ("+", "\u{253c}"), ("<", "\u{2524}"), ("-", "\u{2500}")]
            }
            Some('[') => {
                [("[", "\u{2514}"), ("+", "\u{2534}"), ("]", "\u{2518}"), ("-", "\u{2500}")]
            }
            _ => [("|", "\u{2502}"), ("", ""), ("", ""), ("", "")],
        };
        let mut line = line.to_owned();
        for (from, to) in pieces.iter().filter(|(from, _)| !from.is_empty()) {
            line = line.replace(from, to);
        }
        line + "\n"
    };
    table.lines().map(line).collect()
}

#[test]
fn health() {
    let healthy = Health {
        endpoint: "127.0.0.1:23790".to_owned(),
        healthy: true,
        took: "6.520788ms".to_owned(),
        error: String::new(),
    };
    let down = Health {
        endpoint: "127.0.0.1:1".to_owned(),
        healthy: false,
        took: "1.003476328s".to_owned(),
        error: "context deadline exceeded".to_owned(),
    };
    let list = [healthy, down];
    let what = "is healthy: successfully committed proposal: took = 6.520788ms";
    check(
        |output| printer("simple", false).endpoint_health(output, &list),
        format!("127.0.0.1:23790 {what}\n"),
    );
    check(
        |output| printer("json", false).endpoint_health(output, &list),
        "[{\"endpoint\":\"127.0.0.1:23790\",\"health\":true,\"took\":\"6.520788ms\"},\
         {\"endpoint\":\"127.0.0.1:1\",\"health\":false,\"took\":\"1.003476328s\",\
         \"error\":\"context deadline exceeded\"}]\n",
    );
    check(
        |output| printer("fields", false).endpoint_health(output, &list),
        "\"Endpoint\" : \"127.0.0.1:23790\"\n\"Health\" : true\n\"Took\" : 6.520788ms\n\
         \"Error\" : \n\n\"Endpoint\" : \"127.0.0.1:1\"\n\"Health\" : false\n\
         \"Took\" : 1.003476328s\n\"Error\" : context deadline exceeded\n\n",
    );
    let table = r"/-----------------+--------+--------------+---------------------------\
|    ENDPOINT     | HEALTH |     TOOK     |           ERROR           |
>-----------------+--------+--------------+---------------------------<
| 127.0.0.1:23790 |   true |   6.520788ms |                           |
|     127.0.0.1:1 |  false | 1.003476328s | context deadline exceeded |
[-----------------+--------+--------------+---------------------------]";
    check(|output| printer("table", false).endpoint_health(output, &list), drawn(table));
    refused(printer("protobuf", false).endpoint_health(&mut Vec::new(), &list), "protobuf");
}

#[test]
fn status() {
    let response = pb::StatusResponse {
        header: header(6),
        version: "3.7.1".to_owned(),
        db_size: 20480,
        leader: MEMBER,
        raft_index: 11,
        raft_term: 2,
        raft_applied_index: 11,
        errors: vec!["NOSPACE".to_owned(), "x".to_owned()],
        db_size_in_use: 16384,
        is_learner: false,
        storage_version: "3.7.0".to_owned(),
        db_size_quota: 2147483648,
        downgrade_info: Some(pb::DowngradeInfo::default()),
    };
    let list = [Status { endpoint: "e:1".to_owned(), response }];
    check(
        |output| printer("simple", false).endpoint_status(output, &list),
        "e:1, bdae9bbc11dd390d, 3.7.1, 3.7.0, 20 kB, 16 kB, 20%, 2.1 GB, true, false, 2, 11, 11, \
         NOSPACE, x, , false\n",
    );
    check(
        |output| printer("json", true).endpoint_status(output, &list),
        "[{\"Endpoint\":\"e:1\",\"Status\":{\"header\":{\"cluster_id\":15118495548433857066,\
         \"member_id\":13668033151171901709,\"revision\":6,\"raft_term\":2},\
         \"version\":\"3.7.1\",\"dbSize\":20480,\"leader\":13668033151171901709,\
         \"raftIndex\":11,\"raftTerm\":2,\"raftAppliedIndex\":11,\"errors\":[\"NOSPACE\",\"x\"],\
         \"dbSizeInUse\":16384,\"storageVersion\":\"3.7.0\",\"dbSizeQuota\":2147483648,\
         \"downgradeInfo\":{}}}]\n",
    );
    check(
        |output| printer("fields", true).endpoint_status(output, &list),
        "\"ClusterID\" : d1cfaf999eb97a2a\n\"MemberID\" : bdae9bbc11dd390d\n\"Revision\" : 6\n\
         \"RaftTerm\" : 2\n\"Version\" : \"3.7.1\"\n\"StorageVersion\" : \"3.7.0\"\n\
         \"DBSize\" : 20480\n\"DBSizeInUse\" : 16384\n\"DBSizeQuota\" : 2147483648\n\
         \"Leader\" : 13668033151171901709\n\"IsLearner\" : false\n\"RaftIndex\" : 11\n\
         \"RaftTerm\" : 2\n\"RaftAppliedIndex\" : 11\n\"Errors\" : [NOSPACE x]\n\
         \"Endpoint\" : \"e:1\"\n\"DowngradeTargetVersion\" : \"\"\n\
         \"DowngradeEnabled\" : false\n\n",
    );
}

/// A server that has no database yet was a division by zero.
#[test]
fn status_of_an_empty_server() {
    let response = pb::StatusResponse::default();
    let list = [Status { endpoint: "e:1".to_owned(), response }];
    check(
        |output| printer("simple", false).endpoint_status(output, &list),
        "e:1, 0, , , 0 B, 0 B, 0%, 0 B, true, false, 0, 0, 0, , , false\n",
    );
}

#[test]
fn nobody_answered() {
    check(|output| printer("simple", false).endpoint_status(output, &[]), "");
    check(|output| printer("json", false).endpoint_status(output, &[]), "null\n");
    check(|output| printer("json", false).endpoint_hash_kv(output, &[]), "null\n");
    let table = r"/----------+------+---------------\
| ENDPOINT | HASH | HASH REVISION |
[----------+------+---------------]";
    check(|output| printer("table", false).endpoint_hash_kv(output, &[]), drawn(table));
}

#[test]
fn hash() {
    let response = pb::HashKvResponse {
        header: header(6),
        hash: 1343069044,
        compact_revision: -1,
        hash_revision: 12,
    };
    let list = [Hash { endpoint: "127.0.0.1:23790".to_owned(), response }];
    check(
        |output| printer("simple", false).endpoint_hash_kv(output, &list),
        "127.0.0.1:23790, 1343069044, 12\n",
    );
    check(
        |output| printer("json", false).endpoint_hash_kv(output, &list),
        "[{\"Endpoint\":\"127.0.0.1:23790\",\"HashKV\":{\"header\":\
         {\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":6,\"raft_term\":2},\"hash\":1343069044,\"compact_revision\":-1,\
         \"hash_revision\":12}}]\n",
    );
    check(
        |output| printer("fields", false).endpoint_hash_kv(output, &list),
        "\"ClusterID\" : 15118495548433857066\n\"MemberID\" : 13668033151171901709\n\
         \"Revision\" : 6\n\"RaftTerm\" : 2\n\"Endpoint\" : \"127.0.0.1:23790\"\n\
         \"Hash\" : 1343069044\n\"HashRevision\" : 12\n\n",
    );
    let table = r"/-----------------+------------+---------------\
|    ENDPOINT     |    HASH    | HASH REVISION |
>-----------------+------------+---------------<
| 127.0.0.1:23790 | 1343069044 |            12 |
[-----------------+------------+---------------]";
    check(|output| printer("table", false).endpoint_hash_kv(output, &list), drawn(table));
}

#[test]
fn watch() {
    let put = Event { kv: Some(pair("k", b"v2")), prev_kv: Some(pair("k", b"v1")), r#type: 0 };
    let mut gone = KeyValue::default();
    (gone.key, gone.mod_revision) = ("k".into(), 8);
    let delete = Event { kv: Some(gone), prev_kv: None, r#type: EventType::Delete.into() };
    let r = pb::WatchResponse {
        header: header(9),
        watch_id: 7,
        events: vec![put, delete],
        ..pb::WatchResponse::default()
    };
    check(|output| printer("simple", false).watch(output, &r), "PUT\nk\nv1\nk\nv2\nDELETE\nk\n\n");
    check(
        |output| printer("json", true).watch(output, &r),
        "{\"Header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":9,\"raft_term\":2},\"Events\":[{\"kv\":{\"key\":\"aw==\",\
         \"create_revision\":5,\"mod_revision\":6,\"version\":2,\"value\":\"djI=\"},\"prev_kv\":\
         {\"key\":\"aw==\",\"create_revision\":5,\"mod_revision\":6,\"version\":2,\
         \"value\":\"djE=\"}},{\"type\":1,\"kv\":{\"key\":\"aw==\",\"mod_revision\":8}}],\
         \"CompactRevision\":0,\"Canceled\":false,\"Created\":false,\"CancelReason\":\"\"}\n",
    );
    let pair = |prefix: &str, numbers: [i64; 3], value: &str| {
        format!(
            "\"{prefix}Key\" : \"k\"\n\"{prefix}CreateRevision\" : {}\n\
             \"{prefix}ModRevision\" : {}\n\"{prefix}Version\" : {}\n\
             \"{prefix}Value\" : \"{value}\"\n\"{prefix}Lease\" : 0\n",
            numbers[0], numbers[1], numbers[2]
        )
    };
    let head = "\"ClusterID\" : 15118495548433857066\n\"MemberID\" : 13668033151171901709\n\
                \"Revision\" : 9\n\"RaftTerm\" : 2\n";
    let (before, after) = (pair("Prev", [5, 6, 2], "v1"), pair("", [5, 6, 2], "v2"));
    let gone = pair("", [0, 8, 0], "");
    check(
        |output| printer("fields", false).watch(output, &r),
        format!("{head}\"Type\" : PUT\n{before}{after}\"Type\" : DELETE\n{gone}"),
    );
    refused(printer("table", false).watch(&mut Vec::new(), &r), "table");
}

#[test]
fn a_watch_that_was_compacted() {
    let r = pb::WatchResponse {
        header: header(0),
        watch_id: 7,
        canceled: true,
        compact_revision: 5,
        ..pb::WatchResponse::default()
    };
    check(
        |output| printer("json", false).watch(output, &r),
        "{\"Header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"raft_term\":2},\"Events\":null,\"CompactRevision\":5,\"Canceled\":true,\
         \"Created\":false,\"CancelReason\":\"\"}\n",
    );
    let wire = pb::WatchResponse { watch_id: 0, ..r.clone() }.encode_to_vec();
    check(|output| printer("protobuf", false).watch(output, &r), wire);
}

const LEASE: i64 = 0x694d_a206_56de_e10f;

#[test]
fn leases() {
    let r = pb::LeaseGrantResponse { header: header(1), id: LEASE, ttl: 60, error: String::new() };
    let simple = printer("simple", false);
    check(|output| simple.grant(output, &r), "lease 694da20656dee10f granted with TTL(60s)\n");
    let json_head = "{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
                     \"revision\":1,\"raft_term\":2";
    let json = |rest: &str| format!("{json_head},{rest}\n");
    let expected = json("\"ID\":7587899095300104463,\"TTL\":60,\"Error\":\"\"}");
    check(|output| printer("json", true).grant(output, &r), expected);
    let head = "\"ClusterID\" : d1cfaf999eb97a2a\n\"MemberID\" : bdae9bbc11dd390d\n\
                \"Revision\" : 1\n\"RaftTerm\" : 2\n";
    let lease = "\"ID\" : 694da20656dee10f\n\"TTL\" : 60\n";
    check(|output| printer("fields", true).grant(output, &r), format!("{head}{lease}"));
    // etcdctl leaves everything but the header out.
    let wire = header(1).unwrap().encode_to_vec();
    check(|output| printer("protobuf", false).grant(output, &r), wire);
    refused(printer("table", false).grant(&mut Vec::new(), &r), "table");

    let r = pb::LeaseKeepAliveResponse { header: header(1), id: LEASE, ttl: 60 };
    let expected = "lease 694da20656dee10f keepalived with TTL(60)\n";
    check(|output| simple.keep_alive(output, &r), expected);
    let expected = json("\"ID\":7587899095300104463,\"TTL\":60}");
    check(|output| printer("json", false).keep_alive(output, &r), expected);

    let r = pb::LeaseRevokeResponse { header: header(1) };
    check(|output| simple.revoke(output, 0x77, &r), "lease 0000000000000077 revoked\n");
    let expected = format!("{{\"header\":{json_head}}}}}\n");
    check(|output| printer("json", false).revoke(output, 0x77, &r), expected);
    refused(printer("protobuf", false).revoke(&mut Vec::new(), 1, &r), "protobuf");

    let leases = vec![pb::LeaseStatus { id: LEASE }, pb::LeaseStatus { id: 0x77 }];
    let r = pb::LeaseLeasesResponse { header: header(1), leases };
    let expected = "found 2 leases\n694da20656dee10f\n0000000000000077\n";
    check(|output| simple.leases(output, &r), expected);
    let expected = json("\"leases\":[{\"id\":7587899095300104463},{\"id\":119}]}");
    check(|output| printer("json", false).leases(output, &r), expected);
    let r = pb::LeaseLeasesResponse { header: header(1), leases: Vec::new() };
    check(|output| printer("json", false).leases(output, &r), json("\"leases\":[]}"));
}

#[test]
fn time_to_live() {
    let r = pb::LeaseTimeToLiveResponse {
        header: header(3),
        id: LEASE,
        ttl: 59,
        granted_ttl: 60,
        keys: vec!["lk2".into(), "lk".into()],
    };
    let simple = printer("simple", false);
    let line = "lease 694da20656dee10f granted with TTL(60s), remaining(59s)";
    check(|output| simple.time_to_live(output, &r, false), format!("{line}\n"));
    check(
        |output| simple.time_to_live(output, &r, true),
        format!("{line}, attached keys([lk2 lk])\n"),
    );
    let head = "{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
                \"revision\":3,\"raft_term\":2";
    check(
        |output| printer("json", false).time_to_live(output, &r, true),
        format!(
            "{head},\"id\":7587899095300104463,\"ttl\":59,\"granted-ttl\":60,\
             \"keys\":[\"bGsy\",\"bGs=\"]}}\n"
        ),
    );
    let gone = pb::LeaseTimeToLiveResponse {
        header: header(3),
        id: 0x77,
        ttl: -1,
        ..pb::LeaseTimeToLiveResponse::default()
    };
    let expected = "lease 0000000000000077 already expired\n";
    check(|output| simple.time_to_live(output, &gone, true), expected);
    check(
        |output| printer("json", false).time_to_live(output, &gone, true),
        format!("{head},\"id\":119,\"ttl\":-1,\"granted-ttl\":0,\"keys\":null}}\n"),
    );
}

#[test]
fn alarms() {
    let member_id = 10276657743932975437;
    let alarms = vec![pb::AlarmMember { member_id, alarm: pb::AlarmType::Nospace.into() }];
    let r = pb::AlarmResponse { header: header(9), alarms };
    check(
        |output| printer("simple", false).alarm(output, &r),
        "memberID:10276657743932975437 alarm:NOSPACE\n",
    );
    check(
        |output| printer("json", false).alarm(output, &r),
        "{\"header\":{\"cluster_id\":15118495548433857066,\"member_id\":13668033151171901709,\
         \"revision\":9,\"raft_term\":2},\"alarms\":[{\"memberID\":10276657743932975437,\
         \"alarm\":1}]}\n",
    );
    check(
        |output| printer("fields", true).alarm(output, &r),
        "\"ClusterID\" : d1cfaf999eb97a2a\n\"MemberID\" : bdae9bbc11dd390d\n\"Revision\" : 9\n\
         \"RaftTerm\" : 2\n\"MemberID\" : 8e9e05c52164694d\n\"AlarmType\" : NOSPACE\n\n",
    );
    let none = pb::AlarmResponse::default();
    check(|output| printer("json", false).alarm(output, &none), "{}\n");
    check(|output| printer("simple", false).alarm(output, &none), "");
}
