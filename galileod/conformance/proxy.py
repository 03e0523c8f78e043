"""A proxy that passes bytes on unchanged, and judges the dialogue of the two peers."""

from collections.abc import Callable
from typing import Final, Literal

import attrs
import trio

from galileod.conformance.address import Address, open_stream
from galileod.conformance.case import Case
from galileod.conformance.dialogue import Dialogue
from galileod.conformance.dialogue_state import Keys, State
from galileod.conformance.events import Close, Event, Violation
from galileod.conformance.frames import Decoder
from galileod.conformance.handshake import MAX_HEAD
from galileod.conformance.judge import Judge, KitError
from galileod.conformance.requirements import LEVELS
from galileod.conformance.transcript import Transcript, show
from galileod.conformance.verdicts import Ending, Result
from galileod.conformance.websocket import reset_on_close

MAX_JUDGED: Final = 1000
"""WebSocket connections that are judged; further ones are passed on only."""
MAX_NAME: Final = 60
"""Characters of a file's name in the title of a connection."""
MAX_TRANSCRIPT: Final = 128 * 1024
"""Characters of the transcript of one connection: all are kept until the end."""
CONNECT_SECONDS: Final = 10.0
"""Seconds until the server has accepted a connection."""

_READ: Final = 64 * 1024

Speaker = Literal["client", "server"]
Report = Callable[[Case, Result], None]


@attrs.define(eq=False)
class Exchange:
    """What the two peers say on one connection."""

    dialogue: Dialogue
    judge: Judge = attrs.field(factory=lambda: Judge(frozenset(LEVELS)))
    transcript: Transcript = attrs.field(
        factory=lambda: Transcript(trio.current_time, MAX_TRANSCRIPT)
    )
    upgraded: bool = False
    """Whether the server has answered the handshake with 101."""
    closes: set[Speaker] = attrs.field(factory=set)
    """Who has sent a Close frame."""
    cut: bool = False
    """Whether the proxy has reset the connection."""

    def answered(self, head: bytes) -> None:
        """The server has answered the request."""
        self.upgraded = head.split(b"\r\n", 1)[0].split(b" ")[1:2] == [b"101"]

    def said(self, speaker: Speaker, event: Event) -> None:
        """A message or control frame came."""
        if isinstance(event, Close):
            self.closes.add(speaker)
        for requirement, sentence in self.dialogue.said(event, by_server=speaker == "server"):
            self.judge.violation(requirement, sentence)


@attrs.define(eq=False)
class Direction:
    """The bytes of one peer: an HTTP head, then frames."""

    exchange: Exchange
    speaker: Speaker
    _head: bytearray | None = attrs.field(factory=bytearray, init=False)
    """The head until it is complete; None after that."""
    _decoder: Decoder = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._decoder = Decoder(masked=self.speaker == "client")

    def feed(self, data: bytes) -> None:
        """Take bytes that are passed on."""
        if self._head is not None:
            self._head += data
            head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
            if not end:
                # What has no end of its head is no handshake: it is not judged.
                del self._head[MAX_HEAD:]
                return
            self._head = None
            if self.speaker == "server":
                self.exchange.answered(head)
            data = rest
        if self.speaker == "server" and not self.exchange.upgraded:
            return
        for frame, event in self._decoder.feed(data):
            if frame is not None and not isinstance(event, Violation):
                line = f"{self.speaker}: {frame} {show(frame.opcode, frame.payload)}"
                self.exchange.transcript.note(line)
            if event is not None:
                self.exchange.said(self.speaker, event)


@attrs.define(eq=False)
class Proxy:
    """Passes connections on to a server; `report` is told what each one came to."""

    address: Address
    report: Report
    cut: int | None = None
    """Bytes from the client after which the first connection is reset; doubled for each further
    one, so that an upload which is resumed comes to its end."""
    _keys: Keys = attrs.field(factory=Keys, init=False)
    _judged: int = attrs.field(default=0, init=False)
    _limit: int | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._limit = self.cut

    async def serve(self, client: trio.SocketStream) -> None:
        """Handle one connection. Never raises because of a peer.

        A connection that is still open when the proxy is stopped is reported too.
        """
        exchange = Exchange(Dialogue("both", keys=self._keys))
        start = trio.current_time()
        ending = Ending.OPEN
        try:
            server = await open_stream(self.address, CONNECT_SECONDS)
            async with server:
                reset = await self._pass_on(exchange, client, server)
            ending = _ending(exchange, reset=reset)
        except KitError as error:
            exchange.judge.harness_error(str(error))
            exchange.upgraded = True  # so that the report tells why the client got nothing
        except Exception as error:  # noqa: BLE001  # a mistake of the kit ends one connection
            exchange.judge.harness_error(f"{type(error).__name__}: {error}")
        finally:
            if exchange.upgraded and self._judged < MAX_JUDGED:
                self._judged += 1
                self._conclude(exchange, ending, trio.current_time() - start)

    def _conclude(self, exchange: Exchange, ending: Ending, seconds: float) -> None:
        result = Result(
            case=f"connection-{self._judged}",
            verdict=exchange.judge.verdict,
            findings=exchange.judge.findings,
            ending=ending,
            transcript=str(exchange.transcript),
            seconds=seconds,
        )
        self.report(
            Case(result.case, _title(exchange.dialogue.state), (), "core", frozenset(), seconds),
            result,
        )

    async def _pass_on(
        self, exchange: Exchange, client: trio.SocketStream, server: trio.abc.Stream
    ) -> bool:
        """Pass on both directions to their ends; return whether a peer reset the connection."""
        broken = False

        async def pump(
            source: trio.abc.Stream, sink: trio.abc.Stream, direction: Direction
        ) -> None:
            nonlocal broken
            passed = 0
            try:
                while data := bytes(await source.receive_some(_READ)):
                    direction.feed(data)
                    passed += len(data)
                    if direction.speaker == "client" and self._is_cut(exchange, passed):
                        exchange.cut = True
                        exchange.transcript.note(f"cut after {passed} bytes from the client")
                        reset_on_close(client.socket)
                        await trio.aclose_forcefully(client)
                        await trio.aclose_forcefully(server)
                        return
                    await sink.send_all(data)
                if isinstance(sink, trio.abc.HalfCloseableStream):
                    await sink.send_eof()
                else:
                    await sink.aclose()  # TLS cannot close one direction
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # The end of one peer is passed on to the other: a reset, or the other direction
                # has closed both.
                broken = True
                await trio.aclose_forcefully(source)
                await trio.aclose_forcefully(sink)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server, Direction(exchange, "client"))
            nursery.start_soon(pump, server, client, Direction(exchange, "server"))
        return broken

    def _is_cut(self, exchange: Exchange, passed: int) -> bool:
        if self._limit is None or not exchange.upgraded or passed < self._limit:
            return False
        self._limit *= 2
        return True


def _title(state: State) -> str:
    """The first file of a connection, and what the server said about it."""
    if state.metadata is None:
        return "no metadata"
    name = repr(state.metadata.get("name"))
    if len(name) > MAX_NAME:
        name = f"{name[:MAX_NAME]}…"
    result = "stored" if state.closed else "failed" if state.failed else "no result"
    return f"{name}, {state.metadata.get('size')!r:.20} bytes: {result}"


def _ending(exchange: Exchange, *, reset: bool) -> Ending:
    if exchange.cut:
        return Ending.NONE
    if exchange.closes == {"client", "server"}:
        return Ending.CLEAN
    return Ending.RESET if reset else Ending.TCP
