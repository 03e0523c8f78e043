"""Section 3, judging a server: each `ready` is a credit for one chunk."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from galileod.conformance.case import MANY_SECONDS, server_case
from galileod.conformance.cases._server_uploads import (
    GATHERING,
    SEVERAL,
    check_refused,
    check_stored,
    credit,
    make_content,
    next_signals,
    send_at_once,
)
from galileod.conformance.events import Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

LARGE: Final = 4 * 1024 * 1024
"""Bytes of a file that is larger than the credits of most servers."""
MAX_BORDER: Final = 700_000
"""Bytes of the largest `chunksize` around which further files are sent: each is that long."""

Choose = Callable[[int, int], int]
"""Gets the bytes of the credit and the number of the chunk, and returns the bytes to send."""


def _full(limit: int, _number: int) -> int:
    return limit


async def _next_ready(
    connection: ServerConnection, judge: Judge, sent: int, size: int, progress: str | None
) -> Signal:
    """The next signal, which must be `ready` after `sent` of `size` bytes; ends the case otherwise.

    `progress` is what does not hold where nothing comes.
    """
    event = await connection.message()
    signal = as_signal(event) or {}
    if not signal.get("ready"):
        refused = "S3.2" if sent else None
        judge.fail(
            progress if isinstance(event, Nothing) else refused,
            f"expected ready after {sent} of {size} bytes, {describe(event)}",
        )
    return signal


async def _check_upload(
    server: Server, judge: Judge, content: bytes, choose: Choose, progress: str
) -> int:
    """Upload with the chunks that `choose` says; return the first credit.

    `progress` is what does not hold where nothing comes while bytes are missing. The credits are
    judged by the rules of the dialogue.
    """
    name, size, first, sent, number = server.name(), len(content), 0, 0, 0
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, size)
        while sent < size:
            ready = await _next_ready(connection, judge, sent, size, progress)
            limit = credit(ready, size - sent)
            first = first or limit
            length = max(1, choose(limit, number))
            await connection.send_chunk(content[sent : sent + length])
            sent, number = sent + length, number + 1
        await _next_ready(connection, judge, sent, size, None)
        await connection.send_finished(content)
        close = await connection.expect_close("S3.7", "expected close, since the hash is right")
        await check_stored(server, judge, "S3.7", close.get("name", name), content)
    return first


@server_case(
    "3.1.1",
    "Files of many sizes are stored if each chunk is as large as its credit.",
    requirements=("S3.1", "S3.2", "S3.4", "S3.6", "S3.7"),
)
async def full_chunks(server: Server, judge: Judge) -> None:
    """Among them sizes around the usual chunk, and around the server's own."""
    sizes = {1, 65_536, DEFAULT_CHUNK - 1, DEFAULT_CHUNK, DEFAULT_CHUNK + 1}
    first = await _check_upload(server, judge, make_content(SEVERAL), _full, "S3.4")
    if first <= MAX_BORDER:
        sizes |= {first - 1, first, first + 1, 2 * first}
    for size in sorted(sizes - {0}):
        await _check_upload(server, judge, make_content(size), _full, "S3.4")


@server_case(
    "3.1.2",
    "A client that always sends half of its credit can send the whole file.",
    requirements=("S3.1", "S3.2", "S3.3", "S3.6", "S3.7"),
)
async def half_chunks(server: Server, judge: Judge) -> None:
    """A short file, since a server may make its credits smaller and smaller."""
    await _check_upload(server, judge, make_content(701), lambda limit, _number: limit // 2, "S3.3")


@server_case(
    "3.1.3",
    "A client that sends one byte of each credit can send the whole file.",
    requirements=("S3.1", "S3.2", "S3.3", "S3.6", "S3.7"),
    seconds=MANY_SECONDS,
)
async def chunks_of_one_byte(server: Server, judge: Judge) -> None:
    """251 chunks."""
    await _check_upload(server, judge, make_content(251), lambda _limit, _number: 1, "S3.3")


@server_case(
    "3.1.4",
    "Chunks of changing sizes, each within its credit, make the whole file.",
    requirements=("S3.1", "S3.2", "S3.3", "S3.6", "S3.7"),
)
async def changing_chunks(server: Server, judge: Judge) -> None:
    """Full ones, nearly full ones and short ones, then full ones to the end."""

    def choose(limit: int, number: int) -> int:
        parts = (limit, limit - 1, limit // 3, limit, 5_003)
        return min(limit, parts[number] if number < len(parts) else limit)

    await _check_upload(server, judge, make_content(SEVERAL), choose, "S3.3")


@server_case(
    "3.1.5",
    "Chunks that arrive together are stored in their order.",
    requirements=("S3.1", "S3.2", "S3.4", "S3.6", "S3.7"),
)
async def chunks_together(server: Server, judge: Judge) -> None:
    """All credits that the server gives at once are answered in one write."""
    name, content = server.name(), make_content(SEVERAL)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content))
        sent = 0
        while sent < len(content):
            readies = [await _next_ready(connection, judge, sent, len(content), "S3.4")]
            more, _ = await next_signals(connection, GATHERING)
            readies += [signal for signal in more if signal.get("ready")]
            chunks: list[bytes] = []
            for ready in readies:
                size = credit(ready, len(content) - sent)
                if size:
                    chunks.append(content[sent : sent + size])
                sent += size
            await send_at_once(connection, *chunks)
        await _next_ready(connection, judge, sent, len(content), None)
        await connection.send_finished(content)
        close = await connection.expect_close("S3.7", "expected close, since the hash is right")
        await check_stored(server, judge, "S3.7", close.get("name", name), content)


@server_case(
    "3.1.6",
    "A chunk larger than every credit gets a fatal error.",
    requirements=("S3.5",),
)
async def chunk_too_large(server: Server, judge: Judge) -> None:
    """One byte more than the largest credit, as the first chunk and as the second."""
    async with AsyncExitStack() as stack:  # a server may take its time to end each connection
        for before in (0, 1):
            connection = await stack.enter_async_context(server.connect())
            await connection.send_metadata(server.name(), LARGE)
            readies = [await connection.expect_ready()]
            if before:
                await connection.send_chunk(make_content(credit(readies[0], LARGE)))
            more, _ = await next_signals(connection, GATHERING)
            limits = [ready.get("chunksize") or LARGE for ready in readies + more]
            if (size := max(limits) + 1) > LARGE // 2:
                judge.info(f"the credits are not stated, or above {LARGE // 2} bytes: {limits}")
                return
            await connection.send_chunk(make_content(size))
            what = f"a chunk of {size} bytes, one more than the largest credit"
            await check_refused(connection, judge, "S3.5", what, passing_ready=True)


@server_case(
    "3.1.7",
    "Chunks that are sent without waiting get a fatal error, or a credit each.",
    requirements=("S3.5",),
)
async def chunks_without_credit(server: Server, judge: Judge) -> None:
    """64 chunks in one write. What the server takes must have had a credit when it was read."""
    content = make_content(64)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(server.name(), len(content))
        await connection.expect_ready()
        await send_at_once(connection, *(bytes([byte]) for byte in content))
        await connection.send_finished(content)
        readies = 1
        while (signal := await connection.signal()) is not None and signal.get("ready"):
            readies += 1
        if signal is None:
            event = await connection.message(0)
            judge.fail(None, f"expected a fatal error or close, {describe(event)}")
        judge.check(
            "S3.5",
            signal.get("error") or readies >= len(content),
            f"expected a fatal error, or a ready for each of {len(content)} chunks,"
            f" but {readies} came and all were taken",
        )
