"""TOML's values to typed sections and back, with a sentence for each mistake."""

import difflib
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import cattrs
from attrs import fields
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from galileod.auth.settings import Auth, Modes, TicketSettings, format_modes, parse_modes
from galileod.hooks.settings import HIDDEN, Hook, Hooks, parse_hook
from galileod.logs.settings import Log
from galileod.net.addresses import (
    Listen,
    Network,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_network,
)
from galileod.net.settings import Metrics, Server, Timeouts, Tls
from galileod.policy.settings import Chunks, Hash, Limits, Quota
from galileod.storage.settings import Storage
from galileod.units import Duration, Size, format_duration, format_size, parse_duration, parse_size

from .model import KEYS, Config, ConfigError

SHOWN: Final = 120
"""Characters of a wrong value that are shown."""


def structure(data: Mapping[str, Any]) -> Config:
    """The configuration that a parsed file holds. Raises ConfigError."""
    try:
        return _converter.structure(data, Config)
    except ClassValidationError as error:
        raise ConfigError(_describe(error, data)) from None


def unstructure(config: Config) -> dict[str, Any]:
    """The configuration as TOML has it, without what is not set."""
    return _without_null(_converter.unstructure(config))


def _without_null(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not set is left out."""
    return {
        key: _without_null(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None and value != {}
    }


def _describe(error: Exception, data: Any) -> str:  # noqa: ANN401  whatever TOML holds
    """The first thing that is wrong, as a sentence."""
    path: list[str | int] = []
    while isinstance(error, ClassValidationError | IterableValidationError):
        noted, others = error.group_exceptions()
        if noted:
            error, note = noted[0]
            path.append(note.name if hasattr(note, "name") else note.index)
            continue
        error = others[0]
    for step in path:
        data = data[step]
    if isinstance(error, ForbiddenExtraKeysError):
        return _unknown(".".join([*map(str, path), min(error.extra_fields)]))
    return sentence(_dotted(path), data, str(error))


def _dotted(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def _unknown(key: str) -> str:
    names = KEYS if "." in key else (*(section.name for section in fields(Config)), *KEYS)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
    shown = key if key.isprintable() else repr(key)
    return f"{shown}: unknown key; the nearest known one is {near[0]}"


def sentence(key: str, value: object, expected: str) -> str:
    """What is wrong with the value of `key`; one that may be secret is not shown."""
    if key == HIDDEN:
        return f"{key}: expected {expected}"
    shown = repr(value)
    return f"{key}: {shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'}: expected {expected}"


def _exactly(kind: type, expected: str) -> Any:  # noqa: ANN401  a hook takes whatever TOML holds
    def structure(value: object, _: type) -> object:
        if type(value) is not kind:
            raise ValueError(expected)
        return value

    return structure


def _one_of(value: object, literal: Any) -> object:  # noqa: ANN401
    if value not in get_args(literal):
        raise ValueError("one of " + ", ".join(f'"{word}"' for word in get_args(literal)))
    return value


def _tuple(value: object, kind: Any) -> object:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError("a list")  # noqa: TRY004  hooks answer with ValueError throughout
    element: Any = list[get_args(kind)[0]]  # type: ignore[misc]
    return tuple(_converter.structure(value, element))


def _section(kind: Any) -> Any:  # noqa: ANN401
    fill = cattrs.gen.make_dict_structure_fn(
        kind, _converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True
    )

    def structure(value: object, _: type) -> object:
        if not isinstance(value, dict):
            raise ValueError("a table of keys")  # noqa: TRY004
        return fill(value, kind)

    return structure


_converter: Final = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(str, _exactly(str, "a text"))
_converter.register_structure_hook(int, _exactly(int, "a whole number"))
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook_func(
    lambda kind: getattr(kind, "__origin__", None) is tuple, _tuple
)
_converter.register_structure_hook_func(
    lambda kind: getattr(kind, "__origin__", None) is Literal, _one_of
)
_converter.register_structure_hook(Size, lambda value, _: parse_size(value))
_converter.register_structure_hook(Duration, lambda value, _: parse_duration(value))
_converter.register_structure_hook(Network, lambda value, _: parse_network(value))
_converter.register_structure_hook(Listen, lambda value, _: parse_address(value))
_converter.register_structure_hook(Hook, lambda value, _: parse_hook(value))
_converter.register_structure_hook(Modes, lambda value, _: parse_modes(value))
for _kind in (
    Server, Tls, Timeouts, Limits, Quota, Chunks, Storage, Hash, TicketSettings, Auth, Hooks,
    Log, Metrics,
):  # fmt: skip
    _converter.register_structure_hook(_kind, _section(_kind))
_converter.register_unstructure_hook(Modes, format_modes)
_converter.register_unstructure_hook(Size, format_size)
_converter.register_unstructure_hook(Duration, format_duration)
_converter.register_unstructure_hook(
    Hook, lambda hook: hook if isinstance(hook, str) else list(hook)
)
for _address in (TcpAddress, UnixAddress, *get_args(Network)):
    _converter.register_unstructure_hook(_address, str)
