"""The daemon: starts the service from a prepared configuration, runs it, and stops it."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod import __version__
from galileod.config.model import Config
from galileod.files.retention import Retention
from galileod.hooks.delivery import Delivery, send
from galileod.ledger.lease import Lease
from galileod.logs.setup import SUPPRESSION_SECONDS, log_suppressed
from galileod.metrics import Metrics, watch_loop
from galileod.policy.pacing import least_credit
from galileod.server.connection import Server
from galileod.server.control import ControlServer, control_routes
from galileod.server.status import Instance
from galileod.storage.local.timing import Timings
from galileod.storage.state import control_path
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool, PoolPartMemory

from .accept import accept_connections
from .agreeing import compare_settings
from .clocks import watch_clock
from .control import serve_control_socket
from .listeners import ListenError, Listeners, open_listeners
from .node import keep_lease
from .open_files import fit_open_files
from .prepare import Prepared
from .reload import Read, Reloader, reload_on_signals
from .settling import settle_left
from .signals import receive_signals
from .start import StartError, Tools, open_all
from .status import report_to
from .systemd import Manager
from .token_uses import save_token_uses

HURRY_SECONDS: Final = 10.0
"""Seconds for files that are being published when the time for draining is over."""

_log: FilteringBoundLogger = structlog.get_logger()


async def run(prepared: Prepared, read: Read) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError.

    SIGHUP reloads the configuration from `read`. The caller must have blocked or ignored SIGHUP.
    """
    manager = _read_manager()
    with receive_signals() as (stops, hangups), ExitStack() as resources:
        prepared = evolve(prepared, config=fit_open_files(prepared.config))
        metrics = Metrics()
        config = prepared.config
        pool = _make_pool(config)
        tools = Tools(_make_timings(metrics), PoolPartMemory(pool))
        opened = await open_all(resources, config, tools, manager, stops)
        if opened is None:
            _log.info("server.stopped", uploads=0)
            manager.notify("STOPPING=1", "STATUS=Stopped")
            return
        store, ledger = opened
        node = ledger.node
        lease = Lease.endless() if node is None else node.lease
        context = Context(config, store, ledger, pool, prepared.authenticator, metrics, lease=lease)
        await context.keeper.refresh()
        server = Server(context, prepared.static, prepared.tls)
        reloader = Reloader(read, context, server)
        listeners = await _open_listeners(prepared, manager)
        instance = Instance(server, listeners.names, time.time())
        routes = control_routes(context, reloader.reload, instance)
        control_server = ControlServer(context, routes)
        async with trio.open_nursery() as control:
            await control.start(
                serve_control_socket,
                control_path(config.storage.directory, config.ledger.node_name),
                control_server.serve,
                store.check,
            )
            _log.info(
                "server.started",
                listen=listeners.names,
                version=__version__,
                config=prepared.source,
                directory=store.location,
            )
            manager.notify("READY=1")
            control.start_soon(reload_on_signals, hangups, reloader)
            control.start_soon(_stop_on_signals, stops, context, manager)
            control.start_soon(_log_suppressed_regularly)
            control.start_soon(context.keeper.run)
            control.start_soon(context.handover.run)
            control.start_soon(context.rescanner.run)
            control.start_soon(_make_retention(context).run)
            control.start_soon(store.maintain, lambda: context.config.resume.keep)
            control.start_soon(context.admission.log_exhausted)
            control.start_soon(watch_loop, metrics)
            control.start_soon(report_to, manager, context)
            control.start_soon(save_token_uses, context)
            if node is not None:
                control.start_soon(keep_lease, node, context)
                control.start_soon(settle_left, node, context)
                control.start_soon(compare_settings, node, context)
                control.start_soon(watch_clock, node)
            await _work(context, server, listeners)
            control.cancel_scope.cancel()
        log_suppressed()
        _log.info("server.stopped", uploads=len(context.admission.running))
    manager.notify("STATUS=Stopped")


async def _work(context: Context, server: Server, listeners: Listeners) -> None:
    """Serve connections and deliver receipts until the shutdown has ended both."""
    with context.shutdown.at_once.guard():
        async with trio.open_nursery() as working:
            working.start_soon(_make_delivery(context).run)
            working.start_soon(accept_connections, listeners, server.serve_socket, context.shutdown)


def _read_manager() -> Manager:
    try:
        return Manager.from_environment(os.environ, os.getpid())
    except ValueError as error:
        raise StartError(str(error)) from error


def _make_timings(metrics: Metrics) -> Timings:
    return Timings(
        metrics.write_seconds.observe,
        metrics.fsync_file_seconds.observe,
        metrics.fsync_directory_seconds.observe,
    )


def _make_pool(config: Config) -> MemoryPool:
    chunks = config.chunks
    return MemoryPool(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))


def _make_delivery(context: Context) -> Delivery:
    return Delivery(
        context.ledger.outbox,
        lambda: context.config.hooks,
        context.metrics,
        context.shutdown,
        context.store.location,
        partial(send, directory=context.store.directory),
    )


def _make_retention(context: Context) -> Retention:
    return Retention(context.ledger, context.remover, lambda: context.config.storage.retention)


async def _open_listeners(prepared: Prepared, manager: Manager) -> Listeners:
    """Open the listening sockets, which `accept_connections` closes. Raises StartError."""
    try:
        return await open_listeners(prepared.config.server.listen, manager.passed)
    except ListenError as error:
        raise StartError(str(error)) from error


async def _stop_on_signals(stops: AsyncIterator[int], context: Context, manager: Manager) -> None:
    """Drain at the first signal, and end the running uploads after `server.drain_timeout`.

    The second signal ends everything at once.
    """
    await anext(stops)
    _log.info("server.draining", uploads=len(context.admission.running))
    context.shutdown.no_new_uploads.fire()
    manager.notify("STOPPING=1")
    with trio.move_on_after(context.config.server.drain_timeout) as drain:
        await anext(stops)
    if drain.cancelled_caught:
        context.shutdown.no_uploads.fire()
        context.lease.hurry()
        context.store.hurry(HURRY_SECONDS)
        await anext(stops)
    context.shutdown.at_once.fire()
    context.lease.hurry()
    context.store.hurry(0)


async def _log_suppressed_regularly() -> None:
    while True:
        await trio.sleep(SUPPRESSION_SECONDS)
        log_suppressed()
