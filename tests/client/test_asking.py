"""The server is asked which files it has, before the others are sent."""

import hashlib
import os
from pathlib import Path

import pytest
from client.next_server import Act, NextServer
from client.test_send_files import check_stored, made, sent
from helpers.receivers import PerlReceiver

from galileod.client import (
    File,
    LostError,
    NotAskedError,
    OptionError,
    RefusedError,
    send_files_sync,
)
from galileod.protocol.errors import FaultCode
from galileod.protocol.messages import MAX_ASKED

NO_ASK = frozenset({"next", "resume"})


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow at once."""
    monkeypatch.setattr("galileod.client.retry.MAX_WAIT", 0.0)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return made(tmp_path, *range(400))


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("resume", [True, False])
async def test_only_what_is_not_held_is_sent(
    paths: list[Path], connections: int, *, resume: bool
) -> None:
    with NextServer() as server:
        server.holds = lambda entry: entry.size % 2 == 0
        results = await sent(
            server.url, paths, connections=connections, skip_existing="modified", resume=resume
        )
        check_stored(server, paths[1::2])
        assert len(server.files) == connections
    assert [result.held for result in results] == [True, False] * 200
    assert [result.receipt is None for result in results] == [True, False] * 200
    assert {result.error for result in results} == {None}
    asked = [entry for question in server.questions for entry in question]
    assert [(entry.name, entry.size, entry.hash) for entry in asked] == [
        (path.name, size, None) for size, path in enumerate(paths)
    ]
    assert [entry.modified for entry in asked] == [
        path.stat().st_mtime_ns // 1_000_000 for path in paths
    ]
    assert max(map(len, server.questions)) <= MAX_ASKED
    assert server.abandoned == [paths[0].name]  # the smallest


async def test_nothing_is_sent_where_all_is_held(paths: list[Path]) -> None:
    with NextServer() as server:
        server.holds = lambda _: True
        results = await sent(server.url, paths, connections=3, skip_existing="hash")
        assert [len(files) for files in server.files] == [1]
        assert server.stored == []
        assert server.closed == 1
    assert all(result.held for result in results)
    first = next(iter(server.questions[0]))
    assert first.modified is None
    assert first.hash
    assert first.hash.value == hashlib.sha1(b"", usedforsecurity=False).hexdigest()


async def test_folder_and_time_that_were_given_are_asked_for(paths: list[Path]) -> None:
    with NextServer() as server:
        files = [File(path, folder="a/b", modified=5, name="n") for path in paths[:2]]
        await sent(server.url, [*files, b"x"][:2], skip_existing="modified")
        ((one, other),) = server.questions
    assert {(entry.name, entry.folder, entry.modified) for entry in (one, other)} == {
        ("n", "a/b", 5000)
    }


async def test_other_contents_are_sent_without_a_question(paths: list[Path]) -> None:
    with NextServer() as server:
        server.holds = lambda _: True
        contents = [File(b"x", "x"), paths[3]]
        results = await sent(server.url, contents, skip_existing="modified")
        assert server.stored == [("x", b"x")]
        assert [result.held for result in results] == [False, True]
        await sent(server.url, contents[:1], skip_existing="modified")
        assert len(server.stored) == 2
        assert len(server.questions) == 1


@pytest.mark.parametrize("can", [NO_ASK, frozenset({"next"}), frozenset({"resume"}), frozenset()])
async def test_a_server_that_cannot_be_asked_gets_nothing(
    paths: list[Path], can: frozenset[str]
) -> None:
    with NextServer(Act(can=can)) as server:
        results = await sent(server.url, paths, skip_existing="modified")
        assert server.stored == []
        assert [len(files) for files in server.files] == [1]
        assert server.abandoned == [paths[0].name] * bool(can)
    assert {type(result.error) for result in results} == {NotAskedError}
    assert not any(result.held for result in results)


async def test_a_server_of_the_original_gets_nothing(perl: PerlReceiver, paths: list[Path]) -> None:
    results = await sent(perl.url, paths[1:2], skip_existing="modified")
    assert isinstance(results[0].error, NotAskedError)
    assert perl.files == []


async def test_a_question_whose_connection_is_lost_is_asked_again(paths: list[Path]) -> None:
    with NextServer(Act(asked=1), Act(begun=0), Act(asked=2)) as server:
        server.holds = lambda entry: entry.size < 350
        results = await sent(server.url, paths, skip_existing="modified")
        check_stored(server, paths[350:])
        assert len(server.files) == 4
        assert sum(map(len, server.questions)) == len(paths)
    assert sum(result.held for result in results) == 350


async def test_a_server_that_takes_no_more_is_asked_on_another_connection(
    paths: list[Path],
) -> None:
    with NextServer(Act(last_asked=1), Act(last_asked=1)) as server:
        server.holds = lambda entry: entry.size > 0
        results = await sent(server.url, paths, skip_existing="modified")
        check_stored(server, paths[:1])
        assert len(server.files) == 3
    assert sum(result.held for result in results) == 399


async def test_files_are_not_sent_if_the_server_is_lost_for_good(paths: list[Path]) -> None:
    acts = [Act(), *[Act(begun=0)] * 20]
    acts[0] = Act(asked=2)
    with NextServer(*acts) as server:
        server.holds = lambda entry: entry.size % 2 == 0
        results = await sent(server.url, paths, skip_existing="modified")
        assert server.stored == []
        asked = len(server.questions[0])
        assert len(server.questions) == 1
    assert 0 < asked < 400
    held = [result.held for result in results]
    assert held == [True, False] * (asked // 2) + [True] * (asked % 2) + [False] * (400 - asked)
    assert {type(result.error) for result in results if not result.held} == {LostError}


@pytest.mark.parametrize("code", [FaultCode.CONFLICT, FaultCode.QUOTA_EXCEEDED])
async def test_a_file_that_is_refused_at_once_may_be_held(
    paths: list[Path], code: FaultCode
) -> None:
    with NextServer(Act(refuses={paths[0].name: code})) as server:
        server.holds = lambda _: True
        results = await sent(server.url, paths, skip_existing="modified")
        assert server.abandoned == []
    assert all(result.held for result in results)


async def test_a_server_that_refuses_the_connection_is_not_asked(paths: list[Path]) -> None:
    act = Act(refuses={paths[0].name: FaultCode.UNAUTHORIZED}, ending=frozenset({paths[0].name}))
    with NextServer(act) as server:
        results = await sent(server.url, paths[:2], skip_existing="modified")
        assert server.questions == []
    assert {type(result.error) for result in results} == {RefusedError}


async def test_a_busy_server_is_asked_later(paths: list[Path]) -> None:
    act = Act(refuses={paths[0].name: FaultCode.BUSY}, ending=frozenset({paths[0].name}))
    with NextServer(act) as server:
        await sent(server.url, paths[:2], skip_existing="modified")
        check_stored(server, paths[:2])


def test_what_is_no_kind_of_skipping_is_an_error() -> None:
    with pytest.raises(OptionError, match="skip_existing must be 'modified' or 'hash', not 'size'"):
        send_files_sync("ws://h/", [], skip_existing="size")  # type: ignore[arg-type]


async def test_a_file_that_cannot_be_read_fails_alone(paths: list[Path]) -> None:
    os.unlink(paths[5])
    with NextServer() as server:
        results = await sent(server.url, paths[:10], skip_existing="hash")
        check_stored(server, [path for path in paths[:10] if path.exists()])
    assert [result.index for result in results if result.error] == [5]
