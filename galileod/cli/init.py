"""Process 1 of a container: forwards signals to the program, and reaps orphans.

The kernel discards signals to process 1 for which it has no handler: a SIGTERM during the imports
would be lost. And it makes process 1 the parent of all orphans, such as those that a hook leaves;
they stay as zombies until it waits for them. The program cannot do that itself: to wait for any
child would take the exit statuses of its hooks.
"""

import os
import signal
from typing import Final

INIT: Final = 1

PASSED: Final = range(3, 3 + 1024)
"""The descriptors that systemd can pass (MAX_PASSED in daemon/systemd.py)."""

MANAGED: Final = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables with the number of the process that the service manager means."""

SIGNALLED: Final = 128
"""The exit status, as of a shell, is this plus the number of the signal that ended the program."""


def run_below_init() -> None:
    """If this is process 1, continue in a child; process 1 ends with its exit status."""
    if os.getpid() != INIT:
        return
    # A blocked signal is not discarded, but waits until it is received.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child:
        os._exit(_wait_for(child))
    # In a session of its own: process 1 forwards the signals of the terminal, and the program must
    # not receive them twice.
    os.setsid()
    for name in MANAGED:
        if os.environ.get(name) == str(INIT):
            os.environ[name] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for(child: int) -> int:
    """Forward all signals to `child` until it has ended; returns the exit status for it."""
    os.closerange(PASSED.start, PASSED.stop)  # the program has them, and closes them as it drains
    signals = signal.valid_signals()
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            os.kill(child, number)
            continue
        # One SIGCHLD may stand for several children.
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                status = os.waitstatus_to_exitcode(ended[1])
                return status if status >= 0 else SIGNALLED - status
