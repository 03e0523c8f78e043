"""Whether the disk has space for one more upload, or for any."""

from galileod.protocol.errors import Fault, FaultCode

from .exhausted import Exhausted


def check_space(free: int, expected: int, size: int, min_free: int) -> None:
    """Raise a `no_space` Fault if an upload of `size` bytes would leave less than `min_free`.

    `free` is the free space of the disk, `expected` the part of it that running uploads have
    declared and not sent yet. All are bytes.
    """
    if free - expected - size < min_free:
        raise Fault(
            FaultCode.NO_SPACE,
            f"The server's disk has no space for {size} bytes{_kept_free(min_free)}.",
            size=size,
        )


def find_no_space(free: int, min_free: int) -> Exhausted | None:
    """The reason why no upload of at least one byte can begin, even while no other runs, or None.

    Space that running uploads will use does not count: it is free again if they fail.
    """
    if free - 1 >= min_free:
        return None
    kept = _kept_free(min_free)
    return Exhausted("storage.min_free", f"The disk has {free} bytes of free space{kept}.")


def _kept_free(min_free: int) -> str:
    return f"; storage.min_free keeps {min_free} bytes free" if min_free else ""
