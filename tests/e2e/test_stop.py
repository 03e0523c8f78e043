"""How the daemon stops: running uploads may finish, for so long, and nobody is left hanging."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from helpers.clients import (
    ask,
    expect_fault,
    expect_ready,
    hear,
    open_websocket,
    read_head,
    request,
    say,
)
from helpers.daemon import Daemon, Daemons
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

CHUNK = 64 * 1024
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
SMALL_CHUNKS = {"min": CHUNK, "max": CHUNK, "max_in_flight": 1}


@contextmanager
def half_an_upload(host: Daemon, name: str) -> Iterator[ClientConnection]:
    """An upload of two chunks, one of which is stored, with a `ready` for the other."""
    with open_websocket(host.url) as websocket:
        say(websocket, name=name, size=2 * CHUNK)
        expect_ready(websocket)
        websocket.send(bytes(CHUNK))
        expect_ready(websocket)
        yield websocket


def expect_goodbye(websocket: ClientConnection) -> None:
    """The fault, and then the daemon closes by itself."""
    fault = hear(websocket)
    assert (fault["code"], fault["fatal"]) == ("shutting_down", True)
    assert fault["error"].endswith(".")
    with pytest.raises(ConnectionClosed):
        hear(websocket)
    assert websocket.close_code == 1001


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_upload_finishes_and_whoever_comes_is_told_to_come_later(
    daemon: Daemons, number: signal.Signals
) -> None:
    host = daemon({"chunks": SMALL_CHUNKS})
    with ExitStack() as stack:
        idle = stack.enter_context(open_websocket(host.url))
        upload = stack.enter_context(half_an_upload(host, "kept.bin"))
        host.send_signal(number)
        assert host.wait_for("server.draining")["uploads"] == 1
        expect_goodbye(idle)
        for head in (HEALTH, request()):
            reply = ask(host, head)
            assert reply.status == 503
            assert int(reply.headers["retry-after"]) > 0
            assert b"shutting down" in reply.body
        upload.send(bytes(CHUNK))
        expect_ready(upload)
        say(upload, finished=True)
        assert hear(upload) == {"close": True}
    assert host.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        host.dial()
    assert host.wait_for("server.stopped")["uploads"] == 0
    assert (host.directory / "kept.bin").read_bytes() == bytes(2 * CHUNK)
    assert not host.spooled()


def test_a_connection_that_has_not_asked_yet_is_told_so(daemon: Daemons) -> None:
    host = daemon()
    with host.dial() as connection, open_websocket(host.url):
        host.send_signal(signal.SIGTERM)
        host.wait_for("server.draining")
        reply = ask(host, request(), sock=connection)
        assert reply.status == 503
        assert "retry-after" in reply.headers
    assert host.wait() == 0


def test_an_upload_that_takes_too_long_is_told_and_leaves_nothing(daemon: Daemons) -> None:
    host = daemon({"chunks": SMALL_CHUNKS, "server": {"drain_timeout": "100ms"}})
    with half_an_upload(host, "late.bin") as upload:
        host.send_signal(signal.SIGTERM)
        expect_goodbye(upload)
    assert host.wait() == 0
    assert not host.spooled()
    assert not host.visible()
    assert host.wait_for("upload.failed", name="late.bin")["code"] == "shutting_down"
    assert host.wait_for("server.stopped")["uploads"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(daemon: Daemons, number: signal.Signals) -> None:
    host = daemon({"chunks": SMALL_CHUNKS, "server": {"drain_timeout": "1h"}})
    with half_an_upload(host, "broken.bin") as upload:
        host.send_signal(number)
        host.wait_for("server.draining")
        assert host.running
        host.send_signal(number)
        with pytest.raises(ConnectionClosed):
            hear(upload)
        assert host.wait() == 0
    assert not host.spooled()
    assert not host.visible()
    assert host.wait_for("upload.failed", name="broken.bin")["code"] == "shutting_down"


def test_one_who_came_late_and_says_nothing_holds_nobody_up(daemon: Daemons) -> None:
    host = daemon({"chunks": SMALL_CHUNKS})
    with half_an_upload(host, "kept.bin") as upload:
        host.send_signal(signal.SIGTERM)
        host.wait_for("server.draining")
        with host.dial() as silent:
            assert read_head(silent).status == 503  # though it asked for nothing
            upload.send(bytes(CHUNK))
            expect_ready(upload)
            say(upload, finished=True)
            assert hear(upload) == {"close": True}
            upload.close()
            assert host.wait() == 0


def test_a_drain_timeout_of_nothing_waits_for_nobody(daemon: Daemons) -> None:
    host = daemon({"chunks": SMALL_CHUNKS, "server": {"drain_timeout": 0}})
    with half_an_upload(host, "broken.bin") as upload:
        host.send_signal(signal.SIGTERM)
        expect_fault(upload, "shutting_down")
    assert host.wait() == 0
    assert not host.spooled()


def test_without_connections_it_stops_and_starts_again_on_the_same_files(daemon: Daemons) -> None:
    host = daemon()
    assert host.stop() == 0
    events = [line["event"] for line in host.log()]
    assert events == ["server.started", "server.draining", "server.stopped"]
    assert host.start().stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("count", [1, 3])
def test_signals_at_the_earliest_moment_and_in_a_row_are_a_clean_stop(
    daemon: Daemons, number: signal.Signals, count: int
) -> None:
    host = daemon()
    for _ in range(count):
        host.send_signal(number)
    assert host.wait() == 0
    assert host.wait_for("server.stopped")
