"""What the kit's connections of both roles have in common: signals in and out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import attrs
import trio
from websockets.frames import Opcode

from galileod.conformance.dialogue_state import has_meaning, parse_signal, truthy
from galileod.conformance.events import Close, Ended, Event, Message, Nothing, Ping, Pong, Violation
from galileod.conformance.transcript import show
from galileod.conformance.trial import Trial
from galileod.conformance.websocket import WebSocket

DEFAULT_CHUNK: Final = 250_000
"""Bytes of a chunk where nothing else is said: that of the original client."""

MAX_DESCRIBED: Final = 300
"""Bytes of a TEXT message that a sentence shows."""

Signal = dict[str, Any]


@attrs.define(eq=False)
class Peer:
    """A connection of a case to the peer that is judged."""

    trial: Trial
    websocket: WebSocket
    warned: Signal | None = attrs.field(default=None, init=False)
    """The first signal of the server, if that is an error that is not fatal."""
    _heard: bool = attrs.field(default=False, init=False)

    async def message(self, within: float | None = None) -> Message | Close | Ended | Nothing:
        """The next message, or what came instead.

        Pings and Pongs are passed over, and so are violations of RFC 6455, which the judge knows,
        and what every client must ignore: signals that it does not know, and errors that are not
        fatal. `within` is in seconds, by default the patience.
        """
        seconds = self.trial.patience if within is None else within
        deadline = trio.current_time() + seconds
        with self._waiting():
            while (left := deadline - trio.current_time()) >= 0:
                event = await self.websocket.receive(left)
                if isinstance(event, Nothing):
                    break
                if not isinstance(event, Ping | Pong | Violation) and not self._is_ignored(event):
                    return event
        return Nothing(seconds)

    async def silent(self, within: float | None = None) -> Message | Close | Ended | None:
        """None where nothing comes within the seconds, by default 1; otherwise what came."""
        event = await self.message(self.trial.silence if within is None else within)
        return None if isinstance(event, Nothing) else event

    async def expect_nothing(
        self, requirement: str | None, sentence: str, within: float | None = None
    ) -> None:
        """Check that nothing comes within the seconds, by default 1; the end is something too."""
        event = await self.silent(within)
        self.trial.judge.check(requirement, event is None, f"{sentence}, {describe(event)}")

    async def expect_end(self, requirement: str | None = None, sentence: str = "") -> None:
        """Require that the peer ends the connection, in any way. Messages are passed over."""
        event = await self.message()
        while isinstance(event, Message):
            event = await self.message()
        ends = isinstance(event, Close | Ended)
        expected = sentence or "expected the end of the connection"
        self.trial.judge.require(requirement, ends, f"{expected}, {describe(event)}")

    def _is_ignored(self, event: Event) -> bool:
        """Whether a client must go on as if the server had not sent this."""
        signal = as_signal(event) if self.name == "server" else None
        if signal is None:
            return False
        if not has_meaning(signal):
            return not any(key in signal for key in ("held", "last"))  # of extensions
        warning = truthy(signal.get("error")) and not truthy(signal.get("fatal"))
        if warning and not self._heard:
            self.warned = signal
        self._heard = True
        return warning

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        # Stays set where the time limit of the case ends the wait: the runner reads it then.
        self.trial.waiting_for = f"a message of the {self.name}"
        yield
        self.trial.waiting_for = None

    @property
    def name(self) -> str:
        """The peer's role."""
        return "server" if self.websocket.role == "client" else "client"


def as_signal(event: Event) -> Signal | None:
    """The JSON object in a TEXT message, without keys that are null; None for everything else."""
    signal = parse_signal(event) if isinstance(event, Message) else None
    return signal and {key: value for key, value in signal.items() if value is not None}


def describe(event: Event | None) -> str:
    """What came, as the end of a sentence."""
    match event:
        case None:
            what = "nothing came"
        case Nothing(seconds):
            what = f"nothing came within {seconds:g} s"
        case Message(opcode, data):
            what = f"{Opcode(opcode).name} came: {show(opcode, data, MAX_DESCRIBED)}"
        case Close(code, _):
            what = f"a Close frame came (code {'none' if code is None else code})"
        case Ended(reset):
            what = f"the connection was {'reset' if reset else 'closed without a Close frame'}"
        case Violation(sentence):
            what = sentence
        case _:
            what = f"a {type(event).__name__} came"
    return f"but {what}"
