"""Section 2, judging a server: metadata."""

import json
from contextlib import AsyncExitStack
from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import (
    check_absent,
    check_refused,
    check_stored,
    check_upload,
    credit,
    make_content,
    metadata,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import digest

NO_NAMES: Final[tuple[Any, ...]] = (None, 5, True, ["a.bin"], {"name": "a.bin"})
NO_SIZES: Final[tuple[Any, ...]] = (None, "5", True, [5], {"size": 5}, -1, 5.5)
"""Values of the wrong type, and some that are no size."""


@server_case("2.1.1", "No signal comes before the metadata.", requirements=("S2.1",))
async def silent_at_first(server: Server, judge: Judge) -> None:
    """For one second; the rules of the dialogue judge what comes. An error ends the case."""
    del judge
    async with server.connect() as connection:
        if await connection.silent() is None:
            await connection.upload(server.name(), b"after a second")


@server_case(
    "2.1.2",
    "Metadata without a valid name or size get a fatal error.",
    requirements=("S2.2",),
)
async def invalid_metadata(server: Server, judge: Judge) -> None:
    """Keys that are missing, and values of another type."""
    for key, values in (("name", NO_NAMES), ("size", NO_SIZES)):
        async with server.connect() as connection:
            signal = metadata(connection, server.name(), 5)
            del signal[key]
            await connection.send(signal)
            await check_refused(connection, judge, "S2.2", f"metadata without {key}")
        for value in values:
            async with server.connect() as connection:
                await connection.send({**metadata(connection, server.name(), 5), key: value})
                what = f"metadata with {key} {json.dumps(value)}"
                await check_refused(connection, judge, "S2.2", what)


@server_case(
    "2.1.3",
    "BINARY and finished before the metadata get a fatal error.",
    requirements=("S2.4",),
)
async def metadata_missing(server: Server, judge: Judge) -> None:
    """Each as the first message of a connection."""
    async with AsyncExitStack() as stack:  # a server may take its time to end each connection
        for data in (b"data", b""):
            connection = await stack.enter_async_context(server.connect())
            await connection.send_chunk(data)
            what = f"a BINARY message of {len(data)} bytes before the metadata"
            await check_refused(connection, judge, "S2.4", what)
        for finished in ({"finished": True}, {"finished": True, "hash": digest(b"")}):
            connection = await stack.enter_async_context(server.connect())
            await connection.send(finished)
            await check_refused(connection, judge, "S2.4", "finished before the metadata")


@server_case(
    "2.1.4",
    "Second metadata for another file are refused or ignored.",
    requirements=("S2.3",),
)
async def second_metadata(server: Server, judge: Judge) -> None:
    """Before the first chunk, within the file, and before `finished`.

    The second file has the same size, so that a server which takes it says `close` for it.
    """
    content = make_content(2001)
    others: dict[str, str] = {}
    for after in (0, len(content) // 2, len(content)):
        name, other = server.name(), server.name()
        others[other] = f"second metadata after {after} of {len(content)} bytes"
        async with server.connect(content=content) as connection:
            await connection.send_metadata(name, len(content))
            await connection.send_content(content[:after])
            ready = await connection.expect_ready()
            await connection.send_metadata(other, len(content))
            sent, signal = after, ready
            while signal.get("ready"):
                if sent < len(content):
                    size = credit(signal, len(content) - sent)
                    await connection.send_chunk(content[sent : sent + size])
                    sent += size
                else:
                    await connection.send_finished(content)
                event = await connection.message()
                signal = as_signal(event) or {}
                if not signal:
                    judge.fail("S2.3", f"expected the upload to go on, {describe(event)}")
            if signal.get("close"):
                await check_stored(server, judge, "S2.3", signal.get("name", name), content)
    await check_absent(server, judge, "S2.3", others)


@server_case(
    "2.1.5",
    "Valid metadata are answered with ready or a fatal error, however they are written.",
    requirements=("S2.5",),
)
async def valid_metadata(server: Server, judge: Judge) -> None:
    """Other orders of the keys, white space, escapes, and the optional keys."""
    async with server.connect() as connection:
        token = metadata(connection, "", 0)
    del token["name"], token["size"]
    name = json.dumps(server.name())
    escaped = '"' + "".join(f"\\u{ord(character):04x}" for character in server.name()) + '"'
    for text in (
        json.dumps({**token, "name": server.name(), "size": 0}),
        json.dumps({"size": 1, "name": server.name(), **token}),
        json.dumps({**token, "name": server.name(), "size": 70_000}, indent="\t"),
        json.dumps({**token, "x": 0}).replace('"x": 0', f' "name"\r\n:\n{name} ,"size" : 5 '),
        json.dumps({**token, "x": 0}).replace('"x": 0', f'"\\u006eame": {escaped}, "size": 5'),
        json.dumps({**token, "name": server.name(), "size": 5, "modified": 1_768_300_000_000}),
        json.dumps({**token, "name": server.name(), "size": 5, "folder": "2026/june"}),
    ):
        async with server.connect() as connection:
            await connection.websocket.send_text(text)
            event = await connection.message()
            signal = as_signal(event) or {}
            judge.check(
                "S2.5",
                signal.get("ready") or (signal.get("error") and signal.get("fatal")),
                f"expected ready or a fatal error for {text}, {describe(event)}",
            )


@server_case("2.1.6", "The key directory is ignored.", requirements=("S2.6",))
async def directory(server: Server, judge: Judge) -> None:
    """Whatever its value, the file is stored under its name."""
    for value in ("elsewhere", "/tmp", "../..", "", 5, None, ["a"]):  # noqa: S108  # not used
        await check_upload(server, judge, "S2.6", b"some data", directory=value)
