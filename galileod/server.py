"""Connections: who is let in, what each asks for, and an orderly end for all of them."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from . import front
from .addresses import (
    UNIX_PEER,
    TcpAddress,
    client_host,
    is_trusted,
    network_of,
    unmapped,
    x_forwarded_hops,
)
from .auth.grant import NOT_VALID, Grant, Unauthorized
from .config import Config
from .house import House
from .scrape import scrape
from .session import Session, serve_upload
from .site import load_site
from .storage.base import StorageError
from .streams import close_in_order, drop_until_quiet
from .transport import TransportClosed, open_transport

MAX_REFUSING: Final = 64
"""Connections above the caps that are still answered at once; more are closed without a word."""

STOPPING_SECONDS: Final = 1.0
"""At most so long is a peer waited for at its end, once the daemon stops."""

HEALTH_SECONDS: Final = 5.0
"""How long the storage may take to show that it works."""

PROXY_HEADERS: Final = frozenset({"forwarded", "via", "x-forwarded-for", "x-real-ip"})
"""What shows that a request came through a proxy."""

LOOPBACK: Final = "127.0.0.1"
"""Where a peer on a unix socket is: on this machine."""

_log: FilteringBoundLogger = structlog.get_logger()


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
        host, port = unmapped(address[0]), address[1]
        return cls(str(TcpAddress(host, port)), host, network_of(host))


class Cap:
    """So many at once for each key."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def held(self, key: str) -> int:
        """How many there are now."""
        return self._held[key]

    @contextmanager
    def hold(self, key: str | None, limit: int) -> Iterator[bool]:
        """Count one more while it lasts, or say that there is no room. None is never counted."""
        if key is not None and self._held[key] >= limit:
            yield False
            return
        if key is not None:
            self._held[key] += 1
        try:
            yield True
        finally:
            if key is not None:
                self._held[key] -= 1
                if not self._held[key]:
                    del self._held[key]


class Server:
    """Serves connections, each on its own: what fails in one ends there."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._all = Cap()
        self._per_network = Cap()
        self._refusing = Cap()
        self._site = load_site(house.config)

    def prepare(self, config: Config) -> Callable[[], None]:
        """Make the page for `config`; gives what puts it in place. Blocks, as `load_site` does."""
        site = load_site(config)

        def put_in_place() -> None:
            self._site = site

        return put_in_place

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
                            await self._serve(stream, peer, log, full=not admitted)
                        else:
                            self._house.metrics.refused(None)
                    finally:
                        if self._house.stopping.no_new_uploads.fired:
                            seconds = min(seconds, STOPPING_SECONDS)
                        await close_in_order(stream, seconds)
                except* Exception:  # the wall between one connection and the daemon
                    log.exception("connection.error")

    async def _serve(
        self,
        stream: trio.abc.HalfCloseableStream,
        peer: Peer,
        log: FilteringBoundLogger,
        *,
        full: bool,
    ) -> None:
        try:
            with self._house.stopping.no_new_uploads.guard() as stopped:
                request = await front.read_request(stream, self._house.config.timeouts.handshake)
            if stopped.cancelled_caught:
                await self._reply(stream, front.busy("The server is shutting down."), log)
                return
        except front.RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
        except front.RequestTimeout as slow:
            await self._reply(stream, slow.response, log)
        except front.BadRequest as bad:
            await self._reply(stream, bad.response, log)
        else:
            client = self._behind(peer, request)
            log = log.bind(peer=client.name)
            network = client.network if client is not peer else None
            most = self._house.config.server.max_connections_per_address
            with self._per_network.hold(network, most) as admitted:
                asked = self._ask(request, peer, client)
                reply = await self._answer(asked, request, full=full or not admitted)
                grant = None
                if isinstance(reply, front.Upgrade):
                    try:
                        grant = await self._authorize(request, client)
                    except Unauthorized as refused:
                        self._house.metrics.credentials_refused.inc()
                        log.warning("credentials.refused", reason=refused.why)
                        reply = front.unauthorized(NOT_VALID)
                if isinstance(reply, front.Upgrade):
                    await self._upgrade(stream, reply.key, request.surplus, client, grant, log)
                else:
                    if reply.status == HTTPStatus.FORBIDDEN and "origin" in request.headers:
                        # What `server.allowed_origins` would have to name.
                        log = log.bind(origin=request.origin)
                    await self._reply(stream, reply, log, head=request.method == "HEAD")

    def _is_proxy(self, peer: Peer) -> bool:
        trusted = self._house.config.server.trusted_proxies
        return peer.network is not None and is_trusted(peer.user, trusted)

    def _behind(self, peer: Peer, request: front.Request) -> Peer:
        """The client that a trusted proxy speaks for; everybody else speaks for himself."""
        if not self._is_proxy(peer):
            return peer
        hops = x_forwarded_hops(request.headers.get("x-forwarded-for", ""))
        host = client_host(peer.user, hops, self._house.config.server.trusted_proxies)
        return Peer(host, host, network_of(host))

    async def _reply(
        self,
        stream: trio.abc.SendStream,
        response: front.Response | None,
        log: FilteringBoundLogger,
        *,
        head: bool = False,
    ) -> None:
        if response is None or response.refuses:
            status, reason = (response.status, response.text) if response else (None, "silent")
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

    async def _authorize(self, request: front.Request, client: Peer) -> Grant | None:
        """What the credential of a handshake allows; None without one: metadata may bring it.

        Raises Unauthorized.
        """
        gate, credential = self._house.gate, request.credential
        if gate.is_open or credential is None:
            return None
        return await gate.check(credential, client.network or client.name)

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
