"""How much to ask a client for at once."""

from typing import Final

from attrs import frozen

FIXED_CHUNK: Final = 1024 * 1024
"""Bytes in a chunk, within the configured bounds. One thread hop (some 56 microseconds) a chunk
is then a twentieth of the time that hashing and writing it take, and it is above the 250,000 of
clients that know no other size."""


@frozen
class Pace:
    """The numbers that the session follows: the size of a credit, and how many are out."""

    chunk: int
    in_flight: int


def fixed_pace(chunk_min: int, chunk_max: int, max_in_flight: int) -> Pace:
    """The same pace from the first byte to the last. Sizes are bytes."""
    return Pace(min(max(FIXED_CHUNK, chunk_min), chunk_max), max_in_flight)
