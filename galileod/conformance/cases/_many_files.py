"""A server of many files on one connection, as the cases of sections 9 and 10 need it."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any, Final

import attrs
from websockets.frames import Opcode

from galileod.conformance.cases._many_uploads import some_bytes
from galileod.conformance.client import Client
from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.events import Close, Ended, Message, Nothing
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal, as_signal, describe
from galileod.conformance.run import Run

LIMITS: Final = {"next": 100, "whole": 1000, "room": 100_000}
"""What a case states unless it says something else."""

Files = list[tuple[str, bytes]]


def some_files(*sizes: int) -> Files:
    """Names and contents of files of these sizes."""
    return [(f"file-{i}.bin", some_bytes(size, i)) for i, size in enumerate(sizes)]


@attrs.define(eq=False)
class Intake:
    """The files that the client sends on one connection, in the order in which they come."""

    connection: ClientConnection
    run: Run
    judge: Judge
    contents: dict[str, bytes]
    """By name: what the client was told to send."""
    whole: int
    files: list[Signal] = attrs.field(factory=list)
    """The metadata of each file."""
    unanswered: set[int] = attrs.field(factory=set)
    """The further files that have come, and have no answer."""
    closed_early: set[int] = attrs.field(factory=set)
    """Those that were closed since the client waited for it."""

    @property
    def number(self) -> int:
        """That of the file whose metadata came last."""
        return len(self.files) - 1

    @property
    def missing(self) -> int:
        """The files whose metadata have not come."""
        return len(self.contents) - len(self.files)

    async def metadata(self, requirement: str | None = None) -> Signal:
        """The metadata of the next file: the next message. Ends the case otherwise.

        A client may wait for the answer to each file: where nothing comes, it is given.
        """
        early = await self.connection.silent() if self.unanswered else None
        event = early or await self._next_behind_answers()
        metadata = as_signal(event)
        if metadata is None or "name" not in metadata or "size" not in metadata:
            self.judge.fail(requirement, f"expected metadata, {describe(event)}")
        known = self.contents.get(str(metadata["name"]))
        fine = known is not None and metadata["size"] == len(known)
        self.judge.require(
            None, fine, f"expected metadata of one of the files, but {metadata} came"
        )
        self.files.append(metadata)
        return metadata

    async def _next_behind_answers(self) -> Message | Close | Ended | Nothing:
        self.closed_early |= self.unanswered
        for number in sorted(self.unanswered):
            await self.connection.close_signal(file=number)
        self.unanswered.clear()
        return await self.connection.message()

    async def whole_rest(self, requirement: str | None = None) -> None:
        """The content and `finished` of a small or empty file whose metadata came last."""
        name = self.files[-1]["name"]
        data = await self.connection.chunk(requirement) if self.contents[name] else b""
        await self.connection.finished(requirement)
        self.compare(data)

    async def large_rest(self, requirement: str | None = None, *, limit: int = 2000) -> None:
        """The content and `finished` of a larger file, one `ready` for at most `limit` bytes."""
        data, size = bytearray(), self.files[-1]["size"]
        while len(data) < size:
            await self.ready(self.number, min(limit, size - len(data)))
            data += await self.connection.chunk(requirement)
        await self.connection.finished(requirement)
        self.compare(bytes(data))

    async def next_file(self, requirement: str | None = None) -> int:
        """The next file, of any size; return its number."""
        metadata = await self.metadata(requirement)
        await (self.whole_rest if metadata["size"] <= self.whole else self.large_rest)(requirement)
        return self.number

    def compare(self, data: bytes) -> None:
        """Check that the content of the last file is what it must be."""
        name = self.files[-1]["name"]
        same = data == self.contents[name]
        self.judge.check(None, same, f"expected the content of {name}, but other bytes came")
        if self.number:
            self.unanswered.add(self.number)

    async def ready(self, number: int, chunksize: int) -> None:
        """Send `ready` about a further file."""
        await self.connection.ready(chunksize, file=number)

    async def close(self, number: int) -> None:
        """Say that a file is stored, unless that was said."""
        self.unanswered.discard(number)
        if number in self.closed_early:
            return
        await self.connection.close_signal(**({"file": number} if number else {}))

    async def fail(self, number: int, *, ends: bool = False) -> None:
        """Say that a file has failed, or that the connection ends with it.

        Ends the case as SKIPPED where the client did not go on without an answer before.
        """
        self.unanswered.discard(number)
        if number in self.closed_early:
            self.judge.skip("the client waits for the answer to each file")
        more: Signal = {} if ends else {"next": True}
        await self.connection.error(code="conflict", file=number, **more)

    async def expect_close_frame(self, requirement: str) -> None:
        """Check that the client sends a Close frame, and nothing before it."""
        event = await self.connection.message()
        frame = isinstance(event, Close)
        self.judge.check(requirement, frame, f"expected a Close frame, {describe(event)}")

    async def quiet(self, requirement: str, expected: str) -> None:
        """Check that no message comes."""
        event = await self.connection.silent()
        self.judge.require(requirement, event is None, f"{expected}, {describe(event)}")


@asynccontextmanager
async def many_files(
    client: Client,
    judge: Judge,
    files: Files,
    *,
    can: Collection[str] = ("next",),
    complete: bool = True,
    **more: Any,  # noqa: ANN401  # JSON
) -> AsyncIterator[Intake]:
    """The client sends `files`, and all of `can` is agreed.

    With `complete`, file 0 has come and is closed; without, only its metadata. Ends the case as
    UNSUPPORTED where the client does not offer `can`. `more` are limits other than LIMITS.
    """
    limits: Signal = LIMITS | more
    async with client.send_many(files) as run:
        connection = await run.accept()
        intake = Intake(connection, run, judge, dict(files), limits["whole"])
        metadata = await intake.metadata()
        offered = metadata.get("can")
        if missing := [one for one in can if not isinstance(offered, list) or one not in offered]:
            # It ends then, and nobody waits for it.
            await connection.error("the case needs an extension", code="bad_metadata")
            judge.unsupported(f"the client does not offer {', '.join(missing)}")
        if complete:
            data, _ = await connection.receive_content(metadata["size"], can=list(can), **limits)
            intake.compare(data)
            await intake.close(0)
        yield intake


async def take_all(intake: Intake, held: Collection[str] = ()) -> list[Signal]:
    """Take and close every file until the client ends the connection; return its questions.

    A question is answered with the entries whose name is in `held`; before that, no other may come.
    """
    questions: list[Signal] = []
    while True:
        event = await intake.connection.message()
        if isinstance(event, Close | Ended):
            return questions
        signal = as_signal(event)
        if signal is None and not (isinstance(event, Message) and event.opcode == Opcode.BINARY):
            intake.judge.fail(None, f"expected a further file, {describe(event)}")
        if signal is None:
            continue
        if "ask" in signal:
            questions.append(signal)
            await _answer(intake, signal, held)
        elif signal.get("abandon"):
            number = signal.get("file", 0)
            await intake.connection.error(
                code="abandoned", next=True, **({"file": number} if number else {})
            )
        elif signal.get("finished"):
            await intake.close(intake.number)
        elif "name" in signal:
            intake.files.append(signal)


async def _answer(intake: Intake, question: Signal, held: Collection[str]) -> None:
    entries: Any = question["ask"]
    if not isinstance(entries, list):
        intake.judge.fail(None, f"expected a list of entries, but {question} came")
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    indexes = [index for index, name in enumerate(names) if name in held]
    await intake.connection.send({"held": indexes, "n": question.get("n")})
