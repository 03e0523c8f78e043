"""One WebSocket connection, of either role, that does what it is told, valid or not."""

import errno
import json
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs
import trio
from websockets.frames import Opcode

from galileod.conformance.events import Close, Ended, Event, Message, Nothing, Ping, Violation
from galileod.conformance.frames import Decoder, Frame, encode
from galileod.conformance.transcript import Transcript, escape, show
from galileod.conformance.verdicts import Ending

_READ: Final = 256 * 1024
Side = Literal["sent", "received"]

_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER on, with 0 seconds: closing sends RST."""


@attrs.define(eq=False)
class WebSocket:
    """A connection after its handshake.

    Sending never raises because of the peer: what is sent to a peer that is gone is dropped, and
    `receive` tells the end. A send that is not taken within `patience` seconds leaves the direction
    unusable, and later sends are dropped.
    """

    stream: trio.abc.Stream
    role: Literal["client", "server"]
    """The role of the kit."""
    number: int
    """The connection's number in the transcript."""
    transcript: Transcript
    patience: float
    """Seconds that a send may take, and that `receive` waits by default."""
    rest: bytes = attrs.field(default=b"", repr=False)
    """The bytes that came behind the handshake."""
    watch: Callable[[Side, Event], None] = lambda _side, _event: None
    """Is told each event as it comes, before `receive` returns it, and each message sent."""
    answer_pings: bool = True
    """A Ping that comes while a frame was sent in part is answered behind that frame."""
    answer_close: bool = True
    _decoder: Decoder = attrs.field(init=False)
    _sent: Decoder = attrs.field(init=False)
    _pending: deque[Event] = attrs.field(factory=deque, init=False)
    _owed: bytes | None = attrs.field(default=None, init=False)
    """The payload of the last Ping that is not answered yet."""
    _ended: Ended | None = attrs.field(default=None, init=False)
    _unusable: bool = attrs.field(default=False, init=False)
    _reset: bool = attrs.field(default=False, init=False)
    _cut: bool = attrs.field(default=False, init=False)
    _close_sent: bool = attrs.field(default=False, init=False)
    _close_received: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _open: bool = attrs.field(default=False, init=False)
    """Whether the peer did not end the connection though it was its turn."""

    def __attrs_post_init__(self) -> None:
        self._decoder = Decoder(masked=self.role == "server")
        self._sent = Decoder(masked=self.role == "client")
        self._decode(self.rest)

    # Sending

    async def send_frame(
        self,
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        masked: bool | None = None,
        mask: bytes | None = None,
    ) -> bool:
        """Send a frame; return whether it was taken.

        `rsv` has the three reserved bits, RSV1 as 4. `masked` is by default as the role demands,
        and `mask` random.
        """
        if masked is None:
            masked = self.role == "client"
        key = (mask or secrets.token_bytes(4)) if masked else None
        data = encode(opcode, payload, fin=fin, rsv=rsv, mask=key)
        frame = Frame(opcode, payload, fin=fin, rsv=rsv, masked=masked, minimal=True)
        what = f"{frame} {show(opcode, payload)}"
        if opcode == Opcode.CLOSE:
            self._close_sent = True
        return await self._send(data, what)

    async def send_raw(self, data: bytes) -> bool:
        """Send bytes as they are; return whether they were taken."""
        return await self._send(data, f"raw {show(Opcode.BINARY, data)}")

    async def send_text(self, text: str | bytes) -> bool:
        """Send a TEXT message; bytes may be no UTF-8."""
        return await self.send_frame(Opcode.TEXT, text.encode() if isinstance(text, str) else text)

    async def send_binary(self, data: bytes) -> bool:
        """Send a BINARY message."""
        return await self.send_frame(Opcode.BINARY, data)

    async def send_signal(self, signal: dict[str, Any]) -> bool:
        """Send a JSON object as a TEXT message."""
        return await self.send_text(json.dumps(signal, ensure_ascii=False, separators=(",", ":")))

    async def send_close(self, code: int | None = 1000, reason: str = "") -> bool:
        """Send a Close frame; without a code, one without a payload."""
        payload = b"" if code is None else code.to_bytes(2) + reason.encode()
        return await self.send_frame(Opcode.CLOSE, payload)

    async def send_ping(self, data: bytes = b"") -> bool:
        """Send a Ping frame."""
        return await self.send_frame(Opcode.PING, data)

    async def abort(self) -> None:
        """Reset the connection (RST; where the socket has none, it is closed)."""
        self._cut = True
        self.transcript.sent(self.number, "reset")
        sock = self._socket()
        if sock is not None:
            reset_on_close(sock)
        await self._forget()

    async def end(self) -> None:
        """Close the sending direction (FIN), without a Close frame. `receive` still works."""
        self._cut = self._cut or not self._close_sent
        self._unusable = True
        self.transcript.sent(self.number, "end of the stream, without a Close frame")
        sock = self._socket()
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the peer has closed or reset the connection already

    async def aclose(self) -> None:
        """Close the connection, without a Close frame and without waiting."""
        if not (self._closed or self._close_sent or self._ended):
            self._cut = True
            self.transcript.sent(self.number, "closed, without a Close frame")
        await self._forget()

    # Receiving

    async def receive(self, within: float | None = None) -> Event:
        """The next event; `Nothing` after `within` seconds, by default `patience`.

        Pings and a Close frame are answered, unless `answer_pings` or `answer_close` is false.
        After `Ended`, always `Ended`.
        """
        seconds = self.patience if within is None else within
        event = await self._next(seconds)
        if isinstance(event, Ping) and self.answer_pings:
            self._owed = event.data
            await self._send_owed()
        if isinstance(event, Close) and self.answer_close and not self._close_sent:
            await self.send_close(event.code, event.reason)
        return event

    @property
    def ended(self) -> bool:
        """Whether the peer has ended the connection, and every event was received."""
        return self._ended is not None and not self._pending

    @property
    def closing(self) -> bool:
        """Whether the peer has sent a Close frame."""
        return self._close_received

    async def finish(self, *, send_close: bool, within: float) -> None:
        """End the connection in order: Close frames both ways, then TCP; then close it.

        The kit sends its Close frame first where `send_close` says so, otherwise only where the
        peer has sent none `within` seconds. Waits at most twice `within`.
        """
        if not self._closed and not self._cut:
            if send_close and not self._close_sent:
                await self.send_close()
            await self._until_close(within)
            if not self._close_received and not self._close_sent and not self._ended:
                self._open = True
                await self.send_close()
            if self.role == "client" and self._close_received:
                await self._until_ended(within)  # RFC 6455, 7.1.1: the server closes first
        await self._forget()

    @property
    def ending(self) -> Ending:
        """How the peer ended the connection; `none` where the kit cut it off."""
        if self._cut:
            return Ending.NONE
        if self._close_received and self._close_sent and not self._open:
            return Ending.CLEAN
        if self._ended is None or self._open:
            return Ending.OPEN
        return Ending.RESET if self._ended.reset else Ending.TCP

    # Inside

    async def _next(self, seconds: float) -> Event:
        if not self._pending and self._ended is None and not self._closed:
            with trio.move_on_after(seconds):
                while not self._pending and self._ended is None:
                    await self._read()
        if self._pending:
            return self._pending.popleft()
        if self._ended is None and self._closed:
            return Ended(reset=False)
        return self._ended or Nothing(seconds)

    async def _read(self) -> None:
        try:
            data = bytes(await self.stream.receive_some(_READ))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reset = self._reset or _is_reset(error)
            self._end(reset=reset, what="reset" if reset else f"broken: {error}")
            return
        if data:
            self._decode(data)
        else:
            self._end(reset=self._reset, what="reset" if self._reset else "end of the stream")

    def _end(self, *, reset: bool, what: str) -> None:
        self._ended = Ended(reset=reset)
        self.transcript.received(self.number, what)
        self.watch("received", self._ended)

    def _decode(self, data: bytes) -> None:
        for frame, event in self._decoder.feed(data):
            if isinstance(event, Violation):
                self.transcript.note(f"{self.number}: {escape(event.sentence)}")
            elif frame is not None:
                what = f"{frame} {show(frame.opcode, frame.payload)}"
                self.transcript.received(self.number, what)
            if isinstance(event, Close):
                self._close_received = True
            if event is not None:
                self.watch("received", event)
                self._pending.append(event)

    async def _send(self, data: bytes, what: str) -> bool:
        if self._unusable or self._closed:
            self.transcript.note(f"{self.number}: not sent: {what}")
            return False
        self.transcript.sent(self.number, what)
        for _frame, event in self._sent.feed(data):
            if isinstance(event, Message):
                self.watch("sent", event)
        with trio.move_on_after(self.patience) as scope:
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._unusable = True  # `receive` tells how the peer ended
                self._reset = _is_reset(error)  # the kernel reports it once, and then the end
        if scope.cancelled_caught:
            self._unusable = True
            self.transcript.note(f"{self.number}: not taken within {self.patience:g} s")
        await self._send_owed()
        return not self._unusable

    async def _send_owed(self) -> None:
        """Answer the last Ping, unless that would stand within a frame."""
        if self._owed is not None and not self._sent.within_frame:
            payload, self._owed = self._owed, None
            await self.send_frame(Opcode.PONG, payload)

    async def _until_close(self, within: float) -> None:
        with trio.move_on_after(within):
            while not self._close_received and not isinstance(await self.receive(within), Ended):
                pass

    async def _until_ended(self, within: float) -> None:
        with trio.move_on_after(within):
            while not isinstance(await self.receive(within), Ended):
                pass

    async def _forget(self) -> None:
        self._closed = True
        await trio.aclose_forcefully(self.stream)

    def _socket(self) -> trio.socket.SocketType | None:
        stream = self.stream
        if isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        return stream.socket if isinstance(stream, trio.SocketStream) else None


def reset_on_close(sock: trio.socket.SocketType) -> None:
    """Let the close of a TCP socket reset its connection (RST)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError:
        pass  # it is closed already


def _is_reset(error: Exception) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.ECONNRESET
