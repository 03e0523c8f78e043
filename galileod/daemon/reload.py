"""Reload: reads the configuration again, and replaces it as a whole or not at all."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

import structlog
import trio
from attrs import evolve
from structlog.typing import FilteringBoundLogger

from galileod.config.file import Reading
from galileod.config.model import KEYS, Config, ConfigError, value_of
from galileod.logs.setup import set_level
from galileod.server.connection import Server
from galileod.server.control import Reloaded
from galileod.uploads.context import Context

from .open_files import fit_open_files
from .prepare import Prepared, prepare

NEEDS_RESTART: Final = (
    "server.listen",
    "storage.backend",
    "storage.directory",
    "storage.s3.bucket",
    "storage.s3.prefix",
    "storage.s3.endpoint",
    "storage.s3.region",
    "storage.s3.style",
    "storage.s3.credentials_file",
    "ledger.url",
    "ledger.password_file",
    "ledger.node",
    "log.format",
)
"""Keys whose new values require a restart; all other keys take effect with the reload."""

READ_SECONDS: Final = 10.0
"""Time limit in seconds for reading the files: a pipe or network filesystem may block for ever."""

MAX_READERS: Final = 4
"""Maximum threads that read. A thread that reads from a pipe without a writer blocks for ever, and
cannot be ended. With a limit of 1 it would prevent all later reloads."""

Read = Callable[[], Reading]
"""Reads the configuration. Blocks. Raises ConfigError if the file cannot be read."""

S = TypeVar("S", bound=Any)

_log: FilteringBoundLogger = structlog.get_logger()


async def reload_on_signals(signals: AsyncIterator[int], reloader: "Reloader") -> None:
    """Reload at each of `signals`. Signals during a reload cause one more reload."""
    async for _ in signals:
        try:
            await reloader.reload()
        except ConfigError:
            pass  # the reloader has logged it; the configuration in force stays


class Reloader:
    """Replaces the configuration of a running daemon."""

    def __init__(self, read: Read, context: Context, server: Server) -> None:
        self._read = read
        self._context = context
        self._server = server
        self._one_at_a_time = trio.Lock()
        self._readers = trio.CapacityLimiter(MAX_READERS)

    async def reload(self) -> Reloaded:
        """Read the configuration and put it in force. Request a rescan of the directory as well.

        It is not waited for, and takes place also if the configuration is rejected. Raises
        ConfigError with the reason then, and nothing else is changed. Both outcomes are logged.
        """
        self._context.rescanner.request()
        async with self._one_at_a_time:
            try:
                prepared, reloaded = await self._prepare_in_thread()
            except ConfigError as error:
                _log.warning("config.rejected", reason="; ".join(error.mistakes))
                raise
            except Exception as error:
                # A defect in the daemon must not end running uploads.
                _log.exception("config.rejected", reason="internal error")
                raise ConfigError("internal error; the log has the traceback") from error
            # Logged first, at the old log level.
            _log.info("config.reloaded", config=reloaded.source, changed=reloaded.changed)
            for key in reloaded.restart_needed:
                in_force = _as_in_file(value_of(self._context.config, key))
                _log.warning("config.restart_needed", key=key, in_force=in_force)
            self._put_in_force(prepared)
            await self._context.admission.log_exhausted()
            return reloaded

    async def _prepare_in_thread(self) -> tuple[Prepared, Reloaded]:
        try:
            with trio.fail_after(READ_SECONDS):
                return await trio.to_thread.run_sync(
                    self._prepare, limiter=self._readers, abandon_on_cancel=True
                )
        except trio.TooSlowError:
            reason = f"the files could not be read within {READ_SECONDS:g} seconds"
            raise ConfigError(reason) from None

    def _prepare(self) -> tuple[Prepared, Reloaded]:
        in_force = self._context.config
        reading = self._read()
        config, source = reading.config, reading.source
        if source is None:
            raise ConfigError("there is no configuration file; the values in force stay")
        restart_needed = [key for key in _differing(config, in_force) if key in NEEDS_RESTART]
        for key in restart_needed:
            config = _with_value(config, key, value_of(in_force, key))
        prepared = prepare(evolve(reading, config=config))
        prepared = evolve(prepared, config=fit_open_files(prepared.config))
        changed = _differing(prepared.config, in_force)
        return prepared, Reloaded(source, changed, restart_needed)

    def _put_in_force(self, prepared: Prepared) -> None:
        """Replace the configuration: without a checkpoint, and without anything that can fail."""
        context, config = self._context, prepared.config
        # The delays that failures of clients have caused, and the uses of tokens, are kept.
        old = context.authenticator
        context.authenticator = evolve(prepared.authenticator, slowdown=old.slowdown, uses=old.uses)
        context.adopt(config)
        self._server.adopt(prepared.static, prepared.tls)
        set_level(config.log.level)


def _differing(config: Config, other: Config) -> list[str]:
    return [key for key in KEYS if value_of(config, key) != value_of(other, key)]


def _with_value(section: S, key: str, value: object) -> S:
    name, _, below = key.partition(".")
    if below:
        value = _with_value(getattr(section, name), below, value)
    return evolve(section, **{name: value})


def _as_in_file(value: object) -> object:
    """The value of a key in NEEDS_RESTART, as in the configuration file."""
    return list(map(str, value)) if isinstance(value, tuple) else value
