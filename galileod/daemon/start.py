"""The start: opens the store and the ledger, and makes them agree, in a thread.

With many files or a slow disk this takes minutes. Meanwhile the event loop receives SIGTERM, and
reports the progress to systemd and in the log.
"""

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, aclosing, closing
from functools import partial
from typing import TypeVar

import structlog
import trio
from attrs import frozen
from structlog.typing import FilteringBoundLogger

from galileod import __version__
from galileod.config.model import Config
from galileod.files.publication import lock_for
from galileod.ledger.base import Ledger, LedgerError, Recovery
from galileod.ledger.engines import open_ledger, place_of
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.node import Me
from galileod.storage.base import Store
from galileod.storage.errors import StorageError
from galileod.storage.finished import Found
from galileod.storage.local import LocalStore
from galileod.storage.local.directory import Directory
from galileod.storage.local.statedir import StateDirectory
from galileod.storage.local.store import DIRECTORY_HOME
from galileod.storage.local.timing import Timings
from galileod.storage.oserrors import translated
from galileod.storage.s3.memory import PartMemory
from galileod.storage.state import ledger_path, node_path

from .copied import check_shared
from .identity import read_identity
from .moving import check_home
from .node import LOOK_SECONDS, keep_lease_at_start
from .progress import Progress, report_progress
from .settling import drop_rest, find_left, unchanged
from .systemd import Manager

T = TypeVar("T")

_log: FilteringBoundLogger = structlog.get_logger()


class StartError(Exception):
    """The daemon cannot start; the message says why, in one line."""


@frozen
class Tools:
    """What the daemon gives to a store: where it reports times, and memory for parts of files."""

    timings: Timings
    memory: PartMemory


async def open_all(
    resources: ExitStack,
    config: Config,
    tools: Tools,
    manager: Manager,
    stops: AsyncIterator[int],
) -> tuple[Store, Ledger] | None:
    """Open the store and the ledger, and close them with `resources`.

    Returns None if a signal from `stops` came first. Raises StartError.
    """
    remote = config.storage.backend == "s3" or config.ledger.url is not None
    progress, stopped = Progress(remote), trio.Event()
    opened: tuple[Store, Ledger] | None = None
    failure: StartError | None = None

    async def keep_lease() -> None:
        nonlocal failure
        while progress.node is None:  # noqa: ASYNC110  a thread sets it
            await trio.sleep(LOOK_SECONDS)
        try:
            await keep_lease_at_start(progress.node)
        except LeaseLostError as error:
            failure = StartError(f"{_place(config)}: {error}")
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, stops, stopped, nursery.cancel_scope)
        nursery.start_soon(report_progress, progress, manager)
        nursery.start_soon(keep_lease)
        # If the disk hangs, the thread cannot be cancelled. There are no more reports then, so
        # systemd ends the process after the timeout of the start.
        try:
            opened = await trio.to_thread.run_sync(
                _open_all, resources, config, tools, manager, progress
            )
        except StartError as error:
            failure = error  # the nursery would raise it in a group
        nursery.cancel_scope.cancel()
    if stopped.is_set():
        return None  # the signal may have come in the last moment
    if failure is not None:
        raise failure
    return opened


async def _cancel_on_signal(
    stops: AsyncIterator[int], stopped: trio.Event, scope: trio.CancelScope
) -> None:
    await anext(stops)
    stopped.set()
    scope.cancel()


def _open_all(
    resources: ExitStack, config: Config, tools: Tools, manager: Manager, progress: Progress
) -> tuple[Store, Ledger]:
    storage = config.storage
    open_both = _open_local if storage.backend == "local" else _open_s3
    try:
        store, ledger = open_both(resources, config, tools, progress)
        make_agree(store, ledger, config, progress)
    except StorageError as error:
        raise StartError(f"{error}{_hint(error, manager)}") from error
    except LedgerError as error:
        raise StartError(f"{_place(config)}: {error}") from error
    return store, ledger


def _place(config: Config) -> str:
    return place_of(config.ledger, ledger_path(config.storage.directory))


def _open_local(
    resources: ExitStack, config: Config, tools: Tools, progress: Progress
) -> tuple[Store, Ledger]:
    node = config.ledger.node_name
    opened = LocalStore.open(config.storage, tools.timings, node)
    store = resources.enter_context(closing(opened))
    ledger = _open_ledger(resources, config, store, progress)
    if ledger.node is not None:
        store.use_ledger(ledger.node.lease, ledger.longest_name)
    return store, ledger


def _open_s3(
    resources: ExitStack, config: Config, tools: Tools, progress: Progress
) -> tuple[Store, Ledger]:
    # Its libraries are an extra, and take 0.3 seconds to load.
    from galileod.storage.s3.store import S3Store  # noqa: PLC0415

    storage = config.storage
    path = os.path.abspath(storage.directory)
    with translated(f"cannot use {path}"):
        directory = Directory.open(path, resources)
        state = StateDirectory.open(directory, resources, config.ledger.node_name)
    ledger = _open_ledger(resources, config, None, progress)
    progress.phase = "opening the bucket"
    lease = None if ledger.node is None else ledger.node.lease
    store = S3Store.open(storage, ledger.objects, tools.memory, state.restore, progress.ask, lease)
    return resources.enter_context(closing(store)), ledger


def _open_ledger(
    resources: ExitStack, config: Config, store: Store | None, progress: Progress
) -> Ledger:
    progress.phase = "checking the ledger"
    path = ledger_path(config.storage.directory)
    me = _find_me(config)

    def open_() -> Ledger:
        return open_ledger(config.ledger, path, me, progress.step)

    is_local = config.ledger.url is None
    opened = _with_space(store, config, open_) if is_local else progress.ask(open_)
    progress.node = opened.node
    return resources.enter_context(closing(opened))


def _find_me(config: Config) -> Me | None:
    """What this node is to the others; None if it has its ledger alone. Raises StorageError."""
    name, directory = config.ledger.node_name, config.storage.directory
    if name is None:
        return None
    identity = read_identity(node_path(directory, name))
    return Me(name, identity, __version__, local=config.storage.backend == "local")


def make_agree(store: Store, ledger: Ledger, config: Config, progress: Progress) -> None:
    """Recover the uploads of an earlier process, and bring the ledger to what the store has.

    Runs in a thread. Raises StorageError and LedgerError.
    """
    keep, place = config.resume.keep, _place(config)
    if ledger.home() != store.home:
        progress.phase = "looking at the files of the ledger"
        check_home(store, ledger, place, progress)
        _with_space(store, config, lambda: ledger.set_home(store.home))
    if ledger.node is not None and store.home.startswith(DIRECTORY_HOME):
        check_shared(store.directory, ledger.node, progress)
    left = find_left(store, ledger, keep, progress)
    progress.phase = "updating the ledger"

    def update(found: Found, recovery: Recovery) -> None:
        _with_space(
            store,
            config,
            lambda: ledger.reconcile(
                found.sizes, found.names, progress.step, recovery, found.modified
            ),
        )

    async def update_beside_others() -> None:
        publication = lock_for(store, ledger.elsewhere)
        async with unchanged(store, publication, left) as there:
            await trio.to_thread.run_sync(update, *there)

    if ledger.node is None:
        update(left.found, left.recovery)
    else:
        trio.from_thread.run(update_beside_others)
    trio.from_thread.run(drop_rest, store, left, left.recovery)
    if ledger.is_new:
        trio.from_thread.run(progress.insist, partial(_report_unknown, store, place))


async def _report_unknown(store: Store, path: str) -> None:
    """Log that the ledger at `path` is new, if the store has files that it has not listed."""
    async with aclosing(store.walk(1)) as pages:
        async for _ in pages:
            _log.warning(
                "ledger.owners_unknown",
                path=path,
                files=None,
                reason=f"the ledger is new, and there are files in {store.location}",
                advice="if there is a backup of the ledger, stop galileod, restore the backup,"
                " and start galileod. Otherwise enter the files with"
                " `galileod files rescan`: they count for no user",
            )
            return


def _with_space(store: Store | None, config: Config, step: Callable[[], T]) -> T:
    """Run a step of the ledger; if it fails on a full disk, interrupted uploads give way.

    They use the same disk if the ledger is a file.
    """
    while True:
        try:
            return step()
        except LedgerError:
            if store is None or config.ledger.url is not None or not store.make_space():
                raise


def _hint(error: StorageError, manager: Manager) -> str:
    """A hint for the error of a service whose filesystem is read-only: ReadWritePaths=."""
    cause = error.__cause__
    if manager.notify_socket and isinstance(cause, OSError) and cause.errno == errno.EROFS:
        return "; add it to ReadWritePaths= of the service (systemctl edit galileod)"
    return ""
