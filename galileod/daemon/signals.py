"""The signals of the daemon, received from before the start until after the end."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import trio

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_SIGNALS: Final = (*STOP_SIGNALS, signal.SIGHUP)


@contextmanager
def receive_signals() -> Iterator[tuple[AsyncIterator[int], AsyncIterator[int]]]:
    """The signals to stop, and those to reload. At the end all of them are ignored.

    Those that are pending, because the caller blocked them, are received too. Must be entered
    before any thread starts, since threads and their children would inherit blocked signals.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:
        # On exit trio restores this handler, and raises again each signal that was not received.
        # It is not SIG_IGN, which would discard pending signals.
        signal.signal(number, lambda _number, _frame: None)
    try:
        with (
            trio.open_signal_receiver(*STOP_SIGNALS) as stops,
            trio.open_signal_receiver(signal.SIGHUP) as hangups,
        ):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            yield stops, hangups
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # also while Python exits
