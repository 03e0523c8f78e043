"""The control socket's server: what it offers, to whom, and that it stays bounded."""

import os

import pytest
import trio
import trio.testing
from helpers.controlling import controlled, read_all, told
from helpers.ledgers import allow
from structlog.testing import capture_logs

from galileod.config.model import ConfigError
from galileod.ledger.base import LedgerError
from galileod.policy.quota import Holding
from galileod.server import control, rows
from galileod.server.control import Reload, Reloaded

pytestmark = pytest.mark.timeout(20)

USAGE = b"GET /usage HTTP/1.0\r\nHost: x\r\n\r\n"
RELOAD = b"POST /reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


UNCHANGED = Reloaded("/etc/x.toml", [], [])


async def unchanged() -> Reloaded:
    return UNCHANGED


async def changed() -> Reloaded:
    return Reloaded("/etc/x.toml", ["limits.max_file_size", "tls.key"], ["server.listen"])


async def rejected() -> Reloaded:
    raise ConfigError("/etc/x.toml: \xfcber: not an integer")


async def defective() -> Reloaded:
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("reload", "status", "text"),
    [
        (unchanged, b"200 OK", "reloaded /etc/x.toml"),
        (
            changed,
            b"200 OK",
            (
                "reloaded /etc/x.toml; changed: limits.max_file_size, tls.key"
                "; restart needed for: server.listen"
            ),
        ),
        (rejected, b"422 ", "/etc/x.toml: \xfcber: not an integer"),
    ],
)
async def test_a_reload_is_answered_when_it_is_done(
    reload: Reload, status: bytes, text: str
) -> None:
    with capture_logs() as logs:
        async with controlled(reload) as host:
            reply = await host.ask(RELOAD)
    assert reply.startswith(b"HTTP/1.1 " + status)
    assert reply.endswith(b"\r\n\r\n" + text.encode() + b"\n")
    assert not logs  # the reload itself is logged by whoever does it


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /reload HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_there_is_nothing_else(head: bytes, status: int) -> None:
    with capture_logs() as logs:
        async with controlled(defective) as host:
            reply = await host.ask(head)
    assert reply.startswith(b"HTTP/1.1 %d " % status)
    (line,) = logs
    assert (line["event"], line["status"]) == ("connection.refused", status)


@pytest.mark.parametrize(
    ("user", "status"), [(os.geteuid(), b"200"), (0, b"200"), (os.geteuid() + 1, b"403")]
)
async def test_it_is_for_the_daemons_user_and_root_alone(
    monkeypatch: pytest.MonkeyPatch, user: int, status: bytes
) -> None:
    monkeypatch.setattr(control, "user_of_peer", lambda _: user)
    async with controlled(unchanged) as host:
        for request in (RELOAD, USAGE):
            assert (await host.ask(request)).split()[1] == status


async def test_a_bug_ends_its_connection_and_is_logged() -> None:
    with capture_logs() as logs:
        async with controlled(defective) as host:
            assert await host.ask(RELOAD) == b""
            assert (await host.ask(b"POST /x HTTP/1.1\r\nHost: x\r\n\r\n")).split()[1] == b"404"
    # The first is logged once its connection is closed, which may be after the second.
    assert sorted(line["event"] for line in logs) == ["connection.error", "connection.refused"]


async def test_a_client_that_leaves_does_no_harm() -> None:
    with capture_logs() as logs:
        async with controlled(unchanged) as host:
            for sent in (b"", b"POST /rel", RELOAD):
                stream = host.connect()
                await stream.send_all(sent)
                await stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            assert (await host.ask(RELOAD)).startswith(b"HTTP/1.1 200 ")
    assert {line["event"] for line in logs} == {"connection.abandoned"}


async def test_connections_at_once_are_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CONNECTIONS", 2)
    going_on = trio.Event()

    async def slow() -> Reloaded:
        await going_on.wait()
        return UNCHANGED

    async with controlled(slow) as host:
        waiting = [host.connect() for _ in range(2)]
        for stream in waiting:
            await stream.send_all(RELOAD)
        await trio.testing.wait_all_tasks_blocked()
        async with host.connect() as further:
            assert await read_all(further) == b""
        going_on.set()
        for stream in waiting:
            assert (await read_all(stream)).startswith(b"HTTP/1.1 200 ")
            await stream.aclose()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
async def test_usage_is_told_a_page_at_a_time(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(rows, "PAGE", 2)
    users = ["", "anna", "anna b", "\xe4", "\U0001f600"][:count]
    async with controlled(unchanged) as host:
        for user in reversed(users):
            await host.ledger.reserve(user, user, 7, allow)
        asked = [await host.ask(USAGE), await host.ask(USAGE.replace(b"GET", b"HEAD"))]
        for user in users:
            await host.ledger.release(user)
    held = {"bytes": 0, "files": 0, "reserved": 7, "uploads": 1, "kept": 0, "kept_uploads": 0}
    assert [told(reply) for reply in asked] == [[{"user": user, **held} for user in users], []]


@pytest.mark.parametrize("after", [0, 1])
async def test_a_ledger_that_fails_is_the_last_line(
    monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(rows, "PAGE", 1)
    pages = [{"anna": Holding(bytes=1, files=1)}] * after

    async def fail(_user: str, _count: int) -> dict[str, Holding]:
        if pages:
            return pages.pop()
        raise LedgerError("the ledger cannot be used: \xe4")

    with capture_logs() as logs:
        async with controlled(unchanged) as host:
            monkeypatch.setattr(host.ledger, "holdings_from", fail)
            found = told(await host.ask(USAGE))
    assert len(found) == after + 1
    assert found[-1] == {"error": "the ledger cannot be used: \xe4"}
    assert not logs


async def test_a_disk_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "PAGE_SECONDS", 0.01)

    async def hang(_user: str, _count: int) -> dict[str, Holding]:
        await trio.sleep_forever()
        raise AssertionError

    async with controlled(unchanged) as host:
        monkeypatch.setattr(host.ledger, "holdings_from", hang)
        ((row),) = told(await host.ask(USAGE))
    assert "has not answered within 0.01 s" in str(row)


async def test_a_reader_that_leaves_usage_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(user: str, count: int) -> dict[str, Holding]:
        await trio.lowlevel.checkpoint()
        return {f"{user}{number:05}": Holding(files=1) for number in range(count)}

    with capture_logs() as logs:
        async with controlled(unchanged) as host:
            monkeypatch.setattr(host.ledger, "holdings_from", endless)
            async with host.connect() as stream:
                await stream.send_all(USAGE)
                await stream.receive_some(1)
    assert not logs
