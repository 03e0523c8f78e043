"""The daemon: from a configuration to a running server, and from a signal to a clean stop."""

import errno
import os
import resource
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod import __version__
from galileod.auth.authenticator import open_authenticator
from galileod.config.model import Config, ConfigError
from galileod.hooks.delivery import Delivery
from galileod.ledger.base import LedgerError
from galileod.ledger.sqlite import SqliteLedger
from galileod.logs import setup as logs
from galileod.metrics import Metrics, watch_loop
from galileod.net.tls import CertificateError, load_context
from galileod.policy.pacing import least_credit
from galileod.policy.slowdown import Slowdown
from galileod.secretfile import SecretFileError
from galileod.server.connection import Server
from galileod.server.control import ControlServer, control_routes
from galileod.server.static import load_static
from galileod.storage.base import StorageError
from galileod.storage.local import LocalStore
from galileod.storage.local.timing import Timings
from galileod.storage.state import ledger_path
from galileod.uploads.context import Context
from galileod.uploads.memory import MemoryPool

from .accept import accept_connections
from .control import serve_control_socket
from .listeners import ListenError, open_listeners
from .reload import Read, Reloader, reload_at
from .status import report_to
from .systemd import Manager

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

FILES_PER_CONNECTION: Final = 2
"""A socket and a spool file."""

FILES_PER_ATTEMPT: Final = 4
"""Two pipes with a command, its process, and what its start takes; or a socket."""

OWN_FILES: Final = 128
"""Descriptors beside those: of connections that are refused (64), listeners, log, ledger, store."""

_log: FilteringBoundLogger = structlog.get_logger()


class StartError(Exception):
    """The daemon cannot start; the text says why, in one line."""


async def run(config: Config, source: str | None, read: Read) -> None:
    """Serve until SIGTERM or SIGINT. `source` is the file that the configuration came from.

    At SIGHUP, which is to be ignored before, it is read again. Raises StartError.
    """
    for number in STOP_SIGNALS:
        # What is left over when the receiver ends is given to the handler of before: this one.
        signal.signal(number, signal.SIG_IGN)
    try:
        manager = Manager.take(os.environ, os.getpid())
    except ValueError as error:
        raise StartError(str(error)) from error
    with (
        trio.open_signal_receiver(*STOP_SIGNALS) as signals,
        trio.open_signal_receiver(signal.SIGHUP) as hangups,
    ):
        await _serve(config, source, read, signals, hangups, manager)


async def _serve(
    config: Config,
    source: str | None,
    read: Read,
    signals: AsyncIterator[int],
    hangups: AsyncIterator[int],
    manager: Manager,
) -> None:
    config = _fit_file_limit(config)
    metrics = Metrics()
    timings = Timings(
        metrics.write_seconds.observe,
        metrics.fsync_file_seconds.observe,
        metrics.fsync_directory_seconds.observe,
    )
    try:
        store = LocalStore.open(config.storage, timings)
    except StorageError as error:
        raise StartError(f"{error}{_walled(error, manager)}") from error
    ledger_file = ledger_path(config.storage.directory)
    try:
        ledger = SqliteLedger.open(ledger_file)
        ledger.reconcile(store.files(), store.find)
    except LedgerError as error:
        raise StartError(f"{ledger_file}: {error}") from error
    except StorageError as error:
        raise StartError(str(error)) from error
    try:
        listeners = await open_listeners(config.server.listen, manager.passed)
    except ListenError as error:
        raise StartError(str(error)) from error
    chunks = config.chunks
    pool = MemoryPool(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
    try:
        authenticator = open_authenticator(config.auth, Slowdown())
    except SecretFileError as error:
        raise StartError(str(error)) from error
    context = Context(config, store, ledger, pool, authenticator, metrics)
    server = Server(context, load_static(config), _tls(config))
    steps = (
        partial(_serving, server),
        partial(_guarding, context),
        partial(_adopting, context),
    )
    delivery = Delivery(
        ledger.outbox,
        lambda: context.config.hooks,
        metrics,
        context.shutdown,
        store.location,
    )
    reloader = Reloader(context, partial(_read_to_fit, read), steps)
    async with trio.open_nursery() as control:
        await control.start(
            serve_control_socket, config.storage.directory, _control_server(context, reloader)
        )
        _log.info(
            "server.started",
            listen=listeners.names,
            version=__version__,
            config=source,
            directory=store.location,
        )
        manager.notify("READY=1")
        control.start_soon(reload_at, hangups, reloader)
        control.start_soon(_tell_suppressed)
        control.start_soon(_stop_on_signal, signals, context, manager)
        control.start_soon(watch_loop, metrics)
        control.start_soon(report_to, manager, context)
        with context.shutdown.at_once.guard():
            async with trio.open_nursery() as working:
                working.start_soon(delivery.run)
                working.start_soon(
                    accept_connections, listeners, server.serve_socket, context.shutdown
                )
        control.cancel_scope.cancel()
    logs.tell_suppressed()
    _log.info("server.stopped", uploads=len(context.running))
    ledger.close()
    store.close()
    manager.notify("STATUS=Stopped")


def _walled(error: StorageError, manager: Manager) -> str:
    """What may be behind it where a service meets a filesystem that it can only read."""
    cause = error.__cause__
    if manager.notify_socket and isinstance(cause, OSError) and cause.errno == errno.EROFS:
        return "; a service must have it in ReadWritePaths= (systemctl edit galileod)"
    return ""


async def _stop_on_signal(signals: AsyncIterator[int], context: Context, manager: Manager) -> None:
    """First nothing new; after the drain timeout nothing at all; a second signal ends it."""
    await anext(signals)
    _log.info("server.draining", uploads=len(context.running))
    context.shutdown.no_new_uploads.fire()
    manager.notify("STOPPING=1")
    with trio.move_on_after(context.config.server.drain_timeout) as drain:
        await anext(signals)
    if drain.cancelled_caught:
        context.shutdown.no_uploads.fire()
        await anext(signals)
    context.shutdown.at_once.fire()


async def _tell_suppressed() -> None:
    while True:
        await trio.sleep(logs.TURN)
        logs.tell_suppressed()


def _adopting(context: Context, config: Config) -> Callable[[], None]:
    """What puts `config` in place of the one in force, for all that begins from then on."""

    def put_in_place() -> None:
        context.adopt(config)
        logs.set_level(config.log.level)

    return put_in_place


def _control_server(
    context: Context, reloader: Reloader
) -> Callable[[trio.SocketStream], Awaitable[None]]:
    return ControlServer(context, control_routes(reloader.reload)).serve


def _serving(server: Server, config: Config) -> Callable[[], None]:
    """Load the page and the certificate for `config`. Raises ConfigError."""
    static, tls = load_static(config), _tls(config)
    return lambda: server.adopt(static, tls)


def _tls(config: Config) -> ssl.SSLContext | None:
    try:
        return load_context(config.tls)
    except CertificateError as error:
        raise ConfigError(str(error)) from None


def _guarding(context: Context, config: Config) -> Callable[[], None]:
    """Make the authenticator for `config`. Raises ConfigError if its files cannot be used."""
    try:
        authenticator = open_authenticator(config.auth, context.authenticator.slowdown)
    except SecretFileError as error:
        raise ConfigError(str(error)) from None

    def put_in_place() -> None:
        context.authenticator = authenticator

    return put_in_place


def _read_to_fit(read: Read) -> tuple[Config, str | None]:
    config, source = read()
    return _fit_file_limit(config), source


def _fit_file_limit(config: Config) -> Config:
    """Take as many descriptors as we may; where the cap needs more, lower it and say so."""
    server = config.server
    attempts = config.hooks.parallel if config.hooks.stored else 0
    held = OWN_FILES + FILES_PER_ATTEMPT * attempts
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    fitting = max(1, (most - held) // FILES_PER_CONNECTION)
    if fitting >= server.max_connections:
        return config
    _log.warning(
        "server.file_limit",
        limit=most,
        max_connections=fitting,
        reason=f"the limit on open files has no room for {server.max_connections} connections",
    )
    return evolve(config, server=evolve(server, max_connections=fitting))
