"""Uploads to object storage, for tests of ledgers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from helpers.ledgers import allow

from galileod.ledger.base import Ledger
from galileod.ledger.objects import Claim, Part, Tail

MIB: Final = 1 << 20
PART: Final = 8 * MIB


def part(number: int, length: int = PART, etag: str | None = None) -> Part:
    """A part; its hash state has NUL and other bytes that are not UTF-8."""
    return Part(number, length, etag or f'"etag {number}"', bytes([0, 255, number % 256]) * 32)


def tail(offset: int, length: int, key: str = "tails/u1") -> Tail:
    return Tail(key, offset, length, b"\x00\xff" * 48)


def steps(ledger: Ledger) -> Sequence[tuple[bool, Callable[[], Awaitable[object]]]]:
    """Uploads from their beginning to their end; tells of each step whether it is durable."""
    of = ledger.objects
    whole = [Claim("u2", 5, "a", "rename"), Claim("u3", 5, "b", "reject")]
    return [
        (False, lambda: of.begin("u1", 30 * MIB, PART)),
        (False, lambda: of.claim("u1", "a", "rename")),
        (True, lambda: of.created("u1", "multipart")),
        (True, lambda: of.add_part("u1", part(1))),
        (True, lambda: of.add_part("u1", part(3))),
        (True, lambda: of.set_tail("u1", tail(PART, 100))),
        (False, lambda: of.resume("u1")),
        (True, lambda: of.add_part("u1", part(2))),
        (True, lambda: of.add_part("u1", part(3, 6 * MIB))),
        (True, lambda: of.completing("u1")),
        # The store has found that the name is taken.
        (False, lambda: of.claim("u1", "a", "rename", ["a"])),
        (True, lambda: of.completing("u1")),
        (True, lambda: of.doubt("u1", 1.5)),
        (False, lambda: of.abandon("u1", yields=True)),
        (True, lambda: of.hold("u1", 1.5, 2.5)),
        (True, lambda: of.claim_whole(whole)),
        (False, lambda: of.drop("u3")),
        (False, lambda: ledger.reserve("u2", "anna", 5, allow)),
        (False, lambda: ledger.commit("u2", "a")),
    ]
