"""A pooler before PostgreSQL that gives each transaction, of any client, the same connection."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

WITHOUT_ENCRYPTION: Final = {80877103, 80877104}
"""The codes with which a client asks for TLS or GSSAPI first."""

Message = tuple[bytes, bytes]


class Pooler:
    """Answers clients on `port` of loopback, which need no password, for the server at `to`."""

    def __init__(self, to: int) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._server = socket.create_connection(("127.0.0.1", to))
        self._greeting = b""
        self._turn = threading.Lock()
        self._sockets = [self._listening, self._server]

    @classmethod
    @contextmanager
    def running(cls, to: int) -> Iterator["Pooler"]:
        pooler = cls(to)
        accepting = threading.Thread(target=_until_closed, args=(pooler._accept,))
        accepting.start()
        try:
            yield pooler
        finally:
            for each in pooler._sockets:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # its client has closed it
                each.close()
            accepting.join(30)

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            self._sockets.append(client)
            threading.Thread(target=_until_closed, args=(self._serve, client), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._greet(client)
        while True:
            message = _read(client)
            with self._turn:
                while self._pass_on(client, message) != b"I":
                    message = _read(client)

    def _greet(self, client: socket.socket) -> None:
        """Begin the session of the server for the first client, and tell all what it has told."""
        while True:
            (length,) = struct.unpack("!I", _exactly(client, 4))
            body = _exactly(client, length - 4)
            if struct.unpack("!I", body[:4])[0] not in WITHOUT_ENCRYPTION:
                break
            client.sendall(b"N")
        with self._turn:
            if not self._greeting:
                self._server.sendall(struct.pack("!I", length) + body)
                self._greeting, _ = self._answer()
            client.sendall(self._greeting)

    def _pass_on(self, client: socket.socket, message: Message) -> bytes:
        """The state of the transaction after a message; nothing if no answer is due yet."""
        kind, rest = message
        if kind == b"X":
            raise EOFError
        self._server.sendall(kind + rest)
        if kind not in (b"Q", b"S"):
            return b""
        answer, state = self._answer()
        client.sendall(answer)
        return state

    def _answer(self) -> tuple[bytes, bytes]:
        """All up to ReadyForQuery, and the state of the transaction in it."""
        answer = b""
        while True:
            kind, rest = _read(self._server)
            answer += kind + rest
            if kind == b"Z":
                return answer, rest[-1:]


def _read(from_: socket.socket) -> Message:
    """The kind of a message, and its length with the rest."""
    head = _exactly(from_, 5)
    (length,) = struct.unpack("!I", head[1:])
    return head[:1], head[1:] + _exactly(from_, length - 4)


def _exactly(from_: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = from_.recv(length - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _until_closed(run: Callable[..., None], *arguments: socket.socket) -> None:
    try:
        run(*arguments)
    except (EOFError, OSError):
        pass  # the client has gone, or the test is over
