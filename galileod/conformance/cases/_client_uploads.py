"""What the cases that judge a client have in common.

The rules of the dialogue judge each message of the client, so many cases only lead it to where it
may break one of them.
"""

import hashlib
import json
from typing import Any, Final

from websockets.frames import Opcode

from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close, Ended, Event, Message, Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal, as_signal
from galileod.conformance.run import Outcome

MOMENT: Final = 0.4
"""Seconds in which nothing may come, where a case waits more than once for that."""

MAX_MESSAGES: Final = 1000
"""Messages that are taken from a client which should not send any."""


def some_content(size: int) -> bytes:
    """`size` bytes, different at each offset and in each size."""
    return hashlib.shake_128(size.to_bytes(8)).digest(size)


def padded(signal: Signal, length: int) -> str:
    """The signal as a JSON text of `length` bytes, with an unknown key."""
    empty = len(json.dumps({**signal, "padding": ""}))
    return json.dumps({**signal, "padding": "x" * (length - empty)})


def is_chunk(event: object) -> bool:
    """Whether a BINARY message came."""
    return isinstance(event, Message) and event.opcode == Opcode.BINARY


async def until_end(connection: ClientConnection) -> tuple[list[Message], Close | Ended | Nothing]:
    """The messages until the client ends the connection, and how it does. Sends nothing."""
    messages: list[Message] = []
    while isinstance(event := await connection.message(), Message):
        if len(messages) < MAX_MESSAGES:
            messages.append(event)
    return messages, event


async def complete(connection: ClientConnection) -> Event:
    """Let the upload succeed if the client goes on with it, though it should have failed.

    So a client that has overlooked the reason reports success. Returns what came last: for a
    correct client, its Close frame, or the end of the connection.
    """
    await connection.ready()
    event: Event = await connection.message()
    chunks = 0
    while is_chunk(event) and chunks < MAX_MESSAGES:
        chunks += 1
        await connection.ready()
        event = await connection.message()
    signal = as_signal(event)
    if signal is not None and signal.get("finished"):
        await connection.close_signal()
        event = await connection.message()
    return event


def expect_success(judge: Judge, requirement: str, outcome: Outcome) -> None:
    """Check that the client has reported success."""
    sentence = f"expected success, but the client reported failure: {outcome.output}"
    judge.check(requirement, outcome.success, sentence)


def expect_failure(judge: Judge, requirement: str, outcome: Outcome, after: str) -> None:
    """Check that the client has reported failure. `after` says what must make it fail."""
    sentence = f"expected failure after {after}, but the client reported success"
    judge.check(requirement, not outcome.success, sentence)


async def fails_after(
    client: Client,
    judge: Judge,
    requirement: str,
    message: str | bytes,
    after: str,
) -> None:
    """Check that an upload fails when `message` comes after the first chunk: TEXT, or BINARY."""
    async with client.send(some_content(3000)) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.ready(1000)
        await connection.chunk()
        if isinstance(message, str):
            await connection.websocket.send_text(message)
        else:
            await connection.websocket.send_binary(message)
        await complete(connection)
        expect_failure(judge, requirement, await run.outcome(), after)


async def succeeds_with(
    client: Client,
    judge: Judge,
    requirement: str,
    *signals: Signal | str,
    last: Signal | str | None = None,
    **ready: Any,  # noqa: ANN401  # JSON
) -> None:
    """Check that an upload succeeds although `signals` come at each stage of it.

    They come before the first `ready`, between two chunks, and after `finished`. `ready` are
    further keys of each `ready`, and `last` is sent instead of the plain `close`.
    """
    content = some_content(5000)
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await send_all(connection, *signals)
        await connection.ready(1000, **ready)
        missing = len(content) - len(await connection.chunk(requirement))
        await send_all(connection, *signals)
        await connection.receive_content(missing, chunksize=1000, requirement=requirement, **ready)
        await send_all(connection, *signals, last or {"close": True})
        expect_success(judge, requirement, await run.outcome())


async def send_all(connection: ClientConnection, *signals: Signal | str) -> None:
    """Send signals: objects, or the JSON texts themselves."""
    for signal in signals:
        if isinstance(signal, str):
            await connection.websocket.send_text(signal)
        else:
            await connection.send(signal)
