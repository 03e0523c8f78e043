"""The control socket: HTTP over a unix socket, for the daemon's user and root."""

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod.config.model import ConfigError
from galileod.net.addresses import UNIX_PEER
from galileod.net.http11 import (
    Refused,
    RequestAbandoned,
    Response,
    read_request,
    send_response,
)
from galileod.net.peer import Peer
from galileod.net.streams import close_in_order
from galileod.net.unixsocket import user_of_peer
from galileod.uploads.context import Context

from .authorize import Access
from .caps import Cap
from .exchange import Exchange
from .files import answer_files, answer_prune, answer_remove, answer_rescan
from .routes import Route, Routes, respond
from .status import Instance, answer_status
from .uploads import answer_discard, answer_uploads
from .usage import answer_usage

MAX_CONNECTIONS: Final = 16
"""Maximum simultaneous connections; others are closed without a response."""

SEND_SECONDS: Final = 60.0
"""Time limit for each part of a response: a list may be read by a program that pauses."""

_PEER: Final = Peer(UNIX_PEER, UNIX_PEER, UNIX_PEER)

_log: FilteringBoundLogger = structlog.get_logger()


@frozen
class Reloaded:
    """A reload that was done: the configuration file, and the keys that changed.

    The new values of `changed` are in force; `restart_needed` keep the old ones until a restart.
    """

    source: str
    changed: Sequence[str]
    restart_needed: Sequence[str]


Reload = Callable[[], Awaitable[Reloaded]]
"""Reads the configuration and puts it in force. Raises ConfigError if it is rejected."""


def control_routes(context: Context, reload: Reload, instance: Instance) -> Routes:
    """The routing table of the control socket."""
    row = partial(Route, access=Access.OWNER, when_full=True)
    return Routes(
        row("/reload", partial(answer_reload, reload), ("POST",)),
        row("/status", partial(answer_status, context, instance)),
        row("/usage", partial(answer_usage, context)),
        row("/uploads", partial(answer_uploads, context)),
        row("/uploads/discard", partial(answer_discard, context), ("POST",)),
        row("/files", partial(answer_files, context)),
        row("/files/remove", partial(answer_remove, context), ("POST",)),
        row("/files/prune", partial(answer_prune, context), ("POST",)),
        row("/files/rescan", partial(answer_rescan, context), ("POST",)),
    )


async def answer_reload(reload: Reload, _exchange: Exchange) -> Response:
    """Reload; the response is 200 with a summary, or 422 with the reason of a rejection."""
    try:
        reloaded = await reload()
    except ConfigError as error:
        # The event config.rejected was logged, so that connection.refused would be redundant.
        return Response(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), refuses=False)
    summary = f"reloaded {reloaded.source}"
    if reloaded.changed:
        summary += f"; changed: {', '.join(reloaded.changed)}"
    if reloaded.restart_needed:
        summary += f"; restart needed for: {', '.join(reloaded.restart_needed)}"
    return Response(HTTPStatus.OK, summary)


class ControlServer:
    """Serves connections to the control socket, with the routing table `routes`."""

    def __init__(self, context: Context, routes: Routes) -> None:
        self._context = context
        self._routes = routes
        self._cap = Cap()

    async def serve(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end. Raises nothing."""
        timeouts = self._context.config.timeouts
        log = _log.bind(connection=secrets.token_hex(4), peer=_PEER.name, network=_PEER.network)
        with self._cap.hold("control", MAX_CONNECTIONS) as admitted:
            try:
                try:
                    if admitted:
                        await self._serve(stream, log)
                finally:
                    await close_in_order(stream, timeouts.close if admitted else 0)
            except* Exception:  # a defect in one connection must not end the daemon
                log.exception("connection.error")

    async def _serve(self, stream: trio.SocketStream, log: FilteringBoundLogger) -> None:
        timeouts = self._context.config.timeouts
        head, version = False, "1.0"
        try:
            request = await read_request(stream, timeouts.handshake)
            head, version = request.method == "HEAD", request.version
            is_owner = user_of_peer(stream) in (0, os.geteuid())
            exchange = Exchange(request, stream, _PEER, _PEER, log, is_owner=is_owner)
            response = await respond(self._routes, exchange, self._context)
        except RequestAbandoned as gone:
            log.debug("connection.abandoned", reason=str(gone))
            return
        except Refused as refused:
            response = refused.response
        if response is not None:
            if response.refuses:
                log.info("connection.refused", status=response.status, reason=response.text)
            await send_response(stream, response, SEND_SECONDS, head=head, version=version)
