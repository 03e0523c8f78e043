"""A proxy before an engine that knows the requests of S3, and makes trouble with some of them."""

import http.client
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from attrs import define, evolve, field, frozen
from helpers.daemon import DEADLINE
from helpers.ports import reserve

from .engine import Server

TAILS: Final = ".galileod/tails/"

_HOP: Final = {"connection", "transfer-encoding", "content-length"}
"""Headers of an answer that the proxy writes itself."""


class ResetError(Exception):
    """The connection is to be reset."""


@frozen
class Answer:
    """What the client gets."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True

    def encoded(self, method: str) -> bytes:
        length = self.headers.get("content-length", "0") if method == "HEAD" else len(self.body)
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items() if name not in _HOP]
        lines += [f"content-length: {length}", "", ""]
        data = "\r\n".join(lines).encode("latin-1") + self.body
        return data if self.whole else data[: len(data) - max(1, len(self.body) // 2)]


@define(eq=False)
class Request:
    """A request whose body has not been read yet. `kind` is the operation of S3, and "PutTail",
    "GetTail", "HeadTail" and "DeleteTail" for tails."""

    method: str
    target: str
    headers: Mapping[str, str]
    kind: str
    _client: socket.socket
    _to: tuple[str, int]
    _rest: bytearray
    _body: bytes | None = field(init=False, default=None)

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    def read(self, count: int) -> bytes:
        """The next bytes of the body."""
        while len(self._rest) < count:
            data = self._client.recv(256 << 10)
            if not data:
                raise ResetError
            self._rest += data
        data = bytes(self._rest[:count])
        del self._rest[:count]
        return data

    def body(self) -> bytes:
        if self._body is None:
            self._body = self.read(self.length)
        return self._body

    def forward(self) -> Answer:
        """What the engine answers. Raises ResetError if it does not."""
        connection = http.client.HTTPConnection(*self._to, timeout=None)
        try:
            connection.putrequest(
                self.method, self.target, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(self.body())
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise ResetError from error
        finally:
            connection.close()


Act = Callable[[Request], Answer]
"""What is done with a request. May raise ResetError."""


def says(status: int, code: str) -> Act:
    """The store answers with an error, and does nothing."""

    def act(request: Request) -> Answer:
        request.body()
        return _error(request, status, code)

    return act


def lost(request: Request) -> Answer:
    """It is carried out, and the answer is lost."""
    request.forward()
    raise ResetError


def reset_in_body(request: Request) -> Answer:
    """The connection breaks in the middle of the request."""
    request.read(request.length // 2)
    raise ResetError


def failed_inside(request: Request) -> Answer:
    """It is not carried out, and the answer is a 200 with an error inside."""
    request.body()
    return _inside(request)


def failed_after(request: Request) -> Answer:
    """The same, but it is carried out."""
    request.forward()
    return _inside(request)


def cut(request: Request) -> Answer:
    """The connection breaks in the middle of the answer."""
    return evolve(request.forward(), whole=False)


@define(eq=False)
class Held:
    """Requests that wait until `release`: `before` they are carried out, or before the answer."""

    before: bool
    arrived: threading.Event = field(factory=threading.Event)
    released: threading.Event = field(factory=threading.Event)
    ended: threading.Event = field(factory=threading.Event)

    def __call__(self, request: Request) -> Answer:
        request.body()
        answer = None if self.before else request.forward()
        self.arrived.set()
        self.released.wait()
        answer = answer or request.forward()
        self.ended.set()
        return answer

    def wait(self) -> None:
        assert self.arrived.wait(DEADLINE), "no such request"

    def release(self) -> None:
        self.released.set()

    def wait_for_end(self) -> None:
        assert self.ended.wait(DEADLINE), "it was not carried out"


@define(eq=False)
class Late:
    """Requests without an answer, which are carried out at `release`."""

    _requests: list[Request] = field(factory=list)

    def __call__(self, request: Request) -> Answer:
        request.body()
        self._requests.append(request)
        raise ResetError

    def release(self) -> int:
        """Carry them out; returns how many there were."""
        for request in self._requests:
            with suppress(ResetError):  # the engine does not answer
                request.forward()
        return len(self._requests)


class Troubles:
    """Forwards requests to `to`, from `server.url` on. `seen` counts them by their kinds.

    `on` says what is done with requests of a kind instead. `reserved` is a port for it, on which
    nobody listens yet.
    """

    def __init__(self, to: Server, reserved: socket.socket | None = None) -> None:
        parts = urlsplit(to.url)
        self._to = (str(parts.hostname), int(parts.port or 0))
        self._listener = reserved or reserve()
        self._listener.listen(128)
        url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.server = Server(url, to.access_key, to.secret_key, to.region)
        self.seen: Counter[str] = Counter()
        self._acts: dict[str, list[Act]] = {}
        self._always: dict[str, Act] = {}
        self._held: list[Held] = []
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def on(self, kind: str, *acts: Act) -> None:
        """Do this with the next requests of that kind, one act for each."""
        with self._lock:
            self._acts.setdefault(kind, []).extend(acts)

    def always(self, act: Act | None, *kinds: str) -> None:
        """Do this with each request of these kinds, or of any kind; None: forward them again."""
        with self._lock:
            for kind in kinds or ("",):
                if act is None:
                    self._always.pop(kind, None)
                else:
                    self._always[kind] = act

    def hold(self, kind: str, *, before: bool = False) -> Held:
        """Hold the next request of a kind."""
        held = Held(before)
        self._held.append(held)
        self.on(kind, held)
        return held

    def hang(self, *kinds: str) -> Held:
        """Hold all requests of these kinds, or of any, before they are carried out."""
        held = Held(before=True)
        self._held.append(held)
        self.always(held, *kinds)
        return held

    def left(self) -> Mapping[str, int]:
        """What was to happen, and has not."""
        with self._lock:
            return {kind: len(acts) for kind, acts in self._acts.items() if acts}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for held in self._held:
            held.release()
        for sock in (self._listener, *self._open):
            _end(sock)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the end
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        self._open.add(client)
        rest = bytearray()
        try:
            while (request := self._request(client, rest)) is not None:
                answer = self._act(request)(request)
                client.sendall(answer.encoded(request.method))
                if not answer.whole:
                    _reset(client)
                    break
        except ResetError:
            _reset(client)
        except OSError:
            pass  # the client is gone
        finally:
            self._open.discard(client)
            client.close()

    def _act(self, request: Request) -> Act:
        with self._lock:
            self.seen[request.kind] += 1
            if acts := self._acts.get(request.kind):
                return acts.pop(0)
            return self._always.get(request.kind) or self._always.get("") or Request.forward

    def _request(self, client: socket.socket, rest: bytearray) -> Request | None:
        while (end := rest.find(b"\r\n\r\n")) < 0:
            data = client.recv(256 << 10)
            if not data:
                return None
            rest += data
        first, *lines = rest[:end].decode("latin-1").split("\r\n")
        del rest[: end + 4]
        method, target, _ = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Request(method, target, headers, kind_of(method, target), client, self._to, rest)


def kind_of(method: str, target: str) -> str:
    """The operation of S3 that a request is."""
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    of_bucket = not parts.path.strip("/").partition("/")[2]
    match method:
        case "GET" | "HEAD" if of_bucket:
            kinds = {"uploads": "ListUploads", "list-type": "ListObjects"}
            return next((kinds[key] for key in kinds if key in query), "HeadBucket")
        case "POST" if "uploads" in query:
            return "Create"
        case "POST":
            return "Complete"
        case "PUT" if "partNumber" in query:
            return "UploadPart"
        case "DELETE" if "uploadId" in query:
            return "Abort"
    of = "Tail" if TAILS in parts.path else "Object"
    return f"{method.capitalize()}{of}"


def _error(request: Request, status: int, code: str) -> Answer:
    body = b"" if request.method == "HEAD" else _text(code)
    return Answer(status, {"content-type": "application/xml"}, body)


def _inside(request: Request) -> Answer:
    """A 200 with an error inside; the answer to HEAD has nothing inside."""
    return _error(request, 500 if request.method == "HEAD" else 200, "InternalError")


def _text(code: str) -> bytes:
    text = f"<Error><Code>{code}</Code><Message>trouble</Message></Error>"
    return b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def _reset(sock: socket.socket) -> None:
    """Have `close` lose what is not read yet, and reset the connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _end(sock: socket.socket) -> None:
    with suppress(OSError):  # it has ended already
        sock.shutdown(socket.SHUT_RDWR)
