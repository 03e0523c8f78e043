"""The entry point of `galileo-send`."""

import signal
from typing import NoReturn


def main() -> NoReturn:
    """The command. Its modules take a while to load, and Ctrl-C in that time is no traceback."""
    python_hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if python_hears:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from .client.cli import main as run  # noqa: PLC0415  what takes the time

    if python_hears:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
