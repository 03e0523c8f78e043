"""Calls that are made at the same time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def at_once(*calls: Callable[[], Awaitable[T]]) -> list[T]:
    """The results of calls that are made at the same time."""
    results = dict[int, T]()

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        results[number] = await call()

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(run, number, call)
    return [results[number] for number in range(len(calls))]
