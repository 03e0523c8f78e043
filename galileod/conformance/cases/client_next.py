"""Section 9, clients: many files on one connection."""

from galileod.conformance.case import client_case
from galileod.conformance.cases._many_files import many_files, some_files
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge
from galileod.conformance.peer import Signal

NEEDS = ("files",)


@client_case(
    "9.2.1",
    "Files of all sizes come one after the other, and a Close frame behind the last answer.",
    requirements=("C9.1", "C9.7", "C9.11"),
    profile="next",
    needs=NEEDS,
)
async def all_sizes(client: Client, judge: Judge) -> None:
    """Read until all is sent, then answered from the last one on."""
    files = some_files(500, 1000, 0, 4000, 1, 3000, 900)
    async with many_files(client, judge, files) as intake:
        for _ in files[1:]:
            await intake.next_file("C9.1")
        # In another order, for answers may come in any.
        for number in range(len(files) - 1, 0, -1):
            await intake.close(number)
        await intake.expect_close_frame("C9.11")
        outcome = await intake.run.outcome()
        judge.check("C9.7", outcome.success, "expected success, for all files are stored")


@client_case(
    "9.2.2",
    "No more files are open, and no more bytes under way, than the server permits.",
    requirements=("C9.2",),
    profile="next",
    needs=NEEDS,
)
async def within_the_limits(client: Client, judge: Judge) -> None:
    """The limit on files, then that on bytes."""
    files = some_files(100, 101, 102, 103, 104)
    limits: tuple[Signal, ...] = ({"next": 2}, {"whole": 150, "room": 250})
    for limit in limits:
        async with many_files(client, judge, files, **limit) as intake:
            await intake.next_file()
            await intake.next_file()
            await intake.quiet("C9.2", f"expected no third file beyond {limit}")
            for number in (3, 4):
                await intake.close(number - 2)
                await intake.next_file()
            await intake.close(3)
            await intake.close(4)
            await intake.run.outcome()


@client_case(
    "9.2.3",
    "Small files come whole, without a ready.",
    requirements=("C9.3",),
    profile="next",
    needs=NEEDS,
)
async def small_files(client: Client, judge: Judge) -> None:
    """The largest has exactly `whole` bytes."""
    files = some_files(10, 1000, 999, 1)
    async with many_files(client, judge, files) as intake:
        for _ in files[1:]:
            await intake.metadata("C9.3")
            await intake.whole_rest("C9.3")
        for number in range(1, len(files)):
            await intake.close(number)
        await intake.run.outcome()


@client_case(
    "9.2.4",
    "Larger files wait for a ready, end with finished, and a ready behind that is not answered.",
    requirements=("C9.3", "C9.5", "C9.6"),
    profile="next",
    needs=NEEDS,
)
async def larger_files(client: Client, judge: Judge) -> None:
    """One is finished and answered while the next one waits."""
    async with many_files(client, judge, some_files(3000, 3001, 3002)) as intake:
        await intake.metadata()
        await intake.quiet("C9.3", "expected no chunk before the ready")
        await intake.large_rest("C9.5")
        await intake.metadata()
        await intake.ready(1, 1000)  # it is finished
        await intake.close(1)
        await intake.ready(1, 1000)  # it is answered
        await intake.quiet("C9.6", "expected nothing for a ready about a file that is finished")
        await intake.large_rest()
        await intake.close(2)
        await intake.run.outcome()


@client_case(
    "9.2.5",
    "Empty further files are metadata and finished, also where no file is sent whole.",
    requirements=("C9.4",),
    profile="next",
    needs=NEEDS,
)
async def empty_files(client: Client, judge: Judge) -> None:
    """With `whole` 0 every other file would wait."""
    async with many_files(client, judge, some_files(0, 0, 0), whole=0, room=0) as intake:
        for number in (1, 2):
            await intake.metadata("C9.4")
            await intake.whole_rest("C9.4")
            await intake.close(number)
        await intake.run.outcome()
