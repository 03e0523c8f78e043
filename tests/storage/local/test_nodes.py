"""Several nodes with one directory: each has its spool and its lock in a directory of its own."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from helpers.disk import descriptors
from helpers.local_store import DATA, open_local, put, spool, visible
from structlog.testing import capture_logs

from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore
from galileod.storage.state import control_path, ledger_path, node_path, token_uses_path

pytestmark = pytest.mark.timeout(20)

OpenNode = Callable[[str | None], LocalStore]

STATE = {
    ".galileod": 0o700,
    ".galileod/lock": 0o600,
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
        (".galileod/nodes", list(STATE)[2:]),
        (".galileod/nodes/a", list(STATE)[3:]),
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
