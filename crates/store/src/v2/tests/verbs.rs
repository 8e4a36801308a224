//! Every verb and every refusal.

use super::{check, list, outcome, parse, request};
use crate::v2::path::{MAX_DEPTH, MAX_PATH_BYTES, clean, decode, encode};
use crate::v2::{V2ErrorCode, V2Store};

#[test]
fn set_creates_and_replaces() {
    check(
        "PUT /1/a val=1 -> set /1/a=1 1/1
        PUT /1/a val=2 -> set /1/a=2 2/2 was /1/a=1 1/1
        PUT /1/d/e/f val=3 -> set /1/d/e/f=3 3/3
        PUT /1/d val=4 -> 102 (/1/d) [3]
        PUT /1/a/b val=4 -> 104 (/1/a) [3]
        PUT /1/a dir -> set /1/a/ 4/4 was /1/a=2 2/2
        PUT /1/a dir -> 102 (/1/a) [4]
        PUT /1 val=1 -> 107 (/) [4]
        PUT /0 val=1 -> 107 (/) [4]
        PUT / dir -> 107 (/) [4]
        PUT /2 dir -> set /2/ 5/5
        PUT .././1//x/../y/ val=1 -> set /1/y=1 6/6
        PUT 1/z/../y val=2 -> set /1/y=2 7/7 was 1/z/../y=1 6/6",
    );
}

#[test]
fn create_refuses_what_is_there() {
    let store = check(
        "PUT /1/a prevExist=false val=1 -> create /1/a=1 1/1
        PUT /1/a prevExist=false val=2 -> 105 (/1/a) [1]
        PUT /1/d prevExist=false dir -> create /1/d/ 2/2
        PUT /1/a/b prevExist=false -> 104 (/1/a) [2]
        POST /1/q val=x -> create /1/q/00000000000000000003=x 3/3
        POST /1/q dir -> create /1/q/00000000000000000004/ 4/4
        POST /1/a val=x -> 104 (/1/a) [4]
        POST / val=x -> create /00000000000000000005=x 5/5",
    );
    let stats = store.view().stats();
    assert_eq!((stats.create_success, stats.create_fail, stats.set_fail), (5, 3, 2));
}

#[test]
fn update_keeps_what_it_does_not_name() {
    let store = check(
        "PUT /1/a prevExist=true val=1 -> 100 (/1/a) [0]
        PUT /1/a val=1 exp=9
        PUT /1/a prevExist=true val=2 -> update /1/a=2 1/2 was /1/a=1 1/1 ends=9
        PUT /1/d dir
        PUT /1/d prevExist=true exp=5 -> update /1/d/ 3/4 ends=5 was /1/d/ 3/3
        PUT /1/d prevExist=true val=x -> 102 (/1/d) [4]
        PUT /1/a/b prevExist=true -> 104 (/1/a) [4]
        PUT /1/d/x/y prevExist=true -> 100 (/1/d/x) [4]
        PUT /1 prevExist=true -> 107 (/) [4]",
    );
    assert_eq!(list(&store, "/1/d", false), ["/1/d/ 3/3 ends=5"]);
    let stats = store.view().stats();
    assert_eq!((stats.update_success, stats.update_fail), (4, 3));
}

#[test]
fn swaps_compare_both() {
    let store = check(
        "PUT /1/a val=1
        PUT /1/a prevValue=1 val=2 -> compareAndSwap /1/a=2 1/2 was /1/a=1 1/1
        PUT /1/a prevValue=1 val=2 -> 101 ([1 != 2]) [2]
        PUT /1/a prevIndex=1 val=2 -> 101 ([1 != 2]) [2]
        PUT /1/a prevIndex=9 prevValue=x val=2 -> 101 ([x != 2] [9 != 2]) [2]
        PUT /1/a prevIndex=2 prevValue=x val=2 -> 101 ([x != 2]) [2]
        PUT /1/a prevIndex=2 prevValue=2 val=3 exp=7 -> compareAndSwap /1/a=3 1/3 ends=7 was /1/a=2 1/2
        PUT /1/a prevExist=true prevIndex=3 val=4 -> compareAndSwap /1/a=4 1/4 was /1/a=3 1/3 ends=7
        PUT /1/b prevIndex=3 -> 100 (/1/b) [4]
        PUT /1/d dir
        PUT /1/d prevIndex=5 -> 102 (/1/d) [5]
        PUT /1 prevIndex=5 -> 107 (/) [5]",
    );
    let stats = store.view().stats();
    assert_eq!((stats.compare_and_swap_success, stats.compare_and_swap_fail), (4, 6));
}

#[test]
fn deletes_need_to_know_what_they_delete() {
    let store = check(
        "PUT /1/a val=1
        PUT /1/d/e val=2
        DELETE /1/a -> delete /1/a 1/3 was /1/a=1 1/1
        DELETE /1/a -> 100 (/1/a) [3]
        DELETE /1/d -> 102 (/1/d) [3]
        DELETE /1/d dir -> 108 (/1/d) [3]
        DELETE /1/d recursive -> delete /1/d/ 2/4 was /1/d/ 2/2
        PUT /1/d dir
        DELETE /1/d dir -> delete /1/d/ 5/6 was /1/d/ 5/5
        DELETE /1 recursive -> 107 (/) [6]
        DELETE /0 recursive -> 107 (/) [6]
        DELETE / recursive -> 107 (/) [6]",
    );
    let stats = store.view().stats();
    assert_eq!((stats.delete_success, stats.delete_fail), (6, 3));
}

#[test]
fn compared_deletes_take_refusals_for_successes() {
    let store = check(
        "PUT /1/a val=1
        DELETE /1/a prevValue=2 -> 101 ([2 != 1]) [1]
        DELETE /1/a prevIndex=2 -> 101 ([2 != 1]) [1]
        DELETE /1 prevIndex=2 -> 102 (/1) [1]
        DELETE /1/b prevIndex=2 -> 100 (/1/b) [1]
        DELETE /1/a prevIndex=1 prevValue=1 -> compareAndDelete /1/a 1/2 was /1/a=1 1/1",
    );
    let stats = store.view().stats();
    assert_eq!((stats.compare_and_delete_success, stats.compare_and_delete_fail), (4, 1));
}

#[test]
fn nodes_end_at_a_sync() {
    let store = check(
        "PUT /1/a val=1 exp=10
        PUT /1/d/e val=1 exp=5
        PUT /1/d/f val=1 exp=12
        PUT /1/d prevExist=true exp=9
        SYNC / time=4 -> nothing
        > set /1/a=1 1/1 ends=10 | set /1/d/e=1 2/2 ends=5 | set /1/d/f=1 3/3 ends=12 | update /1/d/ 2/4 ends=9 was /1/d/ 2/2
        SYNC / time=10 -> nothing
        > expire /1/d/e 2/5 was /1/d/e=1 2/2 ends=5 | expire /1/d/ 2/6 was /1/d/ 2/2 ends=9 | expire /1/a 1/7 was /1/a=1 1/1 ends=10",
    );
    assert!(!store.has_expiring() && !store.view().has_expiring());
    assert_eq!(store.view().stats().expire_count, 3);
    assert_eq!(list(&store, "/1", true), ["/1/ 0/0"]);
}

#[test]
fn old_times_count_only_when_a_node_stays() {
    let store = check(
        "PUT /1/a val=1 exp=-5 -> set /1/a=1 1/1
        PUT /1/b val=1
        PUT /1/b prevExist=true exp=-5
        SYNC / time=-4
        SYNC / time=-5",
    );
    assert_eq!(list(&store, "/1", true), ["/1/ 0/0", "/1/a=1 1/1"]);
}

#[test]
fn refresh_keeps_the_value() {
    check(
        "PUT /1/a refresh exp=5 -> 100 (/1/a) [0]
        PUT /1/a val=1
        PUT /1/a refresh exp=5 -> set /1/a=1 2/2 ends=5 was /1/a=1 1/1 refresh
        PUT /1/a refresh prevExist=true val=x exp=6 -> update /1/a=1 2/3 ends=6 was /1/a=1 2/2 ends=5 refresh
        PUT /1/a refresh prevIndex=3 -> compareAndSwap /1/a=1 2/4 was /1/a=1 2/3 ends=6 refresh
        PUT /1/d dir
        PUT /1/d refresh -> 102 (/1/d) [5]
        PUT /1/c prevExist=false refresh val=y -> create /1/c=y 6/6",
    );
}

#[test]
fn other_methods_do_nothing() {
    let store = check(
        "GET /1 -> nothing
        HEAD /1 -> nothing
        QGET /1 -> read
        QGET /1/x -> read",
    );
    let stats = store.view().stats();
    assert_eq!((stats.get_success, stats.get_fail), (1, 1));
}

#[test]
fn listings_leave_out_what_is_hidden() {
    let store = check(
        "PUT /1/b/c/d val=1
        PUT /1/b/_x/y val=1
        PUT /1/a val=1
        PUT /1/b.c val=1
        PUT /1/_h/b val=1
        PUT /1/b/e val=1",
    );
    let one_level = ["/1/ 0/0", "/1/a=1 3/3", "/1/b/ 1/1", "/1/b.c=1 4/4"];
    assert_eq!(list(&store, "/1", false), one_level);
    let all = [
        "/1/ 0/0",
        "/1/a=1 3/3",
        "/1/b/ 1/1",
        "/1/b/c/ 1/1",
        "/1/b/c/d=1 1/1",
        "/1/b/e=1 6/6",
        "/1/b.c=1 4/4",
    ];
    assert_eq!(list(&store, "/1", true), all);
    assert_eq!(list(&store, "/1/_h", true), ["/1/_h/ 5/5", "/1/_h/b=1 5/5"]);
    let error = store.view().get(b"/1/a/b", true).unwrap_err();
    assert_eq!((error.code, &error.cause[..], error.index), (V2ErrorCode::NotDir, &b"/1/a"[..], 6));
}

#[test]
fn only_clients_use_a_store() {
    let mut store = V2Store::new();
    assert!(!store.is_used());
    store.create_file("/0/members/1/raftAttributes", "{}").unwrap();
    store.set_file("/0/members/1/attributes", "{}").unwrap();
    store.update_file("/0/members/1/raftAttributes", "{ }").unwrap();
    store.remove("/0/members/1").unwrap();
    assert!(!store.is_used() && store.index() == 4);
    store.apply(&parse("PUT /1/a")).unwrap();
    assert!(store.is_used());
    store.apply(&parse("DELETE /1/a")).unwrap();
    assert!(store.is_used(), "the history knows it");
    for _ in 0..1000 {
        store.set_file("/0/version", "3.4.0").unwrap();
    }
    assert!(!store.is_used());
}

#[test]
fn keys_are_paths_in_order() {
    let paths = [
        "/",
        "/a",
        "/a/\0",
        "/a/b",
        "/a\0",
        "/a\0/b",
        "/a\u{1}",
        "/a\u{1}\0",
        "/a\u{2}",
        "/a.b",
        "/b",
    ];
    let keys: Vec<Vec<u8>> = paths.iter().map(|path| encode(path.as_bytes())).collect();
    assert!(keys.is_sorted_by(|left, right| left < right), "{keys:?}");
    for (path, key) in paths.iter().zip(&keys) {
        assert_eq!(decode(key), path.as_bytes());
    }
    for (path, cleaned) in [
        ("", "/"),
        ("a//b/", "/a/b"),
        ("/..", "/"),
        ("../../a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/...", "/..."),
    ] {
        assert_eq!(clean(path.as_bytes()), cleaned.as_bytes());
    }
}

/// Such a path would make etcd keep, and write into each snapshot, a copy of it for each of its
/// directories.
#[test]
fn paths_have_bounds() {
    let mut store = V2Store::new();
    let deep = |names: usize| format!("/1{}", "/a".repeat(names - 1));
    for path in [deep(100_000), deep(MAX_DEPTH + 1), format!("/1/{}", "a".repeat(MAX_PATH_BYTES))] {
        for method in ["PUT", "POST"] {
            let error = store.apply(&request(method, &path)).unwrap_err();
            assert_eq!((error.code, error.index), (V2ErrorCode::InvalidField, 0));
        }
        let error = store.apply(&request("DELETE", &path)).unwrap_err();
        assert_eq!(error.code, V2ErrorCode::KeyNotFound);
        assert!(store.view().get(path.as_bytes(), true).is_err());
    }
    store.apply(&request("PUT", &deep(MAX_DEPTH))).unwrap();
    assert_eq!(store.view().get(b"/1", true).unwrap().below.len(), MAX_DEPTH - 1);
    assert_eq!(store.view().get(b"/1", false).unwrap().below.len(), 1);
    let mut delete = request("DELETE", "/1/a");
    delete.recursive = true;
    assert!(outcome(&store.apply(&delete)).starts_with("delete /1/a/"));
    assert_eq!(store.view().get(b"/1", true).unwrap().below.len(), 0);
}
