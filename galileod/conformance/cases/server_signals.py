"""Section 1, judging a server: signals."""

import json
from contextlib import AsyncExitStack
from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import (
    FAILURES,
    SEVERAL,
    check_refused,
    check_stored,
    credit,
    make_content,
    metadata,
    send_part,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import digest

SIGNAL_BYTES: Final = 16 * 1024
"""S1.9."""
LONG_SIGNAL_BYTES: Final = 1024 * 1024
"""Longer than what most servers accept."""

UNKNOWN: Final[dict[str, Any]] = {
    "conformance-null": None,
    "conformance-true": True,
    "conformance-number": -0.5,
    "conformance-integer": 10**30,
    "conformance-string": 'quote " backslash \\ slash / tab \t euro €',
    "conformance-list": [1, [2, [3, [4, [5, {}]]]], []],
    "conformance-object": {"finished": True, "name": "another", "size": 1, "error": "none"},
    "": 1,
}
"""Keys that no document defines."""

NOT_OBJECTS: Final = (
    "",
    "conformance",
    "null",
    "1",
    '"name"',
    '[{"name": "a", "size": 1}]',
    "{'finished': true}",
    '{"finished": true',
    '{"finished": true} {}',
)
"""TEXT messages that are not one JSON object."""


@server_case(
    "1.1.1",
    "Each message of the server is one signal in a TEXT message.",
    requirements=("S1.1", "S1.5", "S1.6"),
)
async def only_signals(server: Server, judge: Judge) -> None:
    """One upload that succeeds, and several that fail; the rules of the dialogue judge each."""
    del judge
    content = make_content(SEVERAL)
    async with server.connect(content=content) as connection:
        await connection.upload(server.name(), content)
    async with AsyncExitStack() as stack:  # a server may take its time to end each connection
        for failure in FAILURES.values():
            connection = await stack.enter_async_context(server.connect())
            await failure(connection, server.name())
            await connection.expect_error()


@server_case("1.1.2", "Unknown keys are ignored, whatever their value.", requirements=("S1.2",))
async def unknown_keys(server: Server, judge: Judge) -> None:
    """In the metadata and in `finished`, before and behind the known ones."""
    name, content = server.name(), make_content(1001)
    async with server.connect(content=content) as connection:
        await connection.send({**UNKNOWN, **metadata(connection, name, len(content))})
        await connection.send_content(content, requirement="S1.2")
        await connection.expect_ready("S1.2")
        await connection.send({"finished": True, "hash": digest(content), **UNKNOWN})
        close = await connection.expect_close("S1.2")
        await check_stored(server, judge, "S1.2", close.get("name", name), content)


@server_case("1.1.3", "The number 1 is taken for true.", requirements=("S1.3",))
async def one_for_true(server: Server, judge: Judge) -> None:
    """`finished` is the only signal of a classic upload with a `true`."""
    name, content = server.name(), make_content(1001)
    async with server.connect(content=content) as connection:
        await connection.send_metadata(name, len(content))
        await connection.send_content(content)
        await connection.expect_ready()
        await connection.send({"finished": 1, "hash": digest(content)})
        close = await connection.expect_close("S1.3")
        await check_stored(server, judge, "S1.3", close.get("name", name), content)


@server_case(
    "1.1.4",
    "A TEXT message that is not a JSON object gets a fatal error.",
    requirements=("S1.4",),
)
async def no_object(server: Server, judge: Judge) -> None:
    """As the first message, and within an upload."""
    content = make_content(1001)
    for text in NOT_OBJECTS:
        async with server.connect() as connection:
            await connection.websocket.send_text(text)
            await check_refused(connection, judge, "S1.4", f"{text!r} as the first message")
        async with server.connect() as connection:
            await connection.send_metadata(server.name(), len(content))
            await send_part(connection, content, None)
            await connection.websocket.send_text(text)
            await check_refused(
                connection, judge, "S1.4", f"{text!r} after a chunk", passing_ready=True
            )


@server_case("1.1.5", "Signals without a known key are ignored.", requirements=("S1.7",))
async def unknown_signals(server: Server, judge: Judge) -> None:
    """Before the metadata, before the chunk, and before `finished`."""
    name, content, unknown = server.name(), make_content(1001), {"conformance": True}
    async with server.connect(content=content) as connection:
        await connection.send(unknown)
        await connection.send_metadata(name, len(content))
        ready = await connection.expect_ready("S1.7")
        size = credit(ready, len(content))
        await connection.send(unknown)
        await connection.send_chunk(content[:size])
        await connection.send_content(content[size:], requirement="S1.7")
        await connection.expect_ready("S1.7")
        await connection.send(unknown)
        await connection.send_finished(content)
        close = await connection.expect_close("S1.7")
        await check_stored(server, judge, "S1.7", close.get("name", name), content)


@server_case(
    "1.1.6",
    "Duplicate keys, NaN and Infinity get a fatal error.",
    requirements=("S1.8",),
)
async def not_quite_json(server: Server, judge: Judge) -> None:
    """In otherwise valid metadata."""
    additions = (
        '"size": 5',
        f'"name": {json.dumps(server.name())}',
        '"conformance": 1, "conformance": 1',
        '"conformance": {"a": 1, "a": 2}',
        '"conformance": NaN',
        '"conformance": [Infinity]',
        '"conformance": {"a": -Infinity}',
    )
    for addition in additions:
        async with server.connect() as connection:
            known = json.dumps(metadata(connection, server.name(), 5)).removesuffix("}")
            await connection.websocket.send_text(f"{known}, {addition}}}")
            await check_refused(connection, judge, "S1.8", f"metadata that end with {addition}")


@server_case("1.1.7", "Signals of 16 KiB are accepted.", requirements=("S1.9",))
async def signals_of_16_kib(server: Server, judge: Judge) -> None:
    """Metadata and `finished` of exactly 16,384 bytes each."""
    name, content = server.name(), make_content(1001)
    async with server.connect(content=content) as connection:
        await connection.websocket.send_text(
            _padded(metadata(connection, name, len(content)), SIGNAL_BYTES)
        )
        await connection.send_content(content, requirement="S1.9")
        await connection.expect_ready("S1.9")
        finished = {"finished": True, "hash": digest(content)}
        await connection.websocket.send_text(_padded(finished, SIGNAL_BYTES))
        close = await connection.expect_close("S1.9")
        await check_stored(server, judge, "S1.9", close.get("name", name), content)


@server_case(
    "1.1.8",
    "A signal of 1 MiB is accepted, or gets a fatal error.",
    requirements=("S1.10",),
)
async def signal_of_1_mib(server: Server, judge: Judge) -> None:
    """A server may accept it; it should not only close the connection."""
    async with server.connect() as connection:
        text = _padded(metadata(connection, server.name(), 5), LONG_SIGNAL_BYTES)
        await connection.websocket.send_text(text)
        event = await connection.message()
        signal = as_signal(event) or {}
        judge.check(
            "S1.10",
            signal.get("ready") or (signal.get("error") and signal.get("fatal")),
            f"expected ready or a fatal error, {describe(event)}",
        )


def _padded(signal: Signal, size: int) -> bytes:
    """The signal with a key that makes it `size` bytes long."""
    bare = json.dumps({**signal, "conformance": ""}).encode()
    return bare.removesuffix(b'"}') + b"x" * (size - len(bare)) + b'"}'
