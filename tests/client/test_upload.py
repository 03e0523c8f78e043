"""Whole uploads by the library: to galileod, and to a receiver like the original's."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from helpers.clients import some_bytes, unique_name
from helpers.daemon import Daemon, Daemons
from helpers.receivers import MOJOLICIOUS_LIMIT, Peer, PerlReceiver, Scripted

from galileod.client import (
    OptionError,
    Options,
    Progress,
    RefusedError,
    SharedPace,
    send_file,
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
    key = stored.metadata["upload"]
    assert re.fullmatch("[0-9a-f]{32}", key)
    assert stored.metadata == {"name": "a.bin", "size": size, "can": ["resume"], "upload": key}
    assert stored.claim == {"type": "sha1", "value": receipt.hashes["sha1"]}
    assert max(stored.chunks, default=0) <= 250_000
    assert receipt.chunks == len(stored.chunks)


async def test_without_resume_and_a_time_the_metadata_are_those_of_the_original(
    perl: PerlReceiver,
) -> None:
    await send_file(perl.url, b"data", name="a.bin", resume=False)
    assert perl.files[0].metadata == {"name": "a.bin", "size": 4}


@pytest.mark.parametrize("resume", [True, False])
async def test_folder_and_time_are_sent(
    perl: PerlReceiver, tmp_path: Path, *, resume: bool
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"data")
    os.utime(path, ns=(0, 1_768_300_000_123_999_999))
    await send_file(perl.url, path, folder="2026/june", resume=resume)
    await send_file(perl.url, path, modified=-0.5, resume=resume)
    await send_file(perl.url, b"data", name="b", folder="", modified=1.0625, resume=resume)
    told = [(file.metadata.get("folder"), file.metadata.get("modified")) for file in perl.files]
    assert told == [("2026/june", 1_768_300_000_123), (None, -500), (None, 1062)]


@pytest.mark.parametrize("modified", ["today", True, float("nan"), float("inf")])
async def test_a_time_that_is_none_is_an_error(modified: float) -> None:
    with pytest.raises(OptionError, match="modified must be in seconds since 1970, not"):
        await send_file("ws://h/", b"data", name="a", modified=modified)


async def test_a_folder_is_a_string() -> None:
    with pytest.raises(OptionError, match="The folder must be a string, not 5"):
        await send_file("ws://h/", b"data", name="a", folder=cast(Any, 5))


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
