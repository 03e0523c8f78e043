"""The entry point of `galileod`."""

import signal
from collections.abc import Callable

from .startup import run_program


def main() -> None:
    """Run the command."""
    # `serve` must not be ended by SIGHUP before it handles it, nor lose a request to reload.
    run_program(_load, {signal.SIGHUP})


def _load() -> Callable[[], object]:
    from .main import main as run  # noqa: PLC0415  the slow part

    return run
