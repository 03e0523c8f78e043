"""What the cases that judge a server share: contents, credits, and uploads that must fail."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Message, Nothing
from galileod.conformance.frames import encode
from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

GATHERING: Final = 0.2
"""Seconds without a further `ready` after which a case takes the credits for complete."""

SEVERAL: Final = 1_000_003
"""Bytes of a file that most servers take in several chunks; odd, and no multiple of anything."""


def make_content(size: int, which: int = 0) -> bytes:
    """`size` bytes that look random; another `which` gives other bytes."""
    return hashlib.shake_128(str(which).encode()).digest(size)


def metadata(connection: ServerConnection, name: str, size: int) -> Signal:
    """Metadata with the token, for a case that writes the JSON itself."""
    token = {} if connection.token is None else {"token": connection.token}
    return {"name": name, "size": size, **token}


async def send_at_once(connection: ServerConnection, *messages: str | bytes) -> None:
    """Send TEXT (a string) and BINARY messages in one write."""
    frames = [
        encode(
            Opcode.TEXT if isinstance(message, str) else Opcode.BINARY,
            message.encode() if isinstance(message, str) else message,
            fin=True,
            rsv=0,
            mask=secrets.token_bytes(4),
        )
        for message in messages
    ]
    await connection.websocket.send_raw(b"".join(frames))


async def check_stored(
    server: Server, judge: Judge, requirement: str | None, name: str, expected: bytes | None
) -> None:
    """Check what is stored under `name`; None: nothing must be."""
    stored = await server.stored(name)
    if stored != expected:
        sentence = f"expected {_bytes(expected)} stored as {name}, but {_found(stored, expected)}"
        judge.check(requirement, holds=False, sentence=sentence)


async def check_upload(
    server: Server,
    judge: Judge,
    requirement: str,
    content: bytes,
    *,
    chunk: int = DEFAULT_CHUNK,
    kind: str | None = "sha1",
    **more: Any,  # noqa: ANN401  # JSON
) -> None:
    """Check that an upload succeeds, and that its file is stored when `close` comes."""
    name = server.name()
    async with server.connect(content=content) as connection:
        close = await connection.upload(
            name, content, chunk=chunk, kind=kind, requirement=requirement, **more
        )
        await check_stored(server, judge, requirement, close.get("name", name), content)


async def check_absent(
    server: Server, judge: Judge, requirement: str, names: Mapping[str, str]
) -> None:
    """Check that no file of `names` is stored, after a further upload was answered.

    The values of `names` say what became of each upload. By the time of the further answer, a
    server that stores files of failed uploads has usually done it.
    """
    async with server.connect() as connection:
        await connection.upload(server.name(), b"behind the failed ones")
    for name, what in names.items():
        if (stored := await server.stored(name)) is not None:
            found = f"{_found(stored, None)} as {name}"
            sentence = f"expected no file stored after {what}, but {found}"
            judge.check(requirement, holds=False, sentence=sentence)


async def check_refused(
    connection: ServerConnection,
    judge: Judge,
    requirement: str,
    what: str,
    *,
    passing_ready: bool = False,
) -> Signal | None:
    """Check that a fatal error is the next signal; return it, or None where another comes.

    With `passing_ready`, `ready` signals before it are passed over.
    """
    event = await connection.message()
    while passing_ready and (signal := as_signal(event)) is not None and signal.get("ready"):
        event = await connection.message()
    signal = as_signal(event)
    refused = signal is not None and signal.get("error") and signal.get("fatal")
    judge.check(requirement, refused, f"expected a fatal error for {what}, {describe(event)}")
    return signal if refused else None


async def next_signals(
    connection: ServerConnection, within: float
) -> tuple[list[Signal], Close | Ended | Nothing]:
    """The signals that come until none comes for `within` seconds, and what came instead."""
    signals: list[Signal] = []
    while isinstance(event := await connection.message(within), Message):
        if (signal := as_signal(event)) is not None:
            signals.append(signal)
    return signals, event


def credit(ready: Signal, missing: int) -> int:
    """The most bytes of the chunk that answers `ready`."""
    stated = ready.get("chunksize")
    limit = stated if isinstance(stated, int) and stated > 0 else DEFAULT_CHUNK
    return min(limit, missing)


async def send_part(connection: ServerConnection, content: bytes, requirement: str | None) -> int:
    """Answer the first `ready` with at most half of `content`; return how many bytes were sent."""
    ready = await connection.expect_ready(requirement)
    size = credit(ready, len(content) // 2)
    await connection.send_chunk(content[:size])
    return size


async def send_until_finished(connection: ServerConnection, name: str, content: bytes) -> None:
    """Everything before `finished`."""
    await connection.send_metadata(name, len(content))
    await connection.send_content(content)
    await connection.expect_ready()


# Uploads that must fail. Each is a function that brings a new connection to where the server must
# answer with a fatal error.

Failure = Callable[[ServerConnection, str], Awaitable[None]]

_CONTENT: Final = make_content(5001)


async def _without_size(connection: ServerConnection, name: str) -> None:
    signal = metadata(connection, name, 0)
    del signal["size"]
    await connection.send(signal)


async def _no_json(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    await send_part(connection, _CONTENT, None)
    await connection.websocket.send_text("no JSON")


async def _finished_early(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    sent = await send_part(connection, _CONTENT, None)
    await connection.send_finished(_CONTENT[:sent])


async def _too_many_bytes(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    await connection.send_content(_CONTENT)
    await connection.expect_ready()
    await connection.send_chunk(b"!")


async def _chunk_beyond(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    await connection.expect_ready()
    await connection.send_chunk(_CONTENT + b"!")


async def _wrong_hash(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    await connection.send_content(_CONTENT)
    await connection.expect_ready()
    await connection.send_finished(_CONTENT[1:])


async def _unknown_hash(connection: ServerConnection, name: str) -> None:
    await connection.send_metadata(name, len(_CONTENT))
    await connection.send_content(_CONTENT)
    await connection.expect_ready()
    await connection.send({"finished": True, "hash": {"type": "conformance", "value": "00"}})


FAILURES: Final[Mapping[str, Failure]] = {
    "metadata without size": _without_size,
    "a TEXT message that is not JSON": _no_json,
    "finished before the last byte": _finished_early,
    "a byte beyond the size": _too_many_bytes,
    "a chunk larger than the file": _chunk_beyond,
    "a wrong hash": _wrong_hash,
    "a hash of an unknown type": _unknown_hash,
}


def _bytes(content: bytes | None) -> str:
    return "no file" if content is None else f"{len(content)} bytes"


def _found(stored: bytes | None, expected: bytes | None) -> str:
    if stored is None:
        return "there is no file"
    if expected is None or len(stored) != len(expected):
        return f"{len(stored)} bytes are there"
    pairs = zip(stored, expected, strict=True)
    at = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
    return f"the content differs from byte {at} on"
