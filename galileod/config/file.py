"""Finds, reads and checks the configuration file, and prints a configuration."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import tomli_w
from attrs import field, frozen

from galileod.units import Size, format_size

from .convert import message, structure, unstructure
from .model import Config, ConfigError, violations

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


@frozen
class Reading:
    """A configuration as it was read from the file `source`, or None, and the mistakes in it.

    Keys with wrong values, `wrong`, have their defaults in `config`, or a value that breaks a rule.
    `flags` has the keys whose values are those of flags, and the flags.
    """

    config: Config
    source: str | None = None
    mistakes: Sequence[str] = ()
    wrong: frozenset[str] = frozenset()
    flags: Mapping[str, str] = field(factory=dict)

    def checked(self) -> Config:
        """The configuration. Raises ConfigError if there are mistakes."""
        if self.mistakes:
            raise ConfigError(*self.mistakes)
        return self.config

    def where(self, key: str) -> str:
        """The file and the key, or the flag: where the value of `key` can be changed."""
        at = key if self.source is None else f"{self.source}: {key}"
        return self.flags.get(key, at)


def load(path: str | None) -> Config:
    """Read and check the file at `path`; the defaults if that is None. Raises ConfigError."""
    return read(path).checked()


def read(path: str | None) -> Reading:
    """The same, with all mistakes. Raises ConfigError if the file cannot be read, or is no TOML."""
    if path is None:
        return Reading(Config())
    config, messages, wrong = structure(_parse(path))
    mistakes = list(messages)
    depend_on = set(wrong)
    for key, value, expected in violations(config):
        # A rule that concerns another key names it.
        if key not in wrong and not any(_names(expected, other) for other in depend_on):
            mistakes.append(message(key, value, expected))
            depend_on.add(key)
    return Reading(
        config, path, [f"{path}: {mistake}" for mistake in mistakes], frozenset(depend_on)
    )


def _parse(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise ConfigError(f"{path}: is too large: expected at most {format_size(MAX_FILE)}")
        return tomllib.loads(text.decode("utf-8-sig"))  # some editors write a byte order mark
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # huge integers; deep nesting
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def _names(text: str, key: str) -> bool:
    return re.search(rf"\b{re.escape(key)}\b", text) is not None


def dump(config: Config) -> str:
    """The configuration as TOML. `load` of this text returns an equal configuration."""
    return tomli_w.dumps(unstructure(config))
