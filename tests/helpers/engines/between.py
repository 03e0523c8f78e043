"""A proxy between a client and an engine: it loses answers, and may speak TLS."""

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

from .engine import Server

BUFFER: Final = 256 << 10


class Between:
    """Forwards connections to a server, from `server.url` on.

    With `also`, each connection is to the first of all servers that accepts it.

    After `lose`, the next answers to requests that begin so are not forwarded: the connection ends
    once the engine has answered. `lost` counts them.
    """

    def __init__(
        self, to: Server, tls: ssl.SSLContext | None = None, also: Sequence[Server] = ()
    ) -> None:
        every = [urlsplit(server.url) for server in (to, *also)]
        self._to = [(parts.hostname, parts.port) for parts in every]
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        self.server = Server(url, to.access_key, to.secret_key, to.region)
        self.lost = 0
        self._losing = b""
        self._times = 0
        self._open: set[socket.socket] = set()
        self._threads = [self._start(self._accept)]

    def lose(self, request: bytes, times: int = 1) -> None:
        """Lose so many of the next answers to requests whose first bytes are these."""
        self._losing, self._times = request, times

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for sock in (self._listener, *self._open):
            _end(sock)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, run: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the end
            self._threads.append(self._start(lambda client=client: self._serve(client)))  # type: ignore[misc]

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        with client, self._dial() as engine:
            self._open.add(engine)
            try:
                secured = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            except OSError:
                return  # the client does not trust it
            with secured:
                self._open.add(secured)
                losing = threading.Event()
                there = self._start(lambda: self._forward(secured, engine, losing))
                self._answer(engine, secured, losing)
                _end(secured)
                _end(engine)
                there.join()
                self._open -= {client, engine, secured}

    def _dial(self) -> socket.socket:
        for address in self._to:
            with suppress(ConnectionRefusedError):
                return socket.create_connection(address)
        raise AssertionError("no server accepts connections")

    def _forward(
        self, client: socket.socket, engine: socket.socket, losing: threading.Event
    ) -> None:
        try:
            while data := client.recv(BUFFER):
                if self._times and data.startswith(self._losing):
                    self._times -= 1
                    losing.set()
                engine.sendall(data)
        except OSError:
            pass  # one side is gone
        _end(engine)

    def _answer(
        self, engine: socket.socket, client: socket.socket, losing: threading.Event
    ) -> None:
        try:
            while data := engine.recv(BUFFER):
                if losing.is_set():
                    self.lost += 1
                    return
                client.sendall(data)
        except OSError:
            pass  # one side is gone


def _end(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already
