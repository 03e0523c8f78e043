"""Section 5, judging a client: errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_uploads import (
    complete,
    expect_failure,
    is_chunk,
    some_content,
    succeeds_with,
    until_end,
)
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close
from galileod.conformance.judge import Judge
from galileod.conformance.peer import describe
from galileod.conformance.run import Run

SIZE: Final = 3000

LARGE: Final = 4 * 1024 * 1024
"""Bytes of a chunk that does not fit into the buffers of a connection."""

UNDER_WAY: Final = 0.1
"""Seconds for a client to begin with a large chunk; nothing depends on that it does."""


@asynccontextmanager
async def _begun(
    client: Client, name: str, size: int = SIZE
) -> AsyncIterator[tuple[Run, ClientConnection]]:
    """An upload whose metadata have arrived. Each has a name of its own within a case."""
    async with client.send(some_content(size), name=name) as run:
        connection = await run.accept()
        await connection.metadata()
        yield run, connection


@client_case(
    "5.2.1",
    "After a fatal error instead of ready, a client reports failure and its sentence.",
    requirements=("C5.1", "C4.6", "C5.4"),
)
async def refused_at_once(client: Client, judge: Judge) -> None:
    """It closes the connection with a Close frame."""
    sentence = "Refused for the test 5.2.1."
    async with _begun(client, "refused.bin") as (run, connection):
        await connection.error(sentence, fatal=True, code="conflict")
        event = await complete(connection)
        expected = "expected a Close frame after a fatal error"
        judge.check("C4.6", isinstance(event, Close), f"{expected}, {describe(event)}")
        outcome = await run.outcome()
        expect_failure(judge, "C5.1", outcome, "a fatal error")
        shown = sentence in " ".join(outcome.output.split())
        judge.check("C5.4", shown, f"expected {sentence!r} in the output: {outcome.output}")


@client_case(
    "5.2.2",
    "After a fatal error, a client sends no data for a later ready.",
    requirements=("C5.1",),
)
async def error_within_chunk(client: Client, judge: Judge) -> None:
    """The error comes while a large chunk is under way, which the client may send to its end."""
    async with _begun(client, "large.bin", 2 * LARGE) as (run, connection):
        await connection.ready(LARGE)
        await trio.sleep(UNDER_WAY)
        await connection.error(fatal=True, code="no_space")
        await connection.ready(LARGE)
        messages, _ = await until_end(connection)
        chunks = sum(map(is_chunk, messages))
        sentence = f"expected at most 1 chunk, for the ready before the error, but {chunks} came"
        judge.check("C5.1", chunks <= 1, sentence)
        expect_failure(judge, "C5.1", await run.outcome(), "a fatal error")


@client_case("5.2.3", "A fatal error after finished is a failure.", requirements=("C5.1",))
async def error_after_finished(client: Client, judge: Judge) -> None:
    """As a server sends it whose verification fails; the connection ends with the code 1000."""
    async with client.send(some_content(SIZE)) as run:
        connection = await run.accept()
        await connection.receive_file(chunksize=1000)
        await connection.error(fatal=True, code="hash_mismatch")
        await connection.websocket.send_close(1000)
        expect_failure(judge, "C5.1", await run.outcome(), "a fatal error after finished")


@client_case(
    "5.2.4",
    "After an error that is not fatal, the upload continues.",
    requirements=("C5.2",),
)
async def warnings(client: Client, judge: Judge) -> None:
    """With `fatal` false, 0 and absent, at each stage of the upload."""
    await succeeds_with(
        client,
        judge,
        "C5.2",
        {"error": "a warning", "fatal": False},
        {"error": "a warning", "fatal": 0, "code": "conflict"},
        {"error": "a warning"},
    )


@client_case(
    "5.2.5",
    "An error need not be a string, and needs no code.",
    requirements=("C5.3",),
)
async def error_of_any_type(client: Client, judge: Judge) -> None:
    """Warnings at each stage of an upload, and an upload that fails."""
    errors: tuple[Any, ...] = (True, 42, ["a", "list"], {"an": "object"}, [], {})
    await succeeds_with(client, judge, "C5.3", *({"error": error} for error in errors))
    async with _begun(client, "refused.bin") as (run, connection):
        await connection.send({"error": {}, "fatal": True, "code": 7})
        await complete(connection)
        expect_failure(judge, "C5.3", await run.outcome(), 'a fatal error with "error": {}')


@client_case(
    "5.2.6",
    "After a fatal error, a client does not try again by itself.",
    requirements=("C5.5",),
)
async def no_second_attempt(client: Client, judge: Judge) -> None:
    """Without a code, with `conflict`, and with `idle`; no extension is agreed."""
    for code in (None, "conflict", "idle"):
        more = {} if code is None else {"code": code}
        async with _begun(client, f"{code}.bin") as (run, connection):
            await connection.ready(1000)
            await connection.chunk()
            await connection.error(fatal=True, **more)
            await connection.finish()
            again = await run.accept_or_none()
            what = "without a code" if code is None else f"with the code {code}"
            sentence = f"expected no second connection after a fatal error {what}, but one came"
            judge.check("C5.5", again is None, sentence)
            await run.outcome()


@client_case(
    "5.2.7",
    "A client whose write fails still shows the error that has arrived before.",
    requirements=("C5.6",),
    needs=("command",),
)
async def error_before_reset(client: Client, judge: Judge) -> None:
    """The connection is reset behind the error, while a large chunk is under way."""
    sentence = "Refused for the test 5.2.7."
    async with _begun(client, "large.bin", LARGE) as (run, connection):
        await connection.ready(LARGE)
        await trio.sleep(UNDER_WAY)
        await connection.error(sentence, fatal=True, code="no_space")
        await trio.sleep(UNDER_WAY)  # for a client that reads while it writes
        await connection.websocket.abort()
        outcome = await run.outcome()
        shown = sentence in " ".join(outcome.output.split())
        judge.check("C5.6", shown, f"expected {sentence!r} in the output: {outcome.output}")
