"""Converts between TOML tables and the attrs classes of the sections."""

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import accumulate, islice, takewhile
from typing import Any, Final, Literal, get_args, get_origin

import attrs
import cattrs
from attrs import fields
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
)

from galileod.auth.settings import Modes, format_modes, parse_modes
from galileod.hooks import settings as hooks
from galileod.hooks.settings import Hook, parse_hook
from galileod.ledger import settings as ledger
from galileod.net.addresses import (
    Listen,
    Network,
    TcpAddress,
    UnixAddress,
    parse_address,
    parse_network,
)
from galileod.units import Duration, Size, format_duration, format_size, parse_duration, parse_size

from .model import KEYS, MAX_MISTAKES, Config

MAX_SHOWN: Final = 120
"""Maximum characters of an invalid value or an unknown key in an error message."""

MAX_INTEGER: Final = 1 << 63
"""Integers are below this; TOML promises no more, and the ledger stores no more."""

_HIDDEN: Final = frozenset((*hooks.HIDDEN, *ledger.HIDDEN))

_Path = tuple[str | int, ...]
"""Keys and indexes that lead to a value, from the root of the file."""


def structure(data: Mapping[str, Any]) -> tuple[Config, Sequence[str], frozenset[str]]:
    """Convert a parsed file to a configuration.

    Returns it, a message for each mistake (at most MAX_MISTAKES and one more), and the keys whose
    values are wrong: they have their defaults in the configuration.
    """
    try:
        return _converter.structure(data, Config), (), frozenset()
    except ClassValidationError as error:
        found = list(_find(error, ()))
    paths = {tuple(map(str, takewhile(_is_key, path))) for path, _ in found}
    config = _converter.structure(_without(data, paths), Config)
    messages = [_describe(data, *each) for each in islice(found, MAX_MISTAKES + 1)]
    wrong = {".".join(path) for path in paths}
    return config, messages, frozenset(key for key in KEYS if not wrong.isdisjoint(_prefixes(key)))


def unstructure(config: Config) -> dict[str, Any]:
    """Convert a configuration to TOML tables. Keys with None are left out: TOML has no null."""
    return _without_unset(_converter.unstructure(config))


def message(key: str, value: object, expected: str) -> str:
    """The error message for the value of `key`; it does not contain a value that may be secret."""
    shown = "" if key in _HIDDEN else f"{'not set' if value is None else show(value)}: "
    return f"{key}: {shown}expected {expected}"


def show(value: object) -> str:
    """The value in a message, in one line of limited length."""
    try:
        return _cut(repr(value))
    except RecursionError:
        return "a table with too many levels"  # TOML writes them as a.b.c, without nesting
    except ValueError:  # sys.set_int_max_str_digits; TOML reads more of them in hex
        digits = "an integer of thousands of digits"
        return digits if isinstance(value, int) else f"a value with {digits}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def _without_unset(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_unset(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None and value != {}
    }


def _find(error: Exception, path: _Path) -> Iterator[tuple[_Path, str | None]]:
    """The mistakes in the exception tree of cattrs: where, and what was expected.

    That is None for a key that is unknown.
    """
    if isinstance(error, ClassValidationError | IterableValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            step = note.name if isinstance(note, AttributeValidationNote) else note.index
            yield from _find(inner, (*path, step))
        for inner in others:
            yield from _find(inner, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield (*path, key), None
    else:
        yield path, str(error)


def _without(table: Mapping[str, Any], paths: Collection[tuple[str, ...]]) -> dict[str, Any]:
    """The table without the values at `paths`. What is left is not deeper than the sections."""
    return {
        key: _without(value, {path[1:] for path in paths if path[0] == key})
        if isinstance(value, dict)
        else value
        for key, value in table.items()
        if (key,) not in paths
    }


def _describe(data: Any, path: _Path, expected: str | None) -> str:  # noqa: ANN401  any value of TOML
    if expected is None:
        return _unknown_key(".".join(map(str, path)))
    for step in path:
        data = data[step]
    return message(_dotted(path), data, expected)


def _dotted(path: _Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def _is_key(step: str | int) -> bool:
    return isinstance(step, str)


def _prefixes(key: str) -> Sequence[str]:
    """The key and the sections that it is in: `auth`, `auth.ticket`, `auth.ticket.key_file`."""
    return tuple(accumulate(key.split("."), "{}.{}".format))


def _unknown_key(key: str) -> str:
    names = KEYS if "." in key else (*(section.name for section in fields(Config)), *KEYS)
    (nearest,) = difflib.get_close_matches(key[:MAX_SHOWN], names, n=1, cutoff=0.0)
    shown = _cut(key) if key.isprintable() else show(key)
    return f"{shown}: unknown key; the nearest known one is {nearest}"


# Hooks of the converter. Each raises ValueError; its message says what was expected.


def _exactly(kind: type, expected: str) -> Callable[[object, Any], object]:
    def structure_exactly(value: object, _: Any) -> object:  # noqa: ANN401
        if type(value) is not kind:
            raise ValueError(expected)
        return value

    return structure_exactly


def _structure_integer(value: object, _: Any) -> object:  # noqa: ANN401
    if type(value) is not int:  # not isinstance(): True is an int
        raise ValueError("an integer")
    if not -MAX_INTEGER <= value < MAX_INTEGER:
        raise ValueError("an integer below 2^63")
    return value


def _has_origin(origin: object) -> Callable[[Any], bool]:
    return lambda kind: get_origin(kind) is origin


def _parsed_by(parse: Callable[[object], object]) -> Callable[[object, Any], object]:
    return lambda value, _: parse(value)


def _structure_literal(value: object, literal: Any) -> object:  # noqa: ANN401
    if value not in get_args(literal):
        raise ValueError("one of " + ", ".join(f'"{word}"' for word in get_args(literal)))
    return value


def _structure_list(value: object, kind: Any) -> object:  # noqa: ANN401
    if not isinstance(value, list):
        raise ValueError("a list")  # noqa: TRY004
    element: Any = list[get_args(kind)[0]]  # type: ignore[misc]  # a type that is known only here
    return tuple(_converter.structure(value, element))


def _structure_section(section: Any) -> Callable[[object, Any], object]:  # noqa: ANN401
    fill = cattrs.gen.make_dict_structure_fn(section, _converter, _cattrs_forbid_extra_keys=True)

    def structure_table(value: object, _: Any) -> object:  # noqa: ANN401
        if not isinstance(value, dict):
            raise ValueError("a table")  # noqa: TRY004
        return fill(value, section)

    return structure_table


_converter: Final = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(str, _exactly(str, "a string"))
_converter.register_structure_hook(int, _structure_integer)
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook_func(_has_origin(tuple), _structure_list)
_converter.register_structure_hook_func(_has_origin(Literal), _structure_literal)
_converter.register_structure_hook_factory(attrs.has, _structure_section)
_converter.register_structure_hook(Size, _parsed_by(parse_size))
_converter.register_structure_hook(Duration, _parsed_by(parse_duration))
_converter.register_structure_hook(Network, _parsed_by(parse_network))
_converter.register_structure_hook(Listen, _parsed_by(parse_address))
_converter.register_structure_hook(Hook, _parsed_by(parse_hook))
_converter.register_structure_hook(Modes, _parsed_by(parse_modes))

_converter.register_unstructure_hook(Size, format_size)
_converter.register_unstructure_hook(Duration, format_duration)
_converter.register_unstructure_hook(Modes, format_modes)
_converter.register_unstructure_hook(
    Hook, lambda hook: hook if isinstance(hook, str) else list(hook)
)
for _kind in (TcpAddress, UnixAddress, *get_args(Network)):
    _converter.register_unstructure_hook(_kind, str)
