"""A connection to the server under test, as a case sees it."""

import hashlib
import itertools
from typing import Any, Final

import attrs

from galileod.conformance.events import Message
from galileod.conformance.peer import DEFAULT_CHUNK, Peer, Signal, as_signal, describe

MAX_PASSED: Final = 2000
"""Surplus `ready` signals that are passed over: a server may have 1,024 credits granted."""


@attrs.define(eq=False)
class ServerConnection(Peer):
    """A client's connection to the server under test.

    `websocket` sends everything else, valid or not. In every helper, `requirement` is what does not
    hold if something else comes; None where the case is about something later.
    """

    token: str | None = None
    """Sent in the metadata."""

    async def send_metadata(self, name: str, size: int, **more: Any) -> None:  # noqa: ANN401  # JSON
        """Send `name`, `size` and more keys; the token is added unless `more` has one."""
        token = {} if self.token is None or "token" in more else {"token": self.token}
        await self.send({"name": name, "size": size, **token, **more})

    async def send(self, signal: Signal) -> None:
        """Send a signal."""
        await self.websocket.send_signal(signal)

    async def send_chunk(self, data: bytes) -> None:
        """Send a chunk."""
        await self.websocket.send_binary(data)

    async def send_finished(self, content: bytes | None = None, kind: str = "sha1") -> None:
        """Send `finished`, with the hash of `content` if it is given."""
        value = {} if content is None else {"hash": digest(content, kind)}
        await self.send({"finished": True, **value})

    async def signal(self, within: float | None = None) -> Signal | None:
        """The next signal; None where none comes within the seconds, or the connection ended.

        Messages that are no JSON object are passed over: the rules of the dialogue judge them.
        """
        while True:
            event = await self.message(within)
            if not isinstance(event, Message):
                return None
            if (signal := as_signal(event)) is not None:
                return signal

    async def expect_ready(self, requirement: str | None = None, sentence: str = "") -> Signal:
        """The next signal, which must be `ready`; ends the case otherwise."""
        return await self._expect("ready", requirement, sentence or "expected ready")

    async def expect_close(self, requirement: str | None = None, sentence: str = "") -> Signal:
        """The next signal but `ready`, which must be `close`; ends the case otherwise.

        Surplus `ready` signals are passed over.
        """
        return await self._expect(
            "close", requirement, sentence or "expected close", passing_over="ready"
        )

    async def expect_error(
        self, requirement: str | None = None, sentence: str = "", *, fatal: bool = True
    ) -> Signal:
        """The next signal but `ready`, which must be an error; ends the case otherwise.

        With `fatal`, the error must be fatal. Surplus `ready` signals are passed over.
        """
        expected = sentence or f"expected {'a fatal error' if fatal else 'an error'}"
        error = await self._expect("error", requirement, expected, passing_over="ready")
        if fatal:
            self.trial.judge.require(
                requirement, error.get("fatal"), f"{expected}, but it is not fatal: {error}"
            )
        return error

    async def send_content(
        self, content: bytes, *, chunk: int = DEFAULT_CHUNK, requirement: str | None = None
    ) -> None:
        """Answer each `ready` with the next chunk until `content` is sent.

        `chunk` is the size in bytes where the server names none or a larger one. The `ready` that
        `finished` answers is not waited for.
        """
        sent = 0
        while sent < len(content):
            ready = await self.expect_ready(requirement)
            limit = ready.get("chunksize")
            size = min(chunk, limit) if isinstance(limit, int) and limit > 0 else chunk
            await self.send_chunk(content[sent : sent + size])
            sent += size

    async def upload(
        self,
        name: str,
        content: bytes,
        *,
        chunk: int = DEFAULT_CHUNK,
        kind: str | None = "sha1",
        requirement: str | None = None,
        **more: Any,  # noqa: ANN401  # JSON
    ) -> Signal:
        """Upload a file the straight way; return the `close` signal. Ends the case otherwise.

        `kind` is that of the hash, or None for no hash; `more` are further keys of the metadata.
        """
        await self.send_metadata(name, len(content), **more)
        await self.send_content(content, chunk=chunk, requirement=requirement)
        await self.expect_ready(requirement, "expected ready after the last byte")
        await self.send_finished(None if kind is None else content, kind or "sha1")
        return await self.expect_close(requirement)

    async def finish(self) -> None:
        """End the connection in order; the server has the patience to answer."""
        self.trial.waiting_for = "the end of the connection"
        await self.websocket.finish(send_close=True, within=self.trial.patience)
        self.trial.waiting_for = None

    async def _expect(
        self, key: str, requirement: str | None, sentence: str, passing_over: str | None = None
    ) -> Signal:
        for passed in itertools.count():
            event = await self.message()
            signal = as_signal(event)
            if signal is not None and signal.get(key):
                return signal
            surplus = signal is not None and passing_over is not None and signal.get(passing_over)
            if not surplus or passed >= MAX_PASSED:
                self.trial.judge.fail(requirement, f"{sentence}, {describe(event)}")
        raise AssertionError("the count has no end")


def digest(content: bytes, kind: str = "sha1") -> dict[str, str]:
    """The value of `hash` in `finished`. `kind` is sha1, sha256, sha512 or blake2b."""
    return {"type": kind, "value": hashlib.new(kind, content).hexdigest()}
