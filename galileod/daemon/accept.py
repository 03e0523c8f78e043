"""Accepting connections while the daemon runs, and while it drains."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from galileod.shutdown import Interrupt, Shutdown

from .listeners import Listener, Listeners

Handler = Callable[[trio.SocketStream, bool], Awaitable[object]]
"""Serves a connection; the second argument is whether it begins with a PROXY protocol header."""


async def accept_connections(listeners: Listeners, handler: Handler, shutdown: Shutdown) -> None:
    """Give each connection to `handler`, until the daemon stops and all of them have ended.

    While it drains, listeners of its own still accept, so that `handler` can respond with 503; they
    are closed when the connections from before the drain have ended. A listener that systemd passed
    is closed at once: connections to it queue in the kernel until the next process accepts them.
    """
    closing = Interrupt()
    with shutdown.at_once.guard():
        async with trio.open_nursery() as late:
            try:
                async with trio.open_nursery() as waited_for:
                    handlers = _HandlerNursery(shutdown.no_new_uploads, waited_for, late)
                    late.start_soon(_accept, listeners.own, handler, handlers, closing)
                    await _accept(listeners.passed, handler, handlers, shutdown.no_new_uploads)
            finally:
                listeners.remove()
                closing.fire()


@frozen
class _HandlerNursery:
    """Starts handlers; connections accepted during the drain do not prolong it."""

    _draining: Interrupt
    _waited_for: trio.Nursery
    _late: trio.Nursery

    def start_soon(self, handler: Callable[..., Awaitable[object]], *arguments: Any) -> None:  # noqa: ANN401  as trio has it
        """The method of a nursery that trio.serve_listeners calls."""
        nursery = self._late if self._draining.fired else self._waited_for
        nursery.start_soon(handler, *arguments)


async def _accept(
    listeners: list[Listener], handler: Handler, handlers: _HandlerNursery, until: Interrupt
) -> None:
    """Accept at these listeners, of which there may be none, and close them at the end."""

    async def serve(listener: Listener) -> None:
        async def handle(stream: trio.SocketStream) -> None:
            await handler(stream, listener.proxy_protocol)

        # Its documentation allows any object with a start_soon method.
        await trio.serve_listeners(handle, [listener.socket], handler_nursery=handlers)  # type: ignore[arg-type]

    with until.guard():
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(serve, listener)
            await trio.sleep_forever()
