"""Section 4, judging a server: the end of the file."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import trio

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import (
    FAILURES,
    SEVERAL,
    check_absent,
    check_refused,
    check_stored,
    credit,
    make_content,
    next_signals,
    send_at_once,
    send_part,
    send_until_finished,
)
from galileod.conformance.judge import Judge
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection, digest

SIZES: Final = (0, 1, 1001, SEVERAL)
"""Bytes of files: empty, short, and in several chunks."""
MOMENT: Final = 0.05
"""Seconds to read what has come while the case waited elsewhere, and between two looks."""


@server_case(
    "4.1.1",
    "After the last byte comes ready, after finished close, and the file is stored then.",
    requirements=("S4.1", "S4.3", "S4.5", "S4.14"),
)
async def straight_way(server: Server, judge: Judge) -> None:
    """An empty file, a short one, and one of several chunks, with their sha1."""
    for size in SIZES:
        name, content = server.name(), make_content(size)
        async with server.connect(content=content) as connection:
            await connection.send_metadata(name, size)
            await connection.send_content(content)
            await connection.expect_ready("S4.1", f"expected ready after {size} of {size} bytes")
            await connection.send_finished(content)
            close = await connection.expect_close(
                "S4.5" if size else "S4.14", f"expected close for {size} bytes with their sha1"
            )
            stored = "S4.3" if size else "S4.14"
            await check_stored(server, judge, stored, close.get("name", name), content)


@server_case(
    "4.1.2",
    "Without finished there is no close.",
    requirements=("S4.2",),
)
async def close_only_behind_finished(server: Server, judge: Judge) -> None:
    """For one second after all bytes, after half of them, and for an empty file.

    The rules of the dialogue judge what comes.
    """
    del judge
    async with AsyncExitStack() as stack:
        waiting: list[ServerConnection] = []
        for size, part in ((2001, 2001), (2001, 1000), (0, 0)):
            content = make_content(size)
            connection = await stack.enter_async_context(server.connect(content=content))
            await connection.send_metadata(server.name(), size)
            await connection.send_content(content[:part])
            await connection.expect_ready()
            waiting.append(connection)
        await trio.sleep(server.trial.silence)
        for connection in waiting:
            await next_signals(connection, MOMENT)


@server_case(
    "4.1.3",
    "Finished before the last byte gets a fatal error.",
    requirements=("S4.4",),
)
async def finished_early(server: Server, judge: Judge) -> None:
    """Before the first byte, after half of the file, and before its last byte."""
    content = make_content(2001)
    for sent in (0, 1000, 2000):
        async with server.connect(content=content) as connection:
            await connection.send_metadata(server.name(), len(content))
            await connection.send_content(content[:sent])
            await connection.expect_ready()
            await connection.send_finished(content[:sent])
            what = f"finished after {sent} of {len(content)} bytes"
            await check_refused(connection, judge, "S4.4", what, passing_ready=True)


@server_case(
    "4.1.4",
    "Bytes beyond the size get a fatal error.",
    requirements=("S4.4",),
)
async def bytes_beyond_size(server: Server, judge: Judge) -> None:
    """In a further chunk, and in the chunk with the last byte; then finished, without a hash."""
    async with AsyncExitStack() as stack:  # a server may take its time to end each connection
        for size in SIZES:
            for together in (False, True):
                connection = await stack.enter_async_context(server.connect())
                await _send_beyond(connection, server.name(), size, together=together)
                await connection.send_finished()
                what = f"a byte beyond {size}, {'in the last chunk' if together else 'alone'}"
                await check_refused(connection, judge, "S4.4", what, passing_ready=True)


async def _send_beyond(
    connection: ServerConnection, name: str, size: int, *, together: bool
) -> None:
    """Send one byte more than `size`, in the last chunk or in one of its own."""
    content, sent = make_content(size + 1), 0
    await connection.send_metadata(name, size)
    ready = await connection.expect_ready()
    while sent < size:
        length = credit(ready, size - sent)
        if together and sent + length == size:
            break
        await connection.send_chunk(content[sent : sent + length])
        sent += length
        ready = await connection.expect_ready()
    await connection.send_chunk(content[sent:])


@server_case(
    "4.1.9",
    "The file of an upload that failed is not stored.",
    requirements=("S4.9",),
)
async def failed_upload(server: Server, judge: Judge) -> None:
    """After several kinds of failures."""
    names: dict[str, str] = {}
    async with AsyncExitStack() as stack:  # a server may take its time to end each connection
        for what, failure in FAILURES.items():
            name = server.name()
            names[name] = what
            connection = await stack.enter_async_context(server.connect())
            await failure(connection, name)
            await connection.expect_error()
    await check_absent(server, judge, "S4.9", names)


async def _close_frame(connection: ServerConnection) -> None:
    await connection.finish()


async def _end_of_stream(connection: ServerConnection) -> None:
    await connection.websocket.aclose()


async def _reset(connection: ServerConnection) -> None:
    await connection.websocket.abort()


CANCELS: Final[dict[str, Callable[[ServerConnection], Awaitable[None]]]] = {
    "a Close frame": _close_frame,
    "the end of the connection": _end_of_stream,
    "a reset of the connection": _reset,
}


@server_case(
    "4.1.10",
    "A file is not stored if the client ends the connection before finished.",
    requirements=("S4.9",),
)
async def cancelled_upload(server: Server, judge: Judge) -> None:
    """Within the file, after all of its bytes, and for an empty file."""
    names: dict[str, str] = {}
    for how, cancel in CANCELS.items():
        for size, part in ((2001, 1000), (2001, 2001), (0, 0)):
            name, content = server.name(), make_content(size)
            names[name] = f"{part} of {size} bytes and {how}"
            async with server.connect(content=content) as connection:
                await connection.send_metadata(name, size)
                await connection.send_content(content[:part])
                await connection.expect_ready()
                await cancel(connection)
    await check_absent(server, judge, "S4.9", names)


@server_case(
    "4.1.11",
    "Further finished signals and empty chunks are ignored, and nothing follows close.",
    requirements=("S2.3", "S4.10", "S4.12"),
)
async def behind_finished(server: Server, judge: Judge) -> None:
    """Finished again and empty chunks; a plain upload; another file behind it; all for a second."""
    content, other = make_content(1001), make_content(1001, which=1)
    first, second = server.name(), server.name()
    finished = json.dumps({"finished": True, "hash": digest(content)})
    async with AsyncExitStack() as stack:
        again = await stack.enter_async_context(server.connect(content=content))
        await send_until_finished(again, first, content)
        other_hash = finished.replace(digest(content)["value"], "00")
        await send_at_once(again, finished, finished, b"", other_hash, b"")
        close = await again.expect_close("S4.10", "expected close for the first of two finished")
        await send_at_once(again, finished, b"")

        plain = await stack.enter_async_context(server.connect(content=content))
        await plain.upload(server.name(), content)

        further = await stack.enter_async_context(server.connect())
        await further.upload(server.name(), content)
        await further.send_metadata(second, len(other))
        await further.send_chunk(other)
        await further.send_finished(other)

        await trio.sleep(server.trial.silence)
        for connection, requirement, what in (
            (again, "S4.10", "after further finished signals and empty chunks"),
            (plain, "S4.12", "after close"),
            (further, "S4.12", "after close, for another file"),
        ):
            signals, _ = await next_signals(connection, MOMENT)
            judge.check(
                requirement,
                not signals,
                f"expected one close and no more {what}, but {signals} came",
            )
    await check_stored(server, judge, "S4.10", close.get("name", first), content)
    await check_absent(server, judge, "S2.3", {second: "metadata behind close"})


@server_case(
    "4.1.12",
    "The close of a file that is stored under another name states that name.",
    requirements=("S4.11",),
)
async def other_name(server: Server, judge: Judge) -> None:
    """A name that is taken, and names that servers change. A server may refuse each."""
    taken = server.name()
    async with server.connect() as connection:
        await connection.upload(taken, b"the first")
    for name in (
        taken,
        f"directory/{server.name()}",
        f" .{server.name()}",
        server.name(". "),
        server.name('<>:"|?*.bin'),
        server.name("x" * (255 - len(taken)) + ".bin"),
    ):
        content = name.encode()
        async with server.connect(content=content) as connection:
            await connection.send_metadata(name, len(content))
            signal = await connection.signal() or {}
            if signal.get("ready"):
                size = credit(signal, len(content))
                await connection.send_chunk(content[:size])
                await connection.send_content(content[size:])
                await connection.expect_ready()
                await connection.send_finished(content)
                signal = await connection.signal() or {}
            if signal.get("close"):
                await check_stored(server, judge, "S4.11", signal.get("name", name), content)
            else:
                came = f"but {signal or 'no signal'} came"
                what = f"expected close or a fatal error for {name!r}, {came}"
                judge.check(None, signal.get("error") and signal.get("fatal"), what)


@server_case(
    "4.1.13",
    "A file whose finished has arrived is stored though the connection is lost.",
    requirements=("S4.13",),
)
async def lost_behind_finished(server: Server, judge: Judge) -> None:
    """The client closes the connection without reading `close`, so it learns no other name."""
    async with server.connect() as connection:
        close = await connection.upload(server.name(), b"the usual way")
    if "name" in close:
        judge.info("the server stores under other names: the file cannot be found")
        return
    for content in (b"", make_content(SEVERAL)):
        name = server.name()
        stored: bytes | None = None
        async with server.connect(content=content) as connection:
            await send_until_finished(connection, name, content)
            await connection.send_finished(content)
            await connection.websocket.aclose()
        for _ in range(round(server.trial.patience / MOMENT)):
            if (stored := await server.stored(name)) is not None:
                break
            await trio.sleep(MOMENT)
        judge.check(
            "S4.13",
            stored == content,
            f"expected {len(content)} bytes stored within {server.trial.patience:g} s, but"
            f" {'none' if stored is None else len(stored)} are",
        )


@server_case(
    "4.1.15",
    "Finished right behind the last byte is accepted.",
    requirements=("S4.16",),
)
async def finished_at_once(server: Server, judge: Judge) -> None:
    """In one write with the last chunk."""
    content = make_content(1001)
    name = server.name()
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content))
        sent = await send_part(connection, content, None)
        ready = await connection.expect_ready()
        while (size := credit(ready, len(content) - sent)) < len(content) - sent:
            await connection.send_chunk(content[sent : sent + size])
            sent += size
            ready = await connection.expect_ready()
        finished = json.dumps({"finished": True, "hash": digest(content)})
        await send_at_once(connection, content[sent:], finished)
        close = await connection.expect_close("S4.16")
        await check_stored(server, judge, "S4.16", close.get("name", name), content)
