"""Section 9, servers: many files on one connection."""

import secrets
from typing import Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._many_uploads import many_uploads, some_bytes
from galileod.conformance.judge import Judge
from galileod.conformance.peer import describe
from galileod.conformance.server import Server

MOST_FILES: Final = 256
"""Further files that a case has open at once, where the server takes more."""
MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of whole files that a case has under way, where the server takes more."""


@server_case(
    "9.1.1",
    "The first signal that agrees to many files states the limits for them.",
    requirements=("S9.1",),
    profile="next",
)
async def limits(server: Server, judge: Judge) -> None:
    """The rules of the dialogue say whether they fit together."""
    async with many_uploads(server, judge, complete=False) as uploads:
        first = uploads.first
        values = [first.get(name) for name in ("next", "whole", "room")]
        integers = all(type(value) is int for value in values)
        expected = "expected the integers `next`, `whole` and `room`"
        judge.check("S9.1", integers, f"{expected}, but {first} came")


@server_case(
    "9.1.2",
    "Small, large and empty further files are stored as they were sent, and answered by number.",
    requirements=("S9.2", "S9.4", "S9.6", "S9.11"),
    profile="next",
)
async def further_files(server: Server, judge: Judge) -> None:
    """The larger ones exceed `whole`."""
    async with many_uploads(server, judge) as uploads:
        contents = [uploads.small(1), uploads.large(2), b"", uploads.small(3), uploads.large(4)]
        names = [server.name() for _ in contents]
        for name, content in zip(names, contents, strict=True):
            await uploads.send(name, content)
            # One after the other, for a server that takes one file at a time.
            await uploads.expect_stored(uploads.count - 1, "S9.2")
        for number, (name, content) in enumerate(zip(names, contents, strict=True), 1):
            stored = await server.stored(uploads.answers[number].get("name", name))
            judge.check(
                "S9.11",
                stored == content,
                f"expected file {number} of {len(content)} bytes to be stored as it was sent,"
                f" but {'nothing' if stored is None else f'{len(stored)} other bytes'} came",
            )


@server_case(
    "9.1.3",
    "As many files and bytes as the server states may be under way at once.",
    requirements=("S9.3", "S9.6"),
    profile="next",
)
async def all_at_once(server: Server, judge: Judge) -> None:
    """Nothing is read before everything is sent."""
    async with many_uploads(server, judge) as uploads:
        count = min(uploads.next, MOST_FILES)
        room = min(uploads.room, MOST_BYTES)
        contents = []
        for seed in range(count):
            size = min(uploads.whole, room, max(1, uploads.room // count))
            contents.append(some_bytes(size, seed))
            room -= size
        # What is left of the room makes the first files larger.
        for seed, content in enumerate(contents):
            size = min(uploads.whole, len(content) + room)
            room -= size - len(content)
            contents[seed] = some_bytes(size, seed)
        names = [server.name() for _ in contents]
        for name, content in zip(names, contents, strict=True):
            await uploads.send(name, content)
        for number in range(1, count + 1):
            await uploads.expect_stored(number, "S9.3")
        for name, content in zip(names[:3], contents, strict=False):
            whole = await server.stored(name) == content
            judge.check("S9.3", whole, f"expected the file {name} to be stored as it was sent")


@server_case(
    "9.1.4",
    "A larger file gets its ready, none comes for finished, and none for a file sent whole.",
    requirements=("S9.4", "S9.5"),
    profile="next",
)
async def credits_for_further_files(server: Server, judge: Judge) -> None:
    """The end of the file is held back for a moment."""
    async with many_uploads(server, judge) as uploads:
        content = uploads.large(1)
        number = await uploads.begin(server.name(), len(content))
        ready = await uploads.ready(number, "S9.4")
        judge.require("S9.4", ready, f"expected ready, but {uploads.answers.get(number)} came")
        uploads.readies[number].appendleft(ready or {})
        await uploads.send_part(number, content, 0, len(content))
        # A ready behind the last byte comes now: `finished` would end the wait for it.
        event = await uploads.connection.silent()
        expected = "expected nothing between the last byte and finished"
        judge.require("S9.5", event is None, f"{expected}, {describe(event)}")
        await uploads.connection.send_finished(content)
        await uploads.expect_stored(number)
        small = await uploads.send(server.name(), uploads.small(2))
        await uploads.expect_stored(small)  # the rules of the dialogue see a ready that comes


@server_case(
    "9.1.5",
    "A large further file is continued on another connection, by its key.",
    requirements=("S9.11", "S9.5"),
    profile="next",
)
async def resumed_within(server: Server, judge: Judge) -> None:
    """The connection is lost in the middle of file 1."""
    can = ("next", "resume")
    name, key = server.name(), secrets.token_hex(16)
    async with many_uploads(server, judge, can=can, upload=secrets.token_hex(16)) as uploads:
        content = uploads.large(1, 2 * 1024 * 1024)  # galileod keeps files of 1 MiB or more
        number = await uploads.begin(name, len(content), upload=key)
        half = len(content) // 2
        sent = await uploads.send_part(number, content, 0, half)
        judge.require(None, sent == half, f"expected more ready signals, but {sent} bytes are sent")
        await uploads.connection.websocket.abort()
    async with many_uploads(server, judge, can=can, upload=secrets.token_hex(16)) as uploads:
        number = await uploads.begin(name, len(content), upload=key)
        ready = await uploads.ready(number, "S9.11")
        offset = (ready or {}).get("offset")
        valid = type(offset) is int and 0 <= offset <= half
        judge.require("S9.11", valid, f"expected an `offset` from 0 to {half}, but {ready} came")
        uploads.readies[number].appendleft(ready or {})
        await uploads.send_content(number, content, sent=offset if isinstance(offset, int) else 0)
        await uploads.expect_stored(number, "S9.11")
        whole = await server.stored(name) == content
        judge.check("S9.11", whole, "expected the file to be stored as it was sent, but it differs")


@server_case(
    "9.1.6",
    "A small further file that is sent again with its key is stored once.",
    requirements=("S9.11",),
    profile="next",
    needs=("listing",),
)
async def sent_again(server: Server, judge: Judge) -> None:
    """The second time it is answered by its key."""
    can = ("next", "resume")
    name, key = server.name(), secrets.token_hex(16)
    for attempt in range(2):
        async with many_uploads(server, judge, can=can, upload=secrets.token_hex(16)) as uploads:
            content = uploads.small(1)
            before = await server.listing()
            number = await uploads.send(name, content, upload=key)
            await uploads.expect_stored(number, "S9.11")
            new = await server.listing() - before
            expected = f"expected {1 - attempt} new file at attempt {attempt + 1}"
            judge.check("S9.11", len(new) == 1 - attempt, f"{expected}, but {len(new)} came")
