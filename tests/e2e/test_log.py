"""A log that nobody reads: the daemon serves and stops, and each line is written or counted."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.clients import JavaScriptClient, ask
from helpers.daemon import GALILEOD, Daemon, poll

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"
LONG = "\N{GRINNING FACE}" * 700
"""Part of a name that fills a pipe soon: 8,400 bytes in each line about the upload."""

EVENTS = ["connection.opened", "upload.started", "upload.stored", "connection.closed"]
"""What each upload logs."""


class Pipe:
    """A named pipe that is read only on demand."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._text = b""

    def read(self) -> bytes:
        """Read what is in the pipe; returns all that was read so far."""
        try:
            while data := os.read(self._descriptor, 1 << 20):
                self._text += data
        except BlockingIOError:
            pass
        return self._text

    def lines(self) -> list[dict[str, Any]]:
        """The same as objects; each line must be one, and the last one complete."""
        text = self.read()
        assert not text or text.endswith(b"\n")
        return [json.loads(line) for line in text.splitlines()]

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    with closing(Pipe(tmp_path / "log")) as pipe:
        yield pipe


@pytest.fixture
def host(tmp_path: Path, pipe: Pipe) -> Iterator[Daemon]:
    """A daemon whose standard error is the pipe, from which the first line was read."""
    program = ("sh", "-c", f'exec "$0" "$@" 2>{pipe.path}', GALILEOD)
    with Daemon(tmp_path / "daemon", program=program) as host:
        host.spawn()
        poll("the first line", lambda: pipe.read().endswith(b"\n"))
        host.listen = pipe.lines()[0]["listen"]
        yield host


def send(host: Daemon, count: int, name: str = "") -> None:
    for number in range(count):
        outcome = JavaScriptClient(host.url, b"content", f"{number}{name}").run()
        assert outcome.ending == "stored"


def counted(lines: list[dict[str, Any]]) -> int:
    return sum(line["count"] for line in lines if line["event"] == "log.dropped")


def test_uploads_are_stored_though_nobody_reads_the_log(host: Daemon, pipe: Pipe) -> None:
    send(host, 300)
    assert ask(host, HEALTH).status == 200
    assert len(host.visible()) == 300
    host.send_signal(signal.SIGTERM)
    assert host.wait() == 0
    written = pipe.lines()
    assert written[0]["event"] == "server.started"
    assert {line["event"] for line in written[1:]} == set(EVENTS)


@pytest.mark.parametrize("name", ["", LONG], ids=["short lines", "long lines"])
def test_a_stop_at_once_needs_no_reader_either(host: Daemon, pipe: Pipe, name: str) -> None:
    send(host, 80, name)
    host.send_signal(signal.SIGTERM)
    host.send_signal(signal.SIGTERM)
    assert host.wait() == 0
    assert pipe.lines()


def test_each_line_is_written_or_counted(host: Daemon, pipe: Pipe) -> None:
    sent = 150
    send(host, sent, LONG)
    poll("the report", lambda: counted(pipe.lines()))
    send(host, 1)
    host.send_signal(signal.SIGTERM)

    def ended() -> bool:
        pipe.read()
        return not host.running

    poll("the end", ended)
    lines = pipe.lines()
    (report,) = [line for line in lines if line["event"] == "log.dropped"]
    assert report["level"] == "warning"
    of_uploads = [line["event"] for line in lines if line["event"] in EVENTS]
    assert len(of_uploads) + report["count"] == (sent + 1) * len(EVENTS)
    assert of_uploads[-4:] == EVENTS
    assert [line["event"] for line in lines[-2:]] == ["server.draining", "server.stopped"]
