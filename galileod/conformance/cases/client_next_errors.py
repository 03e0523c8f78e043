"""Section 9, clients: files that fail, and the end of the connection."""

from galileod.conformance.case import client_case
from galileod.conformance.cases._many_files import many_files, some_files
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge

NEEDS = ("files",)


@client_case(
    "9.2.6",
    "An error about one file ends that file alone, whatever is being sent.",
    requirements=("C9.7", "C9.8"),
    profile="next",
    needs=NEEDS,
)
async def one_fails(client: Client, judge: Judge) -> None:
    """The file of the error is not the one that is being sent."""
    async with many_files(client, judge, some_files(3000, 3001, 3002)) as intake:
        await intake.next_file()
        await intake.metadata()
        await intake.fail(1)  # while file 2 waits for its ready
        await intake.large_rest("C9.7")
        await intake.close(2)
        await intake.expect_close_frame("C9.8")
        outcome = await intake.run.outcome()
        judge.check("C9.7", not outcome.success, "expected failure, for file 1 has failed")


@client_case(
    "9.2.7",
    "A file that fails in the middle is not sent on, and the next one comes.",
    requirements=("C9.8",),
    profile="next",
    needs=NEEDS,
)
async def fails_in_the_middle(client: Client, judge: Judge) -> None:
    """The file waits for its second ready when the error comes."""
    async with many_files(client, judge, some_files(3000, 3001, 3002)) as intake:
        await intake.metadata()
        await intake.ready(1, 1000)
        await intake.connection.chunk()
        await intake.fail(1)
        await intake.ready(1, 1000)  # void: the file is answered
        await intake.metadata("C9.8")
        await intake.large_rest("C9.8")
        await intake.close(2)
        outcome = await intake.run.outcome()
        judge.check("C9.8", not outcome.success, "expected failure, for file 1 has failed")


@client_case(
    "9.2.8",
    "After an error without `next`, or a lost connection, files without close are not stored.",
    requirements=("C9.9",),
    profile="next",
    needs=NEEDS,
)
async def the_rest_fails(client: Client, judge: Judge) -> None:
    """One is stored, one is finished, and one has failed or was not answered."""
    for lost in (False, True):
        async with many_files(client, judge, some_files(500, 501, 502)) as intake:
            await intake.next_file()
            await intake.next_file()
            await intake.close(1)
            if lost:
                await intake.connection.websocket.abort()
            else:
                await intake.fail(2, ends=True)
            # A connection on which it tries again is refused.
            outcome = await intake.run.outcome()
            judge.check("C9.9", not outcome.success, "expected failure, for file 2 is not stored")


@client_case(
    "9.2.9",
    "No further file begins on a connection behind `last`.",
    requirements=("C9.10", "C9.11"),
    profile="next",
    needs=NEEDS,
)
async def behind_last(client: Client, judge: Judge) -> None:
    """The chunk that answers the ready shows that `last` was read."""
    async with many_files(client, judge, some_files(3000, 3001, 3002)) as intake:
        await intake.metadata()
        await intake.connection.send({"last": True})
        await intake.large_rest("C9.10")  # its ready comes behind `last`
        await intake.close(1)
        await intake.expect_close_frame("C9.10")
        # Whether it opens another connection for what is left, is its choice.
        await intake.run.outcome()


@client_case(
    "9.2.10",
    "Where the server does not agree, each file has its own connection.",
    requirements=("C8.1", "C2.3"),
    profile="next",
    needs=NEEDS,
)
async def not_agreed(client: Client, judge: Judge) -> None:
    """An empty `can`, as of a server that knows other extensions."""
    files = some_files(500, 501)
    async with many_files(client, judge, files, complete=False) as intake:
        connection = intake.connection
        data, _ = await connection.receive_content(intake.files[0]["size"], can=[])
        intake.compare(data)
        await connection.close_signal()
        await intake.expect_close_frame("C8.1")
        other = await intake.run.accept()
        await other.receive_file(can=[])
        await other.close_signal()
        outcome = await intake.run.outcome()
        judge.check("C8.1", outcome.success, "expected success, for both files are stored")
