"""Section 9, servers: files that fail, and the end of the connection."""

from typing import Final

import trio

from galileod.conformance.case import server_case
from galileod.conformance.cases._many_uploads import ManyUploads, many_uploads, some_bytes
from galileod.conformance.events import Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal, describe
from galileod.conformance.server import Server

MIN_MESSAGE: Final = 4 * 1024 * 1024
"""Bytes of a chunk that is larger than servers grant."""
MAX_MESSAGE: Final = 32 * 1024 * 1024
"""Bytes of the largest chunk that a case sends without a ready."""


@server_case(
    "9.1.7",
    "A further file that fails does not affect the others.",
    requirements=("S9.7", "S9.11"),
    profile="next",
)
async def one_fails(server: Server, judge: Judge) -> None:
    """By its hash, or by its size where no file is sent whole."""
    async with many_uploads(server, judge) as uploads:
        names = [server.name() for _ in range(3)]
        await uploads.send(names[0], uploads.small(1))
        await uploads.expect_stored(1)
        if uploads.whole:
            wrong = await uploads.begin(names[1], len(uploads.small(2)))
            await uploads.connection.send_chunk(uploads.small(2))
            await uploads.connection.send_finished(uploads.small(3))
        else:
            wrong = await uploads.begin(names[1], -1)
        await uploads.expect_error(wrong, "S9.11", "expected a fatal error about the hash")
        judge.check("S9.11", await server.stored(names[1]) is None, "expected nothing to be stored")
        await _others_go_on(uploads, server, judge, names[2])


@server_case(
    "9.1.8",
    "What still comes for a further file that has failed is dropped.",
    requirements=("S9.7", "S9.11"),
    profile="next",
)
async def rest_is_dropped(server: Server, judge: Judge) -> None:
    """`finished` comes too early, and then the data."""
    async with many_uploads(server, judge) as uploads:
        content = uploads.large(1)
        number = await uploads.begin(server.name(), len(content))
        await uploads.ready(number)
        await uploads.connection.send_finished()  # not a byte was sent
        await uploads.expect_error(number, "S9.11", "expected a fatal error about the size")
        if uploads.ended is None:
            await uploads.connection.send_chunk(content[:1000])
            await uploads.connection.send_finished(content)
        await _others_go_on(uploads, server, judge, server.name())


@server_case(
    "9.1.9",
    "Files that are finished are answered before an error that ends the connection.",
    requirements=("S9.8", "S9.12"),
    profile="next",
)
async def answered_before_the_end(server: Server, judge: Judge) -> None:
    """Metadata within a file end the connection."""
    async with many_uploads(server, judge) as uploads:
        names = [server.name() for _ in range(3)]
        finished = await uploads.send(names[0], uploads.small(1))
        await uploads.begin(names[1], len(uploads.large(2)))
        # Metadata within a file: a violation, whatever the server has sent about the file.
        await uploads.begin(names[2], len(uploads.large(3)))
        while uploads.ended is None and not {2, 3} & set(uploads.answers):
            await uploads.take("S9.12", "expected a fatal error about metadata within a file")
        ended = f"expected an error that ends the connection, but {uploads.answers} came"
        judge.require("S9.12", uploads.ended, ended)
        answered = finished in uploads.answers
        expected = f"expected file {finished} to be answered before {uploads.ended}"
        judge.require("S9.8", answered, f"{expected}, but nothing about it came")
        await uploads.expect_stored(finished, "S9.8")


@server_case(
    "9.1.10",
    "A server that stops says `last`, and answers metadata that still come.",
    requirements=("S9.9",),
    profile="next",
    needs=("restart",),
)
async def says_last(server: Server, judge: Judge) -> None:
    """The metadata cross the signal, as far as the server can tell."""

    async def restart() -> None:
        # Not to be left half done where the case ends early. It has a limit of its own.
        with trio.CancelScope(shield=True):
            await server.restart()

    async with trio.open_nursery() as nursery, many_uploads(server, judge) as uploads:
        nursery.start_soon(restart)
        while not uploads.last:
            await uploads.take("S9.9", "expected `last`")
        name, content = server.name(), uploads.small(1)
        answer = await uploads.answer(await uploads.send(name, content), "S9.9")
        stored = bool(answer.get("close"))
        refused = answer.get("code") == "shutting_down" and answer.get("next")
        expected = "expected close, or `shutting_down` with `file` and `next`"
        judge.require("S9.9", stored or refused, f"{expected}, but {answer} came")
        same = (await server.stored(name) == content) == stored
        judge.check(
            "S9.9", same, f"expected the file to be stored if the answer is close: {answer}"
        )


@server_case(
    "9.1.11",
    "A chunk that is larger than `whole` and that no ready permits is refused.",
    requirements=("S9.10",),
    profile="next",
)
async def without_ready(server: Server, judge: Judge) -> None:
    """The file is larger too, so that only the chunk is wrong."""
    async with many_uploads(server, judge) as uploads:
        size = max(MIN_MESSAGE, uploads.whole) + 1
        if size > MAX_MESSAGE:
            judge.skip(f"the server takes files of {size - 1} bytes whole")
        name = server.name()
        number = await uploads.begin(name, 2 * size)
        await uploads.connection.send_chunk(some_bytes(size))
        while uploads.ended is None and number not in uploads.answers:
            signal = await uploads.take("S9.10", "expected a fatal error")
            if signal.get("ready") and not 0 < int(signal.get("chunksize") or 0) < size:
                judge.skip("the server grants so many bytes at once")
        answer = await uploads.expect_error(number, "S9.10", "expected a fatal error")
        judge.check("S9.10", await server.stored(name) is None, f"expected no file after {answer}")


@server_case(
    "9.1.12",
    "The credential of each further file is judged anew.",
    requirements=("S9.11",),
    profile="next",
    needs=("token",),
)
async def credentials(server: Server, judge: Judge) -> None:
    """One that is not valid, and none, beside the valid one of file 0."""
    for token in ("no such token", None):
        async with many_uploads(server, judge) as uploads:
            name = server.name()
            number = await uploads.begin(name, len(uploads.small(1)), token=token)
            await uploads.send_content(number, uploads.small(1))
            why = f"expected a fatal error about the token {token!r}"
            await uploads.expect_error(number, "S9.11", why)
            stored = await server.stored(name)
            judge.check("S9.11", stored is None, "expected nothing to be stored, but the file is")


@server_case(
    "9.1.13",
    "A further file can be abandoned, and the connection continues.",
    requirements=("S9.13",),
    profile="next",
)
async def abandoned(server: Server, judge: Judge) -> None:
    """In the middle, and once more when it is answered."""
    async with many_uploads(server, judge) as uploads:
        name, content = server.name(), uploads.large(1)
        number = await uploads.begin(name, len(content))
        await uploads.send_part(number, content, 0, 1000)
        await uploads.connection.send({"abandon": True, "file": number})
        answer = await uploads.answer(number, "S9.13")
        fine = answer.get("code") == "abandoned" and answer.get("next")
        judge.require("S9.13", fine, f"expected `abandoned` with `next`, but {answer} came")
        judge.check("S9.13", await server.stored(name) is None, "expected nothing to be stored")
        # Of a file that is answered, it has no effect.
        await uploads.connection.send({"abandon": True, "file": number})
        other = await uploads.send(server.name(), uploads.small(2))
        await uploads.expect_stored(other, "S9.13")


async def _others_go_on(uploads: ManyUploads, server: Server, judge: Judge, name: str) -> None:
    """Whether the next file is stored; nothing may come after an error without `next`."""
    content = uploads.small(4)
    ended = uploads.ended
    number = await uploads.send(name, content)
    if ended is not None:
        event = await uploads.connection.silent() or Nothing(0)
        expected = f"expected the end of the connection after an error without `next`: {ended}"
        judge.check("S9.7", as_signal(event) is None, f"{expected}, {describe(event)}")
        return
    await uploads.expect_stored(number, "S9.7")
    whole = await server.stored(name) == content
    judge.check("S9.7", whole, "expected the next file to be stored as it was sent, but it differs")
