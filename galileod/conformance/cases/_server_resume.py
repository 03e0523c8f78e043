"""Steps of the cases that judge how a server resumes uploads."""

import json
import secrets
from typing import Any, Final

import attrs
from websockets.frames import Opcode

from galileod.conformance.cases._server_uploads import check_stored
from galileod.conformance.events import Ended, Nothing, Pong
from galileod.conformance.frames import encode
from galileod.conformance.peer import DEFAULT_CHUNK, Signal
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

SIZE: Final = 3_000_001
"""Bytes of a file that is interrupted. A server need not keep small ones, and may round offsets."""
PART: Final = 2_000_003
"""Bytes that are sent before the interruption."""
SMALL: Final = 1000
"""Bytes of a file of which nothing has to be kept."""
MODIFIED: Final = 1_768_300_000_000
"""The time of modification in the metadata."""

_PING: Final = b"all received"


@attrs.frozen
class Upload:
    """A file, and the key of its upload."""

    name: str
    content: bytes = attrs.field(repr=False)
    key: str = attrs.field(factory=lambda: secrets.token_hex(16))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content)


def new_upload(server: Server, size: int = SIZE) -> Upload:
    """A file of random bytes under a new name, with a new key."""
    return Upload(server.name(), secrets.token_bytes(size))


def stated(signal: Signal) -> list[Any]:
    """The extensions that a first signal states; none where `can` is absent or no list."""
    can = signal.get("can")
    return can if isinstance(can, list) else []


async def announce(
    connection: ServerConnection,
    upload: Upload,
    /,
    **more: Any,  # noqa: ANN401  # JSON
) -> Signal:
    """Send the metadata, with `more` in place of its keys; return the server's first signal."""
    metadata: Signal = {"modified": MODIFIED, "can": ["resume"], "upload": upload.key} | more
    name, size = metadata.pop("name", upload.name), metadata.pop("size", upload.size)
    await connection.send_metadata(name, size, **metadata)
    signal = await connection.signal()
    if signal is None:
        connection.trial.judge.fail(None, "expected an answer to the metadata, but none came")
    if connection.warned is not None and "can" in connection.warned:
        return {**signal, "can": connection.warned["can"]}  # that was the first signal
    return signal


async def begin(connection: ServerConnection, upload: Upload) -> Signal:
    """Begin an upload; return the first `ready`. UNSUPPORTED where it does not state `resume`."""
    signal = await announce(connection, upload)
    judge = connection.trial.judge
    judge.require(None, signal.get("ready"), f"expected ready for a new key, but {signal} came")
    if "resume" not in stated(signal):
        judge.unsupported("the server does not offer resume")
    return signal


async def need_resume(server: Server) -> None:
    """UNSUPPORTED where the server does not offer `resume`."""
    async with server.connect() as connection:
        await begin(connection, new_upload(server, SMALL))


async def resume(
    connection: ServerConnection, upload: Upload, requirement: str | None = None
) -> tuple[Signal, int]:
    """Continue an upload, or begin it anew; return the first `ready` and its offset."""
    ready = await announce(connection, upload)
    judge = connection.trial.judge
    judge.require(requirement, ready.get("ready"), f"expected ready for the key, but {ready} came")
    return ready, offset_in(connection, upload, ready)


def offset_in(connection: ServerConnection, upload: Upload, ready: Signal) -> int:
    """The offset of a first `ready`; ends the case where it is not valid."""
    offset = ready.get("offset")
    if type(offset) is not int or not 0 <= offset <= upload.size:
        connection.trial.judge.fail(
            None, f"expected an offset from 0 to {upload.size}, but {ready} came"
        )
    return offset


async def send_bytes(
    connection: ServerConnection,
    upload: Upload,
    ready: Signal,
    start: int,
    stop: int,
    requirement: str | None = None,
) -> None:
    """Send the bytes from `start` to `stop`; the first chunk answers `ready`."""
    at = start
    while at < stop:
        if at > start:
            ready = await connection.expect_ready(requirement)
        size = min(chunk_size(ready), stop - at)
        await connection.send_chunk(upload.content[at : at + size])
        at += size


def chunk_size(ready: Signal) -> int:
    """How many bytes a chunk may have that answers `ready`."""
    limit = ready.get("chunksize")
    return limit if isinstance(limit, int) and limit > 0 else DEFAULT_CHUNK


async def complete(
    connection: ServerConnection,
    upload: Upload,
    ready: Signal,
    offset: int,
    requirement: str | None = None,
) -> Signal:
    """Send the rest of the file and `finished` with the hash of all; return `close`."""
    await send_bytes(connection, upload, ready, offset, upload.size, requirement)
    if offset < upload.size:
        await connection.expect_ready(requirement, "expected ready after the last byte")
    await connection.send_finished(upload.content)
    return await connection.expect_close(requirement)


async def wait_received(connection: ServerConnection) -> None:
    """Wait until the server has received all that was sent: it answers a Ping behind it.

    Signals that come before are passed over.
    """
    await connection.websocket.send_ping(_PING)
    while not isinstance(event := await connection.websocket.receive(), Nothing | Ended):
        if event == Pong(_PING):
            return
    connection.trial.judge.fail(None, "expected a Pong behind the data sent, but none came")


async def lose(connection: ServerConnection, part: bytes = b"") -> None:
    """End the connection without a Close frame, within a chunk if `part` is given."""
    if part:
        frame = encode(Opcode.BINARY, part, fin=True, rsv=0, mask=secrets.token_bytes(4))
        await connection.websocket.send_raw(frame[: len(frame) - len(part) // 2])
    await connection.websocket.aclose()


async def interrupt(server: Server, upload: Upload, stop: int = PART) -> None:
    """Begin an upload, send the bytes up to `stop`, and lose the connection.

    UNSUPPORTED where the server does not offer `resume`.
    """
    async with server.connect() as connection:
        ready = await begin(connection, upload)
        await send_bytes(connection, upload, ready, 0, stop)
        await wait_received(connection)
        await lose(connection)


async def keep(server: Server, upload: Upload, stop: int = PART) -> int:
    """As `interrupt`; then see that the upload is kept, and return its offset.

    UNSUPPORTED where the server keeps nothing: it may discard uploads early.
    """
    await interrupt(server, upload, stop)
    async with server.connect() as connection:
        _, offset = await resume(connection, upload)
        need_kept(connection, offset)
        await lose(connection)
    return offset


def need_kept(connection: ServerConnection, offset: int) -> None:
    """UNSUPPORTED where the offset of an interrupted upload is 0, which the text permits."""
    if offset == 0:
        connection.trial.judge.unsupported(
            f"the server has kept nothing of a file of {SIZE} bytes, which is permitted"
        )


async def check_stored_once(
    server: Server, upload: Upload, close: Signal, requirement: str | None
) -> None:
    """Check that the file is stored as `close` says, whole, and once where that can be seen."""
    judge = server.trial.judge
    await check_stored(server, judge, requirement, close.get("name", upload.name), upload.content)
    if "listing" in server.target.offers:
        stem = upload.name.rpartition(".")[0]
        names = sorted(path for path in await server.listing() if stem in path)
        judge.check(requirement, len(names) == 1, f"expected one stored file, but found {names}")


async def check_not_stored(
    server: Server, upload: Upload, requirement: str | None, when: str
) -> None:
    """Check that no file is stored under the upload's name."""
    stored = await server.stored(upload.name)
    server.trial.judge.check(
        requirement, stored is None, f"expected no stored file {when}, but there is one"
    )


def dumped(signal: Signal) -> str:
    """A signal as JSON, in lower case."""
    return json.dumps(signal).lower()
