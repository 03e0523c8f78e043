"""The server: serves a connection from its first byte to its end."""

import secrets
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.config.model import Config
from galileod.net.http11 import (
    Refused,
    Request,
    RequestAbandoned,
    RequestReader,
    Response,
    send_response,
)
from galileod.net.peer import Peer
from galileod.net.proxyproto import ProxyHeaderError
from galileod.net.sockets import DirectSocket
from galileod.net.streams import close_in_order
from galileod.uploads.context import Context

from .caps import Admission, ConnectionCaps
from .exchange import Exchange, busy, client_behind, is_proxy
from .handshake import Incoming
from .origin import origin_for_log
from .routes import Routes, public_routes, respond

STOPPING_SECONDS: Final = 1.0
"""Seconds that a peer has to close its side of a connection once the daemon stops."""

_log: FilteringBoundLogger = structlog.get_logger()


class Server:
    """Serves connections. An exception in one connection does not affect others.

    `static` are the files of the page and the client by path. `tls` is used on TCP connections.
    """

    def __init__(
        self, context: Context, static: Mapping[str, Response], tls: ssl.SSLContext | None
    ) -> None:
        self._context = context
        self._caps = ConnectionCaps()
        self._routes: tuple[Config, Routes] | None = None
        self.adopt(static, tls)

    def adopt(self, static: Mapping[str, Response], tls: ssl.SSLContext | None) -> None:
        """Use other files and another certificate for all new connections."""
        self._static, self._tls = static, tls
        self._routes = None

    @property
    def connections(self) -> int:
        """Open connections that count for `server.max_connections`."""
        return self._caps.open

    def refusal(self) -> str | None:
        """The reason why another connection would be refused now; None if it would not."""
        return self._busy(full=self._caps.open >= self._context.config.server.max_connections)

    async def serve_socket(self, stream: DirectSocket, proxy_protocol: bool = False) -> None:
        """Serve an accepted socket; with `proxy_protocol` the peer sends a PROXY header first."""
        try:
            peer = Peer.of(stream.socket)
        except OSError:
            stream.close()  # closed by the peer already
        else:
            await self.serve(stream, peer, proxy_protocol=proxy_protocol)

    async def serve(
        self, stream: trio.abc.HalfCloseableStream, peer: Peer, *, proxy_protocol: bool = False
    ) -> None:
        """Serve one connection to its end. Raises nothing."""
        config = self._context.config
        log = _log.bind(connection=secrets.token_hex(4), peer=peer.name, network=peer.network)
        incoming = Incoming(stream, peer, trio.current_time() + config.timeouts.handshake)
        with self._caps.admit(self._counted(peer), config.server) as admission:
            answered = admission is not Admission.DROPPED
            try:
                try:
                    if answered:
                        full = admission is Admission.REFUSED
                        await self._serve(incoming, log, proxy_protocol, full=full)
                    else:
                        self._context.metrics.refused(None)
                finally:
                    seconds = config.timeouts.close if answered else 0.0
                    if self._context.shutdown.no_new_uploads.fired:
                        seconds = min(seconds, STOPPING_SECONDS)
                    await close_in_order(incoming.stream, seconds)
            except* Exception:  # a defect in one connection must not end the daemon
                log.exception("connection.error")

    async def _serve(
        self, incoming: Incoming, log: FilteringBoundLogger, proxy_protocol: bool, *, full: bool
    ) -> None:
        """Handshake, request, and response or upload. With `full` no work is accepted."""
        config, named = self._context.config, None
        tls = None if incoming.peer.is_local else self._tls
        try:
            if proxy_protocol:
                await incoming.read_proxy_header(config.server.trusted_proxies)
                named = self._counted(incoming.peer)
                log = log.bind(peer=incoming.peer.name, network=incoming.peer.network)
            with self._caps.count(named, config.server) as first:
                if tls is not None:
                    await incoming.start_tls(tls)
                request = await self._read_request(incoming)
                peer = incoming.peer
                client, request = client_behind(peer, request, config.server.trusted_proxies)
                named = None
                if client is not peer:
                    log = log.bind(peer=client.name, network=client.network)
                    named = client.network
                with self._caps.count(named, config.server) as second:
                    reason = self._busy(full=full or not first or not second)
                    exchange = Exchange(request, incoming.stream, peer, client, log, reason)
                    response = await respond(self._routing_table(), exchange, self._context)
                    if response is not None:
                        await self._reply(incoming.stream, response, log, request=request)
        except RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
        except Refused as refused:
            await self._reply(incoming.stream, refused.response, log, reason=str(refused))
        except ProxyHeaderError as error:
            await self._reply(incoming.stream, None, log, reason=str(error))

    async def _read_request(self, incoming: Incoming) -> Request:
        """Read the request head. Raises RequestAbandoned; Refused, also when the daemon stops."""
        reader, draining = RequestReader(incoming.stream), self._context.shutdown.no_new_uploads
        request = None if draining.fired else reader.read_nowait()
        if request is None:
            with draining.guard() as stopped:
                request = await reader.read(incoming.seconds_left)
            if stopped.cancelled_caught or request is None:
                raise Refused(busy("The server is shutting down."))
        return request if incoming.scheme == "http" else evolve(request, scheme=incoming.scheme)

    async def _reply(
        self,
        stream: trio.abc.SendStream,
        response: Response | None,
        log: FilteringBoundLogger,
        *,
        reason: str | None = None,
        request: Request | None = None,
    ) -> None:
        """Log and count a refusal, and send `response` if it is not None.

        `reason` is logged if there is no response. `request` is that which is answered, if it was
        read.
        """
        if response is None or response.refuses:
            status = response.status if response else None
            if status == HTTPStatus.FORBIDDEN and request and "origin" in request.headers:
                log = log.bind(origin=origin_for_log(request))  # for server.allowed_origins
            self._context.metrics.refused(status)
            log.info(
                "connection.refused", status=status, reason=response.text if response else reason
            )
        if response:
            head, version = (request.method, request.version) if request else ("GET", "1.0")
            timeout = self._context.config.timeouts.close
            await send_response(stream, response, timeout, head=head == "HEAD", version=version)

    def _routing_table(self) -> Routes:
        """The routing table for the configuration in force; rebuilt after a reload."""
        config = self._context.config
        if self._routes is None or self._routes[0] is not config:
            table = public_routes(self._context, self._static, lambda: self.connections)
            self._routes = config, table
        return self._routes[1]

    def _busy(self, *, full: bool) -> str | None:
        """The reason why no work is accepted now; None if work is accepted."""
        if full:
            return "All connections are in use."
        if self._context.shutdown.no_new_uploads.fired:
            return "The server is shutting down."
        return None

    def _counted(self, peer: Peer) -> str | None:
        """The network that a connection of `peer` counts for; None for a proxy or unix socket."""
        trusted = self._context.config.server.trusted_proxies
        return None if peer.is_local or is_proxy(peer, trusted) else peer.network
