"""A client under test that is a page in a browser: HTTP and WebSocket on one port.

The page asks for what to send, fetches the file, uploads it, and reports what came of it:

    GET  /next            {"file": URL, "url": WebSocket URL, "name": …, "size": …, "result": URL},
                          {"again": true} where there is nothing yet, {"end": true} after the last
    GET  /run/N/file      the file's bytes
    POST /run/N/result    {"success": true or false, "error": what the page told its user}

Every origin may ask: the kit has nothing to hide, and runs for as long as a test.
"""

import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import attrs
import h11
import trio

from galileod.conformance.commands import MAX_OUTPUT
from galileod.conformance.judge import KitError
from galileod.conformance.run import START_SECONDS, Outcome, Run

PAGE_SECONDS: Final = 600.0
"""Seconds until a page has asked for the first file."""
POLL_SECONDS: Final = 20.0
"""Seconds after which `/next` answers though there is nothing yet."""
LAST_SECONDS: Final = 5.0
"""Seconds for the page to hear that there is nothing more."""
REQUEST_SECONDS: Final = 30.0
"""Seconds that a request and its answer may take, without the wait of `/next`."""
MAX_BODY: Final = 256 * 1024
"""Bytes of a result."""

_HEAD: Final = 16 * 1024
"""Bytes of a request that are looked at to tell HTTP from WebSocket."""
_UPGRADE: Final = re.compile(rb"\nupgrade:[ \t]*websocket", re.IGNORECASE)
_PEEK_SECONDS: Final = 0.01
_READ: Final = 65_536

_PAGE: Final = """<!DOCTYPE html>
<meta charset="utf-8">
<title>galileo-conformance</title>
<p>A script of the client under test asks this address for the files to send; see
<code>docs/conformance.md</code> of galileod.</p>
"""

_HEADERS: Final = (
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "Content-Type"),
    ("Access-Control-Allow-Methods", "GET, POST"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)


@attrs.define(eq=False)
class Task:
    """A file that the page has to send."""

    number: int
    run: Run
    name: str
    taken: trio.Event = attrs.field(factory=trio.Event)
    """The page has asked for it."""
    over: trio.Event = attrs.field(factory=trio.Event)
    """The case has ended."""


@attrs.define(eq=False)
class BrowserStarter:
    """Hands the files of the cases to a page, one after the other."""

    address: str
    """Host and port, for the page."""
    page_seen: trio.Event = attrs.field(factory=trio.Event, init=False)
    end_told: trio.Event = attrs.field(factory=trio.Event, init=False)
    _count: int = attrs.field(default=0, init=False)
    _task: Task | None = attrs.field(default=None, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    @asynccontextmanager
    async def start(self, run: Run, name: str) -> AsyncIterator[None]:
        """Give the page a file. Raises KitError where it does not ask for it."""
        self._count += 1
        task = Task(self._count, run, name)
        self._change(task)
        try:
            with trio.move_on_after(START_SECONDS):
                await task.taken.wait()
            if not task.taken.is_set():
                raise KitError(f"the page did not ask for a file within {START_SECONDS:g} s")
            yield
        finally:
            task.over.set()
            self._change(None)

    async def wait_for_page(self) -> None:
        """Wait until a page asks for the first file. Raises KitError after PAGE_SECONDS."""
        with trio.move_on_after(PAGE_SECONDS) as scope:
            await self.page_seen.wait()
        if scope.cancelled_caught:
            raise KitError(f"no page has asked for a file within {PAGE_SECONDS:g} s")

    async def end(self) -> None:
        """Tell the page that there is nothing more."""
        self._ended = True
        self._change(None)
        with trio.move_on_after(LAST_SECONDS):
            await self.end_told.wait()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Handle one connection."""
        try:
            with trio.move_on_after(REQUEST_SECONDS):
                head = await _peek_head(stream)
            task = self._task
            if _UPGRADE.search(head) is None:
                with trio.move_on_after(POLL_SECONDS + REQUEST_SECONDS):
                    await self._respond(stream)
            elif task is not None and head.split(b" ")[1:2] == [f"/run/{task.number}".encode()]:
                await _serve_until_over(stream, task)
        except (trio.BrokenResourceError, ConnectionError, h11.ProtocolError):
            pass  # the page has gone, or it is no HTTP: there is nobody to tell

    def _change(self, task: Task | None) -> None:
        self._task = task
        self._changed.set()
        self._changed = trio.Event()

    async def _respond(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        body = b""
        request: h11.Request | None = None
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                connection.receive_data(bytes(await stream.receive_some(_READ)))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data) and len(body) + len(event.data) <= MAX_BODY:
                body += event.data
            else:
                return  # too long, or the end of the connection
        if request is None:
            return
        status, kind, content = await self._answer(request.method, request.target, body)
        headers = [*_HEADERS, ("Content-Type", kind), ("Content-Length", str(len(content)))]
        head = connection.send(h11.Response(status_code=status, headers=headers))
        if request.method == b"HEAD":
            content = b""
        await stream.send_all((head or b"") + content)

    async def _answer(self, method: bytes, target: bytes, body: bytes) -> tuple[int, str, bytes]:
        if method == b"OPTIONS":
            return HTTPStatus.OK, "text/plain", b""
        if (method, target) == (b"GET", b"/"):
            return HTTPStatus.OK, "text/html; charset=utf-8", _PAGE.encode()
        if (method, target) == (b"GET", b"/next"):
            return HTTPStatus.OK, "application/json", json.dumps(await self._next()).encode()
        task = self._task
        if task is not None and method == b"GET" and target == f"/run/{task.number}/file".encode():
            return HTTPStatus.OK, "application/octet-stream", task.run.content
        result = task is not None and target == f"/run/{task.number}/result".encode()
        if task is not None and result and method == b"POST":
            return _take_result(task, body)
        return HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.\n"

    async def _next(self) -> dict[str, Any]:
        self.page_seen.set()
        with trio.move_on_after(POLL_SECONDS):
            while (task := self._task) is None or task.taken.is_set():
                if self._ended:
                    self.end_told.set()
                    return {"end": True}
                await self._changed.wait()
            task.taken.set()
            return {
                "name": task.name,
                "size": len(task.run.content),
                "file": f"http://{self.address}/run/{task.number}/file",
                "url": f"ws://{self.address}/run/{task.number}",
                "result": f"http://{self.address}/run/{task.number}/result",
            }
        return {"again": True}


@asynccontextmanager
async def listening(host: str, port: int) -> AsyncIterator[BrowserStarter]:
    """Listen for a page. Raises OSError."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    name = f"[{host}]" if ":" in host else host
    starter = BrowserStarter(f"{name}:{listeners[0].socket.getsockname()[1]}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, starter.serve, listeners)
        yield starter
        await starter.end()
        nursery.cancel_scope.cancel()


async def _peek_head(stream: trio.SocketStream) -> bytes:
    """The head of a request, which stays to be read."""
    while True:
        head = await stream.socket.recv(_HEAD, socket.MSG_PEEK)
        if b"\r\n\r\n" in head or not head or len(head) == _HEAD:
            return head
        await trio.sleep(_PEEK_SECONDS)  # what is only peeked at does not wake up a reader


async def _serve_until_over(stream: trio.SocketStream, task: Task) -> None:
    async with trio.open_nursery() as nursery:

        async def cancel_when_over() -> None:
            await task.over.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(cancel_when_over)
        await task.run.serve(stream)
        nursery.cancel_scope.cancel()


def _take_result(task: Task, body: bytes) -> tuple[int, str, bytes]:
    try:
        result = json.loads(body)
    except (ValueError, RecursionError):
        result = None
    if not isinstance(result, dict) or not isinstance(result.get("success"), bool):
        message = b'Expected {"success": true or false, "error": string}.\n'
        return HTTPStatus.BAD_REQUEST, "text/plain", message
    output = str(result.get("error") or "")[:MAX_OUTPUT]
    task.run.conclude(Outcome(result["success"], output))
    return HTTPStatus.OK, "application/json", b"{}"
