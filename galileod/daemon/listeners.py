"""Listening sockets: passed by systemd or opened, after `server.listen`; removed at the end."""

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
import trio
from attrs import field, frozen
from structlog.typing import FilteringBoundLogger

from galileod.net.addresses import PROXY_PROTOCOL, Listen, TcpAddress, UnixAddress

BACKLOG: Final = 1024
"""Connections that the kernel holds until they are accepted; it may hold fewer (somaxconn)."""

UNIX_MODE: Final = 0o660
"""Who may connect to a unix socket: the daemon's user and group."""

_log: FilteringBoundLogger = structlog.get_logger()


class ListenError(Exception):
    """An address cannot be listened on; the text says which, and why."""


@frozen
class Bound:
    """One socket that we listen on; with `proxy_protocol` proxies connect, and say for whom."""

    listener: trio.SocketListener
    proxy_protocol: bool = False

    @property
    def name(self) -> str:
        """Where it really listens, in the form of `server.listen`."""
        mark = PROXY_PROTOCOL if self.proxy_protocol else ""
        return f"{_name_of(self.listener)}{mark}"


@frozen
class Listeners:
    """What we listen on: our own sockets, with the paths that they have, and those of systemd."""

    own: list[Bound] = field(factory=list)
    passed: list[Bound] = field(factory=list)
    paths: list[str] = field(factory=list)

    @property
    def names(self) -> list[str]:
        """Where they really listen, in the form of `server.listen`."""
        return [door.name for door in (*self.passed, *self.own)]

    def remove(self) -> None:
        """Remove our own unix sockets from the filesystem, so that nobody knocks in vain."""
        for path in self.paths:
            try:
                os.unlink(path)
            except OSError as error:
                _log.warning("server.leftover", path=path, reason=str(error))


async def open_listeners(addresses: Sequence[Listen], passed: Sequence[int] = ()) -> Listeners:
    """Listen on all of `addresses`, or on none of them. Raises ListenError.

    `passed` are descriptors of sockets that systemd listens on. Each must be named by an address;
    an address that names one is not opened again.
    """
    listeners = Listeners()
    adopted = [_adopt(descriptor) for descriptor in passed]
    handed = frozenset(map(_name_of, adopted))
    missing: list[Listen] = []
    named: set[str] = set()
    marked: set[str] = set()
    for address in addresses:
        with _translated(address):
            found = handed & await _names_of(address)
        named |= found
        marked |= found if address.proxy_protocol else set()
        if not found:
            missing.append(address)
    # Before any is opened: what systemd holds may be in the way of it, as 127.0.0.1 is of 0.0.0.0.
    if unnamed := sorted(handed - named):
        raise ListenError(
            f"systemd listens on {', '.join(unnamed)}, and server.listen does not name that:"
            f" {', '.join(map(str, addresses))}"
        )
    listeners.passed.extend(Bound(one, _name_of(one) in marked) for one in adopted)
    for address in missing:
        try:
            with _translated(address):
                await _open(address, listeners)
        except ListenError:
            listeners.remove()
            raise
    return listeners


@contextmanager
def _translated(address: Listen) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from error


async def _open(address: Listen, listeners: Listeners) -> None:
    match address:
        case TcpAddress(host, port, marked):
            opened = await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
            listeners.own.extend(Bound(listener, marked) for listener in opened)
        case UnixAddress(path, marked):
            listeners.own.append(Bound(await _open_unix_listener(path), marked))
            listeners.paths.append(path)


def _adopt(descriptor: int) -> trio.SocketListener:
    """The listener of a socket that systemd passed. Raises ListenError if it is none."""
    try:
        os.set_inheritable(descriptor, False)  # children shall not have it
        passed = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor))
        listener = trio.SocketListener(passed)
    except (OSError, ValueError) as error:
        raise ListenError(
            f"systemd passed descriptor {descriptor}, which is no listening stream socket"
            f" (ListenStream=, Accept=no): {error}"
        ) from error
    if passed.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        raise ListenError(
            f"systemd passed descriptor {descriptor}, whose address family {int(passed.family)}"
            " server.listen has no form for"
        )
    return listener


async def _names_of(address: Listen) -> set[str]:
    """How a socket bound to `address` may be named: a host may have several addresses."""
    if isinstance(address, UnixAddress):
        return {str(UnixAddress(address.path))}
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return {str(TcpAddress(*socket_address[:2])) for *_, socket_address in found}


async def _open_unix_listener(path: str) -> trio.SocketListener:
    _remove_stale(path)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody may connect before the mode is right.
        before = os.umask(0o777 & ~UNIX_MODE)
        try:
            await listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(BACKLOG)
    except BaseException:
        listening.close()
        raise
    return trio.SocketListener(listening)


def _remove_stale(path: str) -> None:
    """Remove a socket that a daemon left behind when it was killed; one in use stays."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind will say what is wrong
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            pass  # somebody listens, and more wait for him than the kernel holds


def _name_of(listener: trio.SocketListener) -> str:
    address = listener.socket.getsockname()
    if isinstance(address, bytes):
        return f"unix:@{os.fsdecode(address[1:])}"  # an abstract one, which no address names
    return str(TcpAddress(*address[:2]) if isinstance(address, tuple) else UnixAddress(address))
