"""The configuration: every key with its type and default, read strictly."""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, Literal, get_args

import attrs
import cattrs
import tomli_w
from attrs import evolve, field, fields, frozen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from .addresses import Listen, Network, TcpAddress, UnixAddress, parse_address, parse_network
from .auth import settings as auth_settings
from .auth.settings import Auth, Modes, TicketSettings
from .hooks import settings as hook_settings
from .hooks.settings import HIDDEN, Hook, Hooks
from .policy.layout import check_layout
from .policy.quota import Quota
from .units import Duration, Size, format_duration, format_size, parse_duration, parse_size

DEFAULT_FILE: Final = "/etc/galileod.toml"
"""Read where neither `--config` nor `$GALILEOD_CONFIG` names another, if it is there."""

MIN_CHUNK: Final = Size(1024)
MAX_CHUNK: Final = Size(1 << 30)
MAX_IN_FLIGHT: Final = 1024

MAX_FILE: Final = Size(1 << 20)
"""The largest file that is read."""

SHOWN: Final = 120
"""Characters of a wrong value that are shown."""

OnConflict = Literal["rename", "reject", "replace"]
Durability = Literal["full", "none"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "console", "json"]


class ConfigError(Exception):
    """The configuration is wrong; the text is one line that says where, what, and what to write."""


@frozen
class Server:
    """`[server]`: where and from whom connections are taken."""

    listen: tuple[Listen, ...] = (TcpAddress("127.0.0.1", 8750),)
    paths: tuple[str, ...] = ("/", "/upload")
    page: bool = True
    max_connections: int = 4096
    max_connections_per_address: int = 256
    allowed_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    drain_timeout: Duration = Duration(30)


@frozen
class Tls:
    """`[tls]`: PEM files with which TCP listeners speak TLS; both or neither."""

    certificate: str | None = None
    key: str | None = None


@frozen
class Timeouts:
    """`[timeouts]`: how long a peer is waited for."""

    handshake: Duration = Duration(10)
    metadata: Duration = Duration(10)
    idle: Duration = Duration(60)
    close: Duration = Duration(5)


@frozen
class Limits:
    """`[limits]`: what one upload may ask for."""

    max_file_size: Size = Size(10 << 30)
    min_rate: Size = Size(1024)


@frozen
class Chunks:
    """`[chunks]`: bounds on what is asked for at once."""

    min: Size = Size(64 << 10)
    max: Size = Size(8 << 20)
    max_in_flight: int = 16
    memory: Size = Size(256 << 20)


@frozen
class Storage:
    """`[storage]`: where finished files go, and how surely."""

    directory: str = "uploads"
    layout: str = "{name}"
    on_conflict: OnConflict = "rename"
    min_free: Size = Size(1 << 30)
    durability: Durability = "full"


@frozen
class Hash:
    """`[hash]`: what a client must prove."""

    required: bool = False


@frozen
class Log:
    """`[log]`: what is written to standard error."""

    level: LogLevel = "info"
    format: LogFormat = "auto"


@frozen
class Metrics:
    """`[metrics]`: who may read them."""

    allow: tuple[Network, ...] = (
        ipaddress.IPv4Network("127.0.0.0/8"),
        ipaddress.IPv6Network("::1/128"),
    )


@frozen
class Config:
    """All of it. Passed on whole, or as one section; never key by key."""

    server: Server = field(factory=Server)
    tls: Tls = field(factory=Tls)
    timeouts: Timeouts = field(factory=Timeouts)
    limits: Limits = field(factory=Limits)
    quota: Quota = field(factory=Quota)  # `[quota]`
    chunks: Chunks = field(factory=Chunks)
    storage: Storage = field(factory=Storage)
    hash: Hash = field(factory=Hash)
    auth: Auth = field(factory=Auth)  # `[auth]`
    hooks: Hooks = field(factory=Hooks)  # `[hooks]`
    log: Log = field(factory=Log)
    metrics: Metrics = field(factory=Metrics)


def _keys_of(section: type, prefix: str = "") -> Iterator[str]:
    for attribute in fields(section):
        if attrs.has(attribute.type):
            yield from _keys_of(attribute.type, f"{prefix}{attribute.name}.")
        else:
            yield prefix + attribute.name


KEYS: Final = tuple(_keys_of(Config))
"""Every key, with the names of its tables before it: `server.listen`."""


def value_of(config: Config, key: str) -> object:
    """The value of one of KEYS."""
    return attrgetter(key)(config)


def find_file(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """The file to read: the flag's, else `$GALILEOD_CONFIG`, else the default where it exists."""
    named = flag or environ.get("GALILEOD_CONFIG")
    return named or (DEFAULT_FILE if os.path.exists(DEFAULT_FILE) else None)


def load(path: str | None) -> Config:
    """Read and check the file at `path`, or give the defaults. Raises ConfigError."""
    if path is None:
        return Config()
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise ConfigError(f"{path}: is too large: expected {format_size(MAX_FILE)} at the most")
        data = tomllib.loads(text.decode("utf-8-sig"))  # some editors put a mark before it
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # a number or a nesting may be too much for it
        raise ConfigError(f"{path}: is not TOML: {error}") from None
    try:
        config = _converter.structure(data, Config)
    except ClassValidationError as error:
        raise ConfigError(f"{path}: {_describe(error, data)}") from None
    for key, value, expected in _violations(config):
        raise ConfigError(f"{path}: {_sentence(key, value, expected)}")
    return config


def with_flags(config: Config, listen: tuple[str, ...], directory: str | None) -> Config:
    """The configuration with the flags of the command line put over it. Raises ConfigError."""
    if listen:
        try:
            addresses = tuple(map(parse_address, listen))
        except ValueError as expected:
            raise ConfigError(_sentence("--listen", " ".join(listen), str(expected))) from None
        config = evolve(config, server=evolve(config.server, listen=addresses))
        for _, value, expected_there in auth_settings.violations(config.auth, addresses):
            raise ConfigError(_sentence("--listen", value, expected_there))
    if directory is not None:
        if not directory or "\0" in directory:
            raise ConfigError(_sentence("--directory", directory, "the path of a directory"))
        config = evolve(config, storage=evolve(config.storage, directory=directory))
    return config


def dump(config: Config) -> str:
    """The configuration as TOML that reads back to the same."""
    return tomli_w.dumps(_without_null(_converter.unstructure(config)))


def _without_null(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no null: what is not set is left out."""
    return {
        key: _without_null(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None and value != {}
    }


_PATH: Final = re.compile(r"(?!/[/\\])(?!.*/\.\.?(/|$))/[!$-;=@-\[\]-~]*")
"""What browsers leave as it is: ASCII without spaces, quotes, angle brackets, backslashes and the
two characters that end a path, without dots as a whole step; nor what they take for a host."""

_ORIGIN: Final = re.compile(
    r"(?!http://.*:80$)(?!https://.*:443$)[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+"
)
"""An origin as browsers write it (RFC 6454, section 6.2); one written otherwise matches nothing."""

ORIGIN_EXPECTED: Final = (
    'an origin as browsers send it, such as "https://example.org" or "http://localhost:3000":'
    " lower case, without a path or the usual port"
)

Violation = tuple[str, object, str]
"""The key, its value, and what was expected."""


def _violations(config: Config) -> Iterator[Violation]:
    """Rules that go beyond a key's type."""
    yield from _server_violations(config.server)
    for key, other in (("certificate", "key"), ("key", "certificate")):
        path = getattr(config.tls, key)
        if path is None and getattr(config.tls, other) is not None:
            yield f"tls.{key}", None, f"the path of a file, beside tls.{other}: both or neither"
        elif path is not None and (not path or "\0" in path):
            yield f"tls.{key}", path, "the path of a file"
    for attribute in fields(Timeouts):
        if (value := getattr(config.timeouts, attribute.name)) <= 0:
            yield f"timeouts.{attribute.name}", value, "a duration above 0"
    for attribute in fields(Quota):
        value = getattr(config.quota, attribute.name)
        if value is not None and value < 0:
            yield f"quota.{attribute.name}", value, "a whole number from 0 up"
    yield from _chunk_violations(config.chunks)
    yield from auth_settings.violations(config.auth, config.server.listen)
    try:
        check_layout(config.storage.layout)
    except ValueError as expected:
        yield "storage.layout", config.storage.layout, str(expected)
    if not config.storage.directory or "\0" in config.storage.directory:
        yield "storage.directory", config.storage.directory, "the path of a directory"
    yield from hook_settings.violations(config.hooks)


def _server_violations(server: Server) -> Iterator[Violation]:
    if not server.listen:
        yield "server.listen", [], "at least one address"
    if not server.paths:
        yield "server.paths", [], "at least one path"
    for path in server.paths:
        if not _PATH.fullmatch(path):
            yield "server.paths", path, 'a path as in a URL: from its "/", without query and spaces'
    for origin in server.allowed_origins:
        if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
            yield "server.allowed_origins", origin, ORIGIN_EXPECTED
    for key in ("max_connections", "max_connections_per_address"):
        if (value := getattr(server, key)) < 1:
            yield f"server.{key}", value, "a whole number from 1 up"


def _chunk_violations(chunks: Chunks) -> Iterator[Violation]:
    if not MIN_CHUNK <= chunks.min <= MAX_CHUNK:
        yield "chunks.min", chunks.min, f"from {format_size(MIN_CHUNK)} to {format_size(MAX_CHUNK)}"
    if not chunks.min <= chunks.max <= MAX_CHUNK:
        at_least = f"chunks.min ({format_size(chunks.min)})"
        yield "chunks.max", chunks.max, f"from {at_least} to {format_size(MAX_CHUNK)}"
    if not 1 <= chunks.max_in_flight <= MAX_IN_FLIGHT:
        yield "chunks.max_in_flight", chunks.max_in_flight, f"from 1 to {MAX_IN_FLIGHT}"

    if chunks.memory < chunks.min:
        yield "chunks.memory", chunks.memory, f"at least chunks.min ({format_size(chunks.min)})"


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
    return _sentence(_dotted(path), data, str(error))


def _dotted(path: list[str | int]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]


def _unknown(key: str) -> str:
    names = KEYS if "." in key else (*(section.name for section in fields(Config)), *KEYS)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
    shown = key if key.isprintable() else repr(key)
    return f"{shown}: unknown key; the nearest known one is {near[0]}"


def _sentence(key: str, value: object, expected: str) -> str:
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
_converter.register_structure_hook(Hook, lambda value, _: hook_settings.parse_hook(value))
_converter.register_structure_hook(Modes, lambda value, _: auth_settings.parse_modes(value))
for _kind in (
    Server, Tls, Timeouts, Limits, Quota, Chunks, Storage, Hash, TicketSettings, Auth, Hooks,
    Log, Metrics,
):  # fmt: skip
    _converter.register_structure_hook(_kind, _section(_kind))
_converter.register_unstructure_hook(Modes, auth_settings.format_modes)
_converter.register_unstructure_hook(Size, format_size)
_converter.register_unstructure_hook(Duration, format_duration)
_converter.register_unstructure_hook(
    Hook, lambda hook: hook if isinstance(hook, str) else list(hook)
)
for _address in (TcpAddress, UnixAddress, *get_args(Network)):
    _converter.register_unstructure_hook(_address, str)
