"""Start, store, rename, replace, reject and folders."""

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest
from filesystems.hosts import (
    check_ledger,
    check_stored,
    check_usage,
    configured,
    healthy,
    send,
    stored,
)
from filesystems.kinds import Mounted
from helpers.clients import (
    HashClaim,
    JavaScriptClient,
    expect_fault,
    expect_ready,
    open_websocket,
    say,
    some_bytes,
    unique_name,
)
from helpers.daemon import Daemon, poll
from helpers.watching import CLOSE_WRITE, MOVED_TO, watching

from galileod.storage.errors import StorageError
from galileod.storage.local import LocalStore
from galileod.storage.settings import Storage

LARGE: Final = some_bytes(1_500_000)
AT_ONCE: Final = 8


def test_usage_is_told_while_the_daemon_runs(host: Daemon) -> None:
    stored(host, unique_name(), LARGE)
    check_usage(host)
    check_ledger(host)


def test_the_daemon_is_healthy(host: Daemon) -> None:
    assert healthy(host)


def test_a_second_daemon_is_refused(host: Daemon) -> None:
    with pytest.raises(StorageError, match="another galileod uses"):
        LocalStore.open(Storage(directory=str(host.directory)))
    stored(host, unique_name(), b"first")


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
@pytest.mark.parametrize("size", [0, 1, 1_500_000])
def test_a_file_is_verified_and_on_disk(
    host: Daemon, mounted: Mounted, kind: str, size: int
) -> None:
    content = LARGE[:size]
    client = JavaScriptClient(host.url, content, claim=HashClaim.of(content, kind))
    outcome = client.run()
    assert outcome.ending == "stored", (outcome, host.text())
    path = check_stored(host, outcome, content)
    assert path == host.directory / client.name
    if mounted.kind.modes:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    check_ledger(host)


def test_a_wrong_hash_leaves_nothing(host: Daemon) -> None:
    before = sorted(host.visible())
    client = JavaScriptClient(host.url, LARGE, claim=HashClaim.of(b"other", "sha1"))
    assert client.run().code == "hash_mismatch"
    assert sorted(host.visible()) == before
    assert poll("an empty spool", lambda: not host.spooled())


def test_the_second_of_a_name_gets_a_number(host: Daemon) -> None:
    name = unique_name()
    paths = [stored(host, name, content) for content in (LARGE, b"second", b"")]
    stem = name.removesuffix(".bin")
    assert [path.name for path in paths] == [name, f"{stem} (1).bin", f"{stem} (2).bin"]
    assert [path.read_bytes() for path in paths] == [LARGE, b"second", b""]
    check_ledger(host)


def test_uploads_of_one_name_at_once_are_all_kept(host: Daemon) -> None:
    name = unique_name()
    contents = [some_bytes(100_000, seed) for seed in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        paths = list(threads.map(lambda content: stored(host, name, content), contents))
    stem = name.removesuffix(".bin")
    numbered = {f"{stem} ({number}).bin" for number in range(1, AT_ONCE)}
    assert {path.name for path in paths} == {name} | numbered
    assert [path.read_bytes() for path in paths] == contents
    check_ledger(host)


def test_a_file_is_replaced(host: Daemon) -> None:
    name = unique_name()
    with configured(host, on_conflict="replace"):
        for content in (LARGE, b"second"):
            assert stored(host, name, content).name == name
        with ThreadPoolExecutor(AT_ONCE) as threads:
            contents = [some_bytes(50_000 + seed, seed) for seed in range(AT_ONCE)]
            outcomes = list(threads.map(lambda content: send(host, name, content), contents))
    assert {outcome.ending for outcome in outcomes} == {"stored"}
    assert (host.directory / name).read_bytes() in contents
    check_ledger(host)


def test_a_name_that_is_taken_is_rejected(host: Daemon) -> None:
    name = unique_name()
    with configured(host, on_conflict="reject"), open_websocket(host.url) as websocket:
        say(websocket, name=name, size=5)
        expect_ready(websocket)
        stored(host, name, LARGE)
        # Before any data.
        outcome = send(host, name, b"later")
        assert outcome.code == "conflict"
        assert "chunk" not in {kind for kind, _ in outcome.trace}
        # Taken while it ran.
        websocket.send(b"early")
        expect_ready(websocket)
        say(websocket, finished=True)
        expect_fault(websocket, "conflict")
    assert (host.directory / name).read_bytes() == LARGE
    check_ledger(host)


def test_files_of_each_user_and_day_have_a_folder(host: Daemon, mounted: Mounted) -> None:
    name = unique_name()
    with configured(host, layout="{user}/{date}/{name}"):
        first, second = stored(host, name, LARGE), stored(host, name, b"second")
    assert first.parent == second.parent
    assert first.parent.parent == host.directory / "127.0.0.1"
    assert (first.name, second.name) == (name, name.replace(".", " (1)."))
    if mounted.kind.modes:
        assert stat.S_IMODE(first.parent.stat().st_mode) == 0o750
    check_ledger(host)


def test_a_program_that_watches_the_folder_hears_of_each_file(host: Daemon) -> None:
    name = unique_name()
    with watching(host.directory) as watch:
        for number, content in enumerate((LARGE, b"second")):
            path = stored(host, name, content)
            events = watch.events()
            complete = [named for mask, named in events if mask & (MOVED_TO | CLOSE_WRITE)]
            assert path.name in complete, (number, events)
