"""Accepts connections while the daemon runs, and while it drains."""

import logging
import socket
from collections.abc import Awaitable, Callable
from errno import EBADF, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOTSOCK
from typing import Final

import trio
from attrs import frozen

from galileod.net.sockets import DirectSocket
from galileod.shutdown import Interrupt, Shutdown

from .listeners import Listener, Listeners

AT_ONCE: Final = 16
"""Maximum connections that are accepted on an address before other tasks run."""

EXHAUSTED: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
"""Errors while the process or the machine can have no more connections."""

EXHAUSTED_SECONDS: Final = 0.1
"""Wait in seconds before the next attempt in that case."""

UNUSABLE: Final = frozenset({EBADF, EINVAL, ENOTSOCK})
"""Errors that say that the listening socket cannot be used."""

Handler = Callable[[DirectSocket, bool], Awaitable[object]]
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

    def start_soon(self, handler: Handler, stream: DirectSocket, proxy_protocol: bool) -> None:
        nursery = self._after_drain if self._draining.fired else self._before_drain
        nursery.start_soon(_serve, handler, stream, proxy_protocol)


async def _serve(handler: Handler, stream: DirectSocket, proxy_protocol: bool) -> None:
    try:
        await handler(stream, proxy_protocol)
    finally:
        stream.close()


async def _accept(
    listeners: list[Listener], handler: Handler, handlers: _HandlerNursery, until: Interrupt
) -> None:
    """Accept connections on `listeners` until `until` fires, then close them.

    Also waits for `until` if the list is empty.
    """
    with until.guard():
        async with trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(_accept_on, listener, handler, handlers)
            await trio.sleep_forever()


async def _accept_on(listener: Listener, handler: Handler, handlers: _HandlerNursery) -> None:
    async with listener.socket:
        # trio accepts one connection in an iteration of the event loop, and takes longer for each.
        listening = socket.socket(fileno=listener.socket.socket.fileno())
        try:
            while True:
                await trio.lowlevel.wait_readable(listening)
                if not _accept_waiting(listening, listener.proxy_protocol, handler, handlers):
                    await trio.sleep(EXHAUSTED_SECONDS)
        finally:
            listening.detach()  # `listener.socket` closes the descriptor


def _accept_waiting(
    listening: socket.socket, proxy_protocol: bool, handler: Handler, handlers: _HandlerNursery
) -> bool:
    """Accept the connections that wait, at most AT_ONCE; returns False if there are too many."""
    for _ in range(AT_ONCE):
        try:
            connected, _address = listening.accept()
        except BlockingIOError:
            break
        except OSError as error:
            if error.errno in UNUSABLE:
                raise
            if error.errno in EXHAUSTED:
                # The logger of trio.serve_listeners, which serves the control socket: `logs` limits
                # the number of such lines.
                logging.getLogger("trio.serve_listeners").exception(
                    "accept failed (%s); retrying in %s seconds", error.strerror, EXHAUSTED_SECONDS
                )
                return False
            # All other errors are those of a connection that was lost already (accept(2)).
        else:
            handlers.start_soon(handler, DirectSocket(connected), proxy_protocol)
    return True
