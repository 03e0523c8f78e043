"""Work that tasks have in common."""

from collections.abc import Sequence

import trio

from galileod.uploads.joint import Joint


async def test_a_task_that_is_cancelled_works_on_nothing() -> None:
    batches = list[list[int]]()

    async def work(items: Sequence[int]) -> None:
        batches.append(list(items))
        await trio.lowlevel.checkpoint()

    joint = Joint()
    with trio.CancelScope() as scope:
        scope.cancel()
        await joint.do(1, work)
    assert scope.cancelled_caught
    await joint.do(2, work)
    assert batches == [[2]]
