"""The entry point of `galileo-send`."""

import signal
from typing import NoReturn

from .streams import open_closed_streams


def main() -> NoReturn:
    """Run the command; Ctrl-C causes no traceback, also during imports and at exit."""
    python_handles = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_handles:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    open_closed_streams()
    from galileod.client.command.main import main as run  # noqa: PLC0415  the slow part

    if python_handles:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    finally:
        if python_handles:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
