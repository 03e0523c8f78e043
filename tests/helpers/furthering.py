"""Files of one connection, as a client with `next` sends them."""

import hashlib
import json
from typing import Any

from helpers.wire import BINARY, TEXT, RawPeer, Wire, frame, header, text_frame

from galileod.config.model import Config
from galileod.policy.settings import Chunks
from galileod.units import Size

Signal = dict[str, Any]


def limited(*, following: int = 256, whole: int = 1000, room: int = 4000) -> Config:
    """A configuration with these limits for further files."""
    return Config(chunks=Chunks(next=following, whole=Size(whole), room=Size(room)))


def metadata(name: str, size: int, **more: object) -> bytes:
    """The metadata of a further file, as a frame."""
    return text_frame({"name": name, "size": size, **more})


def chunk(data: bytes) -> bytes:
    """A BINARY message, as a frame."""
    return header(BINARY, len(data)) + data


def finished(data: bytes | None = None) -> bytes:
    """`finished`, with the sha1 of `data` unless that is None."""
    if data is None:
        return text_frame({"finished": True})
    value = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return text_frame({"finished": True, "hash": {"type": "sha1", "value": value}})


def whole(name: str, data: bytes, **more: object) -> bytes:
    """A file that is sent whole, as frames."""
    body = chunk(data) if data else b""
    return metadata(name, len(data), **more) + body + finished(data)


async def begin(wire: Wire, can: tuple[str, ...] = ("next",), **more: object) -> RawPeer:
    """A connection whose first file, an empty one, is stored; it is named `0` by default."""
    raw, first = await offer(wire, can, **more)
    assert {"next", "whole", "room"} <= first.keys()
    await raw.send(text_frame({"finished": True}))
    assert await raw.receive() == stored(str(more.get("name", "0")))
    return raw


def stored(path: str, **more: object) -> Signal:
    """The signal that a file is stored at `path`, where an extension is agreed."""
    return {"close": True, "path": path, **more}


async def offer(
    wire: Wire, can: tuple[str, ...] = ("next",), **more: object
) -> tuple[RawPeer, Signal]:
    """A connection whose first file, an empty one, has begun; and the first signal."""
    raw = await wire.open_raw()
    await raw.send(text_frame({"name": "0", "size": 0, "can": list(can), **more}))
    return raw, await raw.receive()


async def answers(raw: RawPeer, count: int) -> dict[int, Signal]:
    """The next `count` signals, by the number of their file."""
    found: dict[int, Signal] = {}
    for _ in range(count):
        signal = await raw.receive()
        assert signal["file"] not in found, signal
        found[signal.pop("file")] = signal
    return found


async def end(raw: RawPeer) -> list[Signal]:
    """Close as a client does; returns the signals that still came."""
    await raw.send(frame(0x8, (1000).to_bytes(2)))
    frames = await raw.receive_frames()
    return [json.loads(each.payload) for each in frames if each.opcode == TEXT]
