"""The maximum size of a file."""

from galileod.protocol.errors import Fault, FaultCode


def check_size(size: int, max_file_size: int) -> None:
    """Raise a `too_large` Fault if `size` exceeds the limit. Both are bytes."""
    if size > max_file_size:
        raise Fault(
            FaultCode.TOO_LARGE,
            f"The file is too large: {size} bytes. The maximum is {max_file_size} bytes.",
            limit=max_file_size,
            size=size,
        )
