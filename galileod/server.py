"""Connections: who is let in, what each asks for, and an orderly end for all of them."""

import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from . import front
from .addresses import is_trusted, network_of
from .arrival import Arrival, Peer
from .auth.grant import NOT_VALID, Grant, Unauthorized
from .caps import Cap
from .config import Config
from .forwarded import told_by
from .house import House
from .proxyproto import ProxyHeaderError
from .scrape import scrape
from .session import Session, serve_upload
from .site import load_site
from .storage.base import StorageError
from .streams import close_in_order, drop_until_quiet
from .tls import HandshakeError, load_context
from .transport import TransportClosed, open_transport

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

    def __init__(self, house: House) -> None:
        self._house = house
        self._all = Cap()
        self._per_network = Cap()
        self._refusing = Cap()
        self.prepare(house.config)()

    def prepare(self, config: Config) -> Callable[[], None]:
        """Make the page and the certificate for `config`; gives what puts them in place.

        Reads files. Raises ConfigError where they are of no use.
        """
        site, tls = load_site(config), load_context(config.tls)

        def put_in_place() -> None:
            self._site, self._tls = site, tls

        return put_in_place

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
        log = _log.bind(connection=secrets.token_hex(4), peer=peer.name)
        deadline = trio.current_time() + self._house.config.timeouts.handshake
        arrival = Arrival(stream, peer, deadline)
        network = None if self._is_proxy(peer) else peer.network
        caps = self._house.config.server
        with (
            self._all.hold("all", caps.max_connections) as one,
            self._per_network.hold(network, caps.max_connections_per_address) as other,
        ):
            admitted = one and other
            with self._refusing.hold(None if admitted else "all", MAX_REFUSING) as answered:
                seconds: float = self._house.config.timeouts.close if answered else 0
                try:
                    try:
                        if answered:
                            await self._serve(arrival, log, proxy_protocol, full=not admitted)
                        else:
                            self._house.metrics.refused(None)
                    finally:
                        if self._house.stopping.no_new_uploads.fired:
                            seconds = min(seconds, STOPPING_SECONDS)
                        await close_in_order(arrival.stream, seconds)
                except* Exception:  # the wall between one connection and the daemon
                    log.exception("connection.error")

    async def _serve(
        self, arrival: Arrival, log: FilteringBoundLogger, proxy_protocol: bool, *, full: bool
    ) -> None:
        tls = None if arrival.peer.network is None else self._tls
        network = None
        try:
            if proxy_protocol:
                await arrival.hear_proxy(self._house.config.server.trusted_proxies)
                log = log.bind(peer=arrival.peer.name)
                network = None if self._is_proxy(arrival.peer) else arrival.peer.network
            most = self._house.config.server.max_connections_per_address
            with self._per_network.hold(network, most) as admitted:
                if tls is not None:
                    await arrival.secure(tls)
                with self._house.stopping.no_new_uploads.guard() as stopped:
                    request = await front.read_request(arrival.stream, arrival.left)
                if stopped.cancelled_caught:
                    busy = front.busy("The server is shutting down.")
                    await self._reply(arrival.stream, busy, log)
                else:
                    full = full or not admitted
                    await self._serve_request(arrival, request, log, full=full)
        except front.RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
        except front.RequestTimeout as slow:
            await self._reply(arrival.stream, slow.response, log)
        except front.BadRequest as bad:
            await self._reply(arrival.stream, bad.response, log)
        except HandshakeError as failed:
            await self._reply(arrival.stream, failed.response, log, unsaid=str(failed))
        except ProxyHeaderError as wrong:
            await self._reply(arrival.stream, None, log, unsaid=str(wrong))

    async def _serve_request(
        self, arrival: Arrival, request: front.Request, log: FilteringBoundLogger, *, full: bool
    ) -> None:
        """Raises BadRequest."""
        peer, stream = arrival.peer, arrival.stream
        client, request = self._behind(peer, evolve(request, scheme=arrival.scheme))
        log = log.bind(peer=client.name)
        network = client.network if client is not peer else None
        most = self._house.config.server.max_connections_per_address
        with self._per_network.hold(network, most) as admitted:
            asked = self._ask(request, peer, client)
            reply = await self._answer(asked, request, full=full or not admitted)
            grant = None
            if isinstance(reply, front.Upgrade):
                grant = await self._authorize(request, client, log)
            if isinstance(grant, front.Response):
                await self._reply(stream, grant, log)
            elif isinstance(reply, front.Upgrade):
                await self._upgrade(stream, reply.key, request.surplus, client, grant, log)
            else:
                if reply.status == HTTPStatus.FORBIDDEN and "origin" in request.headers:
                    # What `server.allowed_origins` would have to name.
                    log = log.bind(origin=request.origin)
                await self._reply(stream, reply, log, head=request.method == "HEAD")

    def _is_proxy(self, peer: Peer) -> bool:
        trusted = self._house.config.server.trusted_proxies
        return peer.network is not None and is_trusted(peer.user, trusted)

    def _behind(self, peer: Peer, request: front.Request) -> tuple[Peer, front.Request]:
        """The client that a trusted proxy speaks for, and the request as that one made it.

        Everybody else speaks for himself. Raises BadRequest.
        """
        if not self._is_proxy(peer):
            return peer, request
        try:
            told = told_by(peer.user, request.headers, self._house.config.server.trusted_proxies)
        except ValueError as contradiction:
            raise front.BadRequest(400, str(contradiction)) from None
        client = Peer(told.client, told.client, network_of(told.client))
        scheme, host = told.scheme or request.scheme, told.host or request.host
        return client, evolve(request, scheme=scheme, host=host)

    async def _reply(
        self,
        stream: trio.abc.SendStream,
        response: front.Response | None,
        log: FilteringBoundLogger,
        *,
        head: bool = False,
        unsaid: str = "silent",
    ) -> None:
        """Send `response`; the log has `unsaid` as the reason where there is none."""
        if response is None or response.refuses:
            status, reason = (response.status, response.text) if response else (None, unsaid)
            self._house.metrics.refused(status)
            log.info("connection.refused", status=status, reason=reason)
        if response:
            await front.send_response(
                stream, response, self._house.config.timeouts.close, head=head
            )

    def _ask(
        self, request: front.Request, peer: Peer, client: Peer
    ) -> front.Response | front.Upgrade | front.Monitor:
        """What `request` gets while there is room; `client` speaks through `peer`."""
        settings = self._house.config.server
        reply = front.answer(request, settings.paths, settings.allowed_origins, self._site)
        if reply is not front.Monitor.METRICS:
            return reply
        proxied = not PROXY_HEADERS.isdisjoint(request.headers)
        if proxied and (client is peer or self._is_proxy(client)):
            # Behind this proxy it may be anybody.
            return front.Response(403, "No trusted proxy names the client that asks for metrics.")
        host = LOOPBACK if client.network is None else client.user
        if not is_trusted(host, self._house.config.metrics.allow):
            return front.Response(403, "Metrics are for the networks in metrics.allow alone.")
        return reply

    async def _answer(
        self,
        asked: front.Response | front.Upgrade | front.Monitor,
        request: front.Request,
        *,
        full: bool,
    ) -> front.Response | front.Upgrade:
        if asked is front.Monitor.METRICS:
            # Above the caps too: whoever watches shall see that they are reached.
            accept = request.headers.get("accept", "")
            return await scrape(self._house, self._all.held("all"), accept)
        reason = None
        if full:
            reason = "All connections are taken."
        elif self._house.stopping.no_new_uploads.fired:
            reason = "The server is shutting down."
        if asked is front.Monitor.HEALTH:
            health = front.busy(reason) if reason else await self._health()
            return evolve(health, refuses=False)
        return front.busy(reason) if reason else asked

    async def _authorize(
        self, request: front.Request, client: Peer, log: FilteringBoundLogger
    ) -> Grant | front.Response | None:
        """What the credential of a handshake allows, or the answer to a wrong one.

        None without one: metadata may bring it.
        """
        gate, credential = self._house.gate, request.credential
        if gate.is_open or credential is None:
            return None
        try:
            with self._house.stopping.no_new_uploads.guard() as stopped:
                grant = await gate.check(credential, client.network or client.name)
        except Unauthorized as refused:
            self._house.metrics.credentials_refused.inc()
            log.warning("credentials.refused", reason=refused.why)
            return front.unauthorized(NOT_VALID)
        return front.busy("The server is shutting down.") if stopped.cancelled_caught else grant

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
        grant: Grant | None,
        log: FilteringBoundLogger,
    ) -> None:
        began = trio.current_time()
        timeout = self._house.config.timeouts.handshake
        reason, stored = "stopped at once", False
        log.info("connection.opened")
        try:
            async with open_transport(stream, key, surplus, timeout) as transport:
                session = Session(self._house, transport, peer.user, peer.name, log, grant)
                try:
                    reason = await serve_upload(session)
                finally:
                    stored = session.stored
            if not transport.heard_out:
                await drop_until_quiet(stream, self._house.config.timeouts.close)
        except* TransportClosed as gone:
            reason = str(gone.exceptions[0])
        finally:
            seconds = round(trio.current_time() - began, 6)
            log.info("connection.closed", reason=reason, seconds=seconds, stored=stored)
