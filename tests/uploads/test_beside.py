"""Tasks beside another: one result or one exception, never a group."""

import pytest
import trio
from trio.testing import MockClock

from galileod.uploads.beside import run_beside


async def return_after(seconds: float) -> str:
    await trio.sleep(seconds)
    return "the result"


async def fail_after(seconds: float) -> str:
    await trio.sleep(seconds)
    raise OSError("the first")


async def test_the_result_is_that_of_the_main_task_and_the_others_are_cancelled(
    autojump_clock: MockClock,
) -> None:
    assert await run_beside(lambda: return_after(1), trio.sleep_forever) == "the result"
    assert trio.current_time() == 1


async def test_others_may_end_before(autojump_clock: MockClock) -> None:
    assert await run_beside(lambda: return_after(5), lambda: return_after(1)) == "the result"


@pytest.mark.parametrize("which", ["main", "other"])
async def test_an_exception_is_raised_alone_and_ends_all(
    which: str, autojump_clock: MockClock
) -> None:
    tasks = [lambda: fail_after(2), lambda: return_after(1000)]
    main, other = tasks if which == "main" else reversed(tasks)
    with pytest.raises(OSError, match="the first"):
        await run_beside(main, other)
    assert trio.current_time() == 2


async def test_a_cancellation_from_outside_is_not_a_group(autojump_clock: MockClock) -> None:
    with trio.move_on_after(3) as scope:
        with pytest.raises(trio.Cancelled):
            await run_beside(trio.sleep_forever, trio.sleep_forever, trio.sleep_forever)
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
