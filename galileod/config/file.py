"""Finds, reads and checks the configuration file, and prints a configuration."""

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


def with_flags(config: Config, listen: tuple[str, ...], directory: str | None) -> Config:
    """Apply the flags `--listen` and `--directory` to a configuration. Raises ConfigError."""
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
    """The configuration as TOML. `load` of this text returns an equal configuration."""
    return tomli_w.dumps(unstructure(config))
