"""What programs do with python-etcd, against the members at the URLs given as arguments.

Every operation is asserted; the first that goes wrong ends the script with its traceback. The
last line says that all of it was done.
"""

import sys
import threading
import time

import etcd


def client(url, **options):
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return etcd.Client(host=host, port=int(port), **options)


def raises(error, call, *args, **options):
    try:
        call(*args, **options)
    except error as found:
        return found
    raise AssertionError(f"{call.__name__}{args}{options} raised no {error.__name__}")


def files(one):
    written = one.write("/py/name", "first")
    assert (written.action, written.value, written.newKey) == ("set", "first", True), written
    read = one.read("/py/name")
    assert (read.key, read.value, read.dir) == ("/py/name", "first", False), read
    assert read.createdIndex == read.modifiedIndex == written.modifiedIndex
    assert read.etcd_index >= read.modifiedIndex and read.raft_index > 0
    again = one.set("/py/name", "<second> & ünï")
    assert again._prev_node.value == "first" and not again.newKey
    assert one.get("/py/name").value == "<second> & ünï"
    assert "/py/name" in one and "/py/none" not in one
    missing = raises(etcd.EtcdKeyNotFound, one.read, "/py/none")
    assert missing.payload["errorCode"] == 100 and missing.payload["cause"] == "/py/none"
    gone = one.delete("/py/name")
    assert gone.action == "delete" and gone._prev_node.value == "<second> & ünï"
    raises(etcd.EtcdKeyNotFound, one.delete, "/py/name")
    one.write("/py/popped", "once")
    assert one.pop("/py/popped").value == "once" and "/py/popped" not in one
    one.write("/py/quorum", "q")
    assert one.read("/py/quorum", quorum=True).value == "q"


def directories(one):
    made = one.write("/py/dir", None, dir=True)
    assert made.dir and made.value is None
    raises(etcd.EtcdNotFile, one.write, "/py/dir", "value")
    one.write("/py/dir/b/deep", "2")
    one.write("/py/dir/a", "1")
    one.write("/py/dir/_hidden", "3")
    listing = one.read("/py/dir", recursive=True, sorted=True)
    assert listing.dir
    leaves = [(leaf.key, leaf.value) for leaf in listing.leaves]
    assert leaves == [("/py/dir/a", "1"), ("/py/dir/b/deep", "2")], leaves
    assert [child.key for child in one.read("/py/dir", sorted=True).children] == ["/py/dir/a", "/py/dir/b"]
    assert [child.key for child in one.get("/py/dir").get_subtree(leaves_only=True)] != []
    raises(etcd.EtcdNotDir, one.write, "/py/dir/a/x", "below a file")
    raises(etcd.EtcdDirNotEmpty, one.delete, "/py/dir", dir=True)
    raises(etcd.EtcdNotFile, one.delete, "/py/dir")
    raises(etcd.EtcdRootReadOnly, one.delete, "/", recursive=True)
    assert one.delete("/py/dir", recursive=True).dir
    assert "/py/dir" not in one


def in_order(one):
    keys = [one.write("/py/queue", f"job-{number}", append=True).key for number in range(5)]
    assert all(key.startswith("/py/queue/") for key in keys) and keys == sorted(keys), keys
    listing = one.read("/py/queue", recursive=True, sorted=True)
    assert [leaf.value for leaf in listing.leaves] == [f"job-{number}" for number in range(5)]


def times(one, two):
    written = one.write("/py/short", "soon gone", ttl=1)
    assert written.ttl == 1 and written.expiration is not None
    one.write("/py/short-dir", None, dir=True, ttl=1)
    one.write("/py/short-dir/file", "gone with it")
    one.write("/py/renewed", "stays", ttl=2)
    one.refresh("/py/renewed", ttl=600)
    renewed = one.read("/py/renewed")
    assert renewed.value == "stays" and 590 < renewed.ttl <= 600
    raises(etcd.EtcdException, one.refresh, "/py/none", ttl=5)
    expired = two.watch("/py/short", index=written.modifiedIndex + 1, timeout=10)
    assert expired.action == "expire" and expired._prev_node.value == "soon gone", expired
    deadline = time.monotonic() + 10
    while "/py/short-dir" in one:
        assert time.monotonic() < deadline, "a directory does not end"
        time.sleep(0.1)
    assert "/py/short" not in one and one.read("/py/renewed").value == "stays"


def comparisons(one):
    first = one.write("/py/cas", "1", prevExist=False)
    raises(etcd.EtcdAlreadyExist, one.write, "/py/cas", "2", prevExist=False)
    swapped = one.write("/py/cas", "2", prevValue="1")
    assert swapped.action == "compareAndSwap" and swapped.createdIndex == first.createdIndex
    failed = raises(etcd.EtcdCompareFailed, one.write, "/py/cas", "3", prevValue="1")
    assert failed.payload["cause"] == "[1 != 2]", failed.payload
    assert one.write("/py/cas", "3", prevIndex=swapped.modifiedIndex).value == "3"
    raises(etcd.EtcdCompareFailed, one.write, "/py/cas", "4", prevIndex=swapped.modifiedIndex)
    assert one.test_and_set("/py/cas", "4", "3").value == "4"
    raises(ValueError, one.test_and_set, "/py/cas", "5", "3")
    changed = one.read("/py/cas")
    changed.value = "5"
    updated = one.update(changed)
    assert updated.value == "5" and updated.action == "compareAndSwap"
    raises(etcd.EtcdCompareFailed, one.update, changed)
    raises(etcd.EtcdCompareFailed, one.delete, "/py/cas", prevValue="1")
    assert one.delete("/py/cas", prevValue="5").action == "compareAndDelete"
    raises(etcd.EtcdKeyNotFound, one.write, "/py/cas", "6", prevExist=True)


def watching(one, two):
    told = []

    def watch():
        told.append(two.watch("/py/watched", timeout=20))

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(0.5)
    written = one.write("/py/watched", "told")
    thread.join(20)
    assert [event.value for event in told] == ["told"] and told[0].modifiedIndex == written.modifiedIndex
    for number in range(5):
        one.write(f"/py/watched-dir/{number}", str(number))
    # From the past, and then what comes.
    seen = []
    index = written.modifiedIndex + 1

    def watch_all():
        for event in two.eternal_watch("/py/watched-dir", index=index, recursive=True):
            seen.append((event.action, event.key))
            if event.action == "delete":
                return

    thread = threading.Thread(target=watch_all)
    thread.start()
    time.sleep(0.5)
    one.write("/py/watched-dir/5", "5")
    one.delete("/py/watched-dir/0")
    thread.join(20)
    expected = [("set", f"/py/watched-dir/{number}") for number in range(6)]
    assert seen == [*expected, ("delete", "/py/watched-dir/0")], seen
    raises(etcd.EtcdWatchTimedOut, one.watch, "/py/never", timeout=1)
    for number in range(1010):
        one.write("/py/counter", str(number))
    cleared = raises(etcd.EtcdEventIndexCleared, one.watch, "/py/watched", index=index)
    assert cleared.payload["errorCode"] == 401


def locking(one, two):
    first, second = etcd.Lock(one, "py-lock"), etcd.Lock(two, "py-lock")
    assert first.acquire(blocking=True, lock_ttl=60) and first.is_acquired
    assert not second.acquire(blocking=False, lock_ttl=60) and not second.is_acquired
    order = []

    def wait():
        second.acquire(blocking=True, lock_ttl=60)
        order.append("second")

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.5)
    order.append("first")
    first.release()
    thread.join(20)
    assert order == ["first", "second"] and second.is_acquired and not first.is_acquired
    second.release()
    with etcd.Lock(one, "py-lock") as third:
        assert third.is_acquired


def cluster(one, urls):
    assert set(one.machines) <= set(urls), one.machines
    members = one.members
    assert len(members) >= 1 and all(member["clientURLs"] for member in members.values())
    leader = one.leader
    assert leader["id"] in members and leader["name"]
    assert one.stats["id"] in members and one.stats["state"] in ("StateLeader", "StateFollower")
    assert one.store_stats["setsSuccess"] > 0 and one.store_stats["watchers"] >= 0
    assert one.version and one.cluster_version
    leaders = []
    for url in urls:
        try:
            leaders.append(client(url).leader_stats["leader"])
        except etcd.EtcdException:
            pass
    assert leaders == [leader["id"]], leaders


def main(urls):
    one = client(urls[0], read_timeout=20)
    two = client(urls[-1], read_timeout=20)
    files(one)
    directories(one)
    in_order(one)
    times(one, two)
    comparisons(one)
    watching(one, two)
    locking(one, two)
    cluster(one, urls)
    assert etcd.Client(
        host=tuple((url.removeprefix("http://").split(":")[0], int(url.rsplit(":", 1)[1])) for url in urls),
        allow_reconnect=True,
    ).read("/py/renewed").value == "stays"
    print("python-etcd: all done")


main(sys.argv[1:])
