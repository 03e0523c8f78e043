"""The routing table: path, methods, access, whether it is served when full, and the handler."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from typing import Final

from attrs import evolve, frozen

from galileod.net.http11 import Refused, Request, Response
from galileod.uploads.context import Context

from .authorize import Access, authorize
from .exchange import Exchange, busy
from .health import Health
from .origin import check_origin
from .scrape import answer_metrics
from .static import answer_static
from .upgrade import check_upgrade, is_upgrade, require_upgrade, serve_upgrade

READ: Final = ("GET", "HEAD")
"""The methods of resources that are only read. A response to HEAD is sent without its body."""

Handler = Callable[[Exchange], Awaitable[Response | None]]
"""Returns the response to a request; None if it has used the connection for an upload instead."""


@frozen
class Route:
    """A row of the table.

    With `when_full` it is also served while no work is accepted: above the limits on connections,
    and while the daemon drains. With `websocket` the row applies to WebSocket handshakes, without
    it to all other requests.
    """

    path: str
    handler: Handler
    methods: tuple[str, ...] = READ
    access: Access = Access.ANYBODY
    when_full: bool = False
    websocket: bool = False


class Routes:
    """A routing table. If two rows have the same path and `websocket`, the first one is used."""

    def __init__(self, *rows: Route, allowed_origins: Collection[str] = ()) -> None:
        self._rows: dict[tuple[str, bool], Route] = {}
        for row in rows:
            self._rows.setdefault((row.path, row.websocket), row)
        self._methods = tuple(dict.fromkeys(method for row in rows for method in row.methods))
        self._websockets = [path for path, websocket in self._rows if websocket]
        self._allowed_origins = allowed_origins

    def find(self, request: Request, *, by_unknown_proxy: bool = False) -> Route:
        """The row for `request`. `by_unknown_proxy`: see `Exchange`.

        Raises Refused, by the first of these that applies: 405 if no row of the table has the
        method; 404 if no row has the path; 405 if the row does not have the method; what
        `check_origin` and `check_upgrade` raise, for a WebSocket handshake.
        """
        if request.method not in self._methods:
            raise _wrong_method(self._methods)
        websocket = bool(self._websockets) and is_upgrade(request)
        route = self._rows.get((request.path, websocket))
        if route is None:
            places = f"Uploads are accepted at {', '.join(self._websockets)}."
            raise Refused(Response(404, places if websocket else "Not found."))
        if request.method not in route.methods:
            raise _wrong_method(route.methods)
        if websocket:
            check_origin(request, self._allowed_origins, by_unknown_proxy=by_unknown_proxy)
            check_upgrade(request)
        return route


def public_routes(
    context: Context, static: Mapping[str, Response], connections: Callable[[], int]
) -> Routes:
    """The routing table of the addresses in `server.listen`.

    `static` are files by their paths; `connections` returns the number of open connections.
    """
    server = context.config.server
    metrics = partial(answer_metrics, context, connections)
    upload = partial(serve_upgrade, context)
    return Routes(
        Route("/healthz", Health(context).answer, when_full=True),
        Route("/metrics", metrics, access=Access.METRICS, when_full=True),
        *(Route(path, partial(answer_static, file)) for path, file in static.items()),
        *(Route(path, require_upgrade) for path in server.paths),
        *(Route(path, upload, access=Access.CREDENTIAL, websocket=True) for path in server.paths),
        allowed_origins=server.allowed_origins,
    )


async def respond(routes: Routes, exchange: Exchange, context: Context) -> Response | None:
    """Route, authorise and handle a request; None if its handler has used the connection.

    While no work is accepted, a request that would be refused is answered with 503 instead.
    """
    try:
        route = routes.find(exchange.request, by_unknown_proxy=exchange.by_unknown_proxy)
        if exchange.busy and not route.when_full:
            return busy(exchange.busy)
        grant = await authorize(route.access, exchange, context)
    except Refused as refused:
        return busy(exchange.busy) if exchange.busy else refused.response
    return await route.handler(evolve(exchange, grant=grant) if grant else exchange)


def _wrong_method(allowed: Collection[str]) -> Refused:
    named = " or ".join(method for method in allowed if method != "HEAD")
    headers = {"Allow": ", ".join(allowed)}
    return Refused(Response(405, f"Only {named} is allowed here.", headers))
