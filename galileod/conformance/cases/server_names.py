"""Section 7, judging a server: names of files, and sizes up to 2^63-1."""

import json
import secrets
import tempfile
from typing import Final

from websockets.frames import Opcode

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_uploads import check_stored
from galileod.conformance.events import Event
from galileod.conformance.judge import Judge
from galileod.conformance.peer import DEFAULT_CHUNK, Signal, as_signal, describe
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection

MAX_SIZE: Final = 2**63 - 1
TOO_LARGE: Final = "too_large"

SCRIPTS: Final = (
    "Grüße",
    "Привет",
    "日本語",
    "한국어",
    "עברית",
    "العربية",
    "हिन्दी",
    "ไทย",
    "\U0001f469\U0001f3fd\u200d\U0001f4bb \U0001f389",
    "a b  c",
    "e\u0301",
)
"""Names in many scripts, with right-to-left, combining and 4-byte characters, and spaces."""


async def _send_all(
    connection: ServerConnection, name: str, content: bytes, **more: object
) -> Event:
    """Send metadata and content; return the ready that finished answers, or what came instead."""
    await connection.send_metadata(name, len(content), **more)
    sent = 0
    while True:
        event = await connection.message()
        signal = as_signal(event)
        if signal is None or not signal.get("ready") or sent >= len(content):
            return event
        limit = signal.get("chunksize") or DEFAULT_CHUNK
        await connection.send_chunk(content[sent : sent + limit])
        sent += limit


async def _finish(connection: ServerConnection, content: bytes, event: Event) -> Event:
    """Answer a ready with finished; return the last answer: close, an error, or the end."""
    signal = as_signal(event)
    if signal is None or not signal.get("ready"):
        return event
    await connection.send_finished(content)
    while signal is not None and signal.get("ready"):
        event = await connection.message()
        signal = as_signal(event)
    return event


async def _try(server: Server, name: str, content: bytes, **more: object) -> Event:
    """Upload as far as the server permits; return its last answer."""
    async with server.connect(content=content) as connection:
        last = await _send_all(connection, name, content, **more)
        return await _finish(connection, content, last)


def _is_fatal(signal: Signal | None) -> bool:
    return signal is not None and bool(signal.get("error") and signal.get("fatal"))


def _is_close(signal: Signal | None) -> bool:
    return signal is not None and not signal.get("error") and bool(signal.get("close"))


def _name_in_close(judge: Judge, requirement: str, name: str, event: Event) -> str | None:
    """The name under which the server says that the file is stored; None where it refuses it.

    Checks that it does either.
    """
    signal = as_signal(event)
    answered = _is_close(signal) or _is_fatal(signal)
    sentence = f"expected close or a fatal error for the name {name!r}, {describe(event)}"
    judge.check(requirement, answered, sentence)
    if signal is None or not _is_close(signal):
        return None
    stated = signal.get("name", name)
    return stated if isinstance(stated, str) else None


HOSTILE: Final = (
    "../MARK",
    "../../MARK",
    "../../../../../../../../../../../..TEMPORARY/MARK",
    "TEMPORARY/MARK",
    "/MARK",
    "//MARK",
    "./../MARK",
    "a/../../MARK",
    "..\\MARK",
    "a\\..\\..\\MARK",
    "C:\\MARK",
    "....//MARK",
    "..%2fMARK",
    "..\0/../MARK",
    "../MARK\0.txt",
)
"""Names that would leave the directory if they were taken for paths."""


@server_case(
    "7.1.1",
    "No name leads out of the place where the server stores files.",
    requirements=("S7.1", "S7.3"),
    needs=("listing",),
)
async def outside(server: Server, judge: Judge) -> None:
    """Each name is unique, so that no file is overwritten even by a server that goes wrong."""
    content = b"stored by a case of galileo-conformance"
    for template in HOSTILE:
        mark = server.name("")
        name = template.replace("TEMPORARY", tempfile.gettempdir()).replace("MARK", mark)
        _name_in_close(judge, "S7.1", name, await _try(server, name, content))
        strays = sorted(await server.strays(mark))
        judge.check("S7.1", not strays, f"expected no file outside for {name!r}, but {strays} came")


@server_case(
    "7.1.12",
    "No folder leads out of the place where the server stores files.",
    requirements=("S7.1",),
    needs=("listing",),
)
async def folders_outside(server: Server, judge: Judge) -> None:
    """The hostile names, and long and deep ones; each file has a unique name."""
    content = b"stored by a case of galileo-conformance"
    for template in (*HOSTILE, "../" * 50, "a/../" * 50, "//", "\0", "x" * 5000):
        mark = server.name("")
        folder = template.replace("TEMPORARY", tempfile.gettempdir()).replace("MARK", "a")
        await _try(server, mark, content, folder=folder)
        strays = sorted(await server.strays(mark))
        judge.check(
            "S7.1", not strays, f"expected no file outside for {folder!r}, but {strays} came"
        )


@server_case(
    "7.1.2",
    "Names that are no names of files, or have control characters, are made safe or refused.",
    requirements=("S7.1", "S7.3", "S4.11"),
)
async def unsafe(server: Server, judge: Judge) -> None:
    """A server that stores such a file states a plain name, and has it there."""
    content = b"stored by a case of galileo-conformance"
    odd = [server.name(f"-{c}.bin") for c in ("\0", "\n", "\r", "\t", "\x1b", "\x7f", "/", "\\")]
    for name in (".", "..", "/", "\\", "../..", "\0", *odd, server.name("/"), server.name("/..")):
        stated = _name_in_close(judge, "S7.1", name, await _try(server, name, content))
        if stated is None:
            continue
        plain = stated not in {"", ".", ".."} and not {"/", "\0"} & set(stated)
        came = "it states no other" if stated == name else f"it states {stated!r}"
        sentence = f"expected close to state a plain name for {name!r}, but {came}"
        if judge.check("S4.11", plain, sentence):
            await check_stored(server, judge, "S7.1", stated, content)


@server_case("7.1.3", "Names in any script are accepted.", requirements=("S7.2",))
async def scripts(server: Server, judge: Judge) -> None:
    """The file is stored under the name, or another one that the server states."""
    for script in SCRIPTS:
        name, content = server.name(f" {script}.bin"), secrets.token_bytes(100)
        event = await _try(server, name, content)
        signal = as_signal(event)
        sentence = f"expected close for the name {name!r}, {describe(event)}"
        if judge.check("S7.2", _is_close(signal), sentence) and signal is not None:
            await check_stored(server, judge, "S7.2", signal.get("name", name), content)


@server_case(
    "7.1.4",
    "Escapes of JSON in a name stand for their characters.",
    requirements=("S7.2",),
)
async def escapes(server: Server, judge: Judge) -> None:
    r"""`\u00e9`, a surrogate pair, and an escaped ASCII letter."""
    name, content = server.name("-é🎉k.bin"), secrets.token_bytes(100)
    async with server.connect(content=content) as connection:
        token = {} if connection.token is None else {"token": connection.token}
        text = json.dumps({"name": name, "size": len(content), **token})
        await connection.websocket.send_frame(
            Opcode.TEXT, text.replace("k.bin", "\\u006b.bin").encode()
        )
        await connection.send_content(content, requirement="S7.2")
        await connection.expect_ready("S7.2")
        await connection.send_finished(content)
        close = await connection.expect_close("S7.2")
    await check_stored(server, judge, "S7.2", close.get("name", name), content)


@server_case("7.1.5", "An empty name gets a fatal error.", requirements=("S7.4",))
async def empty_name(server: Server, judge: Judge) -> None:
    """No server can use it."""
    event = await _try(server, "", b"data")
    sentence = f"expected a fatal error for an empty name, {describe(event)}"
    judge.check("S7.4", _is_fatal(as_signal(event)), sentence)


@server_case(
    "7.1.6",
    "Two files of one name: each that is confirmed is complete under the name that is stated.",
    requirements=("S7.5",),
)
async def same_name(server: Server, judge: Judge) -> None:
    """One after the other, and then a pair at the same time."""
    name = server.name()
    contents = [secrets.token_bytes(size) for size in (700, 300, 500, 900)]
    stated: dict[str, bytes] = {}
    for content in contents[:2]:
        event = await _try(server, name, content)
        stored_as = _name_in_close(judge, "S7.5", name, event)
        if stored_as is not None:
            stated[stored_as] = content  # a later file of the same name replaces the earlier one
            await check_stored(server, judge, "S7.5", stored_as, content)
    first, second = contents[2:]
    async with server.connect(content=first) as one, server.connect(content=second) as other:
        pair = ((one, first), (other, second))
        events = [await _send_all(connection, name, content) for connection, content in pair]
        for (connection, content), event in zip(pair, events, strict=True):
            answer = await _finish(connection, content, event)
            stored_as = _name_in_close(judge, "S7.5", name, answer)
            if stored_as is not None:
                stated[stored_as] = content
    for stored_as, content in stated.items():
        await check_stored(server, judge, "S7.5", stored_as, content)


@server_case(
    "7.1.7",
    "A size beyond 2^32 or 2^53 is taken exactly: not cut to 32 bits, and not rounded.",
    requirements=("S7.6",),
)
async def exact_size(server: Server, judge: Judge) -> None:
    """The bytes that would be left of a size that was cut are sent, then finished.

    A server that has not cut it says that bytes are missing. Where an error states the size, it is
    the announced one.
    """
    for size in (2**32, 2**32 + 1, 2**31 + 1, 2**53 + 1, 2**63 - 1025, MAX_SIZE):
        async with server.connect() as connection:
            await connection.send_metadata(server.name(), size)
            answer = await connection.signal()
            if answer is not None and answer.get("ready"):
                rest = size % 2**32 if size % 2**32 < DEFAULT_CHUNK else 0
                if rest:
                    await connection.send_chunk(secrets.token_bytes(rest))
                    await connection.expect_ready("S7.6", f"expected ready within {size} bytes")
                await connection.send_finished()
                answer = await connection.expect_error(
                    "S7.6", f"expected a fatal error for {rest} of {size} bytes"
                )
            sentence = f"expected ready or a fatal error for the size {size}, but {answer} came"
            judge.require("S7.6", _is_fatal(answer), sentence)
            _check_sizes(judge, answer or {}, size)


def _check_sizes(judge: Judge, error: Signal, size: int) -> None:
    for key, code in (("size", TOO_LARGE), ("expected", "size_mismatch")):
        value = error.get(key)
        if error.get("code") == code and isinstance(value, int | float):
            same = value == size and isinstance(value, int)
            judge.check("S7.6", same, f"expected the size {size} in the error, but {value} came")


@server_case(
    "7.1.8",
    "A size that is negative, no integer, or greater than 2^63-1 gets a fatal error.",
    requirements=("S7.7",),
)
async def invalid_sizes(server: Server, judge: Judge) -> None:
    """Each on a connection of its own, in the form that stands in the JSON text."""
    wrong = ("-1", "-9223372036854775808", "1.5", "0.1", '"5"', "null", "true", "[5]", "{}",
             "9223372036854775808", "18446744073709551621", "1" + "0" * 40)  # fmt: skip
    for size in wrong:
        async with server.connect() as connection:
            token = "" if connection.token is None else f', "token": {json.dumps(connection.token)}'
            name = server.name()
            await connection.websocket.send_text(f'{{"name": "{name}", "size": {size}{token}}}')
            event = await connection.message()
            sentence = f"expected a fatal error for the size {size}, {describe(event)}"
            judge.check("S7.7", _is_fatal(as_signal(event)), sentence)


@server_case(
    "7.1.9",
    "A server that does not accept so large a file says so before it grants a credit.",
    requirements=("S7.8",),
)
async def refused_size(server: Server, judge: Judge) -> None:
    """Where the largest size gets ready, no error about it follows, also after a chunk."""
    async with server.connect() as connection:
        await connection.send_metadata(server.name(), MAX_SIZE)
        event = await connection.message()
        signal = as_signal(event)
        if _is_fatal(signal):
            return
        ready = signal is not None and signal.get("ready")
        judge.require(
            "S7.8", ready, f"expected ready or a fatal error for 2^63-1 bytes, {describe(event)}"
        )
        await connection.send_chunk(b"x")
        while (later := await connection.silent()) is not None:
            signal = as_signal(later)
            if signal is None or not signal.get("ready"):
                break
        too_late = _is_fatal(signal) and (signal or {}).get("code", TOO_LARGE) == TOO_LARGE
        sentence = f"expected no error about the size after a ready, {describe(later)}"
        judge.check("S7.8", not too_late, sentence)


@server_case(
    "7.1.10",
    "Two uploads of one name whose chunks come in turn are not mixed.",
    requirements=("S7.5",),
)
async def mixed(server: Server, judge: Judge) -> None:
    """In chunks of 50,000 bytes or less; the second one finishes first.

    Without a hash, by which a server would see that it has mixed them.
    """
    name = server.name()
    contents = [secrets.token_bytes(300_000) for _ in range(2)]
    stated: dict[str, bytes] = {}
    first, second = contents
    async with server.connect(content=first) as one, server.connect(content=second) as other:
        pair = ((one, first), (other, second))
        for connection, content in pair:
            await connection.send_metadata(name, len(content))
        sent = [0, 0]
        while min(sent) < len(first):
            for turn, (connection, content) in enumerate(pair):
                event = await connection.signal()
                if event is None or not event.get("ready"):
                    judge.skip("the server does not take two uploads of one name at once")
                size = min(event.get("chunksize") or DEFAULT_CHUNK, 50_000)
                await connection.send_chunk(content[sent[turn] : sent[turn] + size])
                sent[turn] += size
        for connection, content in reversed(pair):
            await connection.send_finished()
            answer = await connection.message()
            while (as_signal(answer) or {}).get("ready"):
                answer = await connection.message()
            stored_as = _name_in_close(judge, "S7.5", name, answer)
            if stored_as is not None:
                stated[stored_as] = content
    if not stated:
        judge.skip("the server stores neither without a hash")
    for stored_as, content in stated.items():
        await check_stored(server, judge, "S7.5", stored_as, content)


@server_case(
    "7.1.11",
    "The folder of a file does not get into the name in close.",
    requirements=("S7.3",),
)
async def folder(server: Server, judge: Judge) -> None:
    """Where the server makes folders, and where it does not."""
    name, content = server.name(), secrets.token_bytes(100)
    async with server.connect(content=content) as connection:
        close = await connection.upload(name, content, folder="2026/june")
        stated = close.get("name", name)
        plain = isinstance(stated, str) and "/" not in stated
        judge.check("S7.3", plain, f"expected a name without a folder, but {stated!r} came")
