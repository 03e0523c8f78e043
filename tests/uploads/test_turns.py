"""Turns: few tasks at a time, and no user's tasks keep those of others waiting."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from galileod.uploads.turns import Turns


async def occupy(turns: Turns, user: str, most: int, order: list[str], seconds: float = 1) -> None:
    async with turns.take(user, most):
        order.append(user)
        await trio.sleep(seconds)


async def test_only_so_many_run_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    turns, order = Turns(), list[str]()
    async with trio.open_nursery() as nursery:
        for _ in range(7):
            nursery.start_soon(occupy, turns, "anna", 3, order)
    assert trio.current_time() == 3, "in three rounds"
    assert len(order) == 7


async def test_users_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    turns, order = Turns(), list[str]()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(occupy, turns, "anna", 1, order)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(occupy, turns, "ben", 1, order)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(occupy, turns, "carl", 1, order)
    assert order == ["anna", "anna", "ben", "carl", "anna", "anna", "anna"]


async def test_one_that_waits_no_more_keeps_nobody_waiting(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns, order = Turns(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupy, turns, "anna", 1, order)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(0.5):
            await occupy(turns, "ben", 1, order)
        await occupy(turns, "carl", 1, order)
    assert order == ["anna", "carl"]
    assert trio.current_time() == 2


async def test_one_that_is_cancelled_as_its_turn_comes_passes_it_on(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns, order = Turns(), list[str]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(occupy, turns, "anna", 1, order)
        await trio.testing.wait_all_tasks_blocked()

        async def ben() -> None:
            with trio.CancelScope() as scope:
                scope.deadline = 1.0
                await occupy(turns, "ben", 1, order, 5)

        nursery.start_soon(ben)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(occupy, turns, "carl", 1, order)
    assert order[-1] == "carl"
    assert trio.current_time() == 2


async def test_more_may_run_after_the_limit_was_raised(
    autojump_clock: trio.testing.MockClock,
) -> None:
    turns, order = Turns(), list[str]()
    async with trio.open_nursery() as nursery:
        for most in (1, 4, 4, 4):
            nursery.start_soon(occupy, turns, "anna", most, order)
        nursery.start_soon(occupy, turns, "anna", 1, order)
    assert trio.current_time() == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3), st.floats(0.1, 3)), max_size=12))
def test_whoever_comes_and_goes_no_turn_is_lost(tasks: list[tuple[str, float, float]]) -> None:
    async def main() -> None:
        turns, running = Turns(), 0

        async def task(user: str, begin: float, patience: float) -> None:
            nonlocal running
            await trio.sleep(begin)
            with trio.move_on_after(patience):
                async with turns.take(user, 2):
                    running += 1
                    assert running <= 2
                    try:
                        await trio.sleep(1)
                    finally:
                        running -= 1

        async with trio.open_nursery() as nursery:
            for each in tasks:
                nursery.start_soon(task, *each)
        # All turns are free again.
        with trio.fail_after(1):
            async with turns.take("a", 2), turns.take("b", 2):
                pass

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_task_that_is_cancelled_already_takes_no_turn() -> None:
    turns = Turns()
    with trio.CancelScope() as scope:
        scope.cancel()
        async with turns.take("anna", 1):
            pytest.fail("it ran")
    async with turns.take("ben", 1):
        pass
