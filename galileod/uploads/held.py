"""Answers which of a client's files are stored already (the extension `ask`)."""

from collections.abc import Mapping, Sequence
from typing import Final

import trio
from structlog.typing import FilteringBoundLogger

from galileod.ledger.base import LedgerError
from galileod.ledger.records import FileEntry, Wanted
from galileod.policy.folders import place_of
from galileod.protocol.encoding import encode_held
from galileod.protocol.errors import Fault, FaultCode
from galileod.protocol.messages import Ask, AskEntry, Held
from galileod.protocol.receiver import UploadReceiver
from galileod.storage.base import RUNNING_HASH
from galileod.storage.errors import StorageError
from galileod.storage.finished import Standing

from .connection import Connection, may_ask
from .context import Context

LONGEST: Final = 3600.0
"""Maximum seconds for which questions keep a connection that sends no file."""

TOLERANCE: Final = 2.0
"""Seconds by which the time of a file may differ: FAT has even seconds only."""

OLDEST: Final = 3600.0
"""Maximum seconds from the last write to a file until it was recorded as stored. A file that is
older, and has not the time that its client stated, is another one."""

_NS: Final = 1_000_000_000


async def answer(
    connection: Connection, receiver: UploadReceiver, question: Ask, log: FilteringBoundLogger
) -> None:
    """Find out which files the user has, and send the answer.

    If that fails, or lasts for longer than `timeouts.idle`, no file is held: the client sends them
    all, and hears what is wrong. Raises a Fault, `unauthorized`, if the credential is not valid any
    more, and what `Connection.receive` raises if the connection ends.
    """
    connection.transport.owe(1)
    try:
        held = await _find(connection, receiver, question, log)
    finally:
        connection.transport.owe(-1)
    # Nothing else can take the place of a file.
    replaces = connection.context.config.storage.on_conflict == "replace"
    paths = {index: path for index, path in held.items() if path is not None and replaces}
    signal = encode_held(Held(frozenset(held), question.number, paths))
    await connection.transport.send(signal, timeout=connection.config.timeouts.close)


async def _find(
    connection: Connection, receiver: UploadReceiver, question: Ask, log: FilteringBoundLogger
) -> Mapping[int, str | None]:
    context = connection.context
    held: Mapping[int, str | None] = {}
    grant = await connection.authorize_question(log)
    try:
        with trio.fail_after(context.config.timeouts.idle):
            if may_ask(context.config, grant) and not grant.expired:
                held = await connection.unless_ended(
                    receiver, lambda: find_held(context, grant.user, question.entries)
                )
    except (LedgerError, StorageError) as error:
        log.warning("files.lookup_failed", reason=str(error))
    except trio.TooSlowError:
        log.warning("files.lookup_failed", reason="the disk has not answered in time")
    context.metrics.looked_up(len(held), len(question.entries) - len(held))
    log.info("files.asked", user=grant.user, files=len(question.entries), held=len(held))
    return held


async def answer_first(
    connection: Connection, receiver: UploadReceiver, question: Ask, log: FilteringBoundLogger
) -> None:
    """As `answer`, before the data of file 0. Raises a Fault, `idle`, after LONGEST seconds."""
    if trio.current_time() - connection.opened > LONGEST:
        raise Fault(FaultCode.IDLE, f"Only questions came within {LONGEST:g} seconds.")
    await answer(connection, receiver, question, log)


async def find_held(
    context: Context, user: str, entries: Sequence[AskEntry]
) -> dict[int, str | None]:
    """The indexes of the entries that `user` has stored, with their paths.

    The path is None if there are several such files. Raises LedgerError and StorageError.
    """
    async with context.lookups:
        wanted = [(index, one) for index, entry in enumerate(entries) if (one := _wanted(entry))]
        found = await context.ledger.find_files(user, [one for _, one in wanted])
        files = [(wanted[key][0], file) for key, each in found.items() for file in each]
        if not files:
            return {}
        standings = await context.store.look([file.name for _, file in files])
    held = dict[int, str | None]()
    for (index, file), standing in zip(files, standings, strict=True):
        if isinstance(standing, Standing) and is_unchanged(file, standing):
            held[index] = None if index in held else file.name
    return held


def is_unchanged(file: FileEntry, standing: Standing) -> bool:
    """Whether what stands there now is what was stored.

    The store knows which upload has stored it; else it has the time that the client stated
    (`storage.keep_modified`), or that of its storing.
    """
    if standing.size != file.size:
        return False
    if standing.upload is not None and file.upload is not None:
        return standing.upload == file.upload
    now, tolerance = standing.modified_ns, int(TOLERANCE * _NS)
    if file.modified is not None and abs(now - file.modified * 1_000_000) <= tolerance:
        return True
    if file.stored is None:
        return False
    stored = int(file.stored * _NS)
    return stored - int(OLDEST * _NS) <= now <= stored + tolerance


def _wanted(entry: AskEntry) -> Wanted | None:
    """What is looked for; None if there can be no such file."""
    claim = entry.hash
    if claim and claim.type != RUNNING_HASH:
        return None
    try:
        place = place_of(entry.folder, entry.name)
    except Fault:
        return None  # no file can be stored there
    return Wanted(place, entry.size, entry.modified, claim.value if claim else None)
