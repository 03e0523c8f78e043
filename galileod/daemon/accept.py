"""The doors: who is let in while the daemon runs, and while it drains."""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from attrs import frozen

from galileod.shutdown import Interrupt, Shutdown

from .listeners import Bound, Listeners

Handler = Callable[[trio.SocketStream, bool], Awaitable[object]]
"""Serves a connection, and is told whether it begins with a PROXY protocol header."""


async def accept_connections(listeners: Listeners, handler: Handler, shutdown: Shutdown) -> None:
    """Give each connection to `handler`, until the daemon stops and all of them have ended.

    While it drains, whoever knocks at a listener of our own is still let in, so that `handler` can
    tell him to come later; the listener closes when those from before have ended. A listener that
    systemd passed is let go at once: who knocks there waits in the kernel for our successor.
    """
    closing = Interrupt()
    with shutdown.at_once.guard():
        async with trio.open_nursery() as latecomers:
            try:
                async with trio.open_nursery() as guests:
                    hall = _Hall(shutdown.no_new_uploads, guests, latecomers)
                    latecomers.start_soon(_accept, listeners.own, handler, hall, closing)
                    await _accept(listeners.passed, handler, hall, shutdown.no_new_uploads)
            finally:
                listeners.remove()
                closing.fire()


@frozen
class _Hall:
    """Where a connection runs: nobody waits for one that comes while the daemon drains."""

    _draining: Interrupt
    _guests: trio.Nursery
    _latecomers: trio.Nursery

    def start_soon(self, handler: Callable[..., Awaitable[object]], *arguments: Any) -> None:  # noqa: ANN401  as trio has it
        """What trio.serve_listeners asks of a nursery."""
        nursery = self._latecomers if self._draining.fired else self._guests
        nursery.start_soon(handler, *arguments)


async def _accept(doors: list[Bound], handler: Handler, hall: _Hall, until: Interrupt) -> None:
    """Accept at these doors, of which there may be none, and close them at the end."""

    async def keep(door: Bound) -> None:
        async def let_in(stream: trio.SocketStream) -> None:
            await handler(stream, door.proxy_protocol)

        # Its documentation takes any object with a start_soon method.
        await trio.serve_listeners(let_in, [door.listener], handler_nursery=hall)  # type: ignore[arg-type]

    with until.guard():
        async with trio.open_nursery() as keeping:
            for door in doors:
                keeping.start_soon(keep, door)
            await trio.sleep_forever()
