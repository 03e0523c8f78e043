"""What a start finds of the uploads of an earlier process. Nothing is listed: it may be stale."""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol, TypeVar

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.ledger.objects import ObjectUpload
from galileod.storage.errors import StorageError, UnavailableError
from galileod.storage.finished import Recovered

from .client import is_of
from .doubts import LATE_SECONDS
from .removal import remove_from_bucket
from .shared import Shared, ledger_steps

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger()


class Ask(Protocol):
    """Makes requests of the start, for the thread that it runs in."""

    def __call__(self, call: Callable[[], T], *, once: bool = False) -> T:
        """May make them again while they raise UnavailableError, but not those that are `once`."""


def at_once(call: Callable[[], T], *, once: bool = False) -> T:
    """An `Ask` that waits for nothing."""
    del once
    return call()


def recover(
    shared: Shared,
    trusted: Mapping[str, int | None],
    step: Callable[[], None],
    ask: Ask,
    spared: Collection[str],
) -> Mapping[str, Recovered]:
    """See `Store.recover`. What the ledger knows of an upload is certain, unless nothing is.

    Uploads whose files were published stay in the ledger for `published`. One whose file may still
    be, as its request was sent before the end, is abandoned. Blocks.
    """
    recovered: dict[str, Recovered] = {}
    gone: list[str] = []
    given_up: list[str] = []
    with ledger_steps():
        every = list(shared.objects.all())
    for known in every:
        step()
        upload = known.upload
        if known.abandoned or upload in spared:
            continue  # the sweeper settles an abandoned one
        if is_published(shared, known, ask):
            if upload in trusted:
                recovered[upload] = Recovered(known.offset, upload)
        elif known.offset and trusted.get(upload, 0) != 0:
            recovered[upload] = Recovered(known.offset)
        elif _remove(shared, known, ask) and known.multipart is not None:
            gone.append(upload)  # it cannot be completed any more
        elif known.completing or known.due is not None:
            given_up.append(upload)
        else:
            gone.append(upload)
    with ledger_steps():
        shared.objects.forget(gone)
        shared.objects.give_up(given_up, time.time() + LATE_SECONDS)
    return recovered


def published(shared: Shared, identities: Collection[str], ask: Ask) -> Mapping[str, str]:
    """The names of the files that uploads with these identities have published.

    The sweeper forgets others. Their objects stay: that nobody was told of them is not certain, if
    the ledger was damaged.
    """
    with ledger_steps():
        every = [known for known in shared.objects.all() if known.upload in identities]
    return {one.upload: str(one.name) for one in every if is_published(shared, one, ask)}


def is_published(shared: Shared, known: ObjectUpload, ask: Ask = at_once) -> bool:
    """Whether the file of an upload that is not abandoned is there. Blocks; raises StorageError."""
    if not known.completing or known.name is None or known.abandoned:
        return False
    return is_of(ask(partial(shared.client.find, shared.key(known.name))), known.upload)


def _remove(shared: Shared, known: ObjectUpload, ask: Ask) -> bool:
    """Remove what the bucket has of an upload, except its file; returns whether that is done."""
    try:
        # A store may fail for one object alone, for which a start must not wait.
        ask(partial(remove_from_bucket, shared, known), once=True)
    except StorageError as error:  # the sweeper tries again
        _log.warning("storage.not_removed", upload=known.upload, reason=str(error))
        if isinstance(error, UnavailableError):
            ask(shared.client.check)  # the others would take long if it fails for all
        return False
    return True
