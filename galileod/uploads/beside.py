"""Runs tasks beside another, without an exception group."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")

Task = Callable[[], Awaitable[object]]


async def run_beside(main: Callable[[], Awaitable[T]], *others: Task) -> T:
    """Return what `main` returns; `others` run meanwhile, and are cancelled at its end.

    If one of them raises an Exception, all are cancelled, and it is raised: the first one, without
    a group. `others` may end before `main`.
    """
    results, failures = list[T](), list[Exception]()

    async def keep_result() -> None:
        results.append(await main())
        nursery.cancel_scope.cancel()

    async def run(task: Task) -> None:
        try:
            await task()
        except Exception as error:  # noqa: BLE001  raised below
            failures.append(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for task in (keep_result, *others):
                nursery.start_soon(run, task)
    except BaseExceptionGroup:
        await trio.lowlevel.checkpoint_if_cancelled()  # raises Cancelled alone
        raise
    if failures:
        raise failures[0]
    return results[0]
