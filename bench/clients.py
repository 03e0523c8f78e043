"""Minimal clients of GalileoSend, HTTP PUT and tus that take almost no CPU time.

File data is sent with sendfile. WebSocket frames are masked with the key 0, which is valid and does
not change the data; the server unmasks them nevertheless.
"""

import json
import os
import struct
from collections.abc import Sequence
from typing import Any

from connection import Connection, Exchange, Part

CHUNK = 250_000
"""Bytes of a chunk if a `ready` has no size: the default of the original clients."""

UPGRADE = (
    b"GET /upload HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def header(opcode: int, length: int) -> bytes:
    """A frame header with the masking key 0."""
    if length < 126:
        return struct.pack("!BB4x", 0x80 | opcode, 0x80 | length)
    if length < 1 << 16:
        return struct.pack("!BBH4x", 0x80 | opcode, 0xFE, length)
    return struct.pack("!BBQ4x", 0x80 | opcode, 0xFF, length)


def text(signal: dict[str, object]) -> bytes:
    """A signal as a frame."""
    data = json.dumps(signal).encode()
    return header(1, len(data)) + data


def upgrade(connection: Connection) -> Exchange:
    """Upgrade the connection to WebSocket."""
    yield from connection.send(UPGRADE)
    yield from connection.response()


def send_metadata(connection: Connection, part: Part) -> Exchange:
    """Send the metadata of an upload, and wait for the first signal of the server."""
    yield from connection.send(text({"name": part.name, "size": part.size}))
    yield from connection.wait_for_data()


def finished(part: Part) -> bytes:
    """The finished signal of an upload, as a frame."""
    return text({"finished": True, "hash": {"type": "sha1", "value": part.sha1}})


def send_content(
    connection: Connection, part: Part, first: dict[str, Any] | None = None
) -> Exchange:
    """Send the data of an upload and `finished`. Raises RuntimeError for an error.

    `first` is the first signal, if it was received already.
    """
    offset, end = part.offset, part.offset + part.size
    while True:
        signal, first = first or (yield from connection.signal()), None
        if not signal.get("ready"):
            raise RuntimeError(signal)
        if offset == end:
            yield from connection.send(finished(part))
            return
        length = min(int(signal.get("chunksize") or CHUNK), end - offset)
        yield from connection.send(header(2, length), more=True)
        yield from connection.send_file(part.source, offset, length)
        offset += length


def send_part(connection: Connection, part: Part) -> Exchange:
    """Send the data of an upload, up to the `close` signal. Raises RuntimeError for an error."""
    yield from send_content(connection, part)
    signal = yield from connection.signal()
    if not signal.get("close"):
        raise RuntimeError(signal)


def galileosend(connection: Connection, part: Part) -> Exchange:
    """An upload with GalileoSend, including the upgrade."""
    yield from upgrade(connection)
    yield from send_metadata(connection, part)
    yield from send_part(connection, part)


def close_websocket(connection: Connection) -> Exchange:
    """Send a Close frame, and wait until the server has closed the connection."""
    yield from connection.send(header(8, 2) + struct.pack("!H", 1000))
    yield from connection.until_end()


def put(connection: Connection, part: Part) -> Exchange:
    """An HTTP PUT."""
    yield from connection.send(put_head(part), more=True)
    yield from connection.send_file(part.source, part.offset, part.size)
    yield from connection.response()


def put_head(part: Part) -> bytes:
    """The head of a PUT."""
    head = f"PUT /{part.name} HTTP/1.1\r\nHost: bench\r\nContent-Length: {part.size}\r\n\r\n"
    return head.encode()


def put_request(part: Part) -> bytes:
    """A whole PUT."""
    return put_head(part) + os.pread(part.source, part.size, part.offset)


def put_each(connection: Connection, requests: Sequence[bytes]) -> Exchange:
    """HTTP requests on one connection, each after the response to the one before."""
    for request in requests:
        yield from connection.send(request)
        yield from connection.response()


def tus(connection: Connection, part: Part) -> Exchange:
    """A tus upload: a POST that creates it, and one PATCH with all data."""
    common = "Host: bench\r\nTus-Resumable: 1.0.0\r\n"
    create = f"POST /files HTTP/1.1\r\n{common}Upload-Length: {part.size}\r\n"
    yield from connection.send(f"{create}Content-Length: 0\r\n\r\n".encode())
    fields = yield from connection.response()
    path = fields["location"].partition("//")[2].partition("/")[2]
    patch = f"PATCH /{path} HTTP/1.1\r\n{common}Upload-Offset: 0\r\n"
    kind = "Content-Type: application/offset+octet-stream\r\n"
    yield from connection.send(
        f"{patch}{kind}Content-Length: {part.size}\r\n\r\n".encode(), more=part.size > 0
    )
    yield from connection.send_file(part.source, part.offset, part.size)
    yield from connection.response()
