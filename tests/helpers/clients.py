"""Peers of the daemon: senders that behave as the original programs do, and finer tools.

Everything on the wire comes from the websockets library or from a plain socket; nothing here
shares code with the daemon.
"""

import hashlib
import json
import random
import socket
import ssl
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, cast

from attrs import field, frozen
from helpers.daemon import DEADLINE, Daemon, log_time
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.sync.client import ClientConnection, connect, unix_connect

DEFAULT_CHUNK: Final = 250_000
SERVER_CHUNK: Final = 640 * 1024
"""What the daemon asks for first, if it is at rest and not configured otherwise."""

Signal = dict[str, Any]
Step = tuple[Literal["ready", "chunk", "finished"], int]
"""What passed by: a `ready` and its chunksize (0 if it had none), a chunk and its length."""


def some_bytes(length: int, seed: int = 0) -> bytes:
    """Bytes that differ from place to place and from seed to seed."""
    return random.Random(f"{seed}:{length}").randbytes(length)


def unique_name(extension: str = ".bin") -> str:
    return uuid.uuid4().hex + extension


@frozen
class HashClaim:
    type: str
    value: str

    @classmethod
    def of(cls, data: bytes, kind: str) -> "HashClaim":
        return cls(kind, hashlib.new(kind, data, usedforsecurity=False).hexdigest())


@frozen
class Outcome:
    """How an upload ended, as its client saw it; `peer` is how the daemon's log calls it.

    `close` is the signal of success, `began` the time as in the log: ports, and so peers, are used
    again.
    """

    ending: Literal["stored", "failed", "lost"]
    errors: Sequence[Signal]
    peer: str
    began: str
    trace: Sequence[Step]
    close: Signal | None

    @property
    def code(self) -> str | None:
        """The word of the fatal error."""
        return self.errors[-1].get("code") if self.errors else None


class _Connection(ClientConnection):
    """One that is closed if the server ends it in the moment in which something is sent.

    The library takes it for impossible that its thread that reads has noticed the end first.
    """

    @contextmanager
    def send_context(self, **options: Any) -> Iterator[None]:  # noqa: ANN401  as there
        try:
            with super().send_context(**options):
                yield
        except AssertionError as error:
            raise ConnectionClosedError(None, None) from error


@contextmanager
def open_websocket(url: str, **options: Any) -> Iterator[ClientConnection]:  # noqa: ANN401
    defaults: dict[str, Any] = {
        "compression": None, "max_size": None, "proxy": None, "ping_interval": None,
        "max_queue": None, "open_timeout": DEADLINE, "create_connection": _Connection,
    }  # fmt: skip
    tls = options.get("ssl")
    if tls is not None:
        # websockets reads in one thread and writes in another, which OpenSSL does not support while
        # it handles a TLS 1.3 session ticket: one handshake in 500 was never answered.
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
    sock = options.get("sock")
    # Only the latter knows, in each version, that a unix socket has no options of TCP.
    dial = connect if sock is None or sock.family != socket.AF_UNIX else unix_connect
    with dial(uri=url, **{**defaults, **options}) as websocket:
        yield websocket


def local_name(websocket: ClientConnection) -> str:
    address = websocket.local_address
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Source:
    """What is to be sent: bytes, or the file at a path."""

    def __init__(self, content: bytes | Path) -> None:
        self._data = content if isinstance(content, bytes) else b""
        self._file = content.open("rb") if isinstance(content, Path) else None
        self.size = content.stat().st_size if isinstance(content, Path) else len(content)

    def read(self, offset: int, length: int) -> bytes:
        if self._file is None:
            return self._data[offset : offset + length]
        self._file.seek(offset)
        return self._file.read(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


class Client(ABC):
    """One upload by a client that answers each `ready` as it comes."""

    def __init__(
        self,
        url: str,
        content: bytes | Path,
        name: str | None = None,
        *,
        claim: HashClaim | None = None,
        declared: int | None = None,
        token: str | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self._url = url
        self._content = content
        self.name = unique_name() if name is None else name
        self._claim = claim
        self._declared = declared
        self._shown = {} if token is None else {"token": token}
        self._socket = sock
        self._offset = 0
        self._ended = False
        self._finished = False
        self._trace: list[Step] = []
        self._errors: list[Signal] = []
        self._close: Signal | None = None

    @abstractmethod
    def next_chunk(self, source: Source, chunksize: int) -> bytes | None:
        """What answers a `ready`; None stands for `finished`."""

    def run(self) -> Outcome:
        began = log_time()
        with (
            Source(self._content) as source,
            open_websocket(self._url, sock=self._socket) as websocket,
        ):
            size = source.size if self._declared is None else self._declared
            peer = local_name(websocket)
            try:
                websocket.send(json.dumps({"name": self.name, "size": size, **self._shown}))
                ending = self._converse(source, websocket)
            except ConnectionClosed:
                ending = "lost"
        return Outcome(ending, self._errors, peer, began, self._trace, self._close)

    def _converse(
        self, source: Source, websocket: ClientConnection
    ) -> Literal["stored", "failed", "lost"]:
        while True:
            signals = arrived(websocket)
            # All of what came is noted before any of it is answered: so many were out at once.
            self._trace += [("ready", s.get("chunksize", 0)) for s in signals if s.get("ready")]
            for signal in signals:
                if signal.get("close"):
                    self._close = signal
                    return "stored" if self._finished else "lost"
                if signal.get("error"):
                    self._errors.append(signal)
                    if signal.get("fatal"):
                        return "failed"
                if signal.get("ready"):
                    self._answer(source, websocket, signal.get("chunksize", 0))

    def _answer(self, source: Source, websocket: ClientConnection, chunksize: int) -> None:
        chunk = self.next_chunk(source, chunksize)
        if chunk is None:
            self._finished = True
            self._trace.append(("finished", 0))
            answer: str | bytes = json.dumps({"finished": True, **self._hash()})
        else:
            self._trace.append(("chunk", len(chunk)))
            answer = chunk
        try:
            websocket.send(answer)
        except ConnectionClosed:
            pass  # what the server said before is still to be read

    def _hash(self) -> Signal:
        if self._claim is None:
            return {}
        return {"hash": {"type": self._claim.type, "value": self._claim.value}}

    def _read(self, source: Source, length: int) -> bytes:
        chunk = source.read(self._offset, length)
        self._offset += len(chunk)
        return chunk


class JavaScriptClient(Client):
    """Knows the end when a slice reaches it. An empty file is one empty slice."""

    def next_chunk(self, source: Source, chunksize: int) -> bytes | None:
        if self._ended:
            return None
        chunk = self._read(source, chunksize or DEFAULT_CHUNK)
        self._ended = self._offset >= source.size
        return chunk


class PerlClient(Client):
    """Learns of the end by reading nothing, and sends that nothing too."""

    def next_chunk(self, source: Source, chunksize: int) -> bytes | None:
        if self._ended:
            return None
        chunk = self._read(source, chunksize or DEFAULT_CHUNK)
        self._ended = not chunk
        return chunk


class StubbornClient(JavaScriptClient):
    """Does not know `chunksize`."""

    def next_chunk(self, source: Source, chunksize: int) -> bytes | None:  # noqa: ARG002
        return super().next_chunk(source, DEFAULT_CHUNK)


CLIENTS: Final[Sequence[type[Client]]] = (JavaScriptClient, PerlClient, StubbornClient)


def check_grants(trace: Sequence[Step], size: int, max_in_flight: int) -> None:
    """What was granted never exceeds the bytes still to come, nor the number allowed at once."""
    credits_out: deque[int] = deque()
    left = size
    for kind, length in trace:
        if kind == "ready" and length:
            credits_out.append(length)
            assert sum(credits_out) <= left, (trace, size)
            assert len(credits_out) <= max_in_flight, trace
        elif kind == "ready":
            assert left == 0, ("a ready without chunksize before the end", trace)
        elif kind == "chunk":
            left -= length
            if credits_out:
                credits_out.popleft()


def check_serves(daemon: Daemon) -> None:
    """The daemon takes an upload as if nothing had happened."""
    data = some_bytes(300_000)
    client = JavaScriptClient(daemon.url, data, claim=HashClaim.of(data, "sha1"))
    outcome = client.run()
    assert outcome.ending == "stored", (outcome, daemon.text())
    assert (daemon.directory / client.name).read_bytes() == data


def arrived(websocket: ClientConnection) -> list[Signal]:
    """Every signal that is there; waits for the first. Raises ConnectionClosed at the end."""
    signals = [hear(websocket)]
    try:
        while True:
            signals.append(hear(websocket, 0))
    except (TimeoutError, ConnectionClosed):
        return signals


def hear(websocket: ClientConnection, timeout: float = DEADLINE) -> Signal:
    """The next signal."""
    message = websocket.recv(timeout)
    assert isinstance(message, str), message
    return cast("Signal", json.loads(message))


def say(websocket: ClientConnection, **signal: object) -> None:
    websocket.send(json.dumps(signal))


def expect_ready(websocket: ClientConnection) -> int:
    """The chunksize of the next signal, which must be a `ready`."""
    signal = hear(websocket)
    assert signal.get("ready"), signal
    return int(signal.get("chunksize", 0))


def expect_fault(websocket: ClientConnection, code: str) -> Signal:
    """Pass over `ready` signals up to the fault, check it, and close in order."""
    while (signal := hear(websocket)).get("ready"):
        pass
    assert signal.get("code") == code, signal
    assert signal["fatal"] is True
    sentence = signal["error"]
    assert isinstance(sentence, str), signal
    assert sentence[:1].isupper(), signal
    assert sentence.endswith("."), signal
    websocket.close()
    # 1006 would mean that the connection broke instead of being closed.
    assert websocket.close_code in (1000, 1001, 1008), websocket.close_code
    return signal


# HTTP over plain sockets.

UPGRADE_HEADERS: Final = {
    "Host": "test",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def request(
    target: str = "/upload",
    headers: dict[str, str | None] | None = None,
    *,
    method: str = "GET",
    version: str = "1.1",
) -> bytes:
    """An upgrade request; a header given as None stays away."""
    chosen = {**UPGRADE_HEADERS, **(headers or {})}
    lines = [f"{method} {target} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in chosen.items() if value is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@frozen
class Reply:
    """The head of an answer, with what came of the rest until the daemon closed."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)


def read_head(sock: socket.socket) -> Reply:
    """Read up to the end of the head; what came behind it is the body so far."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        assert more, f"closed before an answer was whole: {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Reply(int(status.split()[1]), headers, body)


def read_all(sock: socket.socket) -> bytes:
    """All that comes until the daemon closes; a reset ends it as well."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


def ask(daemon: Daemon, head: bytes, *, sock: socket.socket | None = None) -> Reply:
    """Send a request that is no upload, and read the whole answer."""
    with sock or daemon.dial() as connection:
        connection.sendall(head)
        reply = read_head(connection)
        rest = b"" if reply.status == 101 else read_all(connection)
        return Reply(reply.status, reply.headers, reply.body + rest)
