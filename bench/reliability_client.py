"""A daemon for bench/reliability.py, and a client that can send any bytes at any time."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clients import close_websocket, header, send_part, text, upgrade
from connection import Connection, Part, run_blocking

GALILEOD = [Path(sys.executable).with_name("galileod")]
TIMEOUT = 30
"""Time limit in seconds for a daemon to start, and to stop."""

__all__ = ["GALILEOD", "Client", "daemon", "header"]


class Client:
    """A GalileoSend client on a blocking socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._connection = Connection(address)
        run_blocking(upgrade(self._connection))

    def upload(self, name: str, source: int, size: int, sha1: str) -> None:
        """Upload `size` bytes of the descriptor `source`. Raises RuntimeError for an error."""
        run_blocking(send_part(self._connection, Part(name, source, 0, size, sha1)))

    def close(self) -> None:
        """Close the WebSocket."""
        run_blocking(close_websocket(self._connection))
        self.abandon()

    def abandon(self) -> None:
        """Close the connection without a Close frame."""
        self._connection.socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._connection.socket.sendall(data)

    def chunk(self, length: int) -> None:
        """Send a chunk of zeros."""
        self.send(header(2, length) + bytes(length))

    def text(self, signal: dict[str, object]) -> None:
        """Send a signal."""
        self.send(text(signal))

    def receive(self) -> dict[str, Any]:
        """Receive a signal."""
        exchange = self._connection.signal()
        while True:
            try:
                next(exchange)
            except StopIteration as end:
                signal: dict[str, Any] = end.value
                return signal


@contextmanager
def daemon(
    directory: str, *settings: str, command: Sequence[Path | str] = GALILEOD
) -> Iterator[tuple[tuple[str, int], int, Path]]:
    """Run galileod on a free port, with `settings` in TOML; yields address, process id and log."""
    log = Path(directory) / "log"
    config = Path(directory) / "galileod.toml"
    config.write_text(
        f'log.format = "json"\nserver.listen = ["127.0.0.1:0"]\n'
        f'storage.directory = "{directory}/store"\n' + "\n".join(settings)
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen([*command, "--config", config], stderr=stderr)
    try:
        deadline = time.monotonic() + TIMEOUT
        while '"server.started"' not in log.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text())
            time.sleep(0.01)
        events = map(json.loads, log.read_text().splitlines())
        started = next(event for event in events if event["event"] == "server.started")
        host, _, port = started["listen"][0].rpartition(":")
        yield (host, int(port)), process.pid, log
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
