"""Parts and tails of uploads to object storage, for tests of ledgers."""

from typing import Final

from galileod.ledger.objects import Part, Tail

MIB: Final = 1 << 20


def part(number: int, length: int = 8 * MIB, etag: str | None = None) -> Part:
    """A part; its hash state has NUL and other bytes that are no text."""
    return Part(number, length, etag or f'"etag {number}"', bytes([0, 255, number]) * 32)


def tail(offset: int, length: int, key: str = "tails/u1") -> Tail:
    return Tail(key, offset, length, b"\x00\xff" * 48)
