"""Section 11, judging a server: clients of the first version, with their habits."""

import secrets
from typing import Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import check_stored
from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, as_signal
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

MANY_EMPTY_CHUNKS: Final = 2000
"""Empty chunks before which a server should have ended the upload."""


async def _send_blocks(connection: ServerConnection, judge: Judge, content: bytes) -> None:
    """Send a file as the Perl sender does, in blocks of 250,000 bytes.

    Unlike that, a block is cut to its credit, since S11.2 is only a SHOULD; the check says so. It
    ends with the first credits that reach the end of the file, and with a chunk that shows that the
    client reads `chunksize`.
    """
    sent = granted = 0
    shown = False
    while sent < len(content):
        ready = await connection.expect_ready("S11.1")
        chunksize = ready.get("chunksize") or DEFAULT_CHUNK
        block = min(DEFAULT_CHUNK, len(content) - sent)
        granted += chunksize
        large = shown or chunksize >= block or granted >= len(content)
        expected = f"expected a credit of {block} bytes after {sent}"
        judge.check("S11.2", large, f"{expected}, but one of {chunksize} came")
        block = min(block, chunksize)
        shown = shown or block == chunksize
        await connection.send_chunk(content[sent : sent + block])
        sent += block


@server_case(
    "11.1.1",
    "An upload by the Perl sender is stored: blocks of 250,000 bytes, an empty one, finished as 1.",
    requirements=("S11.1", "S11.2", "S1.3", "S2.6"),
)
async def perl_sender(server: Server, judge: Judge) -> None:
    """It finds the end of the file only by an empty read; its metadata have `directory` too."""
    name, content = server.name(), secrets.token_bytes(3 * DEFAULT_CHUNK + 1000)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content), directory="../perl")
        await _send_blocks(connection, judge, content)
        await connection.expect_ready("S11.1", "expected ready after the last byte")
        await connection.send_chunk(b"")
        await connection.expect_ready("S11.1", "expected ready after an empty chunk at the end")
        await connection.send({"finished": 1})
        close = await connection.expect_close("S1.3", "expected close after finished as a number")
    await check_stored(server, judge, "S11.1", close.get("name", name), content)


@server_case(
    "11.1.2",
    "Empty files by the JavaScript client and the Perl sender are stored: an empty chunk first.",
    requirements=("S11.1",),
)
async def empty_file(server: Server, judge: Judge) -> None:
    """Both answer the first ready with an empty chunk, and the next one with finished."""
    name = server.name()
    async with server.connect(content=b"") as connection:
        await connection.send_metadata(name, 0)
        await connection.expect_ready("S11.1")
        await connection.send_chunk(b"")
        await connection.expect_ready("S11.1", "expected ready after the empty chunk")
        await connection.send_finished(b"")
        close = await connection.expect_close("S11.1")
    await check_stored(server, judge, "S11.1", close.get("name", name), b"")


@server_case(
    "11.1.3",
    "An upload by the JavaScript client is stored: further finished signals do no harm.",
    requirements=("S4.10",),
)
async def javascript_client(server: Server, judge: Judge) -> None:
    """It answers each ready behind the end of the file with a finished."""
    name, content = server.name(), secrets.token_bytes(2 * DEFAULT_CHUNK + 1000)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content))
        await connection.send_content(content)
        await connection.expect_ready(None, "expected ready after the last byte")
        for _ in range(3):
            await connection.send_finished(content)
        close = await connection.expect_close("S4.10", "expected close after three finished")
    await check_stored(server, judge, "S4.10", close.get("name", name), content)


@server_case(
    "11.1.4",
    "Eight empty chunks in an upload are accepted, and each gets a further ready.",
    requirements=("S11.1", "S11.3"),
)
async def empty_chunks(server: Server, judge: Judge) -> None:
    """Before the first byte, between the bytes, and after the last one."""
    name, content = server.name(), secrets.token_bytes(1000)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content))
        empty = 0
        for part in (b"", b"", b"", content[:500], b"", b"", content[500:], b"", b"", b""):
            await _send_part(connection, part, empty)
            empty += not part
        await connection.expect_ready("S11.3", f"expected ready after {empty} empty chunks")
        await connection.send_finished(content)
        close = await connection.expect_close("S11.3", f"expected close after {empty} empty chunks")
    await check_stored(server, judge, "S11.3", close.get("name", name), content)


async def _send_part(connection: ServerConnection, part: bytes, empty: int) -> None:
    """Send the next bytes of the file with as many credits as they need; none: an empty chunk."""
    while True:
        ready = await connection.expect_ready("S11.3", f"expected ready after {empty} empty chunks")
        limit = ready.get("chunksize") or DEFAULT_CHUNK
        await connection.send_chunk(part[:limit])
        part = part[limit:]
        if not part:
            return


@server_case(
    "11.1.5",
    "A client that sends nothing but empty chunks is stopped by a fatal error.",
    requirements=("S11.4",),
)
async def endless_empty_chunks(server: Server, judge: Judge) -> None:
    """Each ready is answered with an empty chunk."""
    async with server.connect() as connection:
        await connection.send_metadata(server.name(), 1000)
        for _ in range(MANY_EMPTY_CHUNKS):
            event = await connection.message()
            signal = as_signal(event)
            if signal is None or not signal.get("ready"):
                return  # an error or the end: whether it is the right one is no matter of S11.4
            await connection.send_chunk(b"")
        judge.check(
            "S11.4", False, f"expected an end to empty chunks, but {MANY_EMPTY_CHUNKS} were taken"
        )
