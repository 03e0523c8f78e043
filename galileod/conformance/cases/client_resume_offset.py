"""Section 8, judging a client: where it continues."""

from typing import Final

from websockets.frames import Opcode

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_resume import (
    CHUNK,
    KEEP,
    SIZE,
    SMALL,
    agreed,
    attempts,
    end_with,
    new_content,
    take,
    take_rest,
)
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Message
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal, as_signal
from galileod.conformance.server_connection import digest

ABSENT: Final = "absent"
"""Stands for a key that is left out."""


@client_case(
    "8.2.5",
    "An upload in three parts continues at each offset, and its hash is that of the whole file.",
    requirements=("C8.3", "C8.11"),
    profile="resume",
)
async def three_parts(client: Client, judge: Judge) -> None:
    """Each offset is less than what was sent; with `check`, also of a type that is not known."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        at = await take(connection, content, 3, agreed(0), "C8.3")
        await connection.ready(CHUNK)
        await connection.websocket.abort()
        connection, _ = await sending.again()
        offset = at - CHUNK // 2 - 1
        first = agreed(offset, check=digest(content[:offset]))
        at = await take(connection, content, 3, first, "C8.3")
        await connection.websocket.aclose()
        connection, _ = await sending.again()
        first = agreed(at - 1, check={"type": "x-unknown", "value": "00"})
        finished = await take_rest(connection, content, first, "C8.3")
        _check_hash(judge, content, finished)
        await connection.close_signal()
        await sending.expect_success("C8.3")


@client_case(
    "8.2.6",
    "An upload continues at an offset that is less than at an earlier attempt, and at 0.",
    requirements=("C8.3", "C8.11"),
    profile="resume",
)
async def smaller_offsets(client: Client, judge: Judge) -> None:
    """The server has lost what it had: a part, then all."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        at = await take(connection, content, 3, agreed(0), "C8.3")
        for offset in (at, CHUNK // 3):
            await connection.websocket.abort()
            connection, _ = await sending.again()
            await take(connection, content, 1, agreed(offset), "C8.3")
        await connection.websocket.abort()
        connection, _ = await sending.again()
        finished = await take_rest(connection, content, agreed(0), "C8.3")
        _check_hash(judge, content, finished)
        await connection.close_signal()
        await sending.expect_success("C8.3")


@client_case(
    "8.2.7",
    "If the offset is the size, finished is sent at once.",
    requirements=("C8.3", "C8.11"),
    profile="resume",
)
async def all_bytes(client: Client, judge: Judge) -> None:
    """The connection is lost behind the last byte."""
    content = new_content()
    async with attempts(client, content) as sending:
        connection, _ = await sending.begin()
        first, at = agreed(0), 0
        while at < SIZE:
            await connection.ready(CHUNK, **first)
            first = {}
            at += len(await connection.chunk("C8.3"))
        await connection.websocket.abort()
        connection, _ = await sending.again()
        finished = await take_rest(connection, content, agreed(SIZE), "C8.3")
        _check_hash(judge, content, finished)
        await connection.close_signal()
        await sending.expect_success("C8.3")


def _check_hash(judge: Judge, content: bytes, finished: Signal) -> None:
    claim = finished.get("hash")
    if claim is None:
        judge.info("the client sends no hash")
        return
    kind = claim.get("type") if isinstance(claim, dict) else None
    try:
        expected = digest(content, str(kind).lower())["value"]
    except ValueError:
        judge.info(f"the kit does not know the hash {claim}")
        return
    judge.check(
        "C8.11",
        str(claim.get("value")).lower() == expected,
        f"expected the {kind} {expected} of the whole file, but {claim} came",
    )


async def _refuses(client: Client, offsets: tuple[object, ...]) -> None:
    judge = client.trial.judge
    for offset in offsets:
        async with attempts(client, new_content(SMALL)) as sending:
            connection, _ = await sending.begin()
            await connection.ready(CHUNK, **_without_absent(agreed(offset)))
            event = await connection.message()
            chunk = isinstance(event, Message) and event.opcode == Opcode.BINARY
            judge.check(
                "C8.4", not chunk, f"expected no data after the offset {offset}, but they came"
            )
            await sending.expect_failure("C8.4", f"after the offset {offset}")


def _without_absent(signal: Signal) -> Signal:
    return {key: value for key, value in signal.items() if value != ABSENT}


@client_case(
    "8.2.8",
    "An offset below 0 or above the size is a failure.",
    requirements=("C8.4",),
    profile="resume",
)
async def offset_out_of_range(client: Client, judge: Judge) -> None:
    """Among them one that a float would round."""
    del judge
    await _refuses(client, (-1, SMALL + 1, 2**64))


@client_case(
    "8.2.9",
    "An offset that is absent or not an integer is a failure.",
    requirements=("C8.4",),
    profile="resume",
)
async def offset_no_integer(client: Client, judge: Judge) -> None:
    """Each of them could be taken for an integer."""
    del judge
    await _refuses(client, (1.5, "0", True, ABSENT))


@client_case(
    "8.2.10",
    "If check differs from the file, the upload is abandoned and begun with a new key.",
    requirements=("C8.5",),
    profile="resume",
)
async def check_differs(client: Client, judge: Judge) -> None:
    """It is abandoned by a signal, by metadata on another connection, or by none of them.

    Data may come before the client has compared. One that goes on in the same process need not know
    the hash of these bytes any more. So it is made to end, and started once more: then it has to
    read them.
    """
    content = new_content()
    async with attempts(client, content) as sending:
        connection, first = await sending.begin()
        at = await take(connection, content, 3, agreed(0), "C8.5")
        await connection.websocket.abort()
        connection, _ = await sending.again()
        if not await _notices(connection, content, at):
            await end_with(connection, code="conflict", kept=KEEP)
            connection, _ = await sending.again()
            judge.require(
                "C8.5",
                await _notices(connection, content, at),
                "expected abandon, or the end of the connection, where check differs,"
                " but the client went on",
            )
        connection, metadata = await sending.next()
        while metadata.get("abandon"):
            await end_with(connection, code="abandoned")
            connection, metadata = await sending.next()
        judge.check(
            "C8.5",
            metadata.get("upload") != first.get("upload"),
            "expected a new key where check differed, but the same came",
        )
        await take_rest(connection, content, agreed(0), "C8.5")
        await connection.close_signal()
        await sending.expect_success("C8.5")


async def _notices(connection: ClientConnection, content: bytes, offset: int) -> bool:
    """Send a `check` that differs; whether the client abandons the upload before `finished`."""
    first = agreed(offset, check=digest(content[1:offset]))
    while True:
        await connection.ready(CHUNK, **first)
        first = {}
        event = await connection.message()
        signal = as_signal(event)
        if signal is not None and signal.get("abandon"):
            await end_with(connection, code="abandoned")
            return True
        if not isinstance(event, Message) or signal is not None:
            return signal is None
