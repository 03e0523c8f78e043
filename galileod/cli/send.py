"""The entry point of `galileo-send`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """The command. While it is loaded, and once it is done, Ctrl-C ends it without a traceback."""
    python_hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from galileod.client.command.main import main as run  # noqa: PLC0415  what takes the time

    if python_hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run()
    finally:
        if python_hears:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
