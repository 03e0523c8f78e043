"""Flags of `galileod serve` that replace values of the configuration file."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from attrs import Factory, define, evolve, field, frozen

from galileod.net.addresses import parse_address
from galileod.net.settings import ORIGIN_EXPECTED, clashes, is_origin
from galileod.units import parse_size

from .convert import message
from .file import Reading
from .model import exposed

T = TypeVar("T")


@frozen
class Flags:
    """The flags of `galileod serve` that replace values of the file, as they were given.

    None, or an empty tuple for a flag that may be repeated, is a flag that was not given.
    """

    listen: tuple[str, ...] = ()
    directory: str | None = None
    allow_origin: tuple[str, ...] = ()
    max_file_size: str | None = None


def with_flags(reading: Reading, flags: Flags) -> Reading:
    """Apply the flags. Their mistakes are added; of a repeated flag, wrong values are left out."""
    applied = _Applied(reading)
    config = reading.config
    server, storage, limits = config.server, config.storage, config.limits
    if flags.listen:
        listen = applied.parse("server.listen", "--listen", flags.listen, parse_address)
        server = evolve(server, listen=listen)
        for address, instead in clashes(listen):
            applied.mistakes.append(message("--listen", address, instead))
        if "auth.mode" not in reading.wrong:
            for _, value, instead in exposed(config.auth, listen):
                applied.mistakes.append(message("--listen", value, instead))
    if flags.allow_origin:
        key = "server.allowed_origins"
        origins = applied.parse(key, "--allow-origin", flags.allow_origin, _parse_origin)
        server = evolve(server, allowed_origins=origins)
    if flags.directory is not None:
        given = [flags.directory]
        for directory in applied.parse("storage.directory", "--directory", given, _parse_directory):
            storage = evolve(storage, directory=directory)
    if flags.max_file_size is not None:
        given = [flags.max_file_size]
        for size in applied.parse("limits.max_file_size", "--max-file-size", given, parse_size):
            limits = evolve(limits, max_file_size=size)
    return evolve(
        reading,
        config=evolve(config, server=server, storage=storage, limits=limits),
        mistakes=applied.mistakes,
        wrong=frozenset(applied.wrong),
        flags=applied.flags,
    )


@define
class _Applied:
    """The mistakes, wrong keys and flags of `reading`, and of the flags that are applied to it."""

    _reading: Reading
    mistakes: list[str] = field(
        init=False, default=Factory(lambda self: [*self._reading.mistakes], takes_self=True)
    )
    wrong: set[str] = field(
        init=False, default=Factory(lambda self: {*self._reading.wrong}, takes_self=True)
    )
    flags: dict[str, str] = field(init=False, factory=dict)

    def parse(
        self, key: str, flag: str, texts: Iterable[str], parse: Callable[[object], T]
    ) -> tuple[T, ...]:
        """The values of a flag that replaces `key`, without wrong ones."""
        self.flags[key] = flag
        self.wrong.discard(key)
        values = []
        for text in texts:
            try:
                values.append(parse(text))
            except ValueError as expected:
                self.mistakes.append(message(flag, text, str(expected)))
                self.wrong.add(key)
        return tuple(values)


def _parse_origin(text: object) -> str:
    origin = str(text)
    if origin != "*" and not is_origin(origin):
        raise ValueError(ORIGIN_EXPECTED)
    return origin


def _parse_directory(text: object) -> str:
    directory = str(text)
    if not directory or "\0" in directory:
        raise ValueError("the path of a directory")
    return directory
