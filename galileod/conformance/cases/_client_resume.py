"""Steps of the cases that judge how a client resumes uploads."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import attrs

from galileod.conformance.client import DEFAULT_NAME, Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.peer import Signal
from galileod.conformance.run import Outcome, Run

SIZE: Final = 2_000_001
"""Bytes of a file that is interrupted. A client need not resume small ones."""
SMALL: Final = 5000
"""Bytes of a file that is not interrupted."""
CHUNK: Final = 200_003
"""The `chunksize` of each `ready` for data."""
KEEP: Final = 3600
"""The `keep` and `kept` that the kit states, in seconds."""
RETRY_SECONDS: Final = 10.0
"""Seconds in which a client tries again by itself, if it does."""


def new_content(size: int = SIZE) -> bytes:
    """The random bytes of a file."""
    return secrets.token_bytes(size)


def agreed(offset: object, **more: Any) -> Signal:  # noqa: ANN401  # JSON
    """The keys of a first `ready` that states `resume`."""
    return {"can": ["resume"], "offset": offset, "keep": KEEP, **more}


@attrs.define(eq=False)
class Attempts:
    """The attempts of a client to send one file.

    A client may try again by itself, or only where its user makes it: so where it ends without
    having tried again, it is started once more.
    """

    client: Client
    content: bytes = attrs.field(repr=False)
    name: str
    _stack: AsyncExitStack
    _run: Run | None = attrs.field(default=None, init=False)
    _key: object = attrs.field(default=None, init=False)
    """That of the attempts until now."""

    async def first(self) -> ClientConnection:
        """Start the client; its first connection, before its metadata."""
        self._run = await self._stack.enter_async_context(self.client.send(self.content, self.name))
        return await self._run.accept()

    async def begin(self) -> tuple[ClientConnection, Signal]:
        """The first connection and its metadata. UNSUPPORTED unless they offer `resume`."""
        connection = await self.first()
        return connection, await self.offer(connection)

    async def offer(self, connection: ClientConnection) -> Signal:
        """The metadata on a connection. UNSUPPORTED unless they offer `resume`."""
        metadata = await connection.metadata()
        can = metadata.get("can")
        if not isinstance(can, list) or "resume" not in can:
            await end_with(connection, code="bad_metadata")
            connection.trial.judge.unsupported("the client does not offer resume")
        self._key = metadata.get("upload")
        return metadata

    async def again(self) -> tuple[ClientConnection, Signal]:
        """The next attempt for the same upload, and its metadata.

        UNSUPPORTED where the client begins a new upload when it is started once more: it need not
        remember anything beyond its end.
        """
        before = self._run
        connection, metadata = await self.next()
        if self._run is not before and metadata.get("upload") != self._key:
            await end_with(connection, code="bad_metadata")
            self.client.trial.judge.unsupported(
                "the client does not resume by itself, nor when it is started again"
            )
        return connection, metadata

    async def next(self) -> tuple[ClientConnection, Signal]:
        """The next connection and its metadata."""
        connection = await self._running().accept_or_none(RETRY_SECONDS)
        if connection is None:
            outcome = await self._running().outcome()
            self.client.trial.judge.require(
                None,
                not outcome.success,
                "expected failure or another attempt after an interruption, got success",
            )
            await self._stack.aclose()
            self.client.trial.transcript.note("the client is started once more")
            connection = await self.first()
        return connection, await connection.metadata()

    async def another(self, within: float | None = None) -> ClientConnection | None:
        """Another connection that the client makes by itself; None where it makes none."""
        return await self._running().accept_or_none(within)

    async def outcome(self) -> Outcome:
        """How the client says that the upload has ended."""
        return await self._running().outcome()

    async def expect_success(self, requirement: str | None) -> None:
        """Check that the client reports success."""
        outcome = await self.outcome()
        self.client.trial.judge.check(
            requirement, outcome.success, f"expected success, got failure: {outcome.output}"
        )

    async def expect_failure(self, requirement: str | None, why: str) -> None:
        """Check that the client reports failure."""
        outcome = await self.outcome()
        self.client.trial.judge.check(
            requirement, not outcome.success, f"expected failure {why}, got success"
        )

    def _running(self) -> Run:
        if self._run is None:
            raise AssertionError("the client was not started")
        return self._run


@asynccontextmanager
async def attempts(
    client: Client, content: bytes, name: str = DEFAULT_NAME
) -> AsyncIterator[Attempts]:
    """The attempts to send a file; at the end, the client is stopped."""
    async with AsyncExitStack() as stack:
        yield Attempts(client, content, name, stack)


async def end_with(connection: ClientConnection, **error: Any) -> None:  # noqa: ANN401  # JSON
    """Send a fatal error, and end the connection in order."""
    await connection.error(**error)
    await connection.finish()


async def take(
    connection: ClientConnection, content: bytes, chunks: int, first: Signal, requirement: str
) -> int:
    """Send `first` as the first `ready`, and take some chunks; return where the last one ends.

    Checks that they are the bytes from the offset on.
    """
    at = offset = int(first["offset"])
    for number in range(chunks):
        await connection.ready(CHUNK, **(first if number == 0 else {}))
        data = await connection.chunk(requirement)
        right = data == content[at : at + len(data)]
        connection.trial.judge.require(
            requirement,
            right and data,
            f"expected the bytes from {at} on after the offset {offset}, but others came",
        )
        at += len(data)
    return at


async def take_rest(
    connection: ClientConnection, content: bytes, first: Signal, requirement: str
) -> Signal:
    """Send `first` as the first `ready`, take the rest of the file, and return `finished`."""
    offset = int(first["offset"])
    limit = None if offset == len(content) else CHUNK
    rest, finished = await connection.receive_content(
        len(content) - offset, chunksize=limit, requirement=requirement, **first
    )
    connection.trial.judge.check(
        requirement,
        rest == content[offset:],
        f"expected the bytes from the offset {offset} on, but others came",
    )
    return finished
