"""Section 8, judging a server: where an upload continues, and what is verified."""

import hashlib
from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_resume import (
    PART,
    SIZE,
    SMALL,
    announce,
    begin,
    check_not_stored,
    check_stored_once,
    chunk_size,
    complete,
    interrupt,
    lose,
    need_kept,
    new_upload,
    offset_in,
    resume,
    send_bytes,
    wait_received,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal
from galileod.conformance.server import Server

HASHES: Final = ("sha1", "sha256", "sha512", "blake2b")
"""Types of hashes that the kit knows."""


def _check_first(judge: Judge, ready: Signal, size: int) -> None:
    offset, kept = ready.get("offset", "nothing"), ready.get("keep", "nothing")
    judge.check(
        "S8.8",
        type(offset) is int and 0 <= offset <= size,
        f"expected an integer from 0 to {size} as offset, but {ready} came",
    )
    judge.check(
        "S8.8",
        type(kept) in {int, float} and kept >= 0,
        f"expected a number of seconds as keep, but {ready} came",
    )


@server_case(
    "8.1.12",
    "The first ready has offset and keep; for a new key the offset is 0.",
    requirements=("S8.8",),
    profile="resume",
)
async def offset_and_keep(server: Server, judge: Judge) -> None:
    """A new file, an empty one, and one that was interrupted."""
    upload = new_upload(server)
    for each in (new_upload(server, 0), new_upload(server, SMALL), upload):
        async with server.connect() as connection:
            ready = await begin(connection, each)
            _check_first(judge, ready, each.size)
            judge.check(
                "S8.8",
                ready.get("offset") == 0,
                f"expected the offset 0 for a new key, but {ready} came",
            )
    await interrupt(server, upload)
    async with server.connect() as connection:
        _check_first(judge, await announce(connection, upload), upload.size)


@server_case(
    "8.1.13",
    "The offset does not exceed the bytes that have arrived.",
    requirements=("S8.9",),
    profile="resume",
)
async def offset_is_no_promise(server: Server, judge: Judge) -> None:
    """Connections that are lost with credits outstanding, and within a chunk."""
    upload = new_upload(server)
    sent = 0
    for within in (False, True, False):
        async with server.connect() as connection:
            ready = await (announce if sent else begin)(connection, upload)
            offset = _offset_at_most(judge, ready, sent)
            stop = min(offset + SIZE // 4, SIZE)
            await send_bytes(connection, upload, ready, offset, stop)
            sent = max(sent, stop)
            part = b""
            if within:
                ready = await connection.expect_ready()
                part = upload.content[stop : stop + chunk_size(ready)]
                sent = max(sent, stop + len(part) - len(part) // 2)
            await lose(connection, part)
    async with server.connect() as connection:
        ready = await announce(connection, upload)
        _offset_at_most(judge, ready, sent)


def _offset_at_most(judge: Judge, ready: Signal, sent: int) -> int:
    offset = ready.get("offset")
    if type(offset) is not int or not 0 <= offset <= sent:
        judge.fail("S8.9", f"expected an offset of at most the {sent} bytes sent, but {ready} came")
    return offset


@server_case(
    "8.1.14",
    "An upload that was interrupted three times is stored whole.",
    requirements=("S8.10", "S8.15"),
    profile="resume",
)
async def three_parts(server: Server, judge: Judge) -> None:
    """Between two chunks, within a chunk, and again; the hash is that of the whole file."""
    del judge
    upload = new_upload(server)
    await interrupt(server, upload, SIZE // 2)
    for stop in (SIZE // 2 + SIZE // 8, SIZE // 2 + SIZE // 4):
        async with server.connect() as connection:
            ready, offset = await resume(connection, upload, "S8.10")
            need_kept(connection, offset)
            at = max(stop, offset)
            await send_bytes(connection, upload, ready, offset, at)
            if at > offset:
                ready = await connection.expect_ready("S8.10")
            await lose(connection, upload.content[at : at + chunk_size(ready)])
    async with server.connect() as connection:
        ready, offset = await resume(connection, upload, "S8.10")
        close = await complete(connection, upload, ready, offset, "S8.10")
        await check_stored_once(server, upload, close, "S8.10")


@server_case(
    "8.1.15",
    "An upload whose bytes have all arrived waits for finished.",
    requirements=("S8.13",),
    profile="resume",
)
async def all_bytes(server: Server, judge: Judge) -> None:
    """The connection is lost behind the last byte, twice. Nothing is stored before `finished`."""
    upload = new_upload(server)
    async with server.connect() as connection:
        await send_bytes(connection, upload, await begin(connection, upload), 0, SIZE)
        await connection.expect_ready()
        await lose(connection)
    await check_not_stored(server, upload, "S8.13", "before finished")
    for _ in range(2):
        async with server.connect() as connection:
            ready, offset = await resume(connection, upload, "S8.13")
            need_kept(connection, offset)
            if offset < SIZE:
                judge.info(f"all {SIZE} bytes had arrived, and the offset is {offset}")
            else:
                judge.check(
                    "S8.13",
                    not ready.get("chunksize"),
                    f"expected no chunksize where the offset is the size, but {ready} came",
                )
            await lose(connection)
    await check_not_stored(server, upload, "S8.13", "before finished")
    async with server.connect() as connection:
        ready, offset = await resume(connection, upload, "S8.13")
        close = await complete(connection, upload, ready, offset, "S8.13")
        await check_stored_once(server, upload, close, "S8.13")


@server_case(
    "8.1.16",
    "The hash in check is that of the bytes below the offset.",
    requirements=("S8.14",),
    profile="resume",
)
async def check_is_right(server: Server, judge: Judge) -> None:
    """At two offsets; the first one within a chunk, where the server keeps that."""
    upload = new_upload(server)
    stop = SIZE // 2
    seen = 0
    async with server.connect() as connection:
        ready = await begin(connection, upload)
        seen += _check_hash(judge, upload.content[:0], ready.get("check"))
        await send_bytes(connection, upload, ready, 0, stop)
        ready = await connection.expect_ready()
        await lose(connection, upload.content[stop : stop + chunk_size(ready)])
    for more in (SIZE // 4, 0):
        async with server.connect() as connection:
            ready = await announce(connection, upload)
            offset = offset_in(connection, upload, ready)
            seen += _check_hash(judge, upload.content[:offset], ready.get("check"))
            await send_bytes(connection, upload, ready, offset, min(offset + more, SIZE))
            await wait_received(connection)
            await lose(connection)
    if not seen:
        judge.unsupported("the server has sent no check that the kit can compare")


def _check_hash(judge: Judge, below: bytes, check: Any) -> bool:  # noqa: ANN401  # JSON
    """Whether there was something to compare."""
    if check is None:
        return False
    kind = check.get("type") if isinstance(check, dict) else None
    value = check.get("value") if isinstance(check, dict) else None
    if not (isinstance(kind, str) and isinstance(value, str)):
        judge.fail("S8.14", f"expected type and value in check, but {check} came")
    if kind.lower() not in HASHES:
        judge.info(f"check has a hash of the type {kind}, which the kit does not know")
        return False
    expected = hashlib.new(kind.lower(), below).hexdigest()
    judge.check(
        "S8.14",
        value.lower() == expected,
        f"expected the {kind} {expected} of the first {len(below)} bytes, but {value} came",
    )
    return True


@server_case(
    "8.1.17",
    "A hash that is not that of the bytes of all connections is refused.",
    requirements=("S8.15",),
    profile="resume",
)
async def hash_of_all(server: Server, judge: Judge) -> None:
    """The hash of the bytes from the offset; and that of a file with other first bytes."""
    del judge
    for first in (False, True):
        upload = new_upload(server)
        await interrupt(server, upload)
        async with server.connect() as connection:
            ready, offset = await resume(connection, upload)
            need_kept(connection, offset)
            await send_bytes(connection, upload, ready, offset, SIZE)
            if offset < SIZE:
                await connection.expect_ready()
            other = bytes(PART) + upload.content[PART:] if first else upload.content[offset:]
            await connection.send_finished(other)
            of = "with other first bytes" if first else f"from byte {offset} on"
            await connection.expect_error(
                "S8.15", f"expected a fatal error for the hash of the file {of}"
            )
        await check_not_stored(server, upload, "S8.15", "where the hash was another")
