"""`/uploads` of the control socket: what runs, what is kept, and what is discarded."""

import time
from typing import Any
from urllib.parse import quote

import pytest
import trio
import trio.testing
from helpers.controlling import Controlled, controlled, told
from helpers.ledgers import keep
from helpers.memory_store import MemorySink
from helpers.wire import RawPeer, frame, text_frame
from structlog.testing import capture_logs

from galileod.ledger.base import KeptUpload, LedgerError
from galileod.server import rows

pytestmark = pytest.mark.timeout(20)

UPLOADS = b"GET /uploads HTTP/1.0\r\nHost: x\r\n\r\n"
KEY = "0123456789abcdef" * 2
BINARY = 0x2
SIZE = 4_000_000


async def listed(host: Controlled) -> list[dict[str, Any]]:
    return told(await host.ask(UPLOADS))


async def discard(host: Controlled, upload: str) -> tuple[int, str]:
    """The status and the text of the response."""
    head = f"POST /uploads/discard?upload={quote(upload, safe='')} HTTP/1.0\r\nHost: x\r\n\r\n"
    reply = await host.ask(head.encode())
    start, _, body = reply.partition(b"\r\n\r\n")
    return int(start.split()[1]), body.decode().rstrip("\n")


async def begun(host: Controlled, length: int, **more: object) -> RawPeer:
    """A client that has sent the first bytes of a file."""
    raw = await host.wire.open_raw()
    await raw.send(text_frame({"name": "a.bin", "size": SIZE, **more}))
    assert (await raw.receive())["ready"]
    if length:
        await raw.send(frame(BINARY, bytes(length)))
    await trio.testing.wait_all_tasks_blocked()
    return raw


async def test_nothing_is_listed_where_nothing_is() -> None:
    async with controlled() as host:
        assert await listed(host) == []


async def test_a_running_upload_is_listed_with_what_has_come() -> None:
    async with controlled() as host:
        before = time.time()
        raw = await begun(host, 1000)
        (row,) = await listed(host)
        assert row.pop("upload") in host.wire.context.running
        assert before <= row.pop("began") <= time.time()
        assert row.pop("rate") > 0
        assert row == {
            "state": "running",
            "user": "test",
            "name": "a.bin",
            "size": SIZE,
            "offset": 1000,
            "until": None,
            "node": None,
        }
        await raw.stream.aclose()


async def test_an_interrupted_upload_is_listed_as_kept_and_when_it_goes_on_as_running() -> None:
    about = {"upload": KEY, "can": ["resume"]}
    async with controlled() as host:
        raw = await begun(host, 1000, **about)
        await raw.stream.aclose()
        await host.wire.all_ended()
        (kept,) = await listed(host)
        assert (kept["state"], kept["offset"], kept["rate"]) == ("kept", 1000, None)
        assert kept["until"] > kept["began"]
        raw = await begun(host, 500, **about)
        (running,) = await listed(host)
        assert (running["state"], running["offset"]) == ("running", 1500)
        assert (running["upload"], running["began"]) == (kept["upload"], kept["began"])
        await discard(host, kept["upload"])
        await raw.stream.aclose()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
async def test_kept_uploads_are_told_a_page_at_a_time(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(rows, "PAGE", 2)
    async with controlled() as host:
        for number in range(count):
            await keep(host.ledger, f"{number:016x}", f"user {number}", 100, 40)
        raw = await begun(host, 0)
        found = await listed(host)
        assert [row["state"] for row in found] == ["running"] + ["kept"] * count
        assert [row["upload"] for row in found[1:]] == [f"{each:016x}" for each in range(count)]
        assert all(row["until"] > row["began"] for row in found[1:])
        await raw.stream.aclose()


async def test_an_upload_that_was_interrupted_meanwhile_is_listed_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with controlled() as host:
        raw = await begun(host, 1000, upload=KEY, can=["resume"])
        asked = host.ledger.kept_from

        async def interrupted(upload: str, count: int) -> list[KeptUpload]:
            await raw.stream.aclose()
            await host.wire.all_ended()
            return list(await asked(upload, count))

        monkeypatch.setattr(host.ledger, "kept_from", interrupted)
        (row,) = await listed(host)
        assert row["state"] == "running"
        assert [each.upload for each in await asked("", 9)] == [row["upload"]]


@pytest.mark.parametrize("about", [{}, {"upload": KEY, "can": ["resume"]}])
async def test_a_running_upload_is_discarded_and_its_client_told(about: dict[str, object]) -> None:
    async with controlled() as host:
        raw = await begun(host, 1000, **about)
        (row,) = await listed(host)
        assert await discard(host, row["upload"]) == (200, f"discarded {row['upload']} of test")
        received = await raw.receive()
        while received.get("ready"):
            received = await raw.receive()
        assert received["code"] == "abandoned"
        assert "kept" not in received
        await raw.stream.aclose()
        await host.wire.all_ended()
        assert await listed(host) == []


async def test_a_kept_upload_is_discarded_with_its_file() -> None:
    async with controlled() as host:
        raw = await begun(host, 1000, upload=KEY, can=["resume"])
        await raw.stream.aclose()
        await host.wire.all_ended()
        (row,) = await listed(host)
        with capture_logs() as logs:
            assert await discard(host, row["upload"]) == (200, f"discarded {row['upload']} of test")
        assert await listed(host) == []
        (line,) = logs
        assert line["event"] == "upload.abandoned"
        assert (line["upload"], line["offset"]) == (row["upload"], 1000)
        assert await discard(host, row["upload"]) == (
            404,
            "no upload with this id is running or kept",
        )


@pytest.mark.parametrize("upload", ["", "0" * 16, "a&upload=b", "\u00e4\n"])
async def test_an_upload_that_is_not_there_is_told_and_nothing_else_is_discarded(
    upload: str,
) -> None:
    async with controlled() as host:
        await keep(host.ledger, "1" * 16)
        with capture_logs() as logs:
            status, _ = await discard(host, upload)
        assert status == 404
        assert not logs
        assert len(await listed(host)) == 1


async def test_a_discard_without_an_upload_discards_nothing() -> None:
    async with controlled() as host:
        await keep(host.ledger, "1" * 16)
        reply = await host.ask(b"POST /uploads/discard HTTP/1.0\r\nHost: x\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 404 ")
        assert len(await listed(host)) == 1


async def test_a_ledger_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> list[KeptUpload]:
        await trio.lowlevel.checkpoint()
        raise LedgerError("torn")

    async with controlled() as host:
        monkeypatch.setattr(host.ledger, "kept_from", fail)
        monkeypatch.setattr(host.ledger, "discard", fail)
        assert await listed(host) == [{"error": "torn"}]
        assert await discard(host, "1" * 16) == (503, "torn")


async def test_an_upload_that_is_being_stored_is_listed_and_cannot_be_discarded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stored = trio.Event()

    async def digest(*_: object) -> str:
        await stored.wait()
        return "00" * 20

    async with controlled() as host:
        monkeypatch.setattr(MemorySink, "digest", digest)
        raw = await host.wire.open_raw()
        await raw.send(text_frame({"name": "a.bin", "size": 3}))
        assert (await raw.receive())["ready"]
        await raw.send(frame(BINARY, b"abc") + text_frame({"finished": True}))
        await trio.testing.wait_all_tasks_blocked()
        (row,) = await listed(host)
        assert (row["state"], row["offset"]) == ("running", 3)
        assert await discard(host, row["upload"]) == (
            409, "the upload is complete, and is being stored",
        )  # fmt: skip
        stored.set()
        while not (signal := await raw.receive()).get("close"):
            assert signal.get("ready")
        await raw.stream.aclose()
