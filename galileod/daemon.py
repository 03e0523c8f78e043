"""The daemon: from a configuration to a running server, and from a signal to a clean stop."""

import errno
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from . import __version__, logs
from .auth.gate import open_gate
from .config import Config, ConfigError
from .doors import keep_doors
from .hooks.delivery import Delivery
from .house import House
from .ledger import Ledger, LedgerError
from .listeners import ListenError, open_listeners
from .metrics import Metrics, watch_loop
from .policy.pacing import least_credit
from .policy.slowdown import Slowdown
from .pool import Pool
from .reload import Read, reload_at
from .secretfile import SecretFileError
from .server import Server
from .storage.base import StorageError
from .storage.local import LocalStore
from .storage.timing import Timings
from .supervision import report_to
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
    settings = config.storage
    try:
        store = LocalStore.open(
            settings.directory, settings.on_conflict, settings.durability, timings
        )
    except StorageError as error:
        raise StartError(f"{error}{_walled(error, manager)}") from error
    try:
        ledger = Ledger.open(store.ledger_path)
        ledger.reconcile(store.files(), store.find)
    except LedgerError as error:
        raise StartError(f"{store.ledger_path}: {error}") from error
    except StorageError as error:
        raise StartError(str(error)) from error
    try:
        listeners = await open_listeners(config.server.listen, manager.passed)
    except ListenError as error:
        raise StartError(str(error)) from error
    chunks = config.chunks
    pool = Pool(chunks.memory, least_credit(chunks.min, chunks.max, chunks.memory))
    try:
        gate = open_gate(config.auth, Slowdown())
    except SecretFileError as error:
        raise StartError(str(error)) from error
    house = House(config, store, ledger, pool, gate, metrics)
    server = Server(house)
    _log.info(
        "server.started",
        listen=listeners.names,
        version=__version__,
        config=source,
        directory=store.directory,
    )
    steps = (server.prepare, partial(_guarding, house), partial(_adopting, house, store))
    manager.notify("READY=1")
    async with trio.open_nursery() as control:
        control.start_soon(reload_at, hangups, house, partial(_read_to_fit, read), steps)
        control.start_soon(_tell_suppressed)
        control.start_soon(_stop_on_signal, signals, house, manager)
        control.start_soon(watch_loop, metrics)
        control.start_soon(report_to, manager, house)
        with house.stopping.at_once.guard():
            async with trio.open_nursery() as working:
                working.start_soon(Delivery(house, store.directory).run)
                working.start_soon(keep_doors, listeners, server.serve_socket, house.stopping)
        control.cancel_scope.cancel()
    logs.tell_suppressed()
    _log.info("server.stopped", uploads=len(house.running))
    ledger.close()
    store.close()
    manager.notify("STATUS=Stopped")


def _walled(error: StorageError, manager: Manager) -> str:
    """What may be behind it where a service meets a filesystem that it can only read."""
    cause = error.__cause__
    if manager.notify_socket and isinstance(cause, OSError) and cause.errno == errno.EROFS:
        return "; a service must have it in ReadWritePaths= (systemctl edit galileod)"
    return ""


async def _stop_on_signal(signals: AsyncIterator[int], house: House, manager: Manager) -> None:
    """First nothing new; after the drain timeout nothing at all; a second signal ends it."""
    await anext(signals)
    _log.info("server.draining", uploads=len(house.running))
    house.stopping.no_new_uploads.fire()
    manager.notify("STOPPING=1")
    with trio.move_on_after(house.config.server.drain_timeout) as drain:
        await anext(signals)
    if drain.cancelled_caught:
        house.stopping.no_uploads.fire()
        await anext(signals)
    house.stopping.at_once.fire()


async def _tell_suppressed() -> None:
    while True:
        await trio.sleep(logs.TURN)
        logs.tell_suppressed()


def _adopting(house: House, store: LocalStore, config: Config) -> Callable[[], None]:
    """What puts `config` in place of the one in force, for all that begins from then on."""

    def put_in_place() -> None:
        house.adopt(config)
        store.on_conflict = config.storage.on_conflict
        store.durability = config.storage.durability
        logs.set_level(config.log.level)

    return put_in_place


def _guarding(house: House, config: Config) -> Callable[[], None]:
    """What opens a gate as `config` has it. Raises ConfigError where its files are of no use."""
    try:
        gate = open_gate(config.auth, house.gate.slowdown)
    except SecretFileError as error:
        raise ConfigError(str(error)) from None

    def put_in_place() -> None:
        house.gate = gate

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
