"""Who is told of stored files: a script that notes what it gets, and an HTTP receiver."""

import json
import os
import ssl
import stat
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import frozen
from helpers.daemon import DEADLINE, Daemon, poll


@frozen
class Posted:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def receipt(self) -> dict[str, Any]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


Answer = Callable[[BaseHTTPRequestHandler], None]


def status(code: int, **headers: str) -> Answer:
    """Answer by this status."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()

    return answer


def answer(value: object) -> Answer:
    """Answer 200 with this value as JSON, or with these bytes."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()

    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return send


def silence(request: BaseHTTPRequestHandler) -> None:
    """Answer nothing, until the other side has had enough."""
    request.connection.recv(1)


class HookReceiver:
    """Notes each POST, and answers by the next of `answers`, the last of them for ever.

    With `decide`, it answers with what that returns for the JSON that was posted.
    """

    def __init__(
        self,
        *answers: Answer,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        decide: Callable[[dict[str, Any]], object] | None = None,
    ) -> None:
        self.posted: list[Posted] = []
        due = list(answers or (status(204),))
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = DEADLINE

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted = Posted(self.path, dict(self.headers), body)
                receiver.posted.append(posted)
                if decide is not None:
                    answer(decide(posted.receipt))(self)
                    return
                (due.pop(0) if len(due) > 1 else due[0])(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_: object) -> None:
                """A client that went away is what some tests are about."""

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.port: int = self._server.server_address[1]
        self.origin = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Script:
    """A command that runs `text` in a shell; `told` has what it wrote into its notes."""

    def __init__(self, folder: Path, text: str) -> None:
        self.notes = folder / "notes"
        self.path = folder / "hook"
        self.path.write_text(f"#!/bin/sh\nnotes={self.notes}\n{text}\n")
        self.path.chmod(0o755)

    @property
    def told(self) -> list[str]:
        """The whole lines that it noted."""
        return self.notes.read_text().split("\n")[:-1] if self.notes.exists() else []

    def wait_for(self, count: int, daemon: Daemon) -> list[str]:
        return poll(
            f"{count} notes", lambda: self.told[: count * (len(self.told) >= count)], daemon.text
        )


def secret_file(folder: Path, secret: bytes, mode: int = stat.S_IRUSR) -> Path:
    path = folder / "secret"
    path.write_bytes(secret)
    os.chmod(path, mode)
    return path
