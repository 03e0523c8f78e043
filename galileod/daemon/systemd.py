"""The service manager: what it hands over in the environment, and what it is told (sd_notify)."""

import socket
from collections.abc import MutableMapping
from typing import Final, Self

import structlog
from attrs import frozen
from structlog.typing import FilteringBoundLogger

FIRST_PASSED: Final = 3
"""The first descriptor of those that are passed (sd_listen_fds(3))."""

MAX_PASSED: Final = 1024
"""Sockets that may be passed; more cannot be meant."""

MAX_DIGITS: Final = 20
"""What a number of 64 bits has."""

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Manager:
    """The service manager that started us; one that asks for nothing where there is none.

    `passed` are the descriptors of the sockets that it listens on for us. `watchdog` is how many
    seconds may go by between two signs of life; None where it asks for none.
    """

    passed: tuple[int, ...] = ()
    watchdog: float | None = None
    notify_socket: str | None = None

    @classmethod
    def take(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Read what is meant for process `pid`, and remove it, so that no child believes it.

        Raises ValueError for numbers that are none; the text says which variable.
        """
        names = ("LISTEN_PID", "LISTEN_FDS", "WATCHDOG_PID", "WATCHDOG_USEC", "NOTIFY_SOCKET")
        values = {name: environ.pop(name, None) for name in (*names, "LISTEN_FDNAMES")}
        listen_pid, count, watchdog_pid, watchdog = (
            _number(name, values[name]) for name in names[:4]
        )
        if listen_pid != pid:
            count = None
        elif count is not None and count > MAX_PASSED:
            raise ValueError(f"LISTEN_FDS: {count}: expected at most {MAX_PASSED}")
        if watchdog_pid not in (None, pid):
            watchdog = None
        return cls(
            passed=tuple(range(FIRST_PASSED, FIRST_PASSED + (count or 0))),
            watchdog=watchdog / 1_000_000 if watchdog else None,
            notify_socket=values["NOTIFY_SOCKET"] or None,
        )

    def notify(self, *assignments: str) -> None:
        """Tell the manager, such as "READY=1"; sd_notify(3) has all that can be told.

        Never waits. A manager that cannot be told is logged: the daemon works all the same.
        """
        if self.notify_socket is None:
            return
        address = self.notify_socket
        if address.startswith("@"):
            address = "\0" + address[1:]  # an abstract one
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.sendto("\n".join(assignments).encode(), socket.MSG_DONTWAIT, address)
        except OSError as error:
            _log.warning("systemd.unreachable", reason=str(error), path=self.notify_socket)


def _number(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS):
        raise ValueError(f"{name}: {value[:80]!r}: expected a whole number from 0 up")
    return int(value)
