"""The configuration as one object, and the checks that concern several sections."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

import attrs
from attrs import field, fields, frozen

from galileod.auth import settings as auth
from galileod.auth.settings import Auth
from galileod.hooks import settings as hooks
from galileod.hooks.settings import Hooks
from galileod.ledger import settings as ledger
from galileod.ledger.settings import Ledger
from galileod.logs.settings import Log
from galileod.net import settings as net
from galileod.net.addresses import Listen, TcpAddress, is_loopback
from galileod.net.settings import Metrics, Server, Timeouts, Tls
from galileod.policy import settings as policy
from galileod.policy.settings import Chunks, Hash, Limits, Quota, Resume
from galileod.storage import settings as storage
from galileod.storage.settings import Storage
from galileod.units import Violation

EXPOSED: Final = (
    "a loopback address or a unix socket: any other address requires auth.mode in the file,"
    ' as "token", "ticket", or "none" to accept uploads from everybody'
)


MAX_MISTAKES: Final = 50
"""Maximum mistakes that are reported at once."""

MORE_MISTAKES: Final = "there are more mistakes"
"""The last line if there are more than MAX_MISTAKES."""


class ConfigError(Exception):
    """The configuration is invalid.

    `mistakes` has one line for each mistake, with the file, the key, the value and what was
    expected.
    """

    def __init__(self, *mistakes: str) -> None:
        if len(mistakes) > MAX_MISTAKES:
            mistakes = (*mistakes[:MAX_MISTAKES], MORE_MISTAKES)
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


@frozen
class Config:
    """The configuration. Functions take all of it or one section, not single values."""

    server: Server = field(factory=Server)
    tls: Tls = field(factory=Tls)
    timeouts: Timeouts = field(factory=Timeouts)
    limits: Limits = field(factory=Limits)
    quota: Quota = field(factory=Quota)
    chunks: Chunks = field(factory=Chunks)
    resume: Resume = field(factory=Resume)
    storage: Storage = field(factory=Storage)
    ledger: Ledger = field(factory=Ledger)
    hash: Hash = field(factory=Hash)
    auth: Auth = field(factory=Auth)
    hooks: Hooks = field(factory=Hooks)
    log: Log = field(factory=Log)
    metrics: Metrics = field(factory=Metrics)


def _keys_of(section: type, prefix: str = "") -> Iterator[str]:
    for attribute in fields(section):
        if attrs.has(attribute.type):
            yield from _keys_of(attribute.type, f"{prefix}{attribute.name}.")
        else:
            yield prefix + attribute.name


KEYS: Final = tuple(_keys_of(Config))
"""All keys with their tables, such as `server.listen`."""


def value_of(config: Config, key: str) -> object:
    """The value of one of KEYS."""
    return attrgetter(key)(config)


def violations(config: Config) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    yield from net.violations(config.server, config.tls, config.timeouts)
    yield from policy.violations(config.quota, config.chunks, config.resume)
    yield from exposed(config.auth, config.server.listen)
    yield from auth.violations(config.auth)
    yield from storage.violations(config.storage, config.chunks.memory)
    yield from ledger.violations(config.ledger)
    yield from hooks.violations(config.hooks)


def exposed(settings: Auth, listen: tuple[Listen, ...]) -> Iterator[Violation]:
    """The addresses beyond loopback, if `auth.mode` is not set."""
    if settings.mode is None:
        for address in listen:
            if isinstance(address, TcpAddress) and not is_loopback(address.host):
                yield "server.listen", str(address), EXPOSED
