import pytest
import trio
import trio.testing

from galileod.shutdown import Interrupt, Shutdown


async def run_guarded(interrupt: Interrupt) -> bool:
    """Wait for ever under the guard; true once it has been broken into."""
    with interrupt.guard() as scope:
        await trio.Event().wait()
    return scope.cancelled_caught


async def test_what_is_guarded_is_broken_into_when_it_fires() -> None:
    interrupt = Interrupt()
    caught: list[bool] = []

    async def wait() -> None:
        caught.append(await run_guarded(interrupt))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not caught
            interrupt.fire()
    assert caught == [True, True]


async def test_it_says_whether_it_has_fired() -> None:
    interrupt = Interrupt()
    found = [interrupt.fired]
    interrupt.fire()
    found.append(interrupt.fired)
    assert found == [False, True]


async def test_what_is_guarded_after_it_fired_is_broken_into_at_once() -> None:
    interrupt = Interrupt()
    interrupt.fire()
    with trio.fail_after(5):
        assert await run_guarded(interrupt)


async def test_what_ends_before_it_fires_is_left_alone() -> None:
    interrupt = Interrupt()
    with interrupt.guard() as scope:
        await trio.lowlevel.checkpoint()
    interrupt.fire()
    assert not scope.cancelled_caught
    assert not scope.cancel_called


async def test_what_runs_outside_the_guard_is_left_alone() -> None:
    interrupt = Interrupt()
    with trio.CancelScope() as around:
        with interrupt.guard():
            interrupt.fire()
        await trio.lowlevel.checkpoint()
    assert not around.cancelled_caught


async def test_an_error_under_the_guard_comes_out_and_the_scope_is_forgotten() -> None:
    interrupt = Interrupt()
    with pytest.raises(KeyError), interrupt.guard():
        raise KeyError
    assert not interrupt._scopes


async def test_guards_may_stand_inside_each_other() -> None:
    interrupt = Interrupt()
    ran_on: list[str] = []
    with interrupt.guard() as outer:
        with interrupt.guard() as inner:
            interrupt.fire()
            await trio.lowlevel.checkpoint()
            ran_on.append("inner")
        ran_on.append("outer")
    assert ran_on == []
    assert (outer.cancelled_caught, inner.cancelled_caught) == (True, False)


async def test_firing_twice_does_no_harm() -> None:
    interrupt = Interrupt()
    interrupt.fire()
    interrupt.fire()
    with trio.fail_after(5):
        assert await run_guarded(interrupt)


async def test_the_two_steps_of_stopping_are_taken_one_by_one() -> None:
    shutdown = Shutdown()
    shutdown.no_new_uploads.fire()
    assert not shutdown.no_uploads.fired
    with shutdown.no_uploads.guard() as scope:
        await trio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
