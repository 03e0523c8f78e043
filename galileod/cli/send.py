"""The entry point of `galileo-send`."""

from collections.abc import Callable

from .startup import run_program


def main() -> None:
    """Run the command."""
    run_program(_load)


def _load() -> Callable[[], object]:
    from galileod.client.command.main import main as run  # noqa: PLC0415  the slow part
    from galileod.malloc import keep_freed_memory  # noqa: PLC0415  not before that

    # Each block of a file is a new buffer, and with TLS its records are another.
    keep_freed_memory()
    return run
