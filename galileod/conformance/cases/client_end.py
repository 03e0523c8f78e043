"""Section 4, judging a client: the end of an upload."""

from galileod.conformance.case import client_case
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge


@client_case("4.2.1", "A plain upload succeeds, and the client says so.", requirements=("C4.4",))
async def plain_upload(client: Client, judge: Judge) -> None:
    """Chunks of 1000 bytes, one at a time."""
    content = bytes(range(256)) * 20
    async with client.send(content) as run:
        connection = await run.accept()
        received = await connection.receive_file(chunksize=1000, requirement="C4.4")
        judge.check("C4.4", received.content == content, "expected the file's bytes, others came")
        await connection.close_signal()
        outcome = await run.outcome()
        judge.check("C4.4", outcome.success, f"expected success, got failure: {outcome.output}")


@client_case(
    "4.2.2",
    "A connection that ends behind finished without close is a failure.",
    requirements=("C4.5",),
)
async def no_close(client: Client, judge: Judge) -> None:
    """The kit ends the connection where `close` would come."""
    async with client.send(b"some data") as run:
        connection = await run.accept()
        await connection.receive_file()
        await connection.websocket.aclose()
        outcome = await run.outcome()
        judge.check("C4.5", not outcome.success, "expected failure, got success")
