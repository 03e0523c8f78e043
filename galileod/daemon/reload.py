"""Reading the configuration again while the daemon runs: all of it is taken over, or nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import structlog
import trio
from attrs import evolve, frozen
from structlog.typing import FilteringBoundLogger

from galileod.config.model import KEYS, Config, ConfigError, value_of
from galileod.uploads.context import Context

NEEDS_RESTART: Final = ("server.listen", "storage.directory", "log.format")
"""Keys that keep the value of the start; a change of any other counts at once."""

READ_SECONDS: Final = 10.0
"""How long the file may take: a pipe or a network's disk may never answer."""

MAX_READERS: Final = 4
"""Threads that read: one, and those that wait for a file that does not answer, such as a pipe that
was taken away. Nothing ends them; with one alone no reload would come after such a file."""

Read = Callable[[], tuple[Config, str | None]]
"""Gives the configuration as it is to be, and the file that it came from. Raises ConfigError."""

Step = Callable[[Config], Callable[[], None]]
"""Makes what a configuration needs, and gives what puts that in place.

Making runs in a thread, and raises ConfigError where it cannot be done; nothing is in place then.
Putting in place runs on the event loop, together with that of all other steps, and cannot fail.
"""

_log: FilteringBoundLogger = structlog.get_logger()


async def reload_at(signals: AsyncIterator[int], reloader: "Reloader") -> None:
    """Reload at each of `signals`. While one reload runs, trio holds at most one more signal."""
    async for _ in signals:
        try:
            await reloader.reload()
        except ConfigError:
            pass  # logged by the reloader; the configuration in force stays


@frozen
class Reloaded:
    """A reload that was done; `restart_needed` are changed keys whose old values stay in force."""

    source: str
    changed: Sequence[str]
    restart_needed: Sequence[str]


class Reloader:
    """Replaces the configuration of a running daemon, as a whole or not at all."""

    def __init__(self, context: Context, read: Read, steps: Sequence[Step]) -> None:
        self._context = context
        self._read = read
        self._steps = steps
        self._one_at_a_time = trio.Lock()
        self._readers = trio.CapacityLimiter(MAX_READERS)

    async def reload(self) -> Reloaded:
        """Read the configuration and put it in force.

        Raises ConfigError with the reason if it is rejected; everything stays as it was then. Both
        outcomes are logged.
        """
        async with self._one_at_a_time:
            try:
                prepared = await self._prepare_in_thread()
            except ConfigError as error:
                _log.warning("config.rejected", reason=str(error))
                raise
            except Exception as error:
                # A defect in the daemon must not end the uploads that run.
                _log.exception("config.rejected", reason="internal error")
                raise ConfigError("internal error; the log has the traceback") from error
            # Logged before the swap, at the log level in force until then.
            _log.info("config.reloaded", config=prepared.source, changed=prepared.changed)
            for key in prepared.kept:
                in_force = value_of(self._context.config, key)
                _log.warning("config.restart_needed", key=key, in_force=_shown(in_force))
            for put_in_place in prepared.swaps:
                put_in_place()
            return Reloaded(prepared.source, prepared.changed, prepared.kept)

    async def _prepare_in_thread(self) -> "Prepared":
        try:
            with trio.fail_after(READ_SECONDS):
                return await trio.to_thread.run_sync(
                    _prepare,
                    self._context.config,
                    self._read,
                    self._steps,
                    limiter=self._readers,
                    abandon_on_cancel=True,
                )
        except trio.TooSlowError:
            reason = f"the file could not be read within {READ_SECONDS:g} seconds"
            raise ConfigError(reason) from None


@frozen
class Prepared:
    """What a reload will do. `kept` are the keys that keep their value until a restart."""

    source: str
    changed: Sequence[str]
    kept: Sequence[str]
    swaps: Sequence[Callable[[], None]]


def _prepare(current: Config, read: Read, steps: Sequence[Step]) -> Prepared:
    config, source = read()
    if source is None:
        raise ConfigError("there is no file to read; what is in force stays")
    differing = [key for key in KEYS if value_of(config, key) != value_of(current, key)]
    kept = [key for key in differing if key in NEEDS_RESTART]
    for key in kept:
        section, _, name = key.partition(".")
        as_before = evolve(getattr(config, section), **{name: value_of(current, key)})
        config = evolve(config, **{section: as_before})
    changed = [key for key in differing if key not in NEEDS_RESTART]
    try:
        swaps = [step(config) for step in steps]
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    return Prepared(source, changed, kept, swaps)


def _shown(value: object) -> object:
    """A value as the file would have it."""
    return list(map(str, value)) if isinstance(value, tuple) else value
