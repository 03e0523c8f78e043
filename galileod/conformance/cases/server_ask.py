"""Section 10, servers: asking what is stored."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from galileod.conformance.case import server_case
from galileod.conformance.cases._many_uploads import SMALL, ManyUploads, many_uploads, some_bytes
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal
from galileod.conformance.server import Server
from galileod.conformance.server_connection import digest

MODIFIED: Final = 1_768_300_000_000
"""Milliseconds since 1970."""
CONTENT: Final = some_bytes(SMALL)
"""What `many_uploads` stores as file 0."""
MAX_ENTRIES: Final = 256
SHA1: Final = digest(CONTENT)

WRONG_QUESTIONS: Final[tuple[Signal, ...]] = (
    {"ask": [], "n": 1},
    {"ask": "a", "n": 1},
    {"ask": ["a"], "n": 1},
    {"ask": [{"size": 5, "modified": 1}], "n": 1},
    {"ask": [{"name": "a", "modified": 1}], "n": 1},
    {"ask": [{"name": "a", "size": 5}], "n": 1},
    {"ask": [{"name": "a", "size": 5, "modified": 1}]},
)


@server_case(
    "10.1.1",
    "A question is answered with its number and the files that are held, and with no others.",
    requirements=("S10.1", "S10.2"),
    profile="ask",
)
async def what_is_held(server: Server, judge: Judge) -> None:
    """Each wrong entry differs from the stored file in one thing."""
    async with asking(server, judge) as (uploads, name):
        file = {"name": name, "size": SMALL}
        entries: list[Signal] = [
            {**file, "modified": MODIFIED},
            {**file, "hash": SHA1},
            {"name": server.name(), "size": SMALL, "hash": SHA1},
            {"name": name, "size": SMALL + 1, "hash": SHA1},
            {**file, "hash": digest(CONTENT[1:])},
            {**file, "modified": MODIFIED + 3_600_000},
            {**file, "folder": "elsewhere", "hash": SHA1},
            {**file, "modified": MODIFIED, "hash": digest(CONTENT[1:])},
            {**file, "modified": MODIFIED + 3_600_000, "hash": SHA1},
        ]
        held = await ask(uploads, entries, 7, "S10.1")
        named = held["held"]
        # By the one or by the other: a server need not keep both.
        expected = "expected the stored file to be held, by its modification or by its hash"
        judge.check("S10.1", {0, 1} & set(named), f"{expected}, but {held} came")
        for index in set(named) - {0, 1}:
            expected = f"expected a file with {entries[index]} not to be held, for it is not there"
            judge.check("S10.2", holds=False, sentence=f"{expected}, but {held} came")


@server_case(
    "10.1.2",
    "A question of 256 entries is answered, before file 0 and behind a further file.",
    requirements=("S10.1",),
    profile="ask",
)
async def many_entries(server: Server, judge: Judge) -> None:
    """Before the first byte of file 0 it is between files too."""
    async with asking(server, judge, complete=False) as (uploads, _):
        # Short names: a server need not accept signals of more than 16 KiB.
        prefix = server.name()[:16]
        entries: list[Signal] = [
            {"name": f"{prefix}{i}", "size": 1, "modified": 1} for i in range(MAX_ENTRIES)
        ]
        first = await ask(uploads, entries, 1, "S10.1")
        judge.check("S10.1", first["held"] == [], f"expected no file to be held, but {first} came")
        await uploads.send_part(0, CONTENT, 0, SMALL)
        await uploads.ready(0)
        await uploads.connection.send_finished(CONTENT)
        await uploads.send(server.name(), uploads.small(1))
        await ask(uploads, entries[:1], 2, "S10.1")
        await uploads.expect_stored(0)
        await uploads.expect_stored(1)


@server_case(
    "10.1.3",
    "A question of another form, or with more than 256 entries, is refused.",
    requirements=("S10.3",),
    profile="ask",
)
async def wrong_questions(server: Server, judge: Judge) -> None:
    """One connection for each, for the first one ends it."""
    entry = {"name": "a", "size": 5, "modified": MODIFIED}
    for question in (*WRONG_QUESTIONS, {"ask": [entry] * (MAX_ENTRIES + 1), "n": 1}):
        # Before file 0 is sent, the question is all that there is to answer.
        async with asking(server, judge, complete=False) as (uploads, _):
            await uploads.connection.send(question)
            while uploads.ended is None and 0 not in uploads.answers and not uploads.held:
                await uploads.take("S10.3", f"expected a fatal error after {question!r:.200}")
            sentence = f"expected a fatal error after {question!r:.200}, but {uploads.held} came"
            judge.check("S10.3", not uploads.held, sentence)


@server_case(
    "10.1.4",
    "The files of another user are not named.",
    requirements=("S10.4",),
    profile="ask",
    needs=("token", "other_token"),
)
async def other_user(server: Server, judge: Judge) -> None:
    """The second user asks for what the first one has stored."""
    async with asking(server, judge) as (_, name):
        pass
    async with asking(server, judge, token=server.other_token) as (uploads, _):
        file = {"name": name, "size": SMALL}
        entries = [{**file, "modified": MODIFIED}, {**file, "hash": SHA1}]
        held = await ask(uploads, entries, 1, None)
        expected = "expected no file of another user to be held"
        judge.check("S10.4", held["held"] == [], f"{expected}, but {held} came")


@server_case(
    "10.1.6",
    "A question within a file is refused.",
    requirements=("S10.6",),
    profile="ask",
)
async def within_a_file(server: Server, judge: Judge) -> None:
    """Behind the metadata of a file that waits for its `ready`."""
    async with asking(server, judge) as (uploads, name):
        content = uploads.large(1)
        number = await uploads.begin(server.name(), len(content))
        await uploads.ready(number)
        await uploads.connection.send(
            {"ask": [{"name": name, "size": SMALL, "modified": MODIFIED}], "n": 1}
        )
        while uploads.ended is None and number not in uploads.answers and not uploads.held:
            await uploads.take("S10.6", "expected a fatal error after a question within a file")
        sentence = "expected a fatal error after a question within a file, but it was answered"
        judge.check("S10.6", not uploads.held, sentence)


@server_case(
    "10.1.7",
    "File 0 can be abandoned behind a question, and the connection goes on.",
    requirements=("S10.1", "S9.13"),
    profile="ask",
)
async def file_0_is_held(server: Server, judge: Judge) -> None:
    """As a client does with file 0 that is held."""
    async with asking(server, judge, complete=False) as (uploads, name):
        file = {"name": name, "size": SMALL, "modified": MODIFIED}
        for n in (1, 2):
            held = await ask(uploads, [file], n, "S10.1")
            judge.check(
                "S10.1", held["held"] == [], f"expected no file to be held, but {held} came"
            )
        await uploads.connection.send({"abandon": True})
        answer = await uploads.expect_error(0, "S9.13", "expected the fault `abandoned`")
        sentence = f"expected a truthy `next` in the fault, but {answer} came"
        judge.require("S9.13", answer.get("next"), sentence)
        number = await uploads.send(server.name(), uploads.small(1))
        await uploads.expect_stored(number)
        await ask(uploads, [file], 3, "S10.1")


@server_case(
    "10.1.5",
    "A question is not answered where `ask` is not agreed.",
    requirements=("S10.5",),
)
async def not_agreed(server: Server, judge: Judge) -> None:
    """For clients without `can`, and with others."""
    question = {"ask": [{"name": "a", "size": 5, "modified": MODIFIED}], "n": 1}
    offers: tuple[Signal, ...] = ({}, {"can": ["next"]}, {"can": []})
    for can in offers:
        async with server.connect(content=CONTENT) as connection:
            await connection.send_metadata(server.name(), SMALL, **can)
            await connection.expect_ready()
            await connection.send(question)
            # Behind the question, so that its answer would come before that to the file.
            await connection.send({"finished": True})
            while (signal := await connection.signal()) is not None and not signal.get("error"):
                refused = (
                    f"expected no answer to a question where `ask` is not agreed, but {signal}"
                )
                judge.check("S10.5", "held" not in signal, f"{refused} came")


@asynccontextmanager
async def asking(
    server: Server,
    judge: Judge,
    *,
    complete: bool = True,
    **more: Any,  # noqa: ANN401  # JSON
) -> AsyncIterator[tuple[ManyUploads, str]]:
    """A connection on which `ask` is agreed, and the name of file 0, which has CONTENT."""
    name = server.name()
    async with many_uploads(
        server,
        judge,
        can=("next", "ask"),
        name=name,
        complete=complete,
        modified=MODIFIED,
        **more,
    ) as uploads:
        yield uploads, name


async def ask(
    uploads: ManyUploads, entries: list[Signal], n: int, requirement: str | None
) -> Signal:
    """Ask; return the answer, whose `held` has indexes of `entries`. Ends the case otherwise."""
    await uploads.connection.send({"ask": entries, "n": n})
    while not uploads.held:
        expected = f"expected `held` with n {n}"
        await uploads.take(requirement, expected)
        uploads.judge.require(
            requirement, not uploads.ended, f"{expected}, but {uploads.ended} came"
        )
    answer = uploads.held.popleft()
    held = answer["held"]
    valid = isinstance(held, list) and all(type(i) is int and 0 <= i < len(entries) for i in held)
    fine = valid and answer.get("n") == n
    uploads.judge.require(
        requirement, fine, f"expected `held` with indexes and n {n}, but {answer} came"
    )
    return answer
