"""Whole uploads by the library: to galileod, and to a receiver like the original's."""

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, Daemons, poll
from helpers.receivers import MOJOLICIOUS_LIMIT, Peer, PerlReceiver, Scripted

from galileod.client import (
    OptionError,
    Options,
    Progress,
    RefusedError,
    SharedPace,
    SourceError,
    send_file,
    send_file_sync,
)

MIB = 1024 * 1024
SIZES = (0, 1, 249_999, 250_000, 250_001, MIB, MIB + 1, 3 * MIB + 7)


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_stored_by_galileod(server: Daemon, tmp_path: Path, size: int) -> None:
    data, path = some_bytes(size), tmp_path / unique_name()
    path.write_bytes(data)
    receipt = await send_file(server.url, path)
    assert (server.directory / path.name).read_bytes() == data
    assert (receipt.name, receipt.stored_name, receipt.size) == (path.name, path.name, size)
    assert receipt.hashes == {"sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()}
    assert receipt.verified
    assert receipt.seconds > 0
    line = server.wait_for("upload.stored", name=path.name)
    assert line["hash_verified"] is True
    assert line["chunks"] == receipt.chunks


@pytest.mark.parametrize("size", SIZES)
async def test_a_file_is_stored_by_a_receiver_like_the_original(
    perl: PerlReceiver, size: int
) -> None:
    data = some_bytes(size)
    receipt = await send_file(perl.url, data, name="a.bin")
    (stored,) = perl.files
    assert stored.data == data
    assert stored.metadata == {"name": "a.bin", "size": size}
    assert stored.claim == {"type": "sha1", "value": receipt.hashes["sha1"]}
    assert max(stored.chunks, default=0) <= 250_000
    assert receipt.chunks == len(stored.chunks)


@pytest.mark.parametrize("chunksize", [1000, 1001, 65_537, MOJOLICIOUS_LIMIT])
async def test_chunks_have_the_size_that_was_asked_for(perl: PerlReceiver, chunksize: int) -> None:
    data = some_bytes(300_000)
    await send_file(perl.url, data, name="a.bin", chunksize=chunksize)
    (stored,) = perl.files
    assert stored.data == data
    assert set(stored.chunks[:-1]) == {chunksize}


async def test_the_servers_chunksize_wins_over_our_own() -> None:
    data = some_bytes(10_000)
    with PerlReceiver(chunksize=999) as receiver:
        await send_file(receiver.url, data, name="a.bin", chunksize=5000)
    assert receiver.files[0].data == data
    assert max(receiver.files[0].chunks) == 999


async def test_several_open_readies_are_answered_in_order() -> None:
    sizes = (5, 1, 300_000, 7)
    data, got = some_bytes(sum(sizes)), list[bytes]()

    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        for size in sizes:
            peer.say(ready=True, chunksize=size)
        peer.say(ready=True)
        got.extend(peer.read_frame()[1] for _ in sizes)
        assert peer.hear()["finished"]
        peer.say(close=True)
        peer.goodbye()

    with Scripted(script) as host:
        receipt = await send_file(host.url, data, name="a.bin")
    assert [len(chunk) for chunk in got] == list(sizes)
    assert b"".join(got) == data
    assert receipt.chunks == len(sizes)


async def test_a_surplus_ready_is_answered_with_one_more_finished() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.hear()
        for _ in range(3):
            peer.say(ready=1)
        first, second, third = (peer.hear() for _ in range(3))
        assert first == second == third
        assert first["finished"] is True
        peer.say(close=1)
        peer.goodbye()

    with Scripted(script) as host:
        await send_file(host.url, b"", name="empty")


@pytest.mark.parametrize("kind", ["sha256", "sha512", "blake2b", None])
async def test_the_hash_is_the_one_that_was_asked_for(
    server: Daemon, perl: PerlReceiver, kind: str | None
) -> None:
    data = some_bytes(2_000_000)
    expected = {kind: hashlib.new(kind, data).hexdigest()} if kind else {}
    for url in (server.url, perl.url):
        receipt = await send_file(url, data, name=unique_name(), hash=kind)
        assert receipt.hashes == expected
        assert receipt.verified is (kind is not None)
    assert bool(perl.files[0].claim) is (kind is not None)


async def test_the_receipt_tells_the_name_that_the_file_got() -> None:
    def script(peer: Peer) -> None:
        peer.accept()
        peer.take_file()
        peer.say(close=True, name="a (1).txt")
        peer.goodbye()

    with Scripted(script) as host:
        receipt = await send_file(host.url, b"data", name="a.txt")
    assert (receipt.name, receipt.stored_name) == ("a.txt", "a (1).txt")


async def test_the_receipt_tells_the_name_that_galileod_made_of_it(server: Daemon) -> None:
    first = await send_file(server.url, b"one", name="taken.txt")
    second = await send_file(server.url, b"another", name="taken.txt")
    assert (first.name, first.stored_name) == ("taken.txt", "taken.txt")
    assert (second.name, second.stored_name) == ("taken.txt", "taken (1).txt")
    assert server.visible()["taken (1).txt"].read_bytes() == b"another"


async def test_a_problem_that_is_not_fatal_is_told_and_does_no_harm() -> None:
    heard: list[object] = []

    def script(peer: Peer) -> None:
        peer.accept()
        peer.say(error="slow today", fatal=False, extra=[1])
        peer.take_file()
        peer.say(close=True)
        peer.goodbye()

    with Scripted(script) as host:
        receipt = await send_file(host.url, b"data", name="a", on_warning=heard.append)
    assert receipt.warnings == ({"error": "slow today", "fatal": False, "extra": [1]},)
    assert heard == list(receipt.warnings)


async def test_progress_goes_up_to_the_size(server: Daemon) -> None:
    seen: list[Progress] = []
    size = 3 * MIB + 5
    await send_file(server.url, some_bytes(size), name=unique_name(), on_progress=seen.append)
    sent = [progress.sent for progress in seen]
    assert sent == sorted(set(sent))
    assert sent[-1] == size
    assert {progress.size for progress in seen} == {size}
    assert seen[-1].ratio == 1
    assert all(later - earlier <= MIB for earlier, later in zip([0, *sent], sent, strict=False))
    assert Progress(0, 0, 0.0).ratio == 1


async def test_what_a_progress_callback_raises_ends_the_upload_as_it_is(server: Daemon) -> None:
    name = unique_name()

    def stop(_: Progress) -> None:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        await send_file(server.url, some_bytes(100), name=name, on_progress=stop)
    assert server.wait_for("upload.failed", name=name)["code"] == "disconnected"


async def test_a_token_goes_along(perl: PerlReceiver) -> None:
    await send_file(perl.url, b"data", name="a", token="s3cret.token")  # noqa: S106
    assert perl.files[0].token == "Bearer s3cret.token"  # noqa: S105
    assert "s3cret" not in repr(Options(token="s3cret.token"))  # noqa: S106


class BytesPath:
    def __fspath__(self) -> bytes:
        return b"a"


async def parts(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece


async def test_an_async_iterator_is_sent(server: Daemon) -> None:
    name, data = unique_name(), some_bytes(3_000_000)
    pieces = parts(data[:5], b"", data[5:2_000_000], data[2_000_000:])
    await send_file(server.url, pieces, name=name, size=len(data))
    assert (server.directory / name).read_bytes() == data


@pytest.mark.parametrize(
    ("pieces", "size", "sentence"),
    [
        ([b"12345"], 6, "a has 5 bytes, not the 6 declared"),
        ([], 1, "a has 0 bytes, not the 1 declared"),
        ([b"12345"], 4, "a has more than the 4 bytes"),
        ([b"1234", b"5"], 4, "a has more than the 4 bytes"),
        ([b"1"], 0, "a has more than the 0 bytes"),
    ],
)
async def test_an_async_iterator_of_another_length_is_an_error(
    server: Daemon, pieces: list[bytes], size: int, sentence: str
) -> None:
    with pytest.raises(SourceError, match=f"^{sentence}"):
        await send_file(server.url, parts(*pieces), name="a", size=size)
    assert poll("an empty spool", lambda: not server.spooled())
    assert "a" not in server.visible()


async def test_what_an_async_iterator_raises_comes_out_as_it_is(server: Daemon) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"12"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send_file(server.url, broken(), name="a", size=5)


async def test_an_open_file_is_sent_from_where_it_stands_and_left_open(
    server: Daemon, tmp_path: Path
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        file.seek(4)
        receipt = await send_file(server.url, file)
        assert not file.closed
    assert receipt.name == path.name
    assert (server.directory / path.name).read_bytes() == b"456789"


async def test_a_file_in_memory_is_sent(server: Daemon) -> None:
    name = unique_name()
    await send_file(server.url, io.BytesIO(b"content"), name=name)
    assert (server.directory / name).read_bytes() == b"content"


@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_that_changes_its_size_while_it_is_sent_is_an_error(
    server: Daemon, tmp_path: Path, change: int
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(8 * MIB))
    touched = False

    def touch(_: Progress) -> None:
        nonlocal touched
        if not touched:
            os.truncate(path, 8 * MIB + change)
            touched = True

    how = "shrank" if change < 0 else "grew"
    said = f"{how} while it was sent, from {8 * MIB} bytes to {8 * MIB + change}."
    with pytest.raises(SourceError, match=said):
        await send_file(server.url, path, on_progress=touch)
    assert path.name not in server.visible()


@pytest.mark.parametrize("opened", [False, True], ids=["path", "file"])
async def test_a_file_that_is_written_to_while_it_is_sent_is_an_error(
    server: Daemon, tmp_path: Path, opened: bool
) -> None:
    path = tmp_path / unique_name()
    path.write_bytes(some_bytes(8 * MIB))
    seen = 0

    def touch(progress: Progress) -> None:
        nonlocal seen
        if not seen:
            os.utime(path, ns=(0, 0))  # as a write would, by a clock that may be a coarse one
        seen = progress.sent

    with path.open("rb") as file, pytest.raises(SourceError, match="was modified while it was"):
        await send_file(server.url, file if opened else path, on_progress=touch)
    assert seen < 8 * MIB, "it is not sent to its end first"
    assert path.name not in server.visible()


async def test_arguments_that_cannot_be_are_one_kind_of_error(server: Daemon) -> None:
    for wrong in (
        send_file(server.url, b"no name"),
        send_file(server.url, parts(), name="no size"),
        send_file(server.url, b"", name="a", hash="md17"),
        send_file(server.url, b"", name="a", hash="shake_128"),
        send_file(server.url, b"", name="a", chunksize=0),
        send_file(server.url, b"", name="a", timeout=0),
        send_file(server.url, b"", name="a", token="two\nlines"),  # noqa: S106
        send_file("gopher://x", b"", name="a"),
    ):
        with pytest.raises(OptionError):
            await wrong
    for token in ("", " ", "two\nlines", "s3cret ", " s3cret", "s3cr\u00e9t"):
        with pytest.raises(OptionError, match="one line of printable") as wrong_token:
            await send_file(server.url, b"", name="a", token=token)
        assert "s3cr" not in str(wrong_token.value)
    with pytest.raises(ValueError, match="chunksize"):
        await send_file(server.url, b"", name="a", chunksize=-1)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "url": ({"url": 5}, "The URL must be a string, not 5."),
    "content": ({"content": 5}, "An int cannot be sent. Expected a path, bytes, an open"),
    "a list": ({"content": [b"x"]}, "A list cannot be sent."),
    "a path of bytes": ({"content": BytesPath()}, "A path must be a string"),
    "a text": ({"content": io.StringIO("x")}, 'open in text mode. Open it with "rb"'),
    "name": ({"name": 5}, "The name must be a string, not 5."),
    "size": ({"size": "4"}, "The size must be a number of bytes, not '4'."),
    "a size below 0": ({"size": -1}, "The size must be a number of bytes, not -1."),
    "timeout": ({"timeout": "60s"}, "a number of seconds above 0, not '60s'."),
    "no timeout": ({"timeout": None}, "a number of seconds above 0, not None."),
    "chunksize": ({"chunksize": 1.5}, "from 1 to 1073741824 bytes, not 1.5."),
    "pace": ({"pace": 1000}, "like SharedPace"),
    "token": ({"token": 5}, "The token must be one line"),
    "ca": ({"ca": 5}, "The ca must be the path of a PEM file, not 5."),
    "hash": ({"hash": 5}, "Unknown hash 5. Expected sha1, sha256, sha512, blake2b or none."),
    "on_warning": ({"on_warning": 5}, "The on_warning must be a function, not 5."),
    "on_progress": ({"on_progress": 5}, "The on_progress must be a function, not 5."),
}


@pytest.mark.parametrize("case", WRONG)
async def test_an_argument_of_a_wrong_type_is_a_sentence(perl: PerlReceiver, case: str) -> None:
    given, sentence = WRONG[case]
    with pytest.raises(OptionError) as wrong:
        await send_file(**{"url": perl.url, "content": b"data", "name": "a", **given})
    assert sentence in str(wrong.value)


async def test_an_iterator_of_text_is_a_sentence(perl: PerlReceiver) -> None:
    async def text() -> AsyncIterator[Any]:
        yield "data"

    with pytest.raises(OptionError, match="must yield bytes, not a str"):
        await send_file(perl.url, text(), name="a", size=4)


@pytest.mark.parametrize("kind", ["none", "NONE", None])
async def test_none_is_no_hash(perl: PerlReceiver, kind: str | None) -> None:
    assert (await send_file(perl.url, b"data", name="a", hash=kind)).hashes == {}


async def test_a_hash_may_be_written_in_upper_case(perl: PerlReceiver) -> None:
    receipt = await send_file(perl.url, b"data", name="a", hash="SHA256")
    assert list(receipt.hashes) == ["sha256"]


async def test_the_blocking_twin_in_trio_names_the_other() -> None:
    with pytest.raises(OptionError, match="await send_file"):
        send_file_sync("ws://h/", b"data", name="a")


def test_outside_of_trio_the_blocking_twin_is_named() -> None:
    with pytest.raises(OptionError, match=r"asyncio.to_thread\(send_file_sync, "):
        asyncio.run(send_file("ws://h/", b"data", name="a"))


def test_from_asyncio_the_blocking_twin_is_called_in_a_thread(perl: PerlReceiver) -> None:
    receipt = asyncio.run(asyncio.to_thread(send_file_sync, perl.url, b"data", name="a"))
    assert receipt.size == 4


async def test_a_pace_holds_the_sending_back(perl: PerlReceiver) -> None:
    await send_file(perl.url, b"data", name="a", pace=SharedPace(1_000_000))
    assert perl.files[0].data == b"data"


async def test_a_refusal_has_all_that_the_server_said(daemon: Daemons, tmp_path: Path) -> None:
    host = daemon({"limits": {"max_file_size": 1000}})
    path = tmp_path / "large"
    path.write_bytes(bytes(1001))
    with pytest.raises(RefusedError) as refused:
        await send_file(host.url, path)
    assert refused.value.code == "too_large"
    assert refused.value.fatal
    assert refused.value.signal["limit"] == 1000
    assert refused.value.signals == (refused.value.signal,)
    assert str(refused.value.signal["error"]) in str(refused.value)
    assert not refused.value.transient


async def test_a_cancelled_upload_leaves_nothing(server: Daemon) -> None:
    name, sockets = unique_name(), open_sockets()
    with trio.CancelScope() as scope:
        await send_file(
            server.url, some_bytes(20 * MIB), name=name, on_progress=lambda _: scope.cancel()
        )
    assert scope.cancelled_caught
    assert open_sockets() == sockets
    assert server.wait_for("upload.failed", name=name)["code"] == "disconnected"
    assert name not in server.visible()


def open_sockets() -> int:
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith("socket:") for link in links if os.path.islink(link))


async def test_nothing_is_left_open_after_many_uploads(server: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"data")
    await send_file(server.url, path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await send_file(server.url, path)
    # Fewer are no leak: what other tests left may be collected meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before


def test_the_blocking_twin_works_in_any_thread(server: Daemon) -> None:
    name, done = unique_name(), list[str]()

    def send() -> None:
        done.append(send_file_sync(server.url, b"content", name=name).name)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join()
    assert done == [name]


def test_the_blocking_twin_works_in_a_plain_program(server: Daemon, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    path = tmp_path / unique_name()
    path.write_bytes(b"content")
    program.write_text(
        "import sys\n"
        "from galileod.client import SendError, send_file_sync\n"
        "try:\n"
        "    print(send_file_sync(sys.argv[1], sys.argv[2], on_progress=print).size)\n"
        "except SendError as error:\n"
        "    sys.exit(str(error))\n"
    )
    run: list[str | Path] = [sys.executable, program]
    done = subprocess.run([*run, server.url, path], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "7", done.stderr
    failed = subprocess.run(
        [*run, server.url, tmp_path / "none"], capture_output=True, text=True, check=False
    )
    assert "No such file" in failed.stderr
    assert "Traceback" not in failed.stderr
