"""A proxy that cuts each connection after some bytes, and counts them."""

import random
import socket
import struct
import threading
from types import TracebackType
from typing import Final, Self

from helpers.daemon import Daemon

BUFFER: Final = 256 * 1024


class CuttingProxy:
    """Forwards connections to wherever the daemon listens, and cuts each of them at random.

    A connection is cut once it has carried between `least` and `most` bytes to the daemon, or once
    `cut` is called. `carried` is the number of bytes that clients have sent through it.
    """

    def __init__(self, daemon: Daemon, least: int, most: int, seed: int = 0) -> None:
        self._daemon = daemon
        self._least = least
        self._most = most
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/upload"
        self.carried = 0
        self.cuts = 0
        self._over = False
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut(self) -> None:
        """Cut all connections now."""
        for each in list(self._open):
            _end(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over = True
        _end(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._over:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                server = self._daemon.dial()
            except OSError:
                return  # it does not run at the moment
            with server:
                server.settimeout(None)
                self._open |= {client, server}
                back = threading.Thread(target=_carry_back, args=(server, client))
                back.start()
                self._carry(client, server)
                _end(client)
                _end(server)
                back.join()
                self._open -= {client, server}

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        left = self._random.randint(self._least, self._most)
        try:
            while left and (data := client.recv(min(BUFFER, left))):
                self.carried += len(data)
                left -= len(data)
                server.sendall(data)
        except OSError:
            return  # one side is gone
        if not left:
            self.cuts += 1
            # What the daemon has not read yet is lost on such a line; the client gets a reset.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _carry_back(server: socket.socket, client: socket.socket) -> None:
    try:
        while data := server.recv(BUFFER):
            client.sendall(data)
    except OSError:
        pass  # one side is gone
    _end(client)


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
