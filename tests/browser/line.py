"""A line between browser and daemon that can be held, cut, stalled, slowed down and made to err."""

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from helpers.daemon import DEADLINE, Daemon, poll

BUFFER: Final = 1 << 16
ROOM: Final = 1 << 15
"""Bytes of a socket's buffer towards the daemon: a cut loses what is in it."""

SEGMENT: Final = 1448
"""Bytes of a packet, as on the Internet: the browser's kernel sizes its buffer by that."""

RESET: Final = struct.pack("ii", 1, 0)
"""Lets the end of a socket lose what is on its way, and tell the peer so."""


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.data = b""  # read, and not carried yet
        self.carried = 0


class _Connection:
    def __init__(self, near: socket.socket, far: socket.socket, least: int | None) -> None:
        self.there = _Way(near, far)
        self.back = _Way(far, near)
        self.sockets = (near, far)
        self.least = least  # bytes after which it is cut
        self.is_held = False
        self.is_stalled = False


class Line:
    """Forwards each connection to wherever the daemon listens when the connection is made.

    Offsets count the bytes that one connection has carried towards the daemon, the request with
    its headers and the frames with theirs included: only for places where a rough one will do.
    `carried` is the sum over all connections, `opened` their number, `cuts` how many of them were
    cut by `cut_after` and `cut_before`.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, ROOM)
        self.port: int = self._listener.getsockname()[1]
        self.carried = 0
        self.opened = 0
        self.cuts = 0
        self._wakes, self._woken = socket.socketpair()
        self._orders: list[Callable[[], None]] = []
        self._hold: int | None = None
        self._flip: int | None = None
        self._rate: float | None = None
        self._allowed = 0.0  # bytes that a slow line may carry
        self._measured = 0.0
        self._cut_after: Callable[[], int] | None = None
        self._unheard: bytes | None = None
        self._is_refusing = False
        self._refused = 0
        self._is_over = False
        self._connections: list[_Connection] = []
        self._ended: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def hold(self, after: int) -> None:
        """Let each connection carry so many bytes, then no more until `release`."""
        self._order(lambda: setattr(self, "_hold", after))

    def release(self) -> None:
        self._order(lambda: setattr(self, "_hold", None))

    def flip(self, at: int | None) -> None:
        """Turn a bit of this byte of every connection; None for an honest line."""
        self._order(lambda: setattr(self, "_flip", at))

    def cut(self) -> None:
        """Reset all connections."""

        def cut() -> None:
            for connection in list(self._connections):
                self._reset(connection)

        self._order(cut)

    def cut_after(self, count: int | Callable[[], int] | None) -> None:
        """Reset each new connection that has carried so many bytes; a function is asked for each.

        None: connections stay.
        """
        ask = (lambda: count) if isinstance(count, int) else count
        self._order(lambda: setattr(self, "_cut_after", ask))

    def stall(self) -> None:
        """Carry nothing more of the connections that there are, and let no end of them be seen."""

        def stall() -> None:
            for connection in self._connections:
                connection.is_stalled = True

        self._order(stall)

    def wake(self) -> None:
        """Carry what was stalled after all, ends included: late, but in order."""

        def wake() -> None:
            for connection in self._connections:
                connection.is_stalled = False

        self._order(wake)

    def refuse(self) -> None:
        """Reset each new connection at once, until `accept`."""

        def refuse() -> None:
            self._is_refusing = True
            self._refused = 0

        self._order(refuse)

    def accept(self) -> None:
        self._order(lambda: setattr(self, "_is_refusing", False))

    def lead_to(self, daemon: Daemon) -> None:
        """Forward the connections that are made from now on to another daemon."""
        self._order(lambda: setattr(self, "_daemon", daemon))

    def cut_before(self, answer: bytes | None) -> None:
        """Reset each connection on which the daemon says this, before the browser hears it."""
        self._order(lambda: setattr(self, "_unheard", answer))

    def slow(self, rate: float | None) -> None:
        """Carry so many bytes a second towards the daemon; None: as many as come."""

        def slow() -> None:
            self._rate = rate
            self._allowed = 0.0
            self._measured = time.monotonic()

        self._order(slow)

    def wait_until_held(self, connections: int = 1) -> None:
        def held() -> bool:
            return sum(each.is_held for each in self._alive()) >= connections

        poll(f"{connections} held connections", held)

    def wait_until_refused(self, connections: int) -> None:
        """Wait until so many connections were refused since `refuse`."""
        poll(f"{connections} refused connections", lambda: self._refused >= connections)

    def wait_until_carried(self, count: int) -> None:
        """Wait until all connections together have carried so many bytes."""
        poll(f"{count} bytes on the line", lambda: self.carried >= count, lambda: f"{self.carried}")

    def _alive(self) -> list[_Connection]:
        return [each for each in list(self._connections) if not each.is_stalled]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._order(lambda: setattr(self, "_is_over", True))
        self._thread.join()
        self._wakes.close()

    def _order(self, order: Callable[[], None]) -> None:
        """Have the line's own thread do something, and wait until it is done."""
        done = threading.Event()
        self._orders += [order, done.set]
        self._wakes.send(b"!")
        assert done.wait(DEADLINE), "the line does not answer"

    def _run(self) -> None:
        with self._listener, self._woken:
            while not self._is_over:
                self._step()
        for connection in self._connections:
            self._ended += connection.sockets
        for sock in self._ended:
            sock.close()

    def _step(self) -> None:
        timeout = self._allow()
        ways = [
            (connection, way)
            for connection in self._alive()
            for way in (connection.there, connection.back)
        ]
        readers = [self._woken, self._listener, *(way.source for _, way in ways if not way.data)]
        writers = [way.target for each, way in ways if way.data and self._may(each, way)]
        ready, free, _ = select.select(readers, writers, [], timeout)
        for connection, way in ways:
            if connection not in self._connections:
                continue  # ended a moment ago
            if way.data and way.target in free:
                self._carry(connection, way)
            elif not way.data and way.source in ready:
                self._read(connection, way)
        if self._listener in ready:
            self._open()
        if self._woken in ready:
            self._woken.recv(BUFFER)
            while self._orders:
                self._orders.pop(0)()

    def _allow(self) -> float | None:
        """Let a slow line carry more; returns the seconds until it may carry more again."""
        if self._rate is None:
            return None
        now = time.monotonic()
        self._allowed = min(self._allowed + self._rate * (now - self._measured), self._rate / 10)
        self._measured = now
        return 0.05

    def _may(self, connection: _Connection, way: _Way) -> bool:
        """Whether what is read may be carried now."""
        if way is connection.back:
            return True
        connection.is_held = self._hold is not None and way.carried >= self._hold
        return not connection.is_held and (self._rate is None or self._allowed >= 1)

    def _open(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:  # the browser has changed its mind
            return
        if self._is_refusing:
            _reset(near)
            self._refused += 1
            return
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        try:
            far.connect(self._daemon.address)
        except OSError:  # nobody listens there now, which the browser is to notice
            near.close()
            far.close()
            return
        for sock in (near, far):
            sock.setblocking(False)
        self.opened += 1
        connection = _Connection(near, far, self._cut_after() if self._cut_after else None)
        self._connections.append(connection)

    def _read(self, connection: _Connection, way: _Way) -> None:
        try:
            way.data = way.source.recv(BUFFER)
        except OSError:
            way.data = b""
        if not way.data:
            self._end(connection)
        elif way is connection.back:
            if self._unheard is not None and self._unheard in way.data:
                self.cuts += 1
                self._reset(connection)
        elif self._flip is not None:
            at = self._flip - way.carried
            if 0 <= at < len(way.data):
                changed = bytearray(way.data)
                changed[at] ^= 1
                way.data = bytes(changed)

    def _carry(self, connection: _Connection, way: _Way) -> None:
        data = way.data
        if way is connection.there and self._rate is not None:
            data = data[: int(self._allowed)]
        try:
            count = way.target.send(data)
        except OSError:
            self._end(connection)
            return
        way.data = way.data[count:]
        way.carried += count
        if way is connection.back:
            return
        self.carried += count
        self._allowed -= count
        if connection.least is not None and way.carried >= connection.least:
            self.cuts += 1
            self._reset(connection)

    def _end(self, connection: _Connection) -> None:
        """One side has ended the connection: so does the line, with what is on its way."""
        self._connections.remove(connection)
        self._ended += connection.sockets
        for sock in connection.sockets:
            with suppress(OSError):  # not connected any more, which is what is wanted
                sock.shutdown(socket.SHUT_RDWR)

    def _reset(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        for sock in connection.sockets:
            _reset(sock)


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
