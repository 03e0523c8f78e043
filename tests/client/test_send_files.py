"""Many files by the library: on few connections, with losses and refusals."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from client.next_server import LIMITS, Act, NextServer
from helpers.daemon import Daemon
from helpers.receivers import PerlReceiver

from galileod.client import (
    File,
    FileResult,
    LostError,
    OptionError,
    RefusedError,
    SharedPace,
    SourceError,
    send_files,
    send_files_sync,
)
from galileod.client.api_many import MAX_RESULTS
from galileod.protocol.errors import FaultCode
from galileod.protocol.messages import Limits

DEADLINE = 30


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow at once."""
    monkeypatch.setattr("galileod.client.retry.MAX_WAIT", 0.0)


def made(folder: Path, *sizes: int) -> list[Path]:
    """Files of these sizes, each with another content."""
    paths = [folder / f"file-{number:03}.bin" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(os.urandom(size))
    return paths


async def sent(
    url: str, contents: Iterable[Any], *, connections: int = 1, **settings: object
) -> list[FileResult]:
    """The results of all contents, by their index."""
    with trio.fail_after(DEADLINE):
        async with send_files(
            url,
            contents,
            connections=connections,
            **settings,  # type: ignore[arg-type]
        ) as results:
            found = [result async for result in results]
    return sorted(found, key=lambda result: result.index)


def check_stored(server: NextServer, paths: list[Path]) -> None:
    """Each file is stored once."""
    assert server.stored
    assert sorted(server.stored) == sorted((path.name, path.read_bytes()) for path in paths)


@pytest.mark.parametrize("connections", [1, 3])
async def test_files_of_all_sizes_are_stored_by_galileod(
    server: Daemon, tmp_path: Path, connections: int
) -> None:
    sizes = [0, 1, 10_000, 262_144, 262_145, 0, 3_000_000, *[5000] * 150, 400_000]
    paths = made(tmp_path, *sizes)
    results = await sent(server.url, paths, connections=connections)
    assert [result.index for result in results] == list(range(len(paths)))
    for path, result in zip(paths, results, strict=True):
        assert result.content == path
        receipt = result.receipt
        assert receipt
        data = path.read_bytes()
        assert (server.directory / receipt.stored_name).read_bytes() == data
        assert (receipt.name, receipt.size, receipt.verified) == (path.name, len(data), True)
        assert receipt.hashes == {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
        assert receipt.seconds > 0


async def test_all_files_go_on_one_connection_that_is_closed(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 0, 2000, *[100] * 150, 5000, 1000, 1001)
    with NextServer() as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert [len(files) for files in server.files] == [len(paths)]
    assert server.closed == 1
    first, *further = server.files[0]
    assert first.can == frozenset({"next", "resume"})
    assert {metadata.can for metadata in further} == {None}
    assert len({metadata.upload for metadata in server.files[0]}) == len(paths)
    stamps = {path.name: path.stat().st_mtime_ns // 1_000_000 for path in paths}
    assert {file.name: file.modified for file in server.files[0]} == stamps


async def test_contents_that_are_no_paths_are_sent_too(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    (path,) = made(tmp_path, 10)
    with path.open("rb") as opened, NextServer() as server:
        contents = [
            File(b"bytes", name="b"), opened, File(chunks(), "c", 4), File(path, "p"),
            File(bytes(2000), "large"), b"nameless", File(path, size=11),
        ]  # fmt: skip
        results = await sent(server.url, contents)
    assert sorted(server.stored) == sorted(
        [
            ("b", b"bytes"), (path.name, path.read_bytes()), ("c", b"abcd"),
            ("p", path.read_bytes()), ("large", bytes(2000)),
        ]
    )  # fmt: skip
    assert isinstance(results[5].error, OptionError)
    assert isinstance(results[6].error, SourceError)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_lost_connection_costs_no_file_and_stores_none_twice(
    tmp_path: Path, stored: bool, silent: bool
) -> None:
    paths = made(tmp_path, *[100] * 30, 3000, *[50] * 30)
    acts = [Act(lost=at, stored=stored, silent=silent) for at in (0, 5, 9, 29, 3)]
    with NextServer(*acts) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert len(server.files) == len(acts) + 1
    keys = {(file.name, file.upload) for files in server.files for file in files}
    assert len(keys) == len(paths)


async def test_a_file_without_its_ready_is_sent_again_where_uploads_can_be_resumed(
    tmp_path: Path,
) -> None:
    paths = made(tmp_path, 10, 3000, 20)
    with NextServer(Act(begun=1)) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert len({file.upload for files in server.files for file in files}) == len(paths)


@pytest.mark.parametrize("silent", [False, True])
async def test_without_resume_what_may_be_stored_is_not_sent_again(
    tmp_path: Path, silent: bool
) -> None:
    paths = made(tmp_path, *[100] * 20)
    with NextServer(Act(lost=10, silent=silent)) as server:
        results = await sent(server.url, paths, resume=False)
    lost = [result.error for result in results if result.error]
    assert lost
    for error in lost:
        assert isinstance(error, LostError)
        assert error.uncertain
    assert server.files[0][0].can == frozenset({"next"})
    assert {file.upload for file in server.files[0]} == {None}
    assert len(server.names) == len(set(server.names))


async def test_a_refused_file_fails_alone(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 20, 3000, 30, 2000, 40)
    refused = {paths[at].name: FaultCode.CONFLICT for at in (0, 1, 2)}
    with NextServer(Act(refuses=refused)) as server:
        results = await sent(server.url, paths)
    assert [bool(result.error) for result in results] == [True] * 3 + [False] * 3
    for result in results[:3]:
        assert isinstance(result.error, RefusedError)
        assert result.error.code == "conflict"
        assert len(result.error.signals) == 1
    check_stored(server, paths[3:])
    assert len(server.files) == 1


@pytest.mark.parametrize("at", [1, 4])
async def test_a_file_that_ends_the_connection_fails_and_the_others_are_sent(
    tmp_path: Path, at: int
) -> None:
    paths = made(tmp_path, 10, 20, 30, 40, 3000, 50)
    name = paths[at].name
    act = Act(refuses={name: FaultCode.BAD_MESSAGE}, ending=frozenset({name}))
    with NextServer(act) as server:
        results = await sent(server.url, paths)
    assert [result.index for result in results if result.error] == [at]
    check_stored(server, [path for path in paths if path.name != name])
    assert len(server.files) == 2


async def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 20, 30)
    refused = {paths[1].name: FaultCode.SHUTTING_DOWN}
    with NextServer(Act(refuses=refused, last=2)) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert len(server.files) == 2


async def test_behind_last_the_files_go_on_another_connection(tmp_path: Path) -> None:
    paths = made(tmp_path, *[100] * 400)
    with NextServer(Act(last=0), Act(last=2)) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert len(server.files) == 3
    for files in server.files[:2]:
        assert len(files) <= 1 + LIMITS.next  # what was sent before `last` was read


@pytest.mark.parametrize("can", [frozenset[str](), frozenset({"resume"})])
async def test_without_next_each_file_has_its_connection(
    tmp_path: Path, can: frozenset[str]
) -> None:
    paths = made(tmp_path, 10, 0, 2000)
    with NextServer(*[Act(can=can)] * 3) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert [len(files) for files in server.files] == [1, 1, 1]


async def test_a_receiver_like_the_original_gets_each_file(
    perl: PerlReceiver, tmp_path: Path
) -> None:
    paths = made(tmp_path, 10, 0, 300_000)
    results = await sent(perl.url, paths, connections=2)
    assert not [result.error for result in results if result.error]
    assert sorted(file.data for file in perl.files) == sorted(p.read_bytes() for p in paths)


async def test_tight_limits_are_kept(tmp_path: Path) -> None:
    paths = made(tmp_path, *[100] * 20, 0, 0, 0, 3000, 90)
    with NextServer(Act(limits=Limits(next=1, whole=100, room=100))) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    check_stored(server, paths)
    assert len(server.files) == 1


async def test_a_file_that_cannot_be_read_fails_alone(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 20, 30)
    contents = [paths[0], tmp_path / "missing", tmp_path, paths[1], paths[2]]
    with NextServer() as server:
        results = await sent(server.url, contents)
    assert [result.index for result in results if result.error] == [1, 2]
    assert {type(result.error) for result in results if result.error} == {SourceError}
    check_stored(server, paths)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("parts", [3, 5])
@pytest.mark.parametrize("limited", [False, True])
async def test_content_of_another_length_fails_alone_and_ends_its_message(
    tmp_path: Path, first: bool, parts: int, limited: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield bytes(100)

    pace = SharedPace(100_000) if limited else None
    paths = made(tmp_path, 10, 2000, 30)
    contents: list[Any] = list(paths)
    wrong = 0 if first else 1
    contents.insert(wrong, File(chunks(), "wrong", size=400))
    with NextServer() as server:
        results = await sent(server.url, contents, pace=pace)
    assert [result.index for result in results if result.error] == [wrong]
    assert isinstance(results[wrong].error, SourceError)
    check_stored(server, paths)
    assert (len(server.files), server.closed) == (1, 1)
    assert server.abandoned == ["wrong"]


@pytest.mark.parametrize(("part", "parts"), [(100, 3), (100, 5), (1 << 20, 3), (1 << 20, 5)])
async def test_galileod_goes_on_behind_content_of_another_length(
    server: Daemon, tmp_path: Path, part: int, parts: int
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield bytes(part)

    paths = made(tmp_path, 10, 2_000_000, 30)
    contents = [File(chunks(), "wrong", size=4 * part), *paths]
    results = await sent(server.url, contents)
    assert [result.index for result in results if result.error] == [0]
    assert isinstance(results[0].error, SourceError)


@pytest.mark.parametrize("parts", [0, 1])
async def test_a_refusal_ends_the_message_of_a_slow_content(tmp_path: Path, parts: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(parts):
            yield bytes(100)
        await trio.sleep_forever()

    paths = made(tmp_path, 10, 2000, 30)
    contents = [paths[0], File(chunks(), "slow", size=400), *paths[1:]]
    with NextServer(Act(refuses={"slow": FaultCode.CONFLICT})) as server:
        results = await sent(server.url, contents)
    assert [result.index for result in results if result.error] == [1]
    assert isinstance(results[1].error, RefusedError)
    check_stored(server, paths)
    assert (len(server.files), server.closed) == (1, 1)


async def test_a_file_that_changed_before_it_is_sent_again_has_another_key(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 20, 30)

    def change() -> None:
        paths[1].write_bytes(b"changed")
        os.utime(paths[1], ns=(0, 0))

    warnings: list[object] = []
    with NextServer(Act(lost=2, silent=True, does=change)) as server:
        results = await sent(
            server.url, paths, on_warning=lambda signal: warnings.append(signal["error"])
        )
    assert not [result.error for result in results if result.error]
    assert [data for name, data in server.stored if name == paths[1].name][-1] == b"changed"
    assert warnings == [f"{paths[1]} has changed since it was begun; it is sent anew."]


async def test_a_file_that_got_another_time_before_it_is_sent_again_is_stored_once(
    tmp_path: Path,
) -> None:
    paths = made(tmp_path, 10, 20, 30)

    def touch() -> None:
        os.utime(paths[1], ns=(0, 0))

    with NextServer(Act(lost=1, stored=True, does=touch)) as server:
        results = await sent(server.url, paths)
    assert not [result.error for result in results if result.error]
    assert server.names == sorted(path.name for path in paths)


async def test_where_there_is_no_server_it_is_found_out_once(tmp_path: Path) -> None:
    results = await sent("ws://127.0.0.1:1/", made(tmp_path, 1, 2, 3))
    assert len({str(result.error) for result in results}) == 1
    assert "connection refused" in str(results[0].error)


@pytest.mark.parametrize("first", [True, False])
async def test_that_a_token_is_missing_is_found_out_once(tmp_path: Path, first: bool) -> None:
    paths = made(tmp_path, 10, *[2000] * 20)
    name = paths[0].name if first else paths[1].name
    act = Act(refuses={name: FaultCode.UNAUTHORIZED}, ending=frozenset({name}))
    with NextServer(act) as server:
        results = await sent(server.url, paths)
        assert len(server.files) == 1
    failed = results if first else results[1:]
    assert len({id(result.error) for result in failed}) == 1
    assert isinstance(failed[0].error, RefusedError)
    assert "Put a valid token into $GALILEO_TOKEN" in str(failed[0].error)


async def test_a_ticket_for_one_file_is_not_the_matter_of_the_others(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 20, 30)
    name = paths[0].name
    act = Act(refuses={name: FaultCode.UNAUTHORIZED}, ending=frozenset({name}))
    with NextServer(act) as server:
        results = await sent(server.url, paths, token="ticket")  # noqa: S106
    assert [result.index for result in results if result.error] == [0]
    check_stored(server, paths[1:])


async def test_contents_are_taken_when_their_turn_comes(tmp_path: Path) -> None:
    (path,) = made(tmp_path, 10)
    taken, full = 0, trio.Event()

    def contents() -> Iterator[File]:
        nonlocal taken
        for number in range(10 * MAX_RESULTS):
            taken += 1
            if taken == MAX_RESULTS:
                full.set()
            yield File(path, f"{number}")

    with NextServer() as server, trio.fail_after(DEADLINE):
        async with send_files(server.url, contents(), connections=1) as results:
            await anext(results)
            await full.wait()
            await trio.testing.wait_all_tasks_blocked(0.2)
    assert taken < 2 * MAX_RESULTS


async def test_an_error_in_the_block_is_the_one_that_is_raised(tmp_path: Path) -> None:
    with NextServer() as server, trio.fail_after(DEADLINE), pytest.raises(KeyError, match="mine"):
        async with send_files(server.url, made(tmp_path, 10, 20)):
            raise KeyError("mine")


def test_without_trio_the_results_are_in_the_order_of_the_contents(tmp_path: Path) -> None:
    paths = made(tmp_path, 10, 2000, 30)
    with NextServer() as server:
        results = send_files_sync(server.url, [*paths, tmp_path / "missing"], connections=1)
    assert [result.content for result in results] == [*paths, tmp_path / "missing"]
    assert [bool(result.receipt) for result in results] == [True] * 3 + [False]
    check_stored(server, paths)


@pytest.mark.parametrize("connections", [0, 257, True, "3", 1.0])
def test_connections_are_a_number(connections: object) -> None:
    with pytest.raises(OptionError, match="connections must be"):
        send_files_sync("ws://h/", [], connections=connections)  # type: ignore[arg-type]


@pytest.mark.parametrize("contents", ["file.bin", b"data", bytearray(b"data"), None, 5])
def test_the_contents_are_a_list(contents: object) -> None:
    with pytest.raises(OptionError, match="contents must be"):
        send_files_sync("ws://127.0.0.1:1/", contents)  # type: ignore[arg-type]


def test_outside_of_trio_there_is_a_hint() -> None:
    async def begin() -> None:
        async with send_files("ws://h/", []):
            pass

    with pytest.raises(OptionError, match="Elsewhere call send_files_sync"):
        begin().send(None)


async def test_in_trio_the_blocking_function_is_refused() -> None:
    with pytest.raises(OptionError, match="would block trio"):
        send_files_sync("ws://h/", [])
