"""A file that one node has kept goes on at another, and a node that has ended loses its files."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from helpers.disk import descriptors
from helpers.local_store import DATA, open_local, put, recover_and_drop, spool, visible
from helpers.mounts import tmpfs
from helpers.whole_store import only

from galileod.ledger.lease import LEASE_SECONDS, Lease, LeaseLostError
from galileod.policy.publication import OnConflict
from galileod.storage.base import Sink
from galileod.storage.errors import MissingError, StorageBusyError, StorageError
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore
from galileod.storage.local.leftovers import temporary_name
from galileod.storage.whole import WholeFile

pytestmark = pytest.mark.timeout(20)

OpenNode = Callable[..., LocalStore]


@pytest.fixture
def open_node(directory: Path) -> Iterator[OpenNode]:
    with ExitStack() as stores:

        def make(node: str, on_conflict: OnConflict = "rename") -> LocalStore:
            store = open_local(directory, on_conflict, node=node)
            stores.callback(store.close)
            return store

        yield make


async def keep(store: LocalStore, data: bytes = DATA[:1000], upload: str = "1") -> None:
    async with await store.create(upload, "a.bin") as sink:
        await sink.write([data])
        await sink.suspend()


async def reopen(store: LocalStore, upload: str = "1") -> Sink:
    return await store.reopen(upload, "a.bin", "rename", "full")


def spools(directory: Path) -> dict[str, list[str]]:
    nodes = os.listdir(directory / ".galileod/nodes")
    return {node: names for node in nodes if (names := sorted(spool(directory, node)))}


async def test_a_kept_file_goes_on_at_another_node(open_node: OpenNode, directory: Path) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    before = len(descriptors())
    async with await reopen(b) as sink:
        assert spools(directory) == {"b": ["1"]}
        assert (sink.offset, sink.check) == (1000, None)
        await sink.write([DATA[1000:]])
        assert await sink.digest("sha1") == sink.check
        await sink.commit()
    assert len(descriptors()) == before
    assert visible(directory) == {"a.bin": DATA}
    assert spools(directory) == {}


async def test_what_a_node_remembers_of_a_file_is_forgotten_when_another_has_continued_it(
    open_node: OpenNode, directory: Path
) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    for at, store in ((1000, b), (2000, a), (3000, b), (4000, a)):
        sink = await reopen(store)
        assert sink.offset == at
        await sink.write([DATA[at : at + 1000]])
        await sink.catch_up()
        await sink.suspend()
    # Nobody has continued it since: it is not read back.
    async with await reopen(a) as sink:
        assert sink.check is not None
        await sink.write([DATA[5000:]])
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}
    assert spools(directory) == {}


async def test_a_file_that_was_continued_elsewhere_and_left_here_is_not_cut(
    open_node: OpenNode,
) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    sink = await reopen(b)
    await sink.write([DATA[1000:3000]])
    await sink.suspend()
    assert a.recover({"1": None}, claimed={"1": None}, running=True) == {"1": Recovered(3000)}
    async with await reopen(a) as sink:
        assert (sink.offset, sink.check) == (3000, None)


async def test_a_file_is_dropped_in_whatever_spool_it_is(
    open_node: OpenNode, directory: Path
) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    await keep(a, upload="2")
    await b.drop("1")
    assert spools(directory) == {"a": ["2"]}
    with pytest.raises(MissingError):
        await reopen(a)


async def test_a_node_that_starts_finds_a_file_that_it_has_claimed_but_not_moved(
    open_node: OpenNode, directory: Path
) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    await keep(a, upload="2")
    assert b.recover({"1": None, "3": None}, spared={"2"}, claimed={"1", "3"}) == {
        "1": Recovered(1000)
    }
    assert spools(directory) == {"a": ["2"], "b": ["1"]}


async def test_what_a_dead_node_has_left_is_taken_over_and_nothing_else(
    open_node: OpenNode, directory: Path
) -> None:
    a, b, c = open_node("a"), open_node("b"), open_node("c")
    for upload in ("kept", "running", "short", "nothing"):
        await keep(a, upload=upload)
    await keep(b, upload="claimed by a")
    await keep(b, upload="of b")
    async with await c.create("of c", "c.bin") as running:
        await running.write([DATA])
        trusted = {"running": None, "short": 10, "nothing": 0, "claimed by a": 500, "gone": 7}
        assert recover_and_drop(c, trusted, claimed=trusted, running=True) == {
            "running": Recovered(1000),
            "short": Recovered(10),
            "claimed by a": Recovered(500),
        }
        assert spools(directory) == {
            "a": ["kept"],
            "b": ["of b"],
            "c": ["claimed by a", "of c", "running", "short"],
        }
        await running.commit()
    assert visible(directory) == {"c.bin": DATA}


@pytest.mark.parametrize("trusted", [{}, {"1": 0}])
async def test_what_is_of_no_use_stays_until_it_is_dropped(
    open_node: OpenNode, directory: Path, trusted: dict[str, int | None]
) -> None:
    """Else a file of another node could get its inode, and pass for the file that was promised."""
    a = open_node("a")
    await keep(a)
    number = (directory / ".galileod/nodes/a/spool/1").stat().st_ino
    name = "1"
    for _ in range(2):  # also if that start is killed as well
        ((name, found),) = a.recover(trusted).items()
        assert found == Recovered(0)
        assert (directory / ".galileod/nodes/a/spool" / name).stat().st_ino == number
    await a.drop(name)
    assert spools(directory) == {}


@pytest.mark.parametrize("running", [True, False])
async def test_the_file_of_a_kept_upload_that_another_node_may_claim_is_not_moved(
    open_node: OpenNode, directory: Path, running: bool
) -> None:
    a, b = open_node("a"), open_node("b")
    await keep(a)
    assert b.recover({"1": None}, running=running) == {}
    assert spools(directory) == {"a": ["1"]}


async def test_a_node_takes_over_what_it_has_left_itself_before_it_lost_its_lease(
    open_node: OpenNode, directory: Path
) -> None:
    a = open_node("a")
    await keep(a)
    await keep(a, upload="2")
    assert a.recover({"1": 10}, claimed={"1": 10}, running=True) == {"1": Recovered(10)}
    assert spools(directory) == {"a": ["1", "2"]}


WAYS = ["renamed", "linked", "uncounted"]


def publishing(store: LocalStore, way: str) -> LocalStore:
    store._spool.renames = way == "renamed"
    store._spool.counts_links = way != "uncounted"
    return store


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
@pytest.mark.parametrize("certain", [None, 0])
async def test_a_node_that_was_only_stopped_cannot_publish_what_was_taken_over(
    open_node: OpenNode,
    directory: Path,
    way: str,
    on_conflict: OnConflict,
    certain: int | None,
) -> None:
    a, b = publishing(open_node("a", on_conflict), way), publishing(open_node("b"), way)
    whole = WholeFile("2", "b.bin", [DATA], (), on_conflict, "full")
    async with await a.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        written = only(await a.write_whole([whole]))
        both = {"1": certain, "2": certain}
        found = recover_and_drop(b, both, claimed=both, running=True)
        assert found == ({} if certain == 0 else dict.fromkeys("12", Recovered(len(DATA))))
        with pytest.raises(StorageError):
            await sink.commit()
        with pytest.raises(StorageError):
            only(await a.publish_whole([written]))
    assert visible(directory) == {}
    assert spools(directory) == ({} if certain == 0 else {"b": ["1", "2"]})


async def test_a_file_that_is_just_being_linked_where_links_are_not_counted_is_given_up(
    open_node: OpenNode, directory: Path
) -> None:
    a, b = publishing(open_node("a"), "uncounted"), publishing(open_node("b"), "uncounted")
    await keep(a)
    os.rename(
        directory / ".galileod/nodes/a/spool/1", directory / ".galileod/nodes/a/spool/1-published"
    )
    assert b.recover({"1": None}, claimed={"1": None}, running=True) == {}
    assert spools(directory) == {}


@pytest.mark.parametrize("certain", [None, 0])
async def test_a_file_that_a_dead_node_had_published_is_found(
    open_node: OpenNode, directory: Path, certain: int | None
) -> None:
    a, b = publishing(open_node("a"), "linked"), publishing(open_node("b"), "linked")
    async with await a.create("1", "a.bin") as sink:
        await sink.write([DATA])
        await sink.prepare()
        identity = sink.identity
        os.link(directory / ".galileod/nodes/a/spool/1", directory / "a.bin")
        assert (
            b.recover({"1": certain}, claimed={"1": certain}, running=True)["1"].identity
            == identity
        )
        assert b.scan([identity]).names == {identity: "a.bin"}
        with pytest.raises(MissingError):
            await reopen(b)
        await b.drop("1")
    assert visible(directory) == {"a.bin": DATA}
    assert spools(directory) == {}


async def test_a_node_lists_only_what_it_is_asked_for(open_node: OpenNode, directory: Path) -> None:
    a = open_node("a")
    await put(a)
    young, old = directory / temporary_name("2"), directory / temporary_name("3")
    young.write_bytes(b"")
    old.write_bytes(b"")
    counted: list[int] = []
    found = a.scan((), counted.append)
    assert (found.sizes, found.names, counted) == (None, {}, [])
    state = (directory / "a.bin").stat()
    identity = f"{state.st_ino}-{state.st_mtime_ns}"
    assert a.scan([identity, "1-2"], counted.append).names == {identity: "a.bin"}
    assert counted == [1]
    assert young.exists()


@pytest.mark.parametrize("way", ["start", "rescan"])
async def test_a_temporary_name_that_no_node_uses_any_more_is_removed(
    open_node: OpenNode, directory: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    a = open_node("a")
    old = directory / temporary_name("3")
    old.write_bytes(b"")
    for seconds, there in ((3600.0, True), (-60.0, False)):
        monkeypatch.setattr("galileod.storage.local.leftovers.OLD_SECONDS", seconds)
        if way == "start":
            a.scan(["1-2"])
        else:
            assert [page async for page in a.walk(10)] == []
        assert old.exists() == there


async def test_a_node_does_not_keep_a_file_that_others_could_not_find(
    open_node: OpenNode, directory: Path
) -> None:
    a = open_node("a")
    (directory / "m").mkdir()
    with tmpfs(directory / "m"):
        async with await a.create("1", "m/a.bin") as sink:
            await sink.write([DATA])
            with pytest.raises(StorageError, match="another filesystem"):
                await sink.suspend()
        async with await a.create("1", "m/a.bin") as sink:
            await sink.write([DATA])
            await sink.commit()
        assert (directory / "m/a.bin").read_bytes() == DATA


async def test_a_folder_that_another_node_has_made_anew_is_made_durable_again(
    open_node: OpenNode, directory: Path
) -> None:
    a = open_node("a")
    synced: list[str] = []
    for _ in range(2):
        with a._parts.folders.open("x/y") as folder:
            a._parts.folders.keep(folder)
            synced += [one.path for one in folder._unsynced]
            folder.sync()
        (directory / "x/y").rmdir()
        (directory / "x/y").mkdir()
    assert synced == ["x", "x/y"] * 2


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def leased(open_node: OpenNode) -> tuple[LocalStore, Lease, Clock]:
    clock = Clock()
    lease = Lease(clock)
    lease.renewed(0.0)
    store = open_node("a")
    store.use_ledger(lease, None)
    return store, lease, clock


async def test_nothing_is_written_while_the_lease_has_run_out(
    leased: tuple[LocalStore, Lease, Clock], directory: Path
) -> None:
    store, lease, clock = leased
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA[:1000]])
        clock.now = LEASE_SECONDS
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.write, [DATA[1000:]])
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert (directory / ".galileod/nodes/a/spool/1").stat().st_size == 1000
            lease.renewed(clock.now)
        assert sink.offset == len(DATA)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA}


@pytest.mark.parametrize("end", ["run out", "lost"])
async def test_a_file_that_another_node_has_taken_is_no_failure_of_the_storage(
    leased: tuple[LocalStore, Lease, Clock], directory: Path, end: str
) -> None:
    store, lease, clock = leased
    written = only(await store.write_whole([WholeFile("2", "b.bin", [DATA], (), "rename", "full")]))
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA])
        for name in spools(directory)["a"]:
            (directory / ".galileod/nodes/a/spool" / name).unlink()
        if end == "lost":
            lease.lose()
        clock.now = LEASE_SECONDS
        with pytest.raises(StorageBusyError, match="another node has taken over"):
            await sink.commit()
    with pytest.raises(StorageBusyError, match="another node has taken over"):
        only(await store.publish_whole([written]))
    assert visible(directory) == {}


async def test_the_files_of_a_node_that_has_lost_its_lease_stay_for_who_takes_over(
    leased: tuple[LocalStore, Lease, Clock], directory: Path
) -> None:
    store, lease, _ = leased
    written = only(await store.write_whole([WholeFile("2", "b.bin", [DATA], (), "rename", "full")]))
    async with await store.create("1", "a.bin") as sink:
        await sink.write([DATA[:1000]])
        lease.lose()
        with pytest.raises(LeaseLostError):
            await sink.write([DATA[1000:]])
    await store.discard_whole([written])
    assert spools(directory) == {"a": ["1", "2"]}
    assert visible(directory) == {}
