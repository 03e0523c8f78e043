"""Whether the disk has room for one more upload."""

from galileod.protocol.errors import Fault, FaultCode


def check_space(free: int, expected: int, size: int, min_free: int) -> None:
    """Raise a `no_space` Fault if an upload of `size` bytes would eat into what must stay free.

    `free` is what the disk has now, `expected` what running uploads have declared and not yet
    sent. All are bytes.
    """
    if free - expected - size < min_free:
        raise Fault(
            FaultCode.NO_SPACE,
            f"There is no room for {size} bytes on the server's disk.",
            size=size,
        )
