"""The listening sockets of `server.listen`, which systemd passes or the daemon opens."""

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
import trio
from attrs import field, frozen
from structlog.typing import FilteringBoundLogger

from galileod.net.addresses import PROXY_PROTOCOL, Listen, TcpAddress, UnixAddress

from .unix_listener import BACKLOG, SocketFile, open_unix_listener

UNIX_MODE: Final = 0o660
"""The mode of unix sockets: the daemon's user and group may connect."""

MISSING: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""Errors for an address that this machine does not have. If IPv6 is switched off in the kernel, it
is not possible to create a socket."""

_log: FilteringBoundLogger = structlog.get_logger()


class ListenError(Exception):
    """It is not possible to listen on an address; the message says which one, and why."""


@frozen
class Listener:
    """A listening socket; with `proxy_protocol` clients send a PROXY protocol header first."""

    socket: trio.SocketListener
    proxy_protocol: bool = False

    @property
    def name(self) -> str:
        """The address it is bound to, in the form of `server.listen`."""
        mark = PROXY_PROTOCOL if self.proxy_protocol else ""
        return f"{_name_of(self.socket)}{mark}"


@frozen
class Listeners:
    """All listening sockets: `own` were opened here, `passed` by systemd.

    `files` are the files of the unix sockets in `own`.
    """

    own: list[Listener] = field(factory=list)
    passed: list[Listener] = field(factory=list)
    files: list[SocketFile] = field(factory=list)

    @property
    def names(self) -> list[str]:
        """The addresses they are bound to, in the form of `server.listen`."""
        return [listener.name for listener in (*self.passed, *self.own)]

    def remove(self) -> None:
        """Remove the unix sockets opened here from the filesystem."""
        for file in self.files:
            file.remove()


async def open_listeners(addresses: Sequence[Listen], passed: Sequence[int] = ()) -> Listeners:
    """Listen on all of `addresses`; raises ListenError if that is not possible.

    `passed` are descriptors of listening sockets that systemd passed. The address of each must be
    one of `addresses`, and is not opened again.
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
    # Checked before any address is opened: opening it could fail because of a socket of systemd, as
    # for 127.0.0.1 and 0.0.0.0 with the same port.
    if unnamed := sorted(handed - named):
        raise ListenError(
            f"systemd listens on {', '.join(unnamed)}, which is not in server.listen:"
            f" {', '.join(map(str, addresses))}"
        )
    listeners.passed.extend(Listener(one, _name_of(one) in marked) for one in adopted)
    for address in missing:
        try:
            with _translated(address):
                await _open(address, listeners)
        except ListenError:
            listeners.remove()
            for listener in listeners.own:
                listener.socket.socket.close()
            raise
    return listeners


@contextmanager
def _translated(address: Listen) -> Iterator[None]:
    """Raise an OSError in the block as ListenError with `address`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        if isinstance(error, socket.gaierror) and "%" in str(address):
            reason = (
                "the address is not link-local, or its zone names no network interface of this"
                " machine"
            )
        raise ListenError(f"cannot listen on {address}: {reason}") from error


async def _open(address: Listen, listeners: Listeners) -> None:
    match address:
        case TcpAddress(host, port, marked):
            opened = await _open_tcp_listeners(host, port)
            listeners.own.extend(Listener(listener, marked) for listener in opened)
        case UnixAddress(path, marked):
            opened_here, file = await open_unix_listener(path, UNIX_MODE)
            listeners.own.append(Listener(opened_here, marked))
            listeners.files.append(file)


async def _open_tcp_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on those addresses of a host that this machine has.

    With port 0 each address gets a port of its own. Raises OSError if the machine has none of them,
    or if one of them cannot be used for another reason.
    """
    found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    opened: list[trio.SocketListener] = []
    failures: dict[str, OSError] = {}
    # May contain one twice.
    for address in dict.fromkeys(TcpAddress.of(place).host for *_, place in found):
        try:
            opened += await trio.open_tcp_listeners(port, host=address, backlog=BACKLOG)
        except OSError as error:
            if error.errno not in MISSING:
                for listener in opened:
                    listener.socket.close()
                raise
            failures[address] = error
    if not opened:
        raise next(iter(failures.values()))
    for address, failure in failures.items():
        reason = failure.strerror or str(failure)
        _log.info("server.address_missing", host=host, address=address, reason=reason)
    return opened


def _adopt(descriptor: int) -> trio.SocketListener:
    """The listener for a socket that systemd passed. Raises ListenError if it does not listen."""
    try:
        os.set_inheritable(descriptor, False)
        passed = trio.socket.from_stdlib_socket(socket.socket(fileno=descriptor))
        listener = trio.SocketListener(passed)
    except (OSError, ValueError) as error:
        raise ListenError(
            f"systemd passed descriptor {descriptor}, which is not a listening stream socket"
            f" (ListenStream=, Accept=no): {error}"
        ) from error
    if passed.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        raise ListenError(
            f"systemd passed descriptor {descriptor}, whose address family {int(passed.family)}"
            " is not supported"
        )
    return listener


async def _names_of(address: Listen) -> set[str]:
    """The names that a socket bound to `address` can have; several if a host has several addresses.

    Raises OSError if the host cannot be resolved.
    """
    if isinstance(address, UnixAddress):
        return {str(UnixAddress(address.path))}
    found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return {str(TcpAddress.of(place)) for *_, place in found}


def _name_of(listener: trio.SocketListener) -> str:
    address = listener.socket.getsockname()
    if isinstance(address, bytes):
        # In the abstract namespace, which server.listen does not support.
        return f"unix:@{os.fsdecode(address[1:])}"
    return str(TcpAddress.of(address) if isinstance(address, tuple) else UnixAddress(address))
