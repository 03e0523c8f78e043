"""Connections: who is let in, what each asks for, and an orderly end for all of them."""

import secrets
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.auth.grant import NOT_VALID, Grant, Unauthorized
from galileod.net import http11
from galileod.net.addresses import UNIX_PEER, is_trusted
from galileod.net.forwarded import told_by
from galileod.net.peer import Peer
from galileod.net.proxyproto import ProxyHeaderError
from galileod.net.streams import close_in_order, drop_until_quiet
from galileod.net.tls import HandshakeError
from galileod.net.websocket import TransportClosed, open_transport
from galileod.storage.base import StorageError
from galileod.uploads.connection import Connection
from galileod.uploads.context import Context
from galileod.uploads.session import serve_upload

from .caps import Cap
from .handshake import Incoming
from .scrape import scrape

MAX_REFUSING: Final = 64
"""Connections above the caps that are still answered at once; more are closed without a word."""

STOPPING_SECONDS: Final = 1.0
"""At most so long is a peer waited for at its end, once the daemon stops."""

HEALTH_SECONDS: Final = 5.0
"""How long the storage may take to show that it works."""

PROXY_HEADERS: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""What shows that a request came through a proxy."""

LOOPBACK: Final = "127.0.0.1"
"""Where a peer on a unix socket is: on this machine."""

_log: FilteringBoundLogger = structlog.get_logger()


class Server:
    """Serves connections, each on its own: what fails in one ends there."""

    def __init__(
        self, context: Context, static: Mapping[str, http11.Response], tls: ssl.SSLContext | None
    ) -> None:
        self._context = context
        self._all = Cap()
        self._per_network = Cap()
        self._refusing = Cap()
        self.adopt(static, tls)

    def adopt(self, static: Mapping[str, http11.Response], tls: ssl.SSLContext | None) -> None:
        """Serve the files of `static`, and new connections with `tls`, from now on."""
        self._static, self._tls = static, tls

    async def serve_socket(self, stream: trio.SocketStream, proxy_protocol: bool = False) -> None:
        """Serve one accepted socket; with `proxy_protocol` it begins with a header of that."""
        try:
            peer = Peer.of(stream)
        except OSError:
            await trio.aclose_forcefully(stream)  # gone before it was looked at
        else:
            await self.serve(stream, peer, proxy_protocol=proxy_protocol)

    async def serve(
        self, stream: trio.abc.HalfCloseableStream, peer: Peer, *, proxy_protocol: bool = False
    ) -> None:
        """Serve one connection to its end. Raises nothing."""
        log = _log.bind(
            connection=secrets.token_hex(4), peer=peer.name, network=peer.network or UNIX_PEER
        )
        deadline = trio.current_time() + self._context.config.timeouts.handshake
        incoming = Incoming(stream, peer, deadline)
        network = None if self._is_proxy(peer) else peer.network
        caps = self._context.config.server
        with (
            self._all.hold("all", caps.max_connections) as one,
            self._per_network.hold(network, caps.max_connections_per_address) as other,
        ):
            admitted = one and other
            with self._refusing.hold(None if admitted else "all", MAX_REFUSING) as answered:
                seconds: float = self._context.config.timeouts.close if answered else 0
                try:
                    try:
                        if answered:
                            await self._serve(incoming, log, proxy_protocol, full=not admitted)
                        else:
                            self._context.metrics.refused(None)
                    finally:
                        if self._context.shutdown.no_new_uploads.fired:
                            seconds = min(seconds, STOPPING_SECONDS)
                        await close_in_order(incoming.stream, seconds)
                except* Exception:  # the wall between one connection and the daemon
                    log.exception("connection.error")

    async def _serve(
        self, incoming: Incoming, log: FilteringBoundLogger, proxy_protocol: bool, *, full: bool
    ) -> None:
        tls = None if incoming.peer.network is None else self._tls
        network = None
        try:
            if proxy_protocol:
                await incoming.hear_proxy(self._context.config.server.trusted_proxies)
                log = log.bind(peer=incoming.peer.name, network=incoming.peer.network or UNIX_PEER)
                network = None if self._is_proxy(incoming.peer) else incoming.peer.network
            most = self._context.config.server.max_connections_per_address
            with self._per_network.hold(network, most) as admitted:
                if tls is not None:
                    await incoming.secure(tls)
                with self._context.shutdown.no_new_uploads.guard() as stopped:
                    request = await http11.read_request(incoming.stream, incoming.left)
                if stopped.cancelled_caught:
                    busy = http11.busy("The server is shutting down.")
                    await self._reply(incoming.stream, busy, log)
                else:
                    full = full or not admitted
                    await self._serve_request(incoming, request, log, full=full)
        except http11.RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
        except http11.RequestTimeout as slow:
            await self._reply(incoming.stream, slow.response, log)
        except http11.BadRequest as bad:
            await self._reply(incoming.stream, bad.response, log)
        except HandshakeError as failed:
            await self._reply(incoming.stream, failed.response, log, unsaid=str(failed))
        except ProxyHeaderError as wrong:
            await self._reply(incoming.stream, None, log, unsaid=str(wrong))

    async def _serve_request(
        self, incoming: Incoming, request: http11.Request, log: FilteringBoundLogger, *, full: bool
    ) -> None:
        """Raises BadRequest."""
        peer, stream = incoming.peer, incoming.stream
        client, request = self._behind(peer, evolve(request, scheme=incoming.scheme))
        log = log.bind(peer=client.name, network=client.network or UNIX_PEER)
        network = client.network if client is not peer else None
        most = self._context.config.server.max_connections_per_address
        with self._per_network.hold(network, most) as admitted:
            asked = self._ask(request, peer, client)
            reply = await self._answer(asked, request, full=full or not admitted)
            grant = None
            if isinstance(reply, http11.Upgrade):
                grant = await self._authorize(request, client, log)
            if isinstance(grant, http11.Response):
                await self._reply(stream, grant, log)
            elif isinstance(reply, http11.Upgrade):
                await self._upgrade(stream, reply.key, request.surplus, client, grant, log)
            else:
                if reply.status == HTTPStatus.FORBIDDEN and "origin" in request.headers:
                    # What `server.allowed_origins` would have to name.
                    log = log.bind(origin=request.origin)
                await self._reply(stream, reply, log, head=request.method == "HEAD")

    def _is_proxy(self, peer: Peer) -> bool:
        trusted = self._context.config.server.trusted_proxies
        return peer.network is not None and is_trusted(peer.user, trusted)

    def _behind(self, peer: Peer, request: http11.Request) -> tuple[Peer, http11.Request]:
        """The client that a trusted proxy speaks for, and the request as that one made it.

        Everybody else speaks for himself. Raises BadRequest.
        """
        if not self._is_proxy(peer):
            return peer, request
        try:
            told = told_by(peer.user, request.headers, self._context.config.server.trusted_proxies)
        except ValueError as contradiction:
            raise http11.BadRequest(400, str(contradiction)) from None
        client = Peer.behind_proxy(told.client)
        scheme, host = told.scheme or request.scheme, told.host or request.host
        return client, evolve(request, scheme=scheme, host=host)

    async def _reply(
        self,
        stream: trio.abc.SendStream,
        response: http11.Response | None,
        log: FilteringBoundLogger,
        *,
        head: bool = False,
        unsaid: str = "silent",
    ) -> None:
        """Send `response`; the log has `unsaid` as the reason where there is none."""
        if response is None or response.refuses:
            status, reason = (response.status, response.text) if response else (None, unsaid)
            self._context.metrics.refused(status)
            log.info("connection.refused", status=status, reason=reason)
        if response:
            await http11.send_response(
                stream, response, self._context.config.timeouts.close, head=head
            )

    def _ask(
        self, request: http11.Request, peer: Peer, client: Peer
    ) -> http11.Response | http11.Upgrade | http11.Monitor:
        """What `request` gets while there is room; `client` speaks through `peer`."""
        settings = self._context.config.server
        reply = http11.answer(request, settings.paths, settings.allowed_origins, self._static)
        if reply is not http11.Monitor.METRICS:
            return reply
        proxied = not PROXY_HEADERS.isdisjoint(request.headers)
        if proxied and (client is peer or self._is_proxy(client)):
            # Behind this proxy it may be anybody.
            return http11.Response(403, "No trusted proxy names the client that asks for metrics.")
        host = LOOPBACK if client.network is None else client.user
        if not is_trusted(host, self._context.config.metrics.allow):
            return http11.Response(403, "Metrics are for the networks in metrics.allow alone.")
        return reply

    async def _answer(
        self,
        asked: http11.Response | http11.Upgrade | http11.Monitor,
        request: http11.Request,
        *,
        full: bool,
    ) -> http11.Response | http11.Upgrade:
        if asked is http11.Monitor.METRICS:
            # Above the caps too: whoever watches shall see that they are reached.
            accept = request.headers.get("accept", "")
            return await scrape(self._context, self._all.held("all"), accept)
        reason = None
        if full:
            reason = "All connections are taken."
        elif self._context.shutdown.no_new_uploads.fired:
            reason = "The server is shutting down."
        if asked is http11.Monitor.HEALTH:
            health = http11.busy(reason) if reason else await self._health()
            return evolve(health, refuses=False)
        return http11.busy(reason) if reason else asked

    async def _authorize(
        self, request: http11.Request, client: Peer, log: FilteringBoundLogger
    ) -> Grant | http11.Response | None:
        """What the credential of a handshake allows, or the answer to a wrong one.

        None without one: metadata may bring it.
        """
        authenticator, credential = self._context.authenticator, request.credential
        if authenticator.is_open or credential is None:
            return None
        try:
            with self._context.shutdown.no_new_uploads.guard() as stopped:
                grant = await authenticator.check(credential, client.network or client.name)
        except Unauthorized as refused:
            self._context.metrics.credentials_refused.inc()
            log.warning("credentials.refused", reason=refused.why)
            return http11.unauthorized(NOT_VALID)
        return http11.busy("The server is shutting down.") if stopped.cancelled_caught else grant

    async def _health(self) -> http11.Response:
        try:
            with trio.fail_after(HEALTH_SECONDS):
                await self._context.store.check()
        except StorageError as error:
            return http11.busy(f"The storage does not work: {error}.")
        except trio.TooSlowError:
            return http11.busy(f"The storage does not answer within {HEALTH_SECONDS:g} seconds.")
        return http11.Response(200, "ok")

    async def _upgrade(
        self,
        stream: trio.abc.HalfCloseableStream,
        key: bytes,
        surplus: bytes,
        peer: Peer,
        grant: Grant | None,
        log: FilteringBoundLogger,
    ) -> None:
        began = trio.current_time()
        timeout = self._context.config.timeouts.handshake
        reason, stored = "stopped at once", False
        log.info("connection.opened")
        try:
            part_size = self._context.store.part_size
            async with open_transport(stream, key, surplus, timeout, part_size) as transport:
                connection = Connection(self._context, transport, peer, log, grant)
                try:
                    reason = await serve_upload(connection)
                finally:
                    stored = connection.stored > 0
            if not transport.peer_ended:
                await drop_until_quiet(stream, self._context.config.timeouts.close)
        except* TransportClosed as gone:
            reason = str(gone.exceptions[0])
        finally:
            seconds = round(trio.current_time() - began, 6)
            log.info("connection.closed", reason=reason, seconds=seconds, stored=stored)
