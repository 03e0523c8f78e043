"""What an upload may ask for."""

from galileod.protocol.errors import Fault, FaultCode


def check_size(size: int, max_file_size: int) -> None:
    """Raise a `too_large` Fault for a declared size above the limit. Both are bytes."""
    if size > max_file_size:
        raise Fault(
            FaultCode.TOO_LARGE,
            f"The file is too large: {size} bytes. At most {max_file_size} bytes are taken.",
            limit=max_file_size,
            size=size,
        )
