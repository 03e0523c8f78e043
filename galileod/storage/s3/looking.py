"""What is known of finished files, and removing them: many requests at once."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final, TypeVar

import trio

from galileod.storage.errors import StorageError
from galileod.storage.finished import Removed, Standing

from .claims import MODIFIED
from .client import LAST, UPLOAD, Head
from .shared import STATE, Shared

T = TypeVar("T")

_NS: Final = 1_000_000


async def look(shared: Shared, names: Sequence[str]) -> Sequence[Standing | StorageError | None]:
    """See `Store.look`."""

    async def look_at(name: str) -> Standing | None:
        if not is_name(name):
            return None
        head = await shared.head(name, shared.threads.lookers)
        return None if head is None else _standing(head)

    found = await _each(names, look_at)
    return await _checked(shared, found, lambda one: one is None)


async def remove_files(shared: Shared, names: Sequence[str]) -> Sequence[Removed | StorageError]:
    """See `Store.remove`."""

    async def remove_one(name: str) -> Removed:
        if not is_name(name) or await shared.head(name, shared.threads.lookers) is None:
            return Removed(name, found=False)
        # The answer to this does not tell whether there was one.
        delete = partial(shared.client.delete, shared.key(name))
        await shared.request(delete, shared.threads.lookers)
        return Removed(name, found=True)

    removed = await _each(names, remove_one)
    return await _checked(shared, removed, lambda one: isinstance(one, Removed) and not one.found)


async def walk(shared: Shared, count: int) -> AsyncGenerator[Mapping[str, int | None], None]:
    """See `Store.walk`: the listing, a page for each request."""
    prefix, state, after = shared.prefix, shared.key(STATE), ""
    while page := await _list(shared, after, count):
        after = page[-1][0]
        if after.startswith(state):
            after = f"{state}{LAST}"
        names = {key.removeprefix(prefix): size for key, size in page}
        if files := {name: size for name, size in names.items() if is_name(name)}:
            yield files


async def _list(shared: Shared, after: str, count: int) -> Sequence[tuple[str, int]]:
    page = partial(shared.client.list, shared.prefix, after, count)
    return await shared.request(page, shared.threads.lookers)


def is_name(name: str) -> bool:
    """Whether a file may be called so. Other objects, such as those for folders, are none."""
    return bool(name) and not name.startswith(("/", STATE)) and not name.endswith("/")


async def _checked(
    shared: Shared, results: Sequence[T], gone: Callable[[T], bool]
) -> Sequence[T | StorageError]:
    """The results, with an error in place of those that are `gone` if the bucket is gone itself.

    The answer for an object is the same in both cases.
    """
    if any(map(gone, results)):
        try:
            await shared.request(shared.client.check, shared.threads.lookers)
        except StorageError as error:
            return [error if gone(one) else one for one in results]
    return results


async def _each(
    names: Sequence[str], act: Callable[[str], Awaitable[T]]
) -> Sequence[T | StorageError]:
    """What `act` returns or raises for each of the names, all at the same time."""
    results: dict[int, T | StorageError] = {}

    async def run(index: int, name: str) -> None:
        try:
            results[index] = await act(name)
        except StorageError as error:
            results[index] = error

    async with trio.open_nursery() as nursery:
        for index, name in enumerate(names):
            nursery.start_soon(run, index, name)
    return [results[index] for index in range(len(names))]


def _standing(head: Head) -> Standing:
    stated = head.metadata.get(MODIFIED, "")
    try:
        modified = int(stated) * _NS
    except ValueError:  # not stated, or by another program
        modified = head.modified_ns
    upload = head.metadata.get(UPLOAD)
    return Standing(head.size, modified, upload, () if upload is None else (upload,))
