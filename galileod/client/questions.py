"""What a server is asked that may have files already: the questions, and their hashes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import trio
from attrs import evolve, frozen

from galileod.protocol.encoding import encode_ask
from galileod.protocol.messages import MAX_ASKED, Ask, AskEntry, HashClaim

from .hash_files import sha1_of_files
from .work import Item

MAX_TEXT: Final = 16 * 1024
"""Maximum characters of a question: every server takes messages of that size."""

HASH_TEXT: Final = 80
"""Characters of a hash in a question."""


@frozen
class Question:
    """An item, and what is asked about it: also its `hash`, or only that."""

    item: Item
    entry: AskEntry
    hash: bool = False


def make_questions(items: Sequence[Item], *, by_hash: bool) -> list[Question]:
    """What is asked about those items that can be asked about.

    Without `by_hash`, a file is known by its size and modification time. Where two files have the
    same, the hash is asked for too: the server may take their names for the same, as when it makes
    them safe, and have one of them only.
    """
    found = [(item, entry) for item in items if (entry := item.question)]
    if by_hash:
        return [Question(item, evolve(entry, modified=None), hash=True) for item, entry in found]
    count = Counter((entry.size, entry.modified) for _, entry in found)
    return [
        Question(item, entry, hash=count[entry.size, entry.modified] > 1) for item, entry in found
    ]


async def prepare(
    scope: trio.CancelScope,
    questions: Sequence[Question],
    send: trio.MemorySendChannel[Sequence[Question]],
) -> None:
    """Hash what is to be hashed, and send what is to be asked at once; one such is ready before."""
    with scope, send:
        for batch in _batches(questions):
            if ready := await _hashed(batch):
                await send.send(ready)


def _batches(questions: Iterable[Question]) -> Iterator[list[Question]]:
    """In order, up to the limits of a question. What is longer alone is left out."""
    batch, length = list[Question](), 0
    for one in questions:
        more = len(encode_ask(Ask((one.entry,), 0))) + HASH_TEXT * one.hash
        if more > MAX_TEXT:
            continue
        if len(batch) == MAX_ASKED or length + more > MAX_TEXT:
            yield batch
            batch, length = [], 0
        batch.append(one)
        length += more
    if batch:
        yield batch


async def _hashed(batch: Sequence[Question]) -> list[Question]:
    """The same with hashes; what cannot be read is left out."""
    paths = [one.item.path or "" for one in batch if one.hash]
    hashes = iter(await sha1_of_files(paths) if paths else [])
    ready = list[Question]()
    for one in batch:
        value = next(hashes) if one.hash else None
        if value:
            ready.append(evolve(one, entry=evolve(one.entry, hash=HashClaim("sha1", value))))
        elif not one.hash:
            ready.append(one)
    return ready
