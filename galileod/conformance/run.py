"""One attempt of the client under test to send a file, as a case sees it."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import attrs
import trio

from galileod.conformance.client_connection import ClientConnection
from galileod.conformance.handshake import (
    MAX_HEAD,
    Answer,
    HandshakeError,
    Request,
    accept_upgrade,
    mistakes,
    receive_upgrade,
)
from galileod.conformance.judge import KitError
from galileod.conformance.requirements import CLIENT_HANDSHAKE
from galileod.conformance.trial import Trial

START_SECONDS: Final = 10.0
"""Seconds until the client has connected for the first time."""
OUTCOME_PATIENCE: Final = 3
"""Times the patience, until the client has said how the upload ended."""
MAX_CONNECTIONS: Final = 64
"""Connections of one run; further ones are closed without an answer."""
GRACE: Final = 0.2
"""Seconds for a connection to be accepted after the client itself has ended."""


@attrs.frozen
class Outcome:
    """What the client reported to its user."""

    success: bool
    output: str
    """What it wrote, for people."""


@attrs.define(eq=False)
class Run:
    """The client sends one file, or several at once.

    Connections that come while the case has not asked for the outcome wait for `accept`; later
    ones, which the case does not expect, are answered with a fatal error, so that the client ends.
    """

    trial: Trial
    content: bytes
    """The file, or its beginning."""
    size: int | None = None
    """Bytes of the file where it is longer than `content`: the rest of it are zeros."""
    answer: Answer = accept_upgrade
    """Answers each handshake."""
    further: Sequence[tuple[str, bytes]] = ()
    """Names and contents of the files behind the first."""
    requests: list[Request] = attrs.field(factory=list, init=False)
    """The handshakes that came."""
    _send: trio.MemorySendChannel[ClientConnection] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[ClientConnection] = attrs.field(init=False)
    _accepted: list[ClientConnection] = attrs.field(factory=list, init=False)
    _count: int = attrs.field(default=0, init=False)
    _expecting: bool = attrs.field(default=True, init=False)
    _outcome: Outcome | None = attrs.field(default=None, init=False)
    _concluded: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel(MAX_CONNECTIONS)

    # For cases

    async def accept(self, within: float | None = None) -> ClientConnection:
        """The next connection, after its handshake; ends the case where none comes.

        For the first one, that is a HARNESS-ERROR after START_SECONDS; for another one (a retry), a
        FAIL after `within` seconds, by default the patience.
        """
        first = not self._accepted
        seconds = within or (START_SECONDS if first else self.trial.patience)
        connection = await self.accept_or_none(seconds)
        if connection is None:
            self._missing(first=first, seconds=seconds)
        return connection

    async def accept_or_none(self, within: float | None = None) -> ClientConnection | None:
        """The next connection; None where none comes within the seconds, or the client ended."""
        self.trial.waiting_for = "a connection of the client"
        connection: ClientConnection | None = None
        with trio.move_on_after(self.trial.patience if within is None else within):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_when_concluded, nursery.cancel_scope)
                connection = await self._receive.receive()
                self._accepted.append(connection)
                nursery.cancel_scope.cancel()
        self.trial.waiting_for = None
        return connection

    async def outcome(self, within: float | None = None) -> Outcome:
        """Wait until the client has reported success or failure.

        Until then its connections are read, and closed in order. Ends the case with FAIL where the
        client takes longer than `within` seconds, by default three times the patience.
        """
        self._expecting = False
        self.trial.waiting_for = "the client to end"
        seconds = within or OUTCOME_PATIENCE * self.trial.patience
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                for connection in self._accepted:
                    nursery.start_soon(connection.drain)
                for connection in self._take_waiting():
                    nursery.start_soon(self._refuse, connection)
                await self._concluded.wait()
                nursery.cancel_scope.cancel()
        self.trial.waiting_for = None
        if self._outcome is None:
            self.trial.judge.fail(
                None, f"the client reported neither success nor failure within {seconds:g} s"
            )
        return self._outcome

    # For what starts the client and listens

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Take a new connection from its handshake on; returns only when it is cancelled."""
        self._count += 1
        if self._count > MAX_CONNECTIONS:
            return
        try:
            begun = b""
            with trio.move_on_after(self.trial.patience):
                begun = bytes(await stream.receive_some(MAX_HEAD))
            if not begun:  # a client may open connections ahead, and never use them
                self.trial.transcript.note("a connection was opened, and nothing sent")
                return
            with trio.fail_after(self.trial.patience):
                request = await receive_upgrade(stream, begun)
                self.requests.append(request)
                for sentence in mistakes(request):
                    self.trial.judge.violation(CLIENT_HANDSHAKE, sentence)
                await self.answer(stream, request)
        except HandshakeError as error:
            self.trial.judge.violation(CLIENT_HANDSHAKE, str(error))
            return
        except trio.TooSlowError:
            why = f"no handshake came within {self.trial.patience:g} s"
            self.trial.judge.check(None, holds=False, sentence=why)
            return
        except trio.BrokenResourceError:
            self.trial.transcript.note("a connection was reset within its handshake")
            return
        await self.offer(stream, request.rest)

    async def offer(self, stream: trio.abc.Stream, rest: bytes) -> None:
        """Take a new connection after its handshake; returns only when it is cancelled."""
        # Of several files, any may come first.
        content = self.content if self.size is None and not self.further else None
        websocket = self.trial.websocket(stream, rest, "client", content)
        connection = ClientConnection(self.trial, websocket)
        if self._expecting:
            self._send.send_nowait(connection)  # as many fit in as connections are counted
        else:
            await self._refuse(connection)
        await trio.sleep(math.inf)

    def conclude(self, outcome: Outcome) -> None:
        """The client has ended, or has reported how the upload ended; the first report counts."""
        if self._outcome is None:
            self._outcome = outcome
        self._concluded.set()

    async def finish(self) -> None:
        """End all accepted connections in order."""
        self.trial.waiting_for = "the end of the connections"
        async with trio.open_nursery() as nursery:
            for connection in self._accepted:
                nursery.start_soon(connection.finish)
        self.trial.waiting_for = None

    def _take_waiting(self) -> Iterator[ClientConnection]:
        while True:
            try:
                yield self._receive.receive_nowait()
            except trio.WouldBlock:
                return

    def _missing(self, *, first: bool, seconds: float) -> NoReturn:
        how = "has ended" if self._outcome else f"has not connected within {seconds:g} s"
        output = self._outcome.output if self._outcome else ""
        sentence = f"the client {how}{'' if first else ', expected one more connection'}: {output}"
        if first and self._count == 0:
            raise KitError(sentence)
        self.trial.judge.fail(None, sentence)

    async def _cancel_when_concluded(self, scope: trio.CancelScope) -> None:
        await self._concluded.wait()
        await trio.sleep(GRACE)
        scope.cancel()

    async def _refuse(self, connection: ClientConnection) -> None:
        self.trial.transcript.note(f"{connection.websocket.number} is not expected by the case")
        await connection.error("no further connection is expected", code="bad_metadata")
        with trio.move_on_after(self.trial.patience):
            await connection.drain()
