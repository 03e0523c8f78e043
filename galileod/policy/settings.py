"""The sections `[limits]`, `[quota]`, `[chunks]` and `[hash]` of the configuration."""

from collections.abc import Iterator
from typing import Final

from attrs import fields, frozen

from galileod.units import Size, Violation, format_size

MIN_CHUNK: Final = Size(1024)
MAX_CHUNK: Final = Size(1 << 30)
MAX_IN_FLIGHT: Final = 1024


@frozen
class Limits:
    """`[limits]`: limits of one upload."""

    max_file_size: Size = Size(10 << 30)
    min_rate: Size = Size(1024)


@frozen
class Quota:
    """`[quota]`: limits of what is stored, in total and per user; None is no limit."""

    total_bytes: Size | None = None
    total_files: int | None = None
    user_bytes: Size | None = None
    user_files: int | None = None
    user_uploads: int | None = None


@frozen
class Chunks:
    """`[chunks]`: limits of credits, and the memory for all of them."""

    min: Size = Size(64 << 10)
    max: Size = Size(8 << 20)
    max_in_flight: int = 16
    memory: Size = Size(256 << 20)


@frozen
class Hash:
    """`[hash]`: whether clients must send a hash."""

    required: bool = False


def violations(quota: Quota, chunks: Chunks) -> Iterator[Violation]:
    """Values that are out of range, with what is expected."""
    for attribute in fields(Quota):
        value = getattr(quota, attribute.name)
        if value is not None and value < 0:
            yield f"quota.{attribute.name}", value, "an integer of at least 0"
    yield from _chunk_violations(chunks)


def _chunk_violations(chunks: Chunks) -> Iterator[Violation]:
    if not MIN_CHUNK <= chunks.min <= MAX_CHUNK:
        yield "chunks.min", chunks.min, f"from {format_size(MIN_CHUNK)} to {format_size(MAX_CHUNK)}"
    if not chunks.min <= chunks.max <= MAX_CHUNK:
        at_least = f"chunks.min ({format_size(chunks.min)})"
        yield "chunks.max", chunks.max, f"from {at_least} to {format_size(MAX_CHUNK)}"
    if not 1 <= chunks.max_in_flight <= MAX_IN_FLIGHT:
        yield "chunks.max_in_flight", chunks.max_in_flight, f"from 1 to {MAX_IN_FLIGHT}"
    if chunks.memory < chunks.min:
        yield "chunks.memory", chunks.memory, f"at least chunks.min ({format_size(chunks.min)})"
