"""The configuration file: finding, reading and checking it, and printing a configuration."""

import os
import tomllib
from collections.abc import Mapping
from typing import Final

import tomli_w
from attrs import evolve

from galileod.net.addresses import parse_address
from galileod.units import Size, format_size

from .convert import message, structure, unstructure
from .model import Config, ConfigError, exposed, violations

DEFAULT_FILE: Final = "/etc/galileod.toml"
"""Read if it exists and neither `--config` nor `$GALILEOD_CONFIG` names another file."""

MAX_FILE: Final = Size(1 << 20)
"""The largest file that is read."""


def find_file(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """The file to read: the flag's, else `$GALILEOD_CONFIG`, else the default if it exists."""
    named = flag or environ.get("GALILEOD_CONFIG")
    return named or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)


def load(path: str | None) -> Config:
    """Read and check the file at `path`; without one return the defaults. Raises ConfigError."""
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
    except (ValueError, RecursionError) as error:  # also for huge integers and deep nesting
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    try:
        config = structure(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    for key, value, expected in violations(config):
        raise ConfigError(f"{path}: {message(key, value, expected)}")
    return config


def with_flags(config: Config, listen: tuple[str, ...], directory: str | None) -> Config:
    """The configuration with the flags of the command line applied to it. Raises ConfigError."""
    if listen:
        try:
            addresses = tuple(map(parse_address, listen))
        except ValueError as expected:
            raise ConfigError(message("--listen", " ".join(listen), str(expected))) from None
        config = evolve(config, server=evolve(config.server, listen=addresses))
        for _, value, instead in exposed(config.auth, addresses):
            raise ConfigError(message("--listen", value, instead))
    if directory is not None:
        if not directory or "\0" in directory:
            raise ConfigError(message("--directory", directory, "the path of a directory"))
        config = evolve(config, storage=evolve(config.storage, directory=directory))
    return config


def dump(config: Config) -> str:
    """The configuration as TOML; `load` reads the same configuration from it."""
    return tomli_w.dumps(unstructure(config))
