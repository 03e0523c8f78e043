"""Section 8, judging a server: what is kept, what is discarded, and what was stored."""

from collections.abc import Awaitable, Callable
from typing import Final

import trio
from websockets.frames import Opcode

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_resume import (
    PART,
    SIZE,
    SMALL,
    Upload,
    announce,
    begin,
    check_stored_once,
    chunk_size,
    complete,
    keep,
    lose,
    new_upload,
    resume,
    send_bytes,
    stated,
    wait_received,
)
from galileod.conformance.events import Message, Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

DISCARDING: Final = frozenset(
    {"hash_mismatch", "size_mismatch", "bad_chunk", "bad_message", "abandoned"}
)
"""The codes after which a server discards what it has."""
BUSY_ATTEMPTS: Final = 10
"""Attempts while a server says that it still stores the file."""
BUSY_SECONDS: Final = 0.5
"""Seconds between them."""


@server_case(
    "8.1.18",
    "A kept upload continues after a restart of the server.",
    requirements=("S8.11",),
    profile="resume",
    needs=("restart",),
)
async def after_restart(server: Server, judge: Judge) -> None:
    """It is interrupted before."""
    del judge
    upload = new_upload(server)
    await keep(server, upload)
    await server.restart()
    await _continue(server, upload, "S8.11")


@server_case(
    "8.1.19",
    "A kept upload, and one that was running, continue after the server was killed.",
    requirements=("S8.12",),
    profile="resume",
    needs=("kill",),
)
async def after_kill(server: Server, judge: Judge) -> None:
    """Killed while it is kept, and once more while it runs, beside one that has just begun."""
    upload, other = new_upload(server), new_upload(server)
    before = await keep(server, upload)
    await server.kill()
    async with server.connect() as connection, server.connect() as beside:
        ready, offset = await resume(connection, upload, "S8.12")
        judge.require(
            "S8.12", offset > 0, f"expected about {before} bytes after SIGKILL, but 0 came"
        )
        await send_bytes(connection, upload, ready, offset, min(offset + SIZE // 8, SIZE))
        await wait_received(connection)
        await send_bytes(beside, other, await begin(beside, other), 0, PART)
        await wait_received(beside)
        await server.kill()
    await _continue(server, upload, "S8.12")
    async with server.connect() as connection:
        _, offset = await resume(connection, other)
        judge.check(
            "S8.12",
            offset > 0,
            f"expected about {PART} bytes of an upload that ran when the server was killed,"
            " but 0 came",
        )


async def _continue(server: Server, upload: Upload, requirement: str) -> None:
    """Continue an upload that was kept, and see that it still is."""
    judge = server.trial.judge
    async with server.connect() as connection:
        ready, offset = await resume(connection, upload, requirement)
        judge.check(
            requirement,
            offset > 0,
            f"expected that the upload is still kept, but {ready} came",
        )
        close = await complete(connection, upload, ready, offset, requirement)
        await check_stored_once(server, upload, close, requirement)


@server_case(
    "8.1.20",
    "The key of a stored upload is answered with close, and nothing is stored again.",
    requirements=("S8.16", "S8.1"),
    profile="resume",
)
async def stored_already(server: Server, judge: Judge) -> None:
    """A small file, an empty one and a resumed one; each asked for twice."""
    for size in (SMALL, 0, SIZE):
        upload = new_upload(server, size)
        async with server.connect() as connection:
            ready = await begin(connection, upload)
            await send_bytes(connection, upload, ready, 0, size)
            if size:
                await connection.expect_ready()
            if size == SIZE:
                await lose(connection)
            else:
                await connection.send_finished(upload.content)
                await connection.expect_close()
        if size == SIZE:
            async with server.connect() as connection:
                ready, offset = await resume(connection, upload)
                await complete(connection, upload, ready, offset)
                await lose(connection)
        for _ in range(2):
            async with server.connect() as connection:
                close = await announce(connection, upload)
                judge.require(
                    "S8.16",
                    close.get("close"),
                    f"expected close for a stored upload of {size} bytes, but {close} came",
                )
                judge.check(
                    "S8.1", "resume" in stated(close), f"expected resume in can, but {close} came"
                )
            await check_stored_once(server, upload, close, "S8.16")


@server_case(
    "8.1.21",
    "A lost close neither loses the file nor stores it twice.",
    requirements=("S8.16", "S8.20"),
    profile="resume",
)
async def lost_close(server: Server, judge: Judge) -> None:
    """The connection is lost right behind `finished`; the client tries again."""
    upload = new_upload(server)
    async with server.connect() as connection:
        await send_bytes(connection, upload, await begin(connection, upload), 0, SIZE)
        await connection.expect_ready()
        await connection.send_finished(upload.content)
        await lose(connection)
    close: Signal | None = None
    for _ in range(BUSY_ATTEMPTS):
        async with server.connect() as connection:
            signal = await announce(connection, upload)
            if signal.get("close"):
                close = signal
                break
            if signal.get("ready"):  # it has not seen `finished`, or keeps nothing
                offset = int(signal.get("offset", 0))
                close = await complete(connection, upload, signal, offset, "S8.16")
                break
            judge.require(
                "S8.20",
                signal.get("code") == "busy",
                f"expected close, ready or busy behind finished, but {signal} came",
            )
        await trio.sleep(BUSY_SECONDS)
    judge.require("S8.20", close, "expected close after some attempts, but busy came")
    if close:
        await check_stored_once(server, upload, close, "S8.16")


@server_case(
    "8.1.22",
    "An upload that an error says is kept can be continued.",
    requirements=("S8.17",),
    profile="resume",
)
async def kept_after_error(server: Server, judge: Judge) -> None:
    """After a hash of an unknown type, which does not depend on the server's configuration."""
    upload = new_upload(server)
    async with server.connect() as connection:
        await send_bytes(connection, upload, await begin(connection, upload), 0, SIZE)
        await connection.expect_ready()
        await connection.send({"finished": True, "hash": {"type": "x-unknown", "value": "00"}})
        error = await connection.expect_error()
    if "kept" not in error:
        judge.unsupported(f"the server does not say that it keeps the upload: {error}")
    kept = error["kept"]
    judge.require(
        "S8.17",
        type(kept) in {int, float} and kept >= 0,
        f"expected a number of seconds as kept, but {error} came",
    )
    if kept < 1:
        judge.unsupported(f"the server keeps the upload for {kept} s")
    async with server.connect() as connection:
        ready, offset = await resume(connection, upload, "S8.17")
        judge.check(
            "S8.17", offset > 0, f"expected an upload that is kept for {kept} s, but {ready} came"
        )
        close = await complete(connection, upload, ready, offset, "S8.17")
        await check_stored_once(server, upload, close, "S8.17")


Mistake = Callable[[ServerConnection, Upload, Signal], Awaitable[None]]


async def _wrong_hash(connection: ServerConnection, upload: Upload, ready: Signal) -> None:
    await send_bytes(connection, upload, ready, PART, SIZE)
    await connection.expect_ready()
    await connection.send_finished(upload.content[1:])


async def _finished_early(connection: ServerConnection, upload: Upload, _: Signal) -> None:
    await connection.send_finished(upload.content)


async def _too_much(connection: ServerConnection, upload: Upload, ready: Signal) -> None:
    await connection.send_chunk(bytes(max(upload.size - PART, chunk_size(ready)) + 1))


async def _no_json(connection: ServerConnection, upload: Upload, _: Signal) -> None:
    del upload
    await connection.websocket.send_text("no JSON")


async def _invalid_frame(connection: ServerConnection, upload: Upload, _: Signal) -> None:
    await connection.websocket.send_frame(Opcode.BINARY, upload.content[PART : PART + 1], rsv=7)


async def _refusal(connection: ServerConnection) -> object:
    """The code of the fatal error; the end of the connection counts as `bad_message`."""
    while isinstance(event := await connection.message(), Message):
        signal = as_signal(event)
        if signal is not None and signal.get("error"):
            return signal.get("code")
    if isinstance(event, Nothing):
        connection.trial.judge.fail(None, f"expected a fatal error, {describe(event)}")
    return "bad_message"


@server_case(
    "8.1.23",
    "After a violation of the protocol or a wrong hash, the key begins anew.",
    requirements=("S8.18",),
    profile="resume",
)
async def discarded(server: Server, judge: Judge) -> None:
    """A wrong hash, `finished` too early, too many bytes, no JSON, and an invalid frame."""
    mistakes: tuple[Mistake, ...] = (
        _wrong_hash,
        _finished_early,
        _too_much,
        _no_json,
        _invalid_frame,
    )
    for mistake in mistakes:
        upload = new_upload(server)
        async with server.connect() as connection:
            ready = await begin(connection, upload)
            await send_bytes(connection, upload, ready, 0, PART)
            await mistake(connection, upload, await connection.expect_ready())
            code = await _refusal(connection)
        if code not in DISCARDING:
            judge.info(f"the server may keep what it has after the code {code}")
            continue
        async with server.connect() as connection:
            ready = await announce(connection, upload)
            judge.check(
                "S8.18",
                ready.get("ready") and ready.get("offset") == 0,
                f"expected the offset 0 after {code}, but {ready} came",
            )
