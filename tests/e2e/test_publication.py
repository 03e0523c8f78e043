"""Where a daemon publishes files: folders that refuse them, and programs that watch for them."""

import os
from typing import Final

import pytest
from helpers.clients import (
    JavaScriptClient,
    check_serves,
    hear,
    open_websocket,
    say,
    some_bytes,
)
from helpers.daemon import Daemon, Daemons
from helpers.mounts import tmpfs
from helpers.watching import CLOSE_WRITE, MOVED_TO, watching

BY_USER: Final = {"layout": "{user}/{name}"}
USER: Final = "127.0.0.1"
SIZE: Final = 20_000_000


@pytest.fixture
def host(daemon: Daemons) -> Daemon:
    return daemon({"storage": BY_USER})


def refuse(host: Daemon, code: str) -> str:
    """Announce a large file; it must be refused before any of it may be sent. Returns the text."""
    with open_websocket(host.url) as websocket:
        say(websocket, name="a.bin", size=SIZE)
        fault = hear(websocket)
    assert fault["code"] == code
    assert host.spooled() == []
    return str(fault["error"])


def test_a_folder_on_another_filesystem_gets_the_file(host: Daemon) -> None:
    data = some_bytes(SIZE)
    with tmpfs(host.directory / USER) as folder:
        assert JavaScriptClient(host.url, data, "a.bin").run().ending == "stored"
        assert JavaScriptClient(host.url, data, "a.bin").run().ending == "stored"
        assert (folder / "a.bin").read_bytes() == (folder / "a (1).bin").read_bytes() == data


def test_a_full_filesystem_of_a_folder_refuses_before_the_data(host: Daemon) -> None:
    with tmpfs(host.directory / USER, "size=8m"):
        refuse(host, "no_space")
        assert JavaScriptClient(host.url, some_bytes(100_000), "a.bin").run().ending == "stored"


def test_a_file_in_the_place_of_a_folder_is_a_conflict_before_the_data(host: Daemon) -> None:
    (host.directory / USER).write_bytes(b"")
    assert f"{USER} is not a folder" in refuse(host, "conflict")


def test_a_directory_in_the_place_of_a_file_is_a_conflict_before_the_data(daemon: Daemons) -> None:
    host = daemon({"storage": {"on_conflict": "replace"}})
    (host.directory / "a.bin").mkdir()
    assert "a.bin is a directory" in refuse(host, "conflict")
    check_serves(host)


def test_watchers_see_that_a_file_is_complete(daemon: Daemons) -> None:
    host = daemon()
    with watching(host.directory) as watch:
        JavaScriptClient(host.url, b"data", "a.bin").run()
        events = watch.events()
    assert {name for _, name in events} == {"a.bin"}
    assert {mask for mask, _ in events} & {MOVED_TO, CLOSE_WRITE}
    assert os.listdir(host.directory / ".galileod/spool") == []
