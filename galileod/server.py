"""Connections: who is let in, what each asks for, and an orderly end for all of them."""

import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import structlog
import trio
from attrs import frozen

from . import config, front
from .addresses import UNIX_PEER, TcpAddress, network_of
from .session import House, Session, serve_upload
from .storage.base import StorageError
from .streams import close_in_order
from .transport import TransportClosed, open_transport

MAX_REFUSING: Final = 64
"""Connections above the caps that are still answered at once; more are closed without a word."""

HEALTH_SECONDS: Final = 5.0
"""How long the storage may take to show that it works."""

_log = structlog.stdlib.get_logger()


@frozen
class Peer:
    """Who is calling. `network` is what the cap per address counts; a unix socket has none."""

    name: str
    user: str
    network: str | None

    @classmethod
    def of(cls, stream: trio.SocketStream) -> "Peer":
        """The peer of a socket. Raises OSError if it is gone."""
        address = stream.socket.getpeername()
        if not isinstance(address, tuple):
            return cls(UNIX_PEER, UNIX_PEER, None)
        host, port = address[:2]
        return cls(str(TcpAddress(host, port)), host, network_of(host))


class Admission:
    """The caps on connections, in all and per address."""

    def __init__(self, limits: config.Server) -> None:
        self._limits = limits
        self._refusing = 0
        self._networks: Counter[str | None] = Counter()
        self.connections = 0

    @contextmanager
    def admit(self, network: str | None) -> Iterator[Literal["admitted", "full", "flooded"]]:
        """Count a connection while it lasts; `full` is to be told so, `flooded` to be dropped."""
        theirs = self._networks[network]
        full = self.connections >= self._limits.max_connections or (
            network is not None and theirs >= self._limits.max_connections_per_address
        )
        if not full:
            self.connections += 1
            self._networks[network] += 1
            try:
                yield "admitted"
            finally:
                self.connections -= 1
                self._networks[network] -= 1
                self._networks += Counter()  # drops what is down to zero
        elif self._refusing < MAX_REFUSING:
            self._refusing += 1
            try:
                yield "full"
            finally:
                self._refusing -= 1
        else:
            yield "flooded"


class Server:
    """Serves connections, each on its own: what fails in one ends there."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._admission = Admission(house.config.server)
        self._running: dict[int, Session] = {}

    @property
    def uploads(self) -> int:
        """Uploads that are running."""
        return sum(session.receiver.metadata is not None for session in self._running.values())

    async def serve_socket(self, stream: trio.SocketStream) -> None:
        """Serve one accepted socket; for trio.serve_listeners."""
        try:
            peer = Peer.of(stream)
        except OSError:
            await trio.aclose_forcefully(stream)  # gone before it was looked at
        else:
            await self.serve(stream, peer)

    async def serve(self, stream: trio.abc.HalfCloseableStream, peer: Peer) -> None:
        """Serve one connection to its end. Raises nothing."""
        log = _log.bind(connection=secrets.token_hex(4), peer=peer.name)
        with self._admission.admit(peer.network) as admission:
            seconds = 0 if admission == "flooded" else self._house.config.timeouts.close
            try:
                try:
                    if admission != "flooded":
                        await self._serve(stream, peer, log, full=admission == "full")
                finally:
                    await close_in_order(stream, seconds)
            except* Exception:  # the wall between one connection and the daemon
                log.exception("connection.error")

    async def _serve(
        self,
        stream: trio.abc.HalfCloseableStream,
        peer: Peer,
        log: structlog.stdlib.BoundLogger,
        *,
        full: bool,
    ) -> None:
        try:
            request = await front.read_request(stream, self._house.config.timeouts.handshake)
        except front.RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
        except front.RequestTimeout as slow:
            await self._reply(stream, slow.response, log)
        except front.BadRequest as bad:
            await self._reply(stream, bad.response, log)
        else:
            reply = await self._answer(request, full=full)
            if isinstance(reply, front.Upgrade):
                await self._upgrade(stream, reply.key, request.surplus, peer, log)
            else:
                await self._reply(stream, reply, log, head=request.method == "HEAD")

    async def _reply(
        self,
        stream: trio.abc.SendStream,
        response: front.Response | None,
        log: structlog.stdlib.BoundLogger,
        *,
        head: bool = False,
    ) -> None:
        if response is None or response.status != 200:  # noqa: PLR2004
            status, reason = (response.status, response.text) if response else (None, "silent")
            log.info("connection.refused", status=status, reason=reason)
        if response:
            await front.send_response(
                stream, response, self._house.config.timeouts.close, head=head
            )

    async def _answer(
        self, request: front.Request, *, full: bool
    ) -> front.Response | front.Upgrade:
        if full:
            return front.busy("All connections are taken.")
        if self._house.stopping.no_new_uploads.fired:
            return front.busy("The server is shutting down.")
        settings = self._house.config.server
        reply = front.answer(request, settings.paths, settings.allowed_origins)
        return await self._health() if reply is None else reply

    async def _health(self) -> front.Response:
        try:
            with trio.fail_after(HEALTH_SECONDS):
                await self._house.store.check()
        except StorageError as error:
            return front.busy(f"The storage does not work: {error}.")
        except trio.TooSlowError:
            return front.busy(f"The storage does not answer within {HEALTH_SECONDS:g} seconds.")
        return front.Response(200, "ok")

    async def _upgrade(
        self,
        stream: trio.abc.HalfCloseableStream,
        key: bytes,
        surplus: bytes,
        peer: Peer,
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        began = trio.current_time()
        timeout = self._house.config.timeouts.handshake
        reason = "stopped at once"
        log.info("connection.opened")
        try:
            async with open_transport(stream, key, surplus, timeout) as transport:
                session = Session(self._house, transport, peer.user, log)
                self._running[id(session)] = session
                try:
                    reason = await serve_upload(session)
                finally:
                    del self._running[id(session)]
        except* TransportClosed as gone:
            reason = str(gone.exceptions[0])
        finally:
            seconds = round(trio.current_time() - began, 6)
            log.info("connection.closed", reason=reason, seconds=seconds)
