"""A line between browser and daemon that can be held, cut and made to err."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from helpers.daemon import Daemon, poll

BUFFER: Final = 1 << 16


class Line:
    """Forwards each connection to wherever the daemon listens when the connection is made.

    Offsets count the bytes that one connection has carried towards the daemon, the request with
    its headers and the frames with theirs included: only for places where a rough one will do.
    """

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._changed = threading.Condition()
        self._hold: int | None = None
        self._flip: int | None = None
        self._over = False
        self._waiting = 0
        self._ended: set[socket.socket] = set()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def hold(self, after: int) -> None:
        """Let each connection carry so many bytes, then no more until `release`."""
        self._hold = after

    def release(self) -> None:
        with self._changed:
            self._hold = None
            self._changed.notify_all()

    def flip(self, at: int | None) -> None:
        """Turn a bit of this byte of every connection; None for an honest line."""
        self._flip = at

    def wait_until_held(self, connections: int = 1) -> None:
        poll(f"{connections} held connections", lambda: self._waiting >= connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        _shut(self._listener)
        for sock in list(self._sockets):
            _shut(sock)
        self.release()
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        with self._listener, suppress(OSError):  # which is how `__exit__` ends it
            while not self._over:
                near, _ = self._listener.accept()
                self._sockets.append(near)
                try:
                    far = socket.create_connection(self._daemon.address)
                except OSError:  # nobody listens there now, which the browser is to notice
                    near.close()
                    continue
                self._sockets.append(far)
                for forward in (self._to_daemon, self._to_browser):
                    thread = threading.Thread(target=forward, args=(near, far))
                    self._threads.append(thread)
                    thread.start()

    def _to_browser(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(BUFFER):
                near.sendall(data)
        _shut(near, far)
        with self._changed:
            self._ended.add(near)
            self._changed.notify_all()

    def _to_daemon(self, near: socket.socket, far: socket.socket) -> None:
        carried = 0
        with suppress(OSError):
            while data := near.recv(BUFFER):
                self._wait(carried, near)
                if self._flip is not None and carried <= self._flip < carried + len(data):
                    changed = bytearray(data)
                    changed[self._flip - carried] ^= 1
                    data = bytes(changed)
                far.sendall(data)
                carried += len(data)
        _shut(near, far)

    def _wait(self, carried: int, near: socket.socket) -> None:
        def may_go() -> bool:
            return self._hold is None or carried < self._hold or near in self._ended

        with self._changed:
            if not may_go():
                self._waiting += 1
                self._changed.wait_for(may_go)
                self._waiting -= 1


def _shut(*sockets: socket.socket) -> None:
    for sock in sockets:
        with suppress(OSError):  # not connected any more, which is what is wanted
            sock.shutdown(socket.SHUT_RDWR)
