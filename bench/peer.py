"""A daemon of the benchmarks' own, and a client that costs it next to nothing.

Frames are masked with the key 0, which is a legal one, so that their payload can go from a file to
the socket with sendfile. The server cannot tell, and unmasks all the same.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 250_000
GALILEOD = [Path(sys.executable).with_name("galileod")]


class Client:
    """A GalileoSend client on a blocking socket."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._socket.sendall(
            b"GET /upload HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        while self._file.readline() != b"\r\n":
            pass

    def upload(self, name: str, source: int, size: int, sha1: str) -> None:
        """Send `size` bytes of the descriptor `source`. Raises RuntimeError for all but close."""
        self.text({"name": name, "size": size})
        offset = 0
        while True:
            signal = self.receive()
            if signal.get("close"):
                return
            if not signal.get("ready"):
                raise RuntimeError(signal)
            if offset == size:
                self.text({"finished": True, "hash": {"type": "sha1", "value": sha1}})
                continue
            length = min(int(signal.get("chunksize") or CHUNK), size - offset)
            self._socket.sendall(header(2, length))
            end = offset + length
            while offset < end:
                offset += os.sendfile(self._socket.fileno(), source, offset, end - offset)

    def close(self) -> None:
        """Close the WebSocket."""
        self._socket.sendall(header(8, 2) + struct.pack("!H", 1000))
        self._file.read()
        self._file.close()
        self._socket.close()

    def abandon(self) -> None:
        """Drop the connection."""
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self._socket.sendall(data)

    def chunk(self, length: int) -> None:
        """Send a chunk of zeros."""
        self._socket.sendall(header(2, length) + bytes(length))

    def text(self, signal: dict[str, object]) -> None:
        """Send a signal."""
        text = json.dumps(signal).encode()
        self._socket.sendall(header(1, len(text)) + text)

    def receive(self) -> dict[str, Any]:
        """Receive a signal."""
        _, length = self._file.read(2)
        if length == 126:
            (length,) = struct.unpack("!H", self._file.read(2))
        signal = json.loads(self._file.read(length))
        if not isinstance(signal, dict):
            raise TypeError(signal)
        return signal


def header(opcode: int, length: int) -> bytes:
    if length < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return struct.pack("!BBH4x", 0x80 | opcode, 0xFE, length)
    return struct.pack("!BBQ4x", 0x80 | opcode, 0xFF, length)


@contextmanager
def daemon(
    directory: str, *settings: str, command: Sequence[Path | str] = GALILEOD
) -> Iterator[tuple[tuple[str, int], int, Path]]:
    """A galileod on a free port, with `settings` in TOML: its address, process id and log."""
    log = Path(directory) / "log"
    config = Path(directory) / "galileod.toml"
    config.write_text(
        f'log.format = "json"\nserver.listen = ["127.0.0.1:0"]\n'
        f'storage.directory = "{directory}/store"\n' + "\n".join(settings)
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen([*command, "--config", config], stderr=stderr)
    try:
        while '"server.started"' not in log.read_text():
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.01)
        events = map(json.loads, log.read_text().splitlines())
        started = next(event for event in events if event["event"] == "server.started")
        host, _, port = started["listen"][0].rpartition(":")
        yield (host, int(port)), process.pid, log
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
