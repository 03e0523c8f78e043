"""Section 2, judging a client: metadata."""

from galileod.conformance.case import client_case
from galileod.conformance.cases._client_uploads import MOMENT, expect_success, some_content
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge


@client_case(
    "2.2.1",
    "The first message is metadata with name and size, and without reserved keys.",
    requirements=("C2.1", "C2.2", "C2.4", "C2.6"),
)
async def metadata(client: Client, judge: Judge) -> None:
    """A file of several chunks; the upload is refused then."""
    del judge
    async with client.send(some_content(300_001)) as run:
        connection = await run.accept()
        await connection.metadata("C2.1")
        await connection.error()
        await run.outcome()


@client_case(
    "2.2.2",
    "A client sends nothing that the server has not asked for.",
    requirements=("C2.5", "C3.1", "C4.1"),
)
async def nothing_unasked(client: Client, judge: Judge) -> None:
    """After the metadata, after a chunk, and after the last byte."""
    content = some_content(2000)
    async with client.send(content) as run:
        connection = await run.accept()
        await connection.metadata()
        await connection.expect_nothing("C2.5", "expected nothing after the metadata", MOMENT)
        await connection.ready(1000)
        received = await connection.chunk()
        sentence = "expected nothing after the answer to the only ready"
        await connection.expect_nothing("C3.1", sentence, MOMENT)
        while len(received) < len(content):
            await connection.ready(len(content) - len(received))
            received += await connection.chunk()
        sentence = "expected no finished before a ready asked for it"
        await connection.expect_nothing("C4.1", sentence, MOMENT)
        await connection.receive_content(0)
        await connection.close_signal()
        expect_success(judge, "C4.1", await run.outcome())
