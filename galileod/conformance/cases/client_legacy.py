"""Section 11, judging a client: the Perl receiver of the first version, with its habits."""

import secrets
from typing import Final

from websockets.frames import Opcode

from galileod.conformance.case import client_case
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close, Ended, Message
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal, describe

MAX_MESSAGE: Final = 262_144
"""Bytes of the largest message that the Perl receiver takes."""


async def _receive(
    connection: ClientConnection, judge: Judge, requirement: str, true: object
) -> bytes:
    """Receive a file as the Perl receiver does, until finished comes; return the content.

    Each other message, whatever it is, is answered with `ready`, and nothing else.
    """
    content = b""
    while True:
        event = await connection.message()
        if not isinstance(event, Message):
            judge.fail(requirement, f"expected the file and finished, {describe(event)}")
        signal = as_signal(event)
        if signal is not None and signal.get("finished"):
            return content
        if event.opcode == Opcode.BINARY:
            size = len(event.data)
            fits = size <= MAX_MESSAGE
            judge.require(requirement, fits, f"expected at most {MAX_MESSAGE} bytes, {size} came")
            content += event.data
        await connection.send({"ready": true})


@client_case(
    "11.2.1",
    "An upload to the Perl receiver succeeds: one ready at a time, without any other key.",
    requirements=("C11.1",),
)
async def perl_receiver(client: Client, judge: Judge) -> None:
    """It takes each TEXT message without finished for metadata."""
    content = secrets.token_bytes(700_001)
    async with client.send(content) as run:
        connection = await run.accept()
        received = await _receive(connection, judge, "C11.1", true=True)
        judge.check("C11.1", received == content, "expected the bytes of the file, others came")
        await connection.close_signal()
        outcome = await run.outcome()
        judge.check("C11.1", outcome.success, f"expected success, got failure: {outcome.output}")


@client_case(
    "11.2.2",
    "An upload to a server that writes 1 for true succeeds; an empty file too.",
    requirements=("C11.1", "C1.3"),
)
async def numbers(client: Client, judge: Judge) -> None:
    """Some JSON libraries of Perl have no booleans."""
    for content in (secrets.token_bytes(1000), b""):
        async with client.send(content, f"{len(content)}.bin") as run:
            connection = await run.accept()
            received = await _receive(connection, judge, "C1.3", true=1)
            judge.check("C11.1", received == content, "expected the bytes of the file, others came")
            await connection.send({"close": 1})
            outcome = await run.outcome()
            judge.check("C1.3", outcome.success, f"expected success, got failure: {outcome.output}")


@client_case(
    "11.2.3",
    "After close, the client does not wait for the server to close the connection.",
    requirements=("C11.2",),
)
async def server_stays(client: Client, judge: Judge) -> None:
    """The kit does nothing until the client has ended the connection."""
    async with client.send(b"some data") as run:
        connection = await run.accept()
        await _receive(connection, judge, "C11.2", true=True)
        await connection.close_signal()
        event = await connection.message()
        ends = isinstance(event, Close | Ended)
        expected = "expected the client to end the connection after close"
        judge.require("C11.2", ends, f"{expected}, {describe(event)}")
        outcome = await run.outcome()
        judge.check("C11.2", outcome.success, f"expected success, got failure: {outcome.output}")


@client_case(
    "11.2.4",
    "A fatal error without a code ends the upload as a failure.",
    requirements=("C11.3",),
)
async def error_without_code(client: Client, judge: Judge) -> None:
    """The error of the Perl receiver, behind finished and as the first signal."""
    for where in ("after finished", "after the metadata"):
        async with client.send(b"some data") as run:
            connection = await run.accept()
            await connection.metadata()
            if where == "after finished":
                await connection.receive_content(len(b"some data"))
            await connection.send({"error": "Expected: 10 bytes. Got: 8 bytes.", "fatal": True})
            await connection.expect_end(
                "C11.3", f"expected the client to end the connection after an error {where}"
            )
            outcome = await run.outcome()
            sentence = f"expected failure after an error {where}, got success"
            judge.check("C11.3", not outcome.success, sentence)
