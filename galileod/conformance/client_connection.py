"""A connection of the client under test, as a case sees it."""

from typing import Any, Final

import attrs
from websockets.frames import Opcode

from galileod.conformance.events import Ended, Message
from galileod.conformance.peer import Peer, Signal, as_signal, describe

EMPTY_CHUNKS: Final = 2
"""Empty chunks that a client may send for a file; the Perl sender sends one, behind the data."""


@attrs.frozen
class Received:
    """A file as the client has sent it."""

    metadata: Signal
    content: bytes
    finished: Signal


@attrs.define(eq=False)
class ClientConnection(Peer):
    """A server's connection to the client under test.

    `websocket` sends everything else, valid or not. In every helper, `requirement` is what does not
    hold if something else comes; None where the case is about something later.
    """

    async def metadata(self, requirement: str | None = None) -> Signal:
        """The metadata: the next message, with `name` and `size`. Ends the case otherwise."""
        event = await self.message()
        signal = as_signal(event)
        if signal is None or "name" not in signal or "size" not in signal:
            self.trial.judge.fail(requirement, f"expected metadata, {describe(event)}")
        return signal

    async def send(self, signal: Signal) -> None:
        """Send a signal."""
        await self.websocket.send_signal(signal)

    async def ready(self, chunksize: int | None = None, **more: Any) -> None:  # noqa: ANN401  # JSON
        """Send `ready`; `chunksize` is in bytes, and left out where it is None."""
        limit = {} if chunksize is None else {"chunksize": chunksize}
        await self.send({"ready": True, **limit, **more})

    async def chunk(self, requirement: str | None = None) -> bytes:
        """A chunk: the next message, which must be BINARY. Ends the case otherwise."""
        event = await self.message()
        if not isinstance(event, Message) or event.opcode != Opcode.BINARY:
            self.trial.judge.fail(requirement, f"expected a chunk, {describe(event)}")
        return event.data

    async def finished(self, requirement: str | None = None) -> Signal:
        """The next message, which must be `finished`. Ends the case otherwise."""
        event = await self.message()
        signal = as_signal(event)
        if signal is None or not signal.get("finished"):
            self.trial.judge.fail(requirement, f"expected finished, {describe(event)}")
        return signal

    async def close_signal(self, **more: Any) -> None:  # noqa: ANN401  # JSON
        """Send `close`: the file is stored. The client closes the connection then."""
        await self.send({"close": True, **more})

    async def error(self, sentence: str = "refused", *, fatal: bool = True, **more: Any) -> None:  # noqa: ANN401  # JSON
        """Send an error; `more` are further keys, such as `code`."""
        await self.send({"error": sentence, "fatal": fatal, **more})

    async def receive_content(
        self,
        size: int,
        *,
        chunksize: int | None = None,
        requirement: str | None = None,
        **more: Any,  # noqa: ANN401  # JSON
    ) -> tuple[bytes, Signal]:
        """Take `size` bytes, one `ready` for each chunk, and `finished`; return both.

        `more` are keys of the first `ready`. Ends the case where the client sends more bytes, or
        more than EMPTY_CHUNKS empty chunks.
        """
        content = bytearray()
        empty = 0
        while True:
            await self.ready(chunksize, **more)
            more = {}
            event = await self.message()
            signal = as_signal(event)
            if signal is not None and signal.get("finished"):
                return bytes(content), signal
            if not isinstance(event, Message) or event.opcode != Opcode.BINARY:
                expected = f"expected a chunk or finished after {len(content)} bytes"
                self.trial.judge.fail(requirement, f"{expected}, {describe(event)}")
            empty += not event.data
            content += event.data
            if len(content) > size:
                sentence = f"expected {size} bytes, but {len(content)} came"
                self.trial.judge.fail(requirement, sentence)
            if empty > EMPTY_CHUNKS:
                sentence = f"expected data or finished, but {empty} empty chunks came"
                self.trial.judge.fail(requirement, sentence)

    async def receive_file(
        self,
        *,
        chunksize: int | None = None,
        requirement: str | None = None,
        **more: Any,  # noqa: ANN401  # JSON
    ) -> Received:
        """Take metadata, content and `finished` the straight way. `close_signal` comes next."""
        metadata = await self.metadata(requirement)
        size = metadata["size"]
        if not isinstance(size, int):
            self.trial.judge.fail(requirement, f"expected an integer as size, but {size!r} came")
        content, finished = await self.receive_content(
            size, chunksize=chunksize, requirement=requirement, **more
        )
        return Received(metadata, content, finished)

    async def drain(self) -> None:
        """Receive until the client has ended the connection. Has no time limit of its own."""
        while not self.websocket.closing:
            if isinstance(await self.websocket.receive(), Ended):
                return
        await self.finish()

    async def finish(self) -> None:
        """End the connection in order; the client has the patience to send its Close frame."""
        await self.websocket.finish(send_close=False, within=self.trial.patience)
