"""`[limits]`, `[quota]`, `[chunks]`, `[resume]`, `[hash]`: limits on uploads, sizes of chunks."""

from collections.abc import Iterator
from typing import Final

from attrs import fields, frozen

from galileod.units import Duration, Size, Violation, format_size

MIN_CHUNK: Final = Size(1024)
MAX_CHUNK: Final = Size(1 << 30)
MAX_IN_FLIGHT: Final = 1024
MAX_WHOLE: Final = Size(16 << 20)
MAX_NEXT: Final = 65_536


@frozen
class Limits:
    """`[limits]`: limits on one upload. `min_rate` is in bytes per second."""

    max_file_size: Size = Size(10 << 30)
    min_rate: Size = Size(1024)


@frozen
class Quota:
    """`[quota]`: limits on what is stored, in total and per user; None is no limit."""

    total_bytes: Size | None = None
    total_files: int | None = None
    user_bytes: Size | None = None
    user_files: int | None = None
    user_uploads: int | None = None


@frozen
class Chunks:
    """`[chunks]`: sizes of chunks, and how much may be granted at once.

    Of a connection with several files, at most `next` further ones may be open at once; 0: one file
    a connection. Those of at most `whole` bytes come in one go; at most `room` bytes of them may be
    under way.
    """

    min: Size = Size(64 << 10)
    max: Size = Size(8 << 20)
    max_in_flight: int = 16
    memory: Size = Size(256 << 20)
    whole: Size = Size(256 << 10)
    next: int = 256
    room: Size = Size(4 << 20)


@frozen
class Resume:
    """`[resume]`: interrupted uploads that are kept, so that they can be resumed.

    `keep` is in seconds; 0 turns resuming off. Smaller files than `min_size` are not kept.
    """

    keep: Duration = Duration(24 * 3600)
    min_size: Size = Size(1 << 20)
    user_uploads: int = 16


@frozen
class Hash:
    """`[hash]`: whether a client must send a hash."""

    required: bool = False


def violations(quota: Quota, chunks: Chunks, resume: Resume) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    if resume.user_uploads < 1:
        yield "resume.user_uploads", resume.user_uploads, "an integer of at least 1"
    for attribute in fields(Quota):
        value = getattr(quota, attribute.name)
        if value is not None and value < 0:
            yield f"quota.{attribute.name}", value, "an integer of at least 0"
    yield from _chunk_violations(chunks)


def _chunk_violations(chunks: Chunks) -> Iterator[Violation]:
    if not MIN_CHUNK <= chunks.min <= MAX_CHUNK:
        yield (
            "chunks.min",
            format_size(chunks.min),
            f"a size from {format_size(MIN_CHUNK)} to {format_size(MAX_CHUNK)}",
        )
    if not chunks.min <= chunks.max <= MAX_CHUNK:
        at_least = f"chunks.min ({format_size(chunks.min)})"
        yield (
            "chunks.max",
            format_size(chunks.max),
            f"a size from {at_least} to {format_size(MAX_CHUNK)}",
        )
    if not 1 <= chunks.max_in_flight <= MAX_IN_FLIGHT:
        yield "chunks.max_in_flight", chunks.max_in_flight, f"an integer from 1 to {MAX_IN_FLIGHT}"
    if chunks.memory < chunks.min:
        yield (
            "chunks.memory",
            format_size(chunks.memory),
            f"a size of at least chunks.min ({format_size(chunks.min)})",
        )
    if chunks.whole > MAX_WHOLE:
        yield (
            "chunks.whole",
            format_size(chunks.whole),
            f"a size of at most {format_size(MAX_WHOLE)}",
        )
    if not 0 <= chunks.next <= MAX_NEXT:
        yield "chunks.next", chunks.next, f"an integer from 0 to {MAX_NEXT}"
    if chunks.room < chunks.whole:
        at_least = f"chunks.whole ({format_size(chunks.whole)})"
        yield "chunks.room", format_size(chunks.room), f"a size of at least {at_least}"
