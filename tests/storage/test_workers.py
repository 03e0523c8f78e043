"""The threads for short calls: their order, their limit, their errors, and their end."""

import threading
from collections import deque
from functools import partial

import pytest
import trio
import trio.testing

from galileod.storage.workers import Workers

pytestmark = pytest.mark.timeout(20)


async def test_calls_run_in_their_order_and_each_task_goes_on_behind_its_own() -> None:
    workers, order = Workers(1), list[tuple[str, int]]()

    async def run(number: int) -> None:
        await workers.run(partial(order.append, ("call", number)))
        order.append(("task", number))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            gate = threading.Event()
            nursery.start_soon(workers.run, partial(_pass, gate))
            while not workers.running:
                await trio.lowlevel.checkpoint()
            for number in range(5):
                nursery.start_soon(run, number)
                while workers.running < number + 2:
                    await trio.lowlevel.checkpoint()
            gate.set()
    workers.close()
    assert [number for what, number in order if what == "call"] == list(range(5))
    assert all(order.index(("call", each)) < order.index(("task", each)) for each in range(5))
    assert workers.running == 0


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_calls_run_at_once_than_there_may_be_threads(most: int) -> None:
    workers, begun, gate = Workers(most), threading.Semaphore(0), threading.Event()

    def call() -> None:
        begun.release()
        _pass(gate)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(most + 2):
                nursery.start_soon(workers.run, call)
            await trio.testing.wait_all_tasks_blocked()
            assert workers.running == most + 2
            for _ in range(most):
                await trio.to_thread.run_sync(partial(begun.acquire, timeout=10))
            assert not begun.acquire(blocking=False)
            gate.set()
    workers.close()


async def test_what_a_call_raises_reaches_the_task_that_waits_for_it_and_no_other() -> None:
    workers = Workers(1)
    with pytest.raises(ZeroDivisionError), trio.fail_after(10):
        await workers.run(partial(_divide, 0))
    with trio.fail_after(10):
        await workers.run(partial(_divide, 1))
    assert workers.running == 0
    workers.close()


async def test_a_call_that_has_begun_ends_before_its_task_is_cancelled() -> None:
    workers, ended, gate = Workers(1), list[bool](), threading.Event()

    def call() -> None:
        _pass(gate)
        ended.append(True)

    with trio.fail_after(10), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run, call)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            gate.set()
    assert ended == [True]
    workers.close()


async def test_a_task_that_is_cancelled_already_runs_nothing() -> None:
    workers, ran = Workers(1), list[int]()
    with trio.CancelScope() as scope:
        scope.cancel()
        await workers.run(partial(ran.append, 1))
    assert scope.cancelled_caught
    assert not ran
    workers.close()


async def test_the_threads_end_when_it_is_closed() -> None:
    workers, threads = Workers(2), list[threading.Thread]()

    def call() -> None:
        threads.append(threading.current_thread())

    with trio.fail_after(10):
        await workers.run(call)
        workers.close()
        await trio.to_thread.run_sync(threads[0].join)
        await workers.run(call)
        workers.close()
        await trio.to_thread.run_sync(threads[1].join)
    assert threads[0] is not threads[1]


def test_a_thread_outlives_an_event_loop_that_another_thread_has_told_of_its_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers, threads, over = Workers(2), list[threading.Thread](), threading.Event()
    appended = threading.Event()

    class Ended(deque[object]):
        """The first thread is stopped between the end of its call and telling of it."""

        def append(self, job: object) -> None:
            super().append(job)
            if threading.current_thread() is threads[0]:
                appended.set()
                _pass(over)

    monkeypatch.setattr(workers, "_ended", Ended())

    def call() -> None:
        threads.append(threading.current_thread())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.run, call)
            await trio.to_thread.run_sync(partial(_pass, appended))
            nursery.start_soon(workers.run, call)

    trio.run(main)
    over.set()
    workers.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def _pass(gate: threading.Event) -> None:
    assert gate.wait(10)


def _divide(by: int) -> None:
    assert 1 // by == 1
