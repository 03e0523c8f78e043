"""An HTTP server that gives prepared answers, for what no engine can be made to say."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from attrs import define, field, frozen

LAST: Final = -1


@frozen
class Answer:
    """A status, headers and a body."""

    status: int
    body: str = ""
    headers: Mapping[str, str] = field(factory=dict)


def refused(status: int, code: str, **told: str) -> Answer:
    """An error as S3 tells it."""
    more = "".join(f"<{name}>{text}</{name}>" for name, text in told.items())
    return Answer(status, f"<?xml version='1.0'?><Error><Code>{code}</Code>{more}</Error>")


@define
class Heard:
    """Where the server is, and the requests that it has had: method, path and headers."""

    url: str
    requests: list[tuple[str, str, Mapping[str, str]]] = field(factory=list)


@contextmanager
def answering(answers: Sequence[Answer]) -> Iterator[Heard]:
    """A server that gives these answers in turn, and the last one for ever."""
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard.requests.append((self.command, self.path, dict(self.headers)))
            answer = left.pop(0) if len(left) > 1 else left[LAST]
            self.send_response(answer.status)
            for name, text in answer.headers.items():
                self.send_header(name, text)
            body = answer.body.encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = answer  # noqa: N815  names of the library

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name there
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        heard = Heard(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()
