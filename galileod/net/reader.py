"""The task that reads a connection: enforces the limits on reads, and answers control frames."""

from typing import Final

import trio

from galileod.shutdown import Interrupt

from .endings import FrameError, TransportClosed
from .frames import FrameSplitter, FrameTooLarge
from .keepalive import SEND_SECONDS, Keepalive
from .library import Library
from .messages import Close, Message, Ping, Unjudged
from .queue import MessageQueue
from .sending import CLOSE, PONG, FrameSender, encode_frame
from .streams import DirectStream
from .watch import ReceiveWatch

READ_UNGRANTED: Final = 16 * 1024
"""A read takes at most this many bytes more than the file data that the peer may send. A peer
without credit can make the server buffer these bytes, one TEXT message that is not complete (at
most `TEXT_LIMIT` bytes), and the TEXT messages in `MessageQueue`."""

READ: Final = 1024 * 1024
"""Maximum bytes of a read. An iteration of the event loop takes about 200 microseconds."""

FRAMES_AT_ONCE: Final = 64
"""Maximum frames that are processed before other tasks run. A plain one takes some microseconds,
one that the library judges about 40."""


class Reader:
    """Reads a connection, and adds messages to `messages` in the order of arrival.

    `ending` is the reason why nothing more can be received: the connection is lost, the peer has
    sent a Close frame, a frame exceeds a limit or violates RFC 6455, or `halt` was called. `ended`
    fires then. Messages that came before are in `messages`.
    """

    def __init__(
        self,
        stream: trio.abc.ReceiveStream,
        splitter: FrameSplitter,
        messages: MessageQueue,
        sender: FrameSender,
        keepalive: Keepalive,
    ) -> None:
        self.watch = ReceiveWatch(messages)
        self.ended = Interrupt()
        self.ending: TransportClosed | FrameTooLarge | FrameError | None = None
        self.peer_ended = False
        """Whether the peer sends nothing more: it has closed, or the connection is lost."""
        self._stream = stream
        self._direct = stream if isinstance(stream, DirectStream) else None
        self._splitter = splitter
        self._messages = messages
        self._sender = sender
        self._keepalive = keepalive
        self._halted = False
        self._scope = trio.CancelScope()
        self._read = b""
        self._parsed = 0
        self._verdict: FrameTooLarge | FrameError | None = None
        """The ending, as soon as the items before it are processed."""

    def halt(self) -> None:
        """Read nothing more. What was read is still processed."""
        self._halted = True
        self._scope.cancel()

    async def run(self, surplus: bytes, library: Library) -> None:
        """Read until there is an `ending`; `surplus` are bytes that were read before."""
        try:
            if surplus:
                self._take(surplus)
            while self.ending is None:
                # One scope serves for all reads up to the next Ping, or until something must wait.
                with trio.CancelScope(deadline=self._keepalive.deadline()) as self._scope:
                    await self._go_on()
                if self.ending is None:
                    await self._catch_up(library)
        except trio.BrokenResourceError:
            self._lose()
        finally:
            self.ended.fire()
            self._messages.end()

    async def _go_on(self) -> None:
        """Read and process, until the end or an item of the splitter that has to wait."""
        while self._put_items():
            if self._parsed < len(self._read):
                await trio.lowlevel.checkpoint()
                self._split()
            elif self._verdict:
                self.ending = self._verdict
            elif self._halted:
                self.ending = TransportClosed("nothing more is received")
            else:
                self._take(await self._receive())
            if self.ending:
                return

    async def _receive(self) -> bytes:
        if self._direct is None:
            return bytes(await self._stream.receive_some(self._most))
        while True:
            await self._direct.wait_received()
            # Only now is it known how much: credits were granted meanwhile.
            if (data := self._direct.receive_nowait(self._most)) is not None:
                return data

    @property
    def _most(self) -> int:
        """Maximum bytes of a read that is done now."""
        return min(READ_UNGRANTED + self._splitter.due, READ)

    def _take(self, data: bytes) -> None:
        """Bytes of the peer have arrived; none mean the end of the stream."""
        if not data:
            self._lose()
            return
        self.watch.note(len(data))
        self._read, self._parsed = data, 0
        self._split()

    def _split(self) -> None:
        """Parse at most FRAMES_AT_ONCE frames of what was read."""
        try:
            self._parsed = self._splitter.feed(
                self._read, self.watch.last_byte, FRAMES_AT_ONCE, self._parsed
            )
        except FrameTooLarge as refused:
            self._judge(refused)
            return
        if self._parsed == len(self._read):
            self._read, self._parsed = b"", 0  # or it would stay in memory until the next read

    def _judge(self, verdict: FrameTooLarge | FrameError) -> None:
        """Process nothing that came after what the verdict is about."""
        self._verdict = verdict
        self._read, self._parsed = b"", 0

    def _lose(self) -> None:
        self.peer_ended = True
        self.ending = TransportClosed("the connection was lost")

    def _put_items(self) -> bool:
        """Put messages into the queue; returns False if the next item has to wait."""
        items, put = self._splitter.items, self._messages.put
        while items:
            item = items[0]
            if isinstance(item, Ping | Close | Unjudged) or not put(item):
                return False
            items.popleft()
        return True

    async def _catch_up(self, library: Library) -> None:
        """Do what may have to wait: send a Ping that is due, or process the next item."""
        items = self._splitter.items
        if trio.current_time() >= self._keepalive.deadline():
            if await self._sender.ping(SEND_SECONDS):
                self._keepalive.sent()
            else:
                self._keepalive.stop()
        elif items:
            match items[0]:
                case Ping(payload):
                    items.popleft()
                    await self._answer(encode_frame(PONG, payload), close=False)
                case Close(payload, code):
                    self.peer_ended = True
                    await self._answer(encode_frame(CLOSE, payload), close=True)
                    self.ending = TransportClosed.by_peer(code)
                case Unjudged() as item:
                    items.popleft()
                    await self._let_judge(item, library)
                case _:  # there are too many messages in the queue
                    with trio.CancelScope(deadline=self._keepalive.deadline()):
                        await self._messages.taken.wait()

    async def _answer(self, frame: bytes, *, close: bool) -> None:
        try:
            await self._sender.send(frame, close=close)
        except trio.BrokenResourceError:
            pass  # what has arrived is still processed; the next read notices the loss as well

    async def _let_judge(self, item: Unjudged, library: Library) -> None:
        """Let the library process frames; the messages that end in them are the next items."""
        items, messages = self._splitter.items, list[Message]()
        judged = await library.judge(item.frames, len(item.ends))
        for message, end in zip(judged, item.ends, strict=False):  # fewer after a violation
            if isinstance(message, str):
                messages.append(message)
            elif end is not None:
                messages.append(end)
        if violation := library.violation:
            self._judge(violation)
            items.clear()
        items.extendleft(reversed(messages))
