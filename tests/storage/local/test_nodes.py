"""Several nodes with one directory: each has its spool and its lock in a directory of its own."""

import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.disk import descriptors
from helpers.local_store import DATA, open_local, put, spool, visible
from structlog.testing import capture_logs

from galileod.storage.errors import StorageError
from galileod.storage.finished import Recovered
from galileod.storage.local import LocalStore, directoryid
from galileod.storage.settings import Storage
from galileod.storage.state import control_path, ledger_path, node_path, token_uses_path

pytestmark = pytest.mark.timeout(20)

OpenNode = Callable[[str | None], LocalStore]

STATE = {
    ".galileod": 0o700,
    ".galileod/lock": 0o600,
    ".galileod/identity": 0o600,
    ".galileod/nodes": 0o700,
    ".galileod/nodes/a": 0o700,
    ".galileod/nodes/a/lock": 0o600,
    ".galileod/nodes/a/spool": 0o700,
}


@pytest.fixture
def open_node(directory: Path) -> Iterator[OpenNode]:
    with ExitStack() as stores:

        def make(node: str | None) -> LocalStore:
            store = open_local(directory, node=node)
            stores.callback(store.close)
            return store

        yield make


async def test_nodes_store_files_in_one_directory(open_node: OpenNode, directory: Path) -> None:
    a, b = open_node("a"), open_node("b")
    assert await put(a) == "a.bin"
    async with await a.create("2", "c.bin") as sink:
        await sink.write([DATA])
        assert (spool(directory, "a"), spool(directory, "b")) == (["2"], [])
        assert await put(b) == "a (1).bin"
        await sink.commit()
    assert visible(directory) == {"a.bin": DATA, "a (1).bin": DATA, "c.bin": DATA}


def test_what_an_unfinished_upload_of_one_node_has_stays_when_another_starts(
    open_node: OpenNode, directory: Path
) -> None:
    open_node("a")
    left = directory / ".galileod/nodes/a/spool/1"
    left.write_bytes(DATA)
    open_node("b")
    assert left.read_bytes() == DATA


def test_a_node_starts_although_another_one_looks_whether_its_lock_is_free(
    open_node: OpenNode, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_node("a").close()
    with (directory / ".galileod/nodes/a/lock").open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        with monkeypatch.context() as pausing:
            pausing.setattr("time.sleep", lambda _: fcntl.flock(looked_at, fcntl.LOCK_UN))
            open_node("a")


def test_two_nodes_with_one_name_exclude_each_other(open_node: OpenNode, directory: Path) -> None:
    first = open_node("a")
    before = descriptors()
    with pytest.raises(StorageError, match=f"another galileod uses {directory} as the node a"):
        open_node("a")
    assert descriptors() == before
    first.close()
    open_node("a")


@pytest.mark.parametrize(("first", "second"), [("a", None), (None, "a")])
def test_a_galileod_with_a_ledger_of_its_own_excludes_nodes(
    open_node: OpenNode, directory: Path, first: str | None, second: str | None
) -> None:
    store = open_node(first)
    with pytest.raises(StorageError, match=f"another galileod uses {directory}"):
        open_node(second)
    store.close()
    open_node(second)


@pytest.mark.parametrize(
    ("removed", "restored"),
    [
        (".galileod", list(STATE)),
        (".galileod/lock", [".galileod/lock"]),
        (".galileod/identity", [".galileod/identity"]),
        (".galileod/nodes", list(STATE)[3:]),
        (".galileod/nodes/a", list(STATE)[4:]),
        (".galileod/nodes/a/lock", [".galileod/nodes/a/lock"]),
        (".galileod/nodes/a/spool", [".galileod/nodes/a/spool"]),
    ],
)
async def test_what_was_removed_is_made_anew_and_told(
    open_node: OpenNode, directory: Path, removed: str, restored: list[str]
) -> None:
    store = open_node("a")
    before = descriptors()
    path = directory / removed
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with capture_logs() as logs:
        await put(store)
    assert [(line["event"], line["path"]) for line in logs] == [
        ("storage.state_restored", str(directory / entry)) for entry in restored
    ]
    modes = {entry: stat.S_IMODE((directory / entry).stat().st_mode) for entry in STATE}
    assert modes == STATE
    assert len(descriptors()) == len(before)
    for other in ("a", None):
        with pytest.raises(StorageError, match="another galileod"):
            open_node(other)
    open_node("b")


def test_each_node_has_its_control_socket_and_the_others_have_it_not(directory: Path) -> None:
    state = directory / ".galileod"
    assert control_path(str(directory)) == str(state / "control.sock")
    assert control_path(str(directory), "a") == str(state / "nodes/a/control.sock")
    assert token_uses_path(str(directory), "a") == str(state / "nodes/a/token-uses.json")
    assert node_path(str(directory), "a") == str(state / "nodes/a/identity")
    assert ledger_path(str(directory)) == str(state / "ledger.sqlite3")
    assert os.path.isabs(control_path("relative", "a"))


def test_all_nodes_know_the_directory_by_one_identity(
    open_node: OpenNode, directory: Path, tmp_path: Path
) -> None:
    a, b = open_node("a"), open_node("b")
    assert a.home == b.home
    b.close()
    assert open_node("b").home == a.home
    elsewhere = open_local(tmp_path / "elsewhere", node="a")
    elsewhere.close()
    assert elsewhere.home != a.home
    alone = open_local(tmp_path / "elsewhere")
    alone.close()
    assert alone.home == ""
    assert [path.name for path in (directory / ".galileod").glob("identity*")] == ["identity"]


async def test_a_removed_identity_is_made_anew_as_it_was(
    open_node: OpenNode, directory: Path
) -> None:
    a = open_node("a")
    path = directory / ".galileod/identity"
    before = path.read_bytes()
    path.unlink()
    await a.check()
    assert path.read_bytes() == before
    path.unlink()
    path.write_bytes(b"0" * 32 + b"\n")
    with pytest.raises(StorageError, match="another one"):
        await a.check()
    path.write_bytes(b"damaged")
    with pytest.raises(StorageError, match="damaged"):
        open_node("b")


@pytest.mark.parametrize("times", [3])
def test_nodes_that_start_at_the_same_time_agree_on_the_identity(
    directory: Path, times: int
) -> None:
    (directory / ".galileod").mkdir(parents=True)
    fd = os.open(directory / ".galileod", os.O_RDONLY)
    found: list[str] = []

    def start() -> None:
        mine = directoryid.open_identity(fd, None)
        found.append(directoryid.identity_in(mine))
        os.close(mine)

    for _ in range(times):
        (directory / ".galileod/identity").unlink(missing_ok=True)
        found.clear()
        threads = [threading.Thread(target=start) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert len(set(found)) == 1
    os.close(fd)


def test_a_kept_file_is_cut_where_no_other_node_can_claim_it(
    open_node: OpenNode, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_node("a").close()
    (directory / ".galileod/nodes/a/spool/1").write_bytes(DATA)
    seen: list[list[str]] = []
    with monkeypatch.context() as patch:
        real = os.ftruncate

        def ftruncate(fd: int, length: int) -> None:
            seen.append(spool(directory, "a"))
            real(fd, length)

        patch.setattr(os, "ftruncate", ftruncate)
        store = LocalStore.open(Storage(directory=str(directory)), node="a")
        assert store.recover({"1": 10}) == {"1": Recovered(10)}
    store.close()
    assert seen == [["1-cut"]]
    assert spool(directory, "a") == ["1"]
