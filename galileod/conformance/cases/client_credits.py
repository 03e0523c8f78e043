"""Section 3, judging a client: each `ready` is a credit for one chunk.

The rules of the dialogue judge each chunk: its credit, its size, and its bytes.
"""

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, Final

from galileod.conformance.case import MANY_SECONDS, client_case
from galileod.conformance.cases._client_uploads import expect_success, some_content
from galileod.conformance.client import Client
from galileod.conformance.judge import Judge

CREDITS: Final = 1024
"""Credits that a client must accept at once."""


@client_case(
    "3.2.1",
    "Each ready is answered with one chunk, and the chunks are the file in its order.",
    requirements=("C3.1", "C3.4", "C3.6", "C3.7"),
)
async def one_at_a_time(client: Client, judge: Judge) -> None:
    """Larger chunks than usual, and a rest."""
    missing = 1_000_003
    async with client.send(some_content(missing)) as run:
        connection = await run.accept()
        await connection.metadata()
        while missing > 0:
            await connection.ready(min(400_000, missing))
            missing -= len(await connection.chunk("C3.1"))
        await connection.receive_content(0, requirement="C3.1")
        await connection.close_signal()
        expect_success(judge, "C3.1", await run.outcome())


@client_case(
    "3.2.2",
    "No chunk is larger than the chunksize of its credit, which changes each time.",
    requirements=("C3.2", "C3.4"),
)
async def changing_chunksize(client: Client, judge: Judge) -> None:
    """Smaller each time, and larger again; one credit at a time."""
    await _credits(client, judge, "C3.2", (3000, 1000, 100, 1, 1, 7, 20_000), at_once=1)


@client_case(
    "3.2.3",
    "A client accepts 1,024 credits at once, and uses them in their order.",
    requirements=("C3.2", "C3.4", "C3.5"),
    seconds=MANY_SECONDS,
)
async def many_credits(client: Client, judge: Judge) -> None:
    """Small and large ones by turns."""
    sizes = tuple(islice(cycle((1, 3000, 2, 600)), CREDITS))
    await _credits(client, judge, "C3.5", sizes, at_once=CREDITS)


async def _credits(
    client: Client, judge: Judge, requirement: str, sizes: Sequence[int], *, at_once: int
) -> None:
    """Grant credits of these sizes, `at_once` of them before the first answer."""
    missing = sum(sizes) + 1000
    async with client.send(some_content(missing)) as run:
        connection = await run.accept()
        await connection.metadata()
        for size in sizes[:at_once]:
            await connection.ready(size)
        for following in (*sizes[at_once:], *[None] * at_once):
            missing -= len(await connection.chunk(requirement))
            if following is not None:
                await connection.ready(following)
        await connection.receive_content(
            max(0, missing), chunksize=max(1, missing), requirement=requirement
        )
        await connection.close_signal()
        expect_success(judge, requirement, await run.outcome())


@client_case(
    "3.2.4",
    "Without a chunksize that is a positive integer, a chunk has at most 262,144 bytes.",
    requirements=("C3.3", "C3.4"),
)
async def no_chunksize(client: Client, judge: Judge) -> None:
    """Absent, 0, and other values that are none."""
    missing = 2_000_000
    values: tuple[dict[str, Any], ...] = (
        {},
        *({"chunksize": value} for value in (0, -1, None, "1000", 1.5, [1000])),
    )
    async with client.send(some_content(missing)) as run:
        connection = await run.accept()
        await connection.metadata()
        for chunksize in cycle(values):
            await connection.send({"ready": True, **chunksize})
            missing -= len(await connection.chunk("C3.3"))
            if missing <= 0:
                break
        await connection.receive_content(0)
        await connection.close_signal()
        expect_success(judge, "C3.3", await run.outcome())
