"""The rules of a dialogue between a client and a server. Pure: messages in, violations out.

They hold for every dialogue, so each connection of each case is watched by them, and so are the two
peers of the proxy. A message is judged by what its sender can have seen: messages that cross on the
way are never taken for violations.
"""

from typing import Any, Literal

import attrs
from websockets.frames import Opcode

from galileod.conformance.client_rules import judge_client
from galileod.conformance.dialogue_state import (
    MAX_CHUNK,
    Keys,
    State,
    agreed,
    has_meaning,
    identify,
    is_key,
    is_size,
    is_true,
    parse_signal,
    truthy,
)
from galileod.conformance.events import Event, Message, Violation
from galileod.conformance.many_client_rules import judge_many_client
from galileod.conformance.many_server_rules import judge_first, judge_many_server
from galileod.conformance.many_state import Many
from galileod.conformance.requirements import CLIENT_FRAMING, SERVER_FRAMING
from galileod.conformance.server_rules import judge_server

Observed = Literal["server", "client", "both"]
Violations = list[tuple[str, str]]
"""Pairs of a requirement and a sentence that says what was expected and what came."""


@attrs.define
class Dialogue:
    """What has been said on one connection."""

    observed: Observed
    """The peer whose violations are returned."""
    content: bytes | None = None
    """The file that is sent, where it is known."""
    keys: Keys = attrs.field(factory=Keys)
    """The keys of uploads, which other connections share."""
    _state: State = attrs.field(factory=State, init=False)
    _many: Many | None = attrs.field(default=None, init=False)
    """Where `next` is agreed."""

    @property
    def state(self) -> State:
        """What was said until now; with `next`, about the first file."""
        return self._state

    def said(self, event: Event, *, by_server: bool) -> Violations:
        """A peer has sent what makes this event: a message, or what RFC 6455 forbids."""
        match event:
            case Message():
                return self.server(event) if by_server else self.client(event)
            case Violation(sentence):
                return [(SERVER_FRAMING if by_server else CLIENT_FRAMING, sentence)]
        return []

    def server(self, message: Message) -> Violations:
        """The server has sent `message`."""
        found = list(judge_server(self._state, message)) if self.observed != "client" else []
        signal = parse_signal(message)
        if signal is None:
            return found
        state = self._state
        if self._many is not None:
            return found + self._server_of_many(self._many, signal, message)
        if state.metadata is None:
            state.failed = state.failed or (
                truthy(signal.get("error")) and truthy(signal.get("fatal"))
            )
            return found
        if not has_meaning(signal):
            return found  # not even the first signal, by section 8
        if not state.heard:
            found += self._agree(signal, message)
        if truthy(signal.get("error")):
            state.failed = state.failed or truthy(signal.get("fatal"))
        elif is_true(signal.get("ready")):
            chunksize = signal.get("chunksize")
            valid = type(chunksize) is int and chunksize > 0
            if not state.readies:
                self._begin_at(signal.get("offset"))
            state.credits.append(chunksize if valid else None)
            state.readies += 1
            self._note_granted()
        elif is_true(signal.get("close")):
            state.closed = True
        return found

    def client(self, message: Message) -> Violations:
        """The client has sent `message`."""
        state = self._state
        found: Violations = []
        if self._many is not None and not self._many.is_first(message):
            return self._client_of_many(self._many, message)
        if self.observed != "server":
            found += judge_client(state, message, self.content)
            found += self._judge_key(message)
        if message.opcode == Opcode.BINARY:
            self._take(len(message.data))
            return found
        signal = parse_signal(message)
        if signal is None:
            return found
        if state.metadata is None:
            if is_true(signal.get("finished")) or not ("name" in signal or "size" in signal):
                return found  # no metadata, by section 1
            state.metadata = signal
            state.size = signal["size"] if is_size(signal.get("size")) else None
            key = signal.get("upload")
            if is_key(key) and "resume" in (state.offered or ()):
                state.attempts = self.keys.begin(key, signal)
        elif is_true(signal.get("finished")):
            state.finished = True
            if state.credits:
                state.credits.popleft()
        return found

    def _agree(self, signal: dict[str, Any], message: Message) -> Violations:
        """The server has sent its first signal."""
        state = self._state
        state.heard = True
        state.agreed = agreed(state, signal)
        if "next" not in state.agreed:
            return []
        self._many = Many(state)
        self._many.begin(signal)
        return list(judge_first(signal, message.data)) if self.observed != "client" else []

    def _begin_at(self, offset: object) -> None:
        """The offset of the first `ready`."""
        if "resume" in self._state.agreed and type(offset) is int and offset >= 0:
            self._state.offset = self._state.sent = offset

    def _server_of_many(self, many: Many, signal: dict[str, Any], message: Message) -> Violations:
        judged = self.observed != "client"
        found = list(judge_many_server(many, signal, message.data)) if judged else []
        many.server(signal)
        return found

    def _client_of_many(self, many: Many, message: Message) -> Violations:
        found = list(judge_many_client(many, message)) if self.observed != "server" else []
        many.client(message)
        return found

    def _take(self, length: int) -> None:
        state = self._state
        credit = state.credits.popleft() if state.credits else 0
        state.exceeded = state.exceeded or (credit is not None and length > credit)
        state.sent += length
        if state.attempts is not None:
            state.attempts.reached = max(state.attempts.reached, state.sent)
            self._note_granted()
        if self._many is not None:
            self._many.note_answer()

    def _note_granted(self) -> None:
        state = self._state
        if state.attempts is not None:
            sizes = (MAX_CHUNK if credit is None else credit for credit in state.credits)
            state.attempts.granted = sum(sizes)

    def _judge_key(self, message: Message) -> Violations:
        """Whether the client's metadata are those of earlier attempts with the same key."""
        signal = parse_signal(message)
        if self._state.metadata is not None or signal is None or not is_key(signal.get("upload")):
            return []
        known = self.keys.find(signal["upload"])
        identity = identify(signal)
        if known is None or known.identity == identity:
            return []
        return [
            ("C8.2", f"expected the metadata {known.identity} of this key, but {identity} came")
        ]
