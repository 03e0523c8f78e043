"""What the local store does to the disk, and what it does when the disk fails."""

import errno
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from galileod.storage import groupsync, local
from galileod.storage.base import ConflictError, NoSpaceError, StorageError
from galileod.storage.local import TURN, LocalStore, turns
from galileod.storage.settings import Durability, OnConflict
from galileod.storage.timing import Timings

pytestmark = pytest.mark.timeout(20)

DATA = bytes(range(256)) * 20

STATE = (".galileod", ".galileod/spool", ".galileod/lock")

OpenStore = Callable[..., LocalStore]


class FaultyOs:
    """Stands in for `os` in the local store: the calls of `function` in `failing` raise `code`."""

    def __init__(self, function: str, failing: range, code: int) -> None:
        self._function = function
        self._failing = failing
        self._code = code
        self.calls = 0

    @property
    def reached(self) -> bool:
        return self.calls >= self._failing.start

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the module has
        original = getattr(os, name)
        if name != self._function:
            return original

        def counted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            failing = self.calls in self._failing
            if failing and name == "close":
                original(*args)  # Linux lets go of the descriptor, whatever close returns
            if failing:
                raise OSError(self._code, os.strerror(self._code))
            return original(*args, **kwargs)

        return counted


@contextmanager
def faulty(function: str, failing: range, code: int = errno.EIO) -> Iterator[FaultyOs]:
    """Break the disk for the block only."""
    disk = FaultyOs(function, failing, code)
    with pytest.MonkeyPatch.context() as patch:
        put_into_place(patch, disk)
        yield disk


def put_into_place(patch: pytest.MonkeyPatch, disk: FaultyOs) -> None:
    """Let everything that does the store's work on the disk use `disk`."""
    for module in (local, groupsync):
        patch.setattr(module, "os", disk)


def nth(call: int) -> range:
    return range(call, call + 1)


def descriptors() -> set[str]:
    return {
        f"{fd}:{path}"
        for fd in os.listdir("/proc/self/fd")
        if (path := _link(f"/proc/self/fd/{fd}")) and "galileod" in path
    }


def _link(path: str) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    # Descriptors of ours are told from others by this name.
    return tmp_path / "galileod-files"


@pytest.fixture
def open_store(directory: Path) -> Iterator[OpenStore]:
    with ExitStack() as stores:

        def make(
            on_conflict: OnConflict = "rename",
            durability: Durability = "full",
            at: Path = directory,
        ) -> LocalStore:
            store = LocalStore.open(str(at), on_conflict, durability)
            stores.callback(store.close)
            return store

        yield make


@contextmanager
def opened(directory: Path) -> Iterator[LocalStore]:
    """A store for the block, for tests in which a second start follows."""
    store = LocalStore.open(str(directory), "rename", "full")
    try:
        yield store
    finally:
        store.close()


def visible(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in directory.iterdir() if path.name != ".galileod"
    }


def spool(directory: Path) -> list[str]:
    return os.listdir(directory / ".galileod" / "spool")


async def put(store: LocalStore, name: str = "a.bin", upload: str = "1") -> str:
    """A whole upload: two chunks in pieces, a hash that needs reading back, commit."""
    async with await store.create(upload, name) as sink:
        await sink.write([DATA[:10], b"", DATA[10:500], DATA[500:1000]])
        await sink.write([DATA[1000:4000], DATA[4000:]])
        assert await sink.digest("sha256") == hashlib.sha256(DATA).hexdigest()
        return (await sink.commit()).name


async def test_the_file_is_0640_and_the_state_directory_0700_whatever_the_umask(
    open_store: OpenStore, directory: Path
) -> None:
    before = os.umask(0o077)
    try:
        await put(open_store())
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE((directory / path).stat().st_mode)
        for path in ("a.bin", ".galileod", ".galileod/spool")
    }
    assert modes == {"a.bin": 0o640, ".galileod": 0o700, ".galileod/spool": 0o700}


def test_a_state_directory_that_others_could_read_is_closed_to_them(
    open_store: OpenStore, directory: Path
) -> None:
    (directory / ".galileod").mkdir(parents=True, mode=0o755)
    open_store()
    assert stat.S_IMODE((directory / ".galileod").stat().st_mode) == 0o700


async def test_the_spool_file_is_private_until_commit(
    open_store: OpenStore, directory: Path
) -> None:
    async with await open_store().create("1", "a.bin"):
        assert stat.S_IMODE((directory / ".galileod/spool/1").stat().st_mode) == 0o600


def test_a_directory_is_held_by_one_store_at_a_time(directory: Path) -> None:
    first = LocalStore.open(str(directory), "rename", "full")
    with pytest.raises(StorageError, match="another galileod"):
        LocalStore.open(str(directory), "rename", "full")
    first.close()
    LocalStore.open(str(directory), "rename", "full").close()


def test_a_start_that_is_refused_leaves_the_other_ones_spool_alone(
    open_store: OpenStore, directory: Path
) -> None:
    open_store()
    (directory / ".galileod/spool/running").write_bytes(b"half")
    with pytest.raises(StorageError, match="another galileod"):
        open_store()
    assert spool(directory) == ["running"]


def test_a_start_clears_what_a_crash_left_in_the_spool(
    open_store: OpenStore, directory: Path
) -> None:
    (directory / ".galileod/spool").mkdir(parents=True)
    for name in ("one", "two"):
        (directory / ".galileod/spool" / name).write_bytes(b"half")
    (directory / "whole.bin").write_bytes(b"whole")
    with capture_logs() as logs:
        open_store()
    assert spool(directory) == []
    assert visible(directory) == {"whole.bin": b"whole"}
    assert [(line["event"], line["files"]) for line in logs] == [("spool.cleared", 2)]


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        *((entry, kind) for entry in STATE for kind in ("link", "dangling link")),
        (".galileod", "file"),
        (".galileod/spool", "file"),
        (".galileod/lock", "directory"),
    ],
)
def test_what_stands_in_the_place_of_our_own_entries_is_refused(
    open_store: OpenStore, directory: Path, tmp_path: Path, entry: str, kind: str
) -> None:
    path = directory / entry
    path.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    if kind == "link":
        target.mkdir()
    match kind:
        case "link" | "dangling link":
            path.symlink_to(target)
        case "file":
            path.write_bytes(b"")
        case "directory":
            path.mkdir()
    with pytest.raises(StorageError, match=r"cannot use .*galileod-files"):
        open_store()
    assert not target.exists() or not os.listdir(target)


def test_what_is_no_directory_is_refused(open_store: OpenStore, directory: Path) -> None:
    directory.write_bytes(b"")
    with pytest.raises(StorageError, match="cannot use"):
        open_store()
    with pytest.raises(StorageError, match="cannot use"):
        open_store(at=directory / "below")


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "fifo"])
@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_what_stands_under_the_name_is_never_followed_nor_written(
    open_store: OpenStore, directory: Path, tmp_path: Path, kind: str, on_conflict: OnConflict
) -> None:
    store = open_store(on_conflict)
    target, path = tmp_path / "target", directory / "a.bin"
    match kind:
        case "directory":
            path.mkdir()
        case "link":
            target.write_bytes(b"theirs")
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target)
        case "fifo":
            os.mkfifo(path)
    before = path.lstat()
    if on_conflict == "reject" or (on_conflict == "replace" and kind == "directory"):
        with pytest.raises(ConflictError, match=r"a\.bin"):
            await put(store)
        assert path.lstat().st_ino == before.st_ino
    elif on_conflict == "rename":
        assert await put(store) == "a (1).bin"
        assert (directory / "a (1).bin").read_bytes() == DATA
        assert path.lstat().st_ino == before.st_ino
    else:
        assert await put(store) == "a.bin"
        assert stat.S_ISREG(path.lstat().st_mode)
        assert path.read_bytes() == DATA
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_bytes() == b"theirs"
    assert spool(directory) == []


async def test_numbers_for_a_taken_name_come_to_an_end(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_NUMBER", 2)
    store = open_store()
    assert [await put(store) for _ in range(3)] == ["a.bin", "a (1).bin", "a (2).bin"]
    with pytest.raises(ConflictError, match=r"a\.bin"):
        await put(store)
    assert len(visible(directory)) == 3
    assert spool(directory) == []


def short_write(most: int) -> Callable[[int, Sequence[memoryview]], int]:
    """A writev that takes no more than `most` bytes at a time."""

    def writev(fd: int, pieces: Sequence[memoryview]) -> int:
        taken, left = [], most
        for piece in pieces:
            taken.append(piece[:left])
            left -= len(taken[-1])
        return os.writev(fd, taken)

    return writev


@pytest.mark.parametrize("function", ["writev", "pread"])
async def test_short_reads_and_writes_lose_nothing(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    class ShortOs(FaultyOs):
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            if name == function == "writev":
                return short_write(7)
            if name == function == "pread":
                return lambda fd, length, offset: os.pread(fd, min(length, 7), offset)
            return getattr(os, name)

    store = open_store()
    put_into_place(monkeypatch, ShortOs("", range(0), 0))
    await put(store)
    assert visible(directory) == {"a.bin": DATA}


class CountingOs(FaultyOs):
    """Writes `most` bytes at a time, and notes how many pieces it was given each time."""

    def __init__(self, most: int, function: str = "", failing: range = range(0)) -> None:
        super().__init__(function, failing, errno.ENOSPC)
        self._writev = short_write(most)
        self.given: list[int] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name != "writev":
            return super().__getattr__(name)

        def writev(fd: int, pieces: Sequence[memoryview]) -> int:
            self.given.append(len(pieces))
            self.calls += 1
            if self.calls in self._failing:
                raise OSError(self._code, os.strerror(self._code))
            return self._writev(fd, pieces)

        return writev


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 9, 10, 11, 1000])
async def test_a_short_write_goes_on_where_it_ended_whichever_piece_that_is(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    pieces = [b"abc", b"", b"d", b"efghi", b"", b"j", bytes(range(30))]
    content = b"".join(pieces)
    disk = CountingOs(most)
    store = open_store()
    put_into_place(monkeypatch, disk)
    async with await store.create("1", "a.bin") as sink:
        await sink.write(pieces)
        assert await sink.digest("sha1") == hashlib.sha1(content, usedforsecurity=False).hexdigest()
        assert await sink.digest("sha256") == hashlib.sha256(content).hexdigest()
        await sink.commit()
    assert visible(directory) == {"a.bin": content}
    assert len(disk.given) == -(-len(content) // most), "no byte was given twice, nor one by one"


@pytest.mark.parametrize("most", [1 << 30, 5000, 1025, 1])
async def test_the_kernel_is_given_no_more_pieces_at_once_than_it_takes(
    open_store: OpenStore, directory: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    assert os.sysconf("SC_IOV_MAX") >= local.MOST_PIECES
    count = 2 * local.MOST_PIECES + 10
    pieces = [DATA[at : at + 1] for at in range(count)]
    disk = CountingOs(most)
    store = open_store()
    put_into_place(monkeypatch, disk)
    async with await store.create("1", "a.bin") as sink:
        await sink.write(pieces)
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA[:count]}
    assert max(disk.given) == local.MOST_PIECES
    assert len(disk.given) == -(-count // min(most, local.MOST_PIECES))


@pytest.mark.parametrize("call", [2, 3])
async def test_a_disk_that_fills_within_a_write_fails_the_upload_and_leaves_nothing(
    open_store: OpenStore, directory: Path, call: int
) -> None:
    store = open_store()
    before = descriptors()
    with pytest.MonkeyPatch.context() as patch:
        disk = CountingOs(7, "writev", nth(call))
        put_into_place(patch, disk)
        with pytest.raises(NoSpaceError, match="cannot write"):
            await put(store)
    assert disk.calls == call
    assert visible(directory) == {}
    assert spool(directory) == []
    assert descriptors() == before


@pytest.mark.parametrize(("durability", "asked"), [("full", DATA[:5000]), ("none", b"")])
async def test_the_kernel_is_asked_to_write_out_each_byte_once_while_data_comes(
    open_store: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
    durability: Durability,
    asked: bytes,
) -> None:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(local, "WRITEBACK_STEP", 1000)
    monkeypatch.setattr(
        local, "start_writeback", lambda _fd, offset, length: ranges.append((offset, length))
    )
    async with await open_store(durability=durability).create("1", "a.bin") as sink:
        for start in range(0, len(DATA), 250):
            await sink.write([DATA[start : start + 90], DATA[start + 90 : start + 250]])
    assert b"".join(DATA[offset : offset + length] for offset, length in ranges) == asked


@pytest.mark.parametrize(("durability", "calls"), [("full", 2), ("none", 0)])
async def test_durability_decides_on_fsync(
    open_store: OpenStore, durability: Durability, calls: int
) -> None:
    store = open_store(durability=durability)
    with faulty("fsync", range(0)) as disk:
        await put(store)
    assert disk.calls == calls


@pytest.mark.parametrize(("durability", "fsyncs"), [("full", 1), ("none", 0)])
async def test_the_disk_s_own_time_is_told_step_by_step(
    directory: Path, durability: Durability, fsyncs: int
) -> None:
    told: dict[str, list[float]] = {"write": [], "file": [], "directory": []}
    timings = Timings(*(times.append for times in told.values()))
    store = LocalStore.open(str(directory), "rename", durability, timings)
    await put(store)
    store.close()
    assert {step: len(times) for step, times in told.items()} == {
        "write": 2, "file": fsyncs, "directory": fsyncs,
    }  # fmt: skip
    assert all(seconds >= 0 for times in told.values() for seconds in times)


async def test_the_time_of_a_step_that_fails_is_told_too(directory: Path) -> None:
    told: list[float] = []
    store = LocalStore.open(str(directory), "rename", "full", Timings(fsync_file=told.append))
    with faulty("fsync", nth(1)), pytest.raises(StorageError):
        await put(store)
    store.close()
    assert len(told) == 1


async def test_whoever_asks_for_free_space_may_go_away_while_the_disk_hangs(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    began, goes_on = threading.Event(), threading.Event()

    def hang() -> int:
        began.set()
        goes_on.wait(20)
        return 0

    monkeypatch.setattr(store, "_free", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.free)
        await trio.to_thread.run_sync(began.wait, 20)
        nursery.cancel_scope.cancel()
    assert not goes_on.is_set()
    goes_on.set()


# The steps of an upload that can fail, and how often each is taken.
STEPS = {"open": 1, "writev": 2, "pread": 1, "fchmod": 1, "fsync": 2, "link": 1, "rename": 1}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize(
    ("on_conflict", "function"),
    [
        *(("rename", function) for function in STEPS if function != "rename"),
        *(("replace", function) for function in STEPS if function != "link"),
    ],
)
async def test_a_step_that_fails_fails_the_upload_and_leaves_nothing(
    open_store: OpenStore,
    directory: Path,
    on_conflict: OnConflict,
    function: str,
    code: int,
) -> None:
    store = open_store(on_conflict)
    before = descriptors()
    for call in range(1, STEPS[function] + 1):
        expected = StorageError if code == errno.EIO else NoSpaceError
        with faulty(function, nth(call), code) as disk, pytest.raises(StorageError) as failed:
            await put(store)
        assert type(failed.value) is expected
        assert os.strerror(code) in str(failed.value)
        assert disk.calls == call, "what failed was tried again"
        # A file that took another one's place stays when only its name may not be durable.
        stays = on_conflict == "replace" and (function, call) == ("fsync", 2)
        assert visible(directory) == ({"a.bin": DATA} if stays else {})
        assert spool(directory) == []
        assert descriptors() == before
    assert await put(store) == "a.bin"
    assert visible(directory) == {"a.bin": DATA}
    assert spool(directory) == []
    assert descriptors() == before


@pytest.mark.parametrize("on_conflict", ["rename", "reject"])
@pytest.mark.parametrize(("function", "times"), STEPS.items())
async def test_the_table_of_steps_is_whole(
    open_store: OpenStore, function: str, times: int, on_conflict: OnConflict
) -> None:
    store = open_store("replace" if function == "rename" else on_conflict)
    with faulty(function, range(0)) as disk:
        await put(store)
    assert disk.calls == times


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("function", ["unlink", "close"])
async def test_a_file_that_is_durably_published_is_stored_even_if_its_spool_file_stays(
    directory: Path, function: str, code: int
) -> None:
    with opened(directory) as store:
        before = descriptors()
        with faulty(function, nth(1), code) as disk:
            assert await put(store) == "a.bin"
        assert disk.reached
        assert visible(directory) == {"a.bin": DATA}
        assert descriptors() == before
        assert await put(store, upload="2") == "a (1).bin"
    with opened(directory):
        assert spool(directory) == []
    assert len(visible(directory)) == 2


@pytest.mark.parametrize("function", ["unlink", "close"])
async def test_discard_never_raises_and_the_next_start_clears_what_it_left(
    directory: Path, function: str
) -> None:
    with opened(directory) as store:
        before = descriptors()
        sink = await store.create("1", "a.bin")
        await sink.write([DATA])
        with faulty(function, nth(1)) as disk, capture_logs() as logs:
            await sink.discard()
        assert disk.reached
        assert function != "unlink" or [line["event"] for line in logs] == ["storage.leftover"]
        assert visible(directory) == {}
        assert descriptors() == before
        assert await put(store, upload="2") == "a.bin"
    with opened(directory):
        assert spool(directory) == []


async def test_a_file_that_cannot_be_withdrawn_is_told_in_the_log(
    open_store: OpenStore, directory: Path
) -> None:
    class Worse(FaultyOs):
        def __getattr__(self, name: str) -> Any:  # noqa: ANN401
            return (
                FaultyOs("unlink", nth(1), errno.EIO).unlink
                if name == "unlink"
                else (super().__getattr__(name))
            )

    store = open_store()
    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        put_into_place(patch, Worse("fsync", nth(2), errno.EIO))
        with pytest.raises(StorageError, match="name durable"):
            await put(store)
    assert {line["path"] for line in logs if line["event"] == "storage.leftover"} == {"a.bin", "1"}
    assert visible(directory) == {"a.bin": DATA}


async def test_two_uploads_never_share_a_spool_file(open_store: OpenStore) -> None:
    store = open_store()
    async with await store.create("1", "a.bin"):
        with pytest.raises(StorageError, match="cannot open a spool file"):
            await store.create("1", "b.bin")


@pytest.mark.parametrize(
    ("function", "call"), [("open", 1), ("link", 1), ("unlink", 1), ("unlink", 2), ("close", 1)]
)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_check_finds_a_disk_that_fails_and_then_one_that_works_again(
    directory: Path, function: str, call: int, code: int
) -> None:
    with opened(directory) as store:
        before = descriptors()
        with faulty(function, nth(call), code) as disk, pytest.raises(StorageError) as failed:
            await store.check()
        assert disk.reached
        assert type(failed.value) is (StorageError if code == errno.EIO else NoSpaceError)
        assert descriptors() == before
        await store.check()
    with opened(directory):
        assert spool(directory) == []


OPENING = {
    "makedirs": 1, "open": 5, "mkdir": 2, "fchmod": 2, "listdir": 1, "unlink": 3, "link": 1,
}  # fmt: skip


@pytest.mark.parametrize(("function", "times"), OPENING.items())
def test_a_start_that_fails_leaks_nothing_and_the_next_one_succeeds(
    directory: Path, function: str, times: int
) -> None:
    (directory / ".galileod/spool").mkdir(parents=True)
    (directory / ".galileod/spool/left").write_bytes(b"half")
    before = descriptors()
    for call in range(1, times + 1):
        (directory / ".galileod/spool/left").write_bytes(b"half")
        with faulty(function, nth(call)) as disk, pytest.raises(StorageError, match="cannot"):
            LocalStore.open(str(directory), "rename", "full")
        assert disk.calls >= call
        assert descriptors() == before
    store = LocalStore.open(str(directory), "rename", "full")
    assert spool(directory) == []
    store.close()
    assert descriptors() == before


def test_a_start_that_finds_the_directory_held_leaks_nothing(
    open_store: OpenStore,
) -> None:
    open_store()
    before = descriptors()
    with pytest.raises(StorageError, match="another galileod"):
        open_store()
    assert descriptors() == before


async def test_an_upload_that_is_cancelled_while_it_commits_is_whole_or_not_there(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    with trio.CancelScope() as scope:
        async with await store.create("1", "a.bin") as sink:
            await sink.write([DATA])
            scope.cancel()
            await sink.commit()
    assert visible(directory) in ({}, {"a.bin": DATA})
    assert spool(directory) == []


def test_a_name_that_is_no_utf_8_is_listed_with_escapes(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.txt", "wb") as file:
        file.write(b"data")
    store = LocalStore.open(str(tmp_path), "rename", "none")
    assert store.files() == {"\\xff.txt": 4}
    store.close()


@pytest.mark.parametrize("on_conflict", ["rename", "reject", "replace"])
async def test_a_file_is_found_by_its_number_under_the_name_that_it_has_by_now(
    directory: Path, on_conflict: OnConflict
) -> None:
    store = LocalStore.open(str(directory), on_conflict, "full")
    async with await store.create("1", "a.bin") as sink, await store.create("2", "b.bin") as other:
        numbers = {sink.inode, other.inode}
        assert store.find(numbers) == {}
        await sink.commit()
        assert store.find(numbers) == {(directory / "a.bin").stat().st_ino: "a.bin"}
        (directory / "a.bin").rename(directory / "moved.bin")
        assert list(store.find(numbers).values()) == ["moved.bin"]
    store.close()


# Turns at a busy disk.


@given(st.lists(st.binary(max_size=8), max_size=12), st.integers(1, 20))
def test_turns_have_all_pieces_in_order_and_no_more_than_their_share(
    pieces: list[bytes], most: int
) -> None:
    shared = list(turns(pieces, most))
    assert [piece for turn in shared for piece in turn] == pieces
    assert all(turn and (len(turn) == 1 or sum(map(len, turn)) <= most) for turn in shared)
    # No turn could have taken the first piece of the next one, too.
    assert all(
        sum(map(len, turn)) + len(after[0]) > most for turn, after in itertools.pairwise(shared)
    )


async def test_an_upload_that_finds_all_writers_busy_takes_turns_with_others(
    open_store: OpenStore, directory: Path
) -> None:
    store = open_store()
    order = []

    async def write(name: str, pieces: list[bytes]) -> None:
        async with await store.create(name, name) as sink:
            with faulty("writev", nth(1 << 30)) as disk:
                await sink.write(pieces)
            order.append((name, disk.calls))
            await sink.commit()

    large = [bytes(TURN), b"1" * TURN, b"2" * TURN]
    with trio.fail_after(15):
        async with trio.open_nursery() as nursery:
            for writer in range(local.WRITERS):
                await store.writers.acquire_on_behalf_of(writer)
            nursery.start_soon(write, "large", large)
            while not store.writers.statistics().tasks_waiting:
                await trio.lowlevel.checkpoint()
            for writer in range(local.WRITERS):
                store.writers.release_on_behalf_of(writer)
        await write("alone", large)
    assert order == [("large", 3), ("alone", 1)]
    assert visible(directory) == {"large": b"".join(large), "alone": b"".join(large)}
