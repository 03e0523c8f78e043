"""Whether the disk has space for one more upload."""

from galileod.protocol.errors import Fault, FaultCode


def check_space(free: int, expected: int, size: int, min_free: int) -> None:
    """Raise a `no_space` Fault if an upload of `size` bytes would leave less than `min_free`.

    `free` is the free space of the disk, `expected` the part of it that running uploads have
    declared and not sent yet. All are bytes.
    """
    if free - expected - size < min_free:
        raise Fault(
            FaultCode.NO_SPACE,
            f"The server's disk has no space for {size} bytes.",
            size=size,
        )
