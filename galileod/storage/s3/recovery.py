"""What a start finds of the uploads of an earlier process. Nothing is listed: it may be stale."""

from collections.abc import Callable, Collection, Mapping

import structlog
from structlog.typing import FilteringBoundLogger

from galileod.ledger.objects import ObjectUpload
from galileod.storage.errors import StorageError
from galileod.storage.finished import Recovered

from .removal import remove_from_bucket
from .shared import Shared, is_of, ledger_steps

_log: FilteringBoundLogger = structlog.get_logger()


def recover(
    shared: Shared,
    trusted: Mapping[str, int | None],
    step: Callable[[], None],
    concerns: Callable[[str], bool],
) -> Mapping[str, Recovered]:
    """See `Store.recover`. What the ledger knows of an upload is certain, unless nothing is.

    `concerns` tells whether an upload is one of those that may be removed. Uploads whose files were
    published stay in the ledger for `published`. One whose file may still be, as its request was
    sent before the end, is abandoned. Blocks.
    """
    recovered: dict[str, Recovered] = {}
    gone: list[str] = []
    given_up: list[str] = []
    with ledger_steps():
        every = list(shared.objects.all())
    for known in every:
        step()
        upload = known.upload
        if known.abandoned or not concerns(upload):
            continue  # the sweeper removes the parts of an abandoned one
        if _is_published(shared, known):
            if upload in trusted:
                recovered[upload] = Recovered(known.offset, upload)
        elif known.offset and trusted.get(upload, 0) != 0:
            recovered[upload] = Recovered(known.offset)
        elif known.completing:
            given_up.append(upload)
        else:
            _remove(shared, known)
            gone.append(upload)
    with ledger_steps():
        shared.objects.forget(gone)
        shared.objects.give_up(given_up)
    return recovered


def published(shared: Shared, identities: Collection[str]) -> Mapping[str, str]:
    """The names of the files that uploads with these identities have published.

    Others that were published, but are not asked for, are abandoned: nobody was told of them.
    """
    with ledger_steps():
        every = list(shared.objects.all())
    names = {one.upload: str(one.name) for one in every if _is_published(shared, one)}
    with ledger_steps():
        shared.objects.give_up(names.keys() - set(identities))
    return {upload: name for upload, name in names.items() if upload in identities}


def _is_published(shared: Shared, known: ObjectUpload) -> bool:
    if not known.completing or known.name is None or known.abandoned:
        return False
    return is_of(shared.client.head(shared.key(known.name)), known.upload)


def _remove(shared: Shared, known: ObjectUpload) -> None:
    try:
        remove_from_bucket(shared, known)
    except StorageError as error:  # the sweeper tries again
        _log.warning("storage.not_removed", upload=known.upload, reason=str(error))
