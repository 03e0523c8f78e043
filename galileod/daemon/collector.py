"""Configures Python's collector of cyclic garbage for a process that lives long."""

import gc
from typing import Final

THRESHOLD: Final = 20_000
"""Objects that are allocated, and not freed, before the collector looks for cycles among them. An
upload allocates some thousands, nearly all of which are freed without it."""


def collect_seldom() -> None:
    """Let the collector run less often, and leave alone all that exists now.

    To be called at the start: what exists then is mostly the code. Otherwise the
    collector took a fifth of the processor's time with many small files.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(THRESHOLD)
