"""A minimal GalileoSend receiver: the upper limit for the rate of a receiver in Python.

    python bench/minimal_receiver.py DIRECTORY PORT

One thread receives and unmasks in C, another one hashes and writes. It serves one client at a time,
validates nothing but the hash, and has no timeouts. The difference to another receiver is the
overhead of that receiver.
"""

import base64
import ctypes
import hashlib
import json
import os
import socket
import struct
import sys
import threading
from queue import SimpleQueue

from websockets.speedups import apply_mask

PIECE = 512 * 1024
"""Maximum bytes of a read. They are hashed while they are still in the processor's cache."""
PIECES = 8
"""Maximum pieces in the queue between the two threads. Neither doubling nor halving PIECE or PIECES
makes a measurable difference, nor does waiting for full pieces."""
CHUNK = 4 * 1024 * 1024
CREDITS = 4
"""Chunks that are requested ahead."""
READY = json.dumps({"ready": True, "chunksize": CHUNK})
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
KEPT = 64 * 1024 * 1024
"""Bytes of freed memory that malloc keeps, to avoid page faults in new buffers."""


class Receiver:
    """One upload on one connection."""

    def __init__(self, connection: socket.socket, directory: str) -> None:
        self._socket = connection
        self._directory = directory
        self._buffer = memoryview(bytearray(PIECE))
        self._pieces: SimpleQueue[bytes | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(PIECES):
            self._room.put(None)

    def receive(self) -> None:
        """Receive the upload, and wait for the client to close."""
        self._upgrade()
        metadata = json.loads(self._text())
        left, asked = metadata["size"], 0
        sha1 = hashlib.sha1()  # noqa: S324
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        out = os.open(os.path.join(self._directory, os.path.basename(metadata["name"])), flags)
        storing = threading.Thread(target=self._store, args=(out, sha1))
        storing.start()
        try:
            for _ in range(CREDITS):
                if asked < left:
                    self._send(READY)
                    asked += CHUNK
            while left:
                left -= self._chunk()
                if asked < metadata["size"]:
                    self._send(READY)
                    asked += CHUNK
            self._send(READY)
            finished = json.loads(self._text())
        finally:
            self._pieces.put(None)
            storing.join()
            os.close(out)
        right = finished["hash"]["value"] == sha1.hexdigest()
        self._send(json.dumps({"close": True} if right else {"error": "wrong", "fatal": True}))
        self._socket.recv(PIECE)

    def _store(self, out: int, sha1: "hashlib._Hash") -> None:
        while (piece := self._pieces.get()) is not None:
            sha1.update(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(out, rest) :]
            self._room.put(None)

    def _chunk(self) -> int:
        length, key = self._header()
        left = length
        while left:
            count = self._socket.recv_into(self._buffer, min(left, PIECE))
            if not count:
                raise ConnectionError
            self._room.get()
            self._pieces.put(apply_mask(self._buffer[:count], key))
            turn = count % 4
            key = key[turn:] + key[:turn]
            left -= count
        return length

    def _header(self) -> tuple[int, bytes]:
        length = self._exactly(2)[1] & 0x7F
        if length >= 126:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8))
        return length, self._exactly(4)

    def _text(self) -> bytes:
        length, key = self._header()
        return apply_mask(self._exactly(length), key)

    def _exactly(self, length: int) -> bytes:
        data = self._socket.recv(length, socket.MSG_WAITALL)
        if len(data) < length:
            raise ConnectionError
        return data

    def _send(self, text: str) -> None:
        self._socket.sendall(struct.pack("!BB", 0x81, len(text)) + text.encode())

    def _upgrade(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = self._socket.recv(4096)
            if not data:
                raise ConnectionError
            head += data
        lines = head.lower().split(b"\r\n")
        key = next(
            head.split(b"\r\n")[number].partition(b":")[2].strip()
            for number, line in enumerate(lines)
            if line.startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324
        self._socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )


def main() -> None:
    directory, port = sys.argv[1:]
    libc = ctypes.CDLL(None)
    for option in (M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD):
        libc.mallopt(option, KEPT)
    with socket.create_server(("127.0.0.1", int(port)), backlog=1024) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    Receiver(connection, directory).receive()
                except ConnectionError:
                    pass  # a check that the port is open, or a client that disconnected


if __name__ == "__main__":
    main()
