"""Accepts connections while the daemon runs, and while it drains."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from galileod.shutdown import Interrupt, Shutdown

from .listeners import Listener, Listeners

Handler = Callable[[trio.SocketStream, bool], Awaitable[object]]
"""Serves a connection; the second argument is whether it begins with a PROXY protocol header."""


async def accept_connections(listeners: Listeners, handler: Handler, shutdown: Shutdown) -> None:
    """Call `handler` for each connection; returns when the daemon stops and all have ended.

    During the drain, the listeners that the daemon opened still accept connections, so that
    `handler` can respond with 503. They are closed when all connections from before the drain have
    ended. The listeners that systemd passed are closed when the drain begins: new connections queue
    in the kernel until the next process accepts them.
    """
    closing = Interrupt()
    with shutdown.at_once.guard():
        async with trio.open_nursery() as after_drain:
            try:
                async with trio.open_nursery() as before_drain:
                    handlers = _HandlerNursery(shutdown.no_new_uploads, before_drain, after_drain)
                    after_drain.start_soon(_accept, listeners.own, handler, handlers, closing)
                    await _accept(listeners.passed, handler, handlers, shutdown.no_new_uploads)
            finally:
                listeners.remove()
                closing.fire()


@frozen
class _HandlerNursery:
    """Starts handlers in one of two nurseries.

    So connections that are accepted during the drain do not prolong it.
    """

    _draining: Interrupt
    _before_drain: trio.Nursery
    _after_drain: trio.Nursery

    def start_soon(self, handler: Callable[..., Awaitable[object]], *arguments: Any) -> None:  # noqa: ANN401  trio's signature
        """Start a handler; trio.serve_listeners calls no other method of a nursery."""
        nursery = self._after_drain if self._draining.fired else self._before_drain
        nursery.start_soon(handler, *arguments)


async def _accept(
    listeners: list[Listener], handler: Handler, handlers: _HandlerNursery, until: Interrupt
) -> None:
    """Accept connections on `listeners` until `until` fires, then close them.

    Also waits for `until` if the list is empty.
    """

    async def serve(listener: Listener) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            await handler(stream, listener.proxy_protocol)

        # trio documents that any object with a start_soon method is accepted.
        await trio.serve_listeners(handle, [listener.socket], handler_nursery=handlers)  # type: ignore[arg-type]

    with until.guard():
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(serve, listener)
            await trio.sleep_forever()
