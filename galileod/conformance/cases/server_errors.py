"""Section 5, judging a server: errors."""

from contextlib import AsyncExitStack
from typing import Final

import trio

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import (
    FAILURES,
    credit,
    make_content,
    next_signals,
)
from galileod.conformance.events import Close, Ended
from galileod.conformance.judge import Judge
from galileod.conformance.peer import describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

MOMENT: Final = 0.05
"""Seconds to read what has come while the case waited elsewhere, and between two writes."""
SOME_SECONDS: Final = 20.0
"""How long a server may wait for the client to close the connection."""
LARGE: Final = 4 * 1024 * 1024
"""Bytes of a file whose client is still writing when the error comes."""
WRITE: Final = 250_000
"""Bytes of each of its chunks."""
WRITES: Final = 20
"""How many of them it sends without reading."""

CODES: Final = (
    "bad_message", "bad_metadata", "bad_name", "bad_chunk", "too_large", "unauthorized", "idle",
    "too_slow", "busy", "quota_exceeded", "size_mismatch", "hash_mismatch", "hash_required",
    "unsupported_hash", "conflict", "no_space", "storage_failed", "shutting_down", "internal",
    "abandoned", "taken_over", "not_admitted",
)  # fmt: skip
"""The table of section 5."""


@server_case(
    "5.1.1",
    "An upload that fails gets one fatal error, and no signal after it.",
    requirements=("S5.1", "S5.2", "S5.3", "S5.4"),
)
async def one_fatal_error(server: Server, judge: Judge) -> None:
    """Several kinds of failures; then the client goes on as if nothing had been, for a second."""
    async with AsyncExitStack() as stack:
        failed: list[tuple[ServerConnection, str]] = []
        for what, failure in FAILURES.items():
            connection = await stack.enter_async_context(server.connect())
            await failure(connection, server.name())
            error = await connection.expect_error(
                "S5.1", f"expected an error for {what}", fatal=False
            )
            code = error.get("code")
            judge.check("S5.1", error.get("fatal"), f"expected it to be fatal for {what}: {error}")
            judge.check("S5.3", code in CODES, f"expected a code of the table, but {code!r} came")
            await connection.send_chunk(b"more")
            await connection.send_finished(b"more")
            await connection.send_metadata(server.name(), 4)
            failed.append((connection, what))
        await trio.sleep(server.trial.silence)
        for connection, what in failed:
            signals, _ = await next_signals(connection, MOMENT)
            closes = [signal for signal in signals if signal.get("close")]
            judge.check("S5.1", not closes, f"expected no close after the error for {what}")
            judge.check(
                "S5.2", not signals, f"expected nothing after the error for {what}: {signals} came"
            )


@server_case(
    "5.1.2",
    "An error is read by a client that was still writing when it came.",
    requirements=("S5.6",),
)
async def error_while_writing(server: Server, judge: Judge) -> None:
    """The client finishes too early, and writes 5 MB that nobody asked for before it reads."""
    chunk = make_content(WRITE)
    async with server.connect() as connection:
        await connection.send_metadata(server.name(), LARGE)
        ready = await connection.expect_ready()
        await connection.send_chunk(chunk[: credit(ready, WRITE)])
        await connection.send_finished()
        for written in range(WRITES):
            await trio.sleep(MOMENT)
            taken = await connection.websocket.send_binary(chunk)
            if not judge.check(
                "S5.6",
                taken,
                f"expected the server to read on after its error, but {written} chunks were taken",
            ):
                break
        await connection.expect_error("S5.6", "expected the error after all was written")


@server_case(
    "5.1.3",
    "After a fatal error the server closes the connection if the client does not.",
    requirements=("S5.5",),
)
async def closes_itself(server: Server, judge: Judge) -> None:
    """Within 20 seconds; servers wait for some seconds."""
    async with server.connect() as connection:
        await FAILURES["metadata without size"](connection, server.name())
        await connection.expect_error()
        _, event = await next_signals(connection, SOME_SECONDS)
        judge.check(
            "S5.5", isinstance(event, Close | Ended), f"expected a Close frame, {describe(event)}"
        )
