"""Section 8, judging a server: how extensions are agreed."""

from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._server_resume import (
    SMALL,
    Upload,
    announce,
    check_stored_once,
    complete,
    need_resume,
    new_upload,
    stated,
)
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal
from galileod.conformance.server import Server
from galileod.conformance.server_connection import ServerConnection
from galileod.conformance.server_rules import is_place

KEYS: Final = (
    "can",
    "offset",
    "keep",
    "check",
    "kept",
    "next",
    "whole",
    "room",
    "file",
    "last",
    "path",
    "held",
)
"""The keys of extensions in the signals of a server."""
TOO_LARGE: Final = 2**63 - 1
"""Bytes of a file that hardly any server accepts."""
NO_LISTS: Final = ("resume", {"resume": True}, None, 1, True)
"""Values of `can` that state nothing."""


async def known_extensions(server: Server) -> list[Any]:
    """What the server states to a client that can everything; UNSUPPORTED without `can`."""
    async with server.connect() as connection:
        signal = await announce(
            connection, new_upload(server, SMALL), can=["resume", "next", "ask"]
        )
        if "can" not in signal:
            server.trial.judge.unsupported("the server states no extensions")
        return stated(signal)


@server_case(
    "8.1.1",
    "The first signal of a server states a list of the extensions that both sides support.",
    requirements=("S8.1",),
)
async def states_extensions(server: Server, judge: Judge) -> None:
    """A `ready` and, where the server refuses the largest size, an error."""
    known = await known_extensions(server)
    for can in ([], ["x-unknown"], ["x-unknown", "resume"], ["resume", "resume", "next"]):
        expected = sorted({str(word) for word in known} & set(can))
        for size in (SMALL, TOO_LARGE):
            async with server.connect() as connection:
                upload = new_upload(server, SMALL)
                signal = await announce(connection, upload, size=size, can=can)
                got = signal.get("can")
                judge.check(
                    "S8.1",
                    isinstance(got, list) and sorted({str(word) for word in got}) == expected,
                    f"expected the list {expected} as the answer to {can}, but {signal} came",
                )


@server_case(
    "8.1.2",
    "If can is absent or no list, the signals of a server have no key of an extension.",
    requirements=("S8.2",),
)
async def stays_classic(server: Server, judge: Judge) -> None:
    """Uploads that are stored, and one that fails; with a key, which says nothing alone."""
    for can in ({}, *({"can": value} for value in NO_LISTS)):
        async with server.connect() as connection:
            upload = new_upload(server, SMALL)
            await send_classic(connection, upload, can)
            await connection.send_finished(upload.content)
            _check_classic(judge, await connection.expect_close(), can)
    async with server.connect() as connection:
        upload = new_upload(server)
        await send_classic(connection, upload, {})
        await connection.send_finished(upload.content[1:])
        _check_classic(judge, await connection.expect_error(), {})


async def send_classic(connection: ServerConnection, upload: Upload, more: dict[str, Any]) -> None:
    """Send metadata and all bytes; check that no `ready` has a key of an extension."""
    await connection.send_metadata(upload.name, upload.size, upload=upload.key, **more)
    sent = 0
    while True:
        ready = await connection.expect_ready()
        _check_classic(connection.trial.judge, ready, more)
        if sent == upload.size:
            return
        size = min(ready.get("chunksize") or SMALL, upload.size - sent)
        await connection.send_chunk(upload.content[sent : sent + size])
        sent += size


def _check_classic(judge: Judge, signal: Signal, more: dict[str, Any]) -> None:
    found = [key for key in KEYS if key in signal]
    judge.check(
        "S8.2",
        not found,
        f"expected no key of an extension where the metadata have {more or 'no can'},"
        f" but {signal} came",
    )


@server_case(
    "8.1.3",
    "A server states no extension that the client has not stated.",
    requirements=("S8.3",),
)
async def states_no_more(server: Server, judge: Judge) -> None:
    """Also not where the metadata have a key."""
    await known_extensions(server)
    for can in ([], ["x-unknown"], ["next"], ["resume"], ["resumed", "res", "RESUME"]):
        async with server.connect() as connection:
            signal = await announce(connection, new_upload(server, SMALL), can=can)
            judge.check(
                "S8.3",
                all(word in can for word in stated(signal)),
                f"expected no more than {can} in can, but {signal} came",
            )


@server_case(
    "8.1.4",
    "Without an agreed extension, a server ignores abandon.",
    requirements=("S8.23",),
)
async def abandon_is_ignored(server: Server, judge: Judge) -> None:
    """As a signal at each stage, and as a key of the metadata."""
    del judge
    forms: tuple[dict[str, Any], ...] = ({}, {"can": []}, {"can": "resume"})
    for more in forms:
        async with server.connect() as connection:
            upload = new_upload(server, SMALL)
            await connection.send_metadata(
                upload.name, upload.size, upload=upload.key, abandon=True, **more
            )
            await connection.expect_ready("S8.23")
            await connection.send({"abandon": True})
            await connection.send_chunk(upload.content)
            await connection.expect_ready("S8.23")
            await connection.send({"abandon": True, "file": 0})
            await connection.send_finished(upload.content)
            close = await connection.expect_close("S8.23")
            await check_stored_once(server, upload, close, "S8.23")


@server_case(
    "8.1.5",
    "Without a key, a server does not state resume, and the upload is classic.",
    requirements=("S8.4",),
    profile="resume",
)
async def no_key(server: Server, judge: Judge) -> None:
    """The upload succeeds all the same; `null` is no key either."""
    await need_resume(server)
    async with server.connect() as connection:
        upload = new_upload(server, SMALL)
        await connection.send_metadata(upload.name, upload.size, can=["resume"])
        ready = await connection.expect_ready("S8.4")
        _states_no_resume(judge, ready)
        close = await complete(connection, upload, ready, 0)
        await check_stored_once(server, upload, close, None)
    async with server.connect() as connection:  # an error is permitted
        _states_no_resume(judge, await announce(connection, upload, upload=None))


def _states_no_resume(judge: Judge, first: Signal) -> None:
    judge.check(
        "S8.4",
        not first.get("ready") or "resume" not in stated(first),
        f"expected no resume in can without a key, but {first} came",
    )


@server_case(
    "8.1.32",
    "Where an extension is agreed, close states where the file is, with its folders.",
    requirements=("S8.24", "S8.25"),
)
async def states_the_path(server: Server, judge: Judge) -> None:
    """What the server makes of the folder is its own: it may store all files in one."""
    known = await known_extensions(server)
    for folder in (None, "conformance", "../conformance//./a\\b"):
        async with server.connect() as connection:
            upload = new_upload(server, SMALL)
            more: dict[str, Any] = {} if folder is None else {"folder": folder}
            ready = await announce(connection, upload, can=known, **more)
            if not stated(ready):
                judge.unsupported("the server agrees to no extension")
            if not ready.get("ready"):
                continue  # it refuses such a folder
            close = await complete(connection, upload, ready, 0)
            path = close.get("path")
            judge.check("S8.24", path is not None, f"expected close with a path, but {close} came")
            if path is None:
                continue
            name = close.get("name", upload.name)
            fine = is_place(path, name)
            sentence = f"expected a path that ends with the stored name {name!r}, but {close} came"
            judge.require("S8.25", fine, sentence)
            if "listing" in server.target.offers:
                there = path in await server.listing()
                judge.check("S8.25", there, f"expected a file at {path!r}, but there is none")
