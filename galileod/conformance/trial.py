"""One run of one case: what its connections share."""

from typing import Final

import attrs
import trio

from galileod.conformance.dialogue import Dialogue, Observed
from galileod.conformance.dialogue_state import Keys
from galileod.conformance.events import Event
from galileod.conformance.judge import Judge
from galileod.conformance.transcript import Transcript
from galileod.conformance.verdicts import Ending
from galileod.conformance.websocket import Side, WebSocket

DEFAULT_PATIENCE: Final = 5.0
"""Seconds that a helper waits for a signal."""
SILENCE: Final = 1.0
"""Seconds that a helper waits to see that nothing comes; less where the patience is less."""


@attrs.define(eq=False)
class Trial:
    """The judge and the transcript of one run of a case, and its connections."""

    judge: Judge
    patience: float = DEFAULT_PATIENCE
    transcript: Transcript = attrs.field(factory=lambda: Transcript(trio.current_time))
    waiting_for: str | None = attrs.field(default=None, init=False)
    """What of the peer the case waits for now."""
    _keys: Keys = attrs.field(factory=Keys, init=False)
    _sockets: list[WebSocket] = attrs.field(factory=list, init=False)

    def websocket(
        self,
        stream: trio.abc.Stream,
        rest: bytes,
        observed: Observed,
        content: bytes | None = None,
    ) -> WebSocket:
        """A connection after its handshake, whose peer is judged by the rules of the dialogue."""
        watcher = _Watcher(self.judge, observed, Dialogue(observed, content, self._keys))
        websocket = WebSocket(
            stream=stream,
            role="client" if observed == "server" else "server",
            number=len(self._sockets) + 1,
            transcript=self.transcript,
            patience=self.patience,
            rest=rest,
            watch=watcher,
        )
        self._sockets.append(websocket)
        return websocket

    @property
    def silence(self) -> float:
        """Seconds to wait to see that nothing comes."""
        return min(SILENCE, self.patience)

    @property
    def endings(self) -> list[Ending]:
        """How each connection ended, in the order of their beginnings."""
        return [websocket.ending for websocket in self._sockets]


@attrs.define
class _Watcher:
    """Passes what goes over a connection to the rules, and their findings to the judge."""

    judge: Judge
    observed: Observed
    dialogue: Dialogue

    def __call__(self, side: Side, event: Event) -> None:
        by_server = (self.observed == "server") == (side == "received")
        for requirement, sentence in self.dialogue.said(event, by_server=by_server):
            self.judge.violation(requirement, sentence)
