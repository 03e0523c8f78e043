"""Section 10, clients: asking what is stored."""

from galileod.conformance.case import client_case
from galileod.conformance.cases._many_files import Intake, many_files, some_files, take_all
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge
from galileod.conformance.peer import as_signal

COUNT = 300
"""Files: more than one question may have."""
LONG = 150
"""Files with long names: more than one question can have."""


@client_case(
    "10.2.1",
    "A client asks nothing where that is not agreed.",
    requirements=("C10.1",),
)
async def not_agreed(client: Client, judge: Judge) -> None:
    """A client that could ask must not, either."""
    async with client.send(b"some data", name="a.bin") as run:
        connection = await run.accept()
        await connection.receive_file()  # the rules of the dialogue see a question within
        await connection.close_signal()
        question = as_signal(await connection.message())
        asks = question is not None and "ask" in question
        judge.check("C10.1", not asks, f"expected no question, but {question} came")
        await run.outcome()


@client_case(
    "10.2.2",
    "Questions come between files, one at a time, and every file that is not held is sent.",
    requirements=("C10.1", "C10.2", "C10.3", "C10.4"),
    profile="ask",
    needs=("files",),
)
async def questions(client: Client, judge: Judge) -> None:
    """Every second file is held."""
    files = some_files(*[10] * COUNT)
    async with many_files(client, judge, files, can=("next", "ask"), complete=False) as intake:
        held = {name for name, _ in files[1::2]}
        await _begin(intake)
        asked = await take_all(intake, held)
        if not asked:
            judge.unsupported("the client asks nothing")
        sent = {file["name"] for file in intake.files}
        missing = sorted({name for name, _ in files} - held - sent)
        expected = "expected each file that is not held"
        judge.check("C10.4", not missing, f"{expected}, but {', '.join(missing)} did not come")
        await intake.run.outcome()


@client_case(
    "10.2.3",
    "No second question comes before the answer to the first one.",
    requirements=("C10.3",),
    profile="ask",
    needs=("files",),
)
async def one_at_a_time(client: Client, judge: Judge) -> None:
    """The files need two questions, and none is answered. The client may abandon file 0 first."""
    files = some_files(*[10] * COUNT)
    async with many_files(client, judge, files, can=("next", "ask"), complete=False) as intake:
        await _begin(intake)
        asked = 0
        # Nothing is answered: the rules of the dialogue see a second question.
        while (event := await intake.connection.silent()) is not None:
            signal = as_signal(event)
            asked += signal is not None and "ask" in signal
            if signal is not None and signal.get("abandon"):
                await intake.connection.error(code="abandoned", next=True)
            if intake.connection.websocket.closing or intake.connection.websocket.ended:
                break
        if not asked:
            judge.unsupported("the client asks nothing")
        await intake.connection.error("the case is over", code="bad_metadata")
        await intake.run.outcome()


@client_case(
    "10.2.4",
    "A question about files with long names is no longer than every server accepts.",
    requirements=("C10.2", "C10.5"),
    profile="ask",
    needs=("files",),
)
async def long_names(client: Client, judge: Judge) -> None:
    """Less than 256 of them fill a question."""
    files = [(f"{'x' * 150}-{name}", content) for name, content in some_files(*[10] * LONG)]
    async with many_files(client, judge, files, can=("next", "ask"), complete=False) as intake:
        await _begin(intake)
        if not await take_all(intake):  # the rules of the dialogue see a long one
            judge.unsupported("the client asks nothing")
        await intake.run.outcome()


async def _begin(intake: Intake) -> None:
    """Agree, and grant all of file 0 and its `finished`."""
    limits = {"next": COUNT, "whole": 1000, "room": 100_000}
    size = intake.files[0]["size"]
    await intake.connection.ready(size, can=["next", "ask"], **limits)
    await intake.connection.ready()
