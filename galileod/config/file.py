"""Finds, reads and checks the configuration file, and prints a configuration."""

import os
import tomllib
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import tomli_w
from attrs import evolve, frozen

from galileod.net.addresses import parse_address
from galileod.net.settings import ORIGIN_EXPECTED, is_origin
from galileod.units import Size, format_size, parse_size

from .convert import message, structure, unstructure
from .model import Config, ConfigError, exposed, violations

T = TypeVar("T")

DEFAULT_FILE: Final = "/etc/galileod.toml"
"""Read if it exists and neither `--config` nor `$GALILEOD_CONFIG` names another file."""

MAX_FILE: Final = Size(1 << 20)
"""Maximum size of the file."""


def find_file(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """The file to read: `flag`, else `$GALILEOD_CONFIG`, else DEFAULT_FILE if it exists.

    None if there is none of these.
    """
    named = flag or environ.get("GALILEOD_CONFIG")
    return named or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)


def load(path: str | None) -> Config:
    """Read and check the file at `path`; the defaults if that is None. Raises ConfigError."""
    if path is None:
        return Config()
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise ConfigError(f"{path}: is too large: expected at most {format_size(MAX_FILE)}")
        data = tomllib.loads(text.decode("utf-8-sig"))  # some editors write a byte order mark
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # huge integers; deep nesting
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    try:
        config = structure(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for key, value, expected in violations(config):
        raise ConfigError(f"{path}: {message(key, value, expected)}")
    return config


@frozen
class Flags:
    """The flags of `galileod serve` that replace values of the file, as they were given.

    None, or an empty tuple for a flag that may be repeated, is a flag that was not given.
    """

    listen: tuple[str, ...] = ()
    directory: str | None = None
    allow_origin: tuple[str, ...] = ()
    max_file_size: str | None = None


def with_flags(config: Config, flags: Flags) -> Config:
    """Apply flags to a configuration. Raises ConfigError, whose message names the flag."""
    server, storage, limits = config.server, config.storage, config.limits
    if flags.listen:
        addresses = tuple(_parsed("--listen", text, parse_address) for text in flags.listen)
        server = evolve(server, listen=addresses)
        for _, value, instead in exposed(config.auth, addresses):
            raise ConfigError(message("--listen", value, instead))
    if flags.allow_origin:
        for origin in flags.allow_origin:
            if origin != "*" and not is_origin(origin):
                raise ConfigError(message("--allow-origin", origin, ORIGIN_EXPECTED))
        server = evolve(server, allowed_origins=flags.allow_origin)
    if flags.directory is not None:
        if not flags.directory or "\0" in flags.directory:
            raise ConfigError(message("--directory", flags.directory, "the path of a directory"))
        storage = evolve(storage, directory=flags.directory)
    if flags.max_file_size is not None:
        size = _parsed("--max-file-size", flags.max_file_size, parse_size)
        limits = evolve(limits, max_file_size=size)
    return evolve(config, server=server, storage=storage, limits=limits)


def _parsed(flag: str, text: str, parse: Callable[[object], T]) -> T:
    try:
        return parse(text)
    except ValueError as expected:
        raise ConfigError(message(flag, text, str(expected))) from None


def dump(config: Config) -> str:
    """The configuration as TOML. `load` of this text returns an equal configuration."""
    return tomli_w.dumps(unstructure(config))
