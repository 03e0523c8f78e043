"""The service manager: reads its environment variables, and notifies it (sd_notify)."""

import socket
from collections.abc import MutableMapping
from typing import Final, Self

import structlog
from attrs import define, field
from structlog.typing import FilteringBoundLogger

FIRST_PASSED: Final = 3
"""The first descriptor that is passed (sd_listen_fds(3))."""

MAX_PASSED: Final = 1024
"""Maximum number of passed sockets; a larger one is an error."""

MAX_DIGITS: Final = 20
"""Maximum digits of a number: those of the largest 64-bit integer."""

_log: FilteringBoundLogger = structlog.get_logger()


@define
class Manager:
    """The service manager that started this process; without one, all fields have their defaults.

    `passed` are the descriptors of listening sockets. `watchdog` is the maximum time in seconds
    between notifications; None if the watchdog is off. `notify_socket` is the manager's address.
    """

    passed: tuple[int, ...] = ()
    watchdog: float | None = None
    notify_socket: str | None = None
    _unsent: dict[str, str] = field(init=False, factory=dict, eq=False)
    _reason: str | None = field(init=False, default=None, eq=False)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Self:
        """Read the variables for process `pid`, and remove them, so that no child inherits them.

        Raises ValueError if one is not a valid number; the message has the variable's name.
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
        """Send assignments such as "READY=1" (sd_notify(3)) to the manager.

        Never blocks. Those that cannot be sent, since the manager is busy or gone, are sent by the
        next call, which needs no others: the last one of each name. A failure is only logged, once
        until it ends or has another reason, since the daemon works without the manager.
        """
        if self.notify_socket is None:
            return
        self._unsent |= {assignment.partition("=")[0]: assignment for assignment in assignments}
        if not self._unsent:
            return
        address = self.notify_socket
        if address.startswith("@"):
            address = "\0" + address[1:]  # in the abstract namespace (unix(7))
        message = "\n".join(self._unsent.values()).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
                sending.sendto(message, socket.MSG_DONTWAIT, address)
        except OSError as error:
            reason = str(error)
            if reason != self._reason:
                _log.warning("systemd.unreachable", reason=reason, path=self.notify_socket)
            self._reason = reason
        else:
            self._unsent.clear()
            self._reason = None


def _number(name: str, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS):
        raise ValueError(f"{name}: {value[:80]!r}: expected an integer of at least 0")
    return int(value)
