"""Preparation: reads the files that a configuration names, and creates objects from them.

`check-config`, the start and each reload use it, so that all of them report the same errors.
"""

import ssl
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TypeVar

from attrs import frozen

from galileod.auth.authenticator import Authenticator, open_ticket_key, open_tokens
from galileod.config.file import Reading
from galileod.config.model import Config, ConfigError
from galileod.hooks.post import read_secret
from galileod.hooks.settings import HookError
from galileod.ledger.settings import PSYCOPG_MISSING, check_node_name
from galileod.net.http11 import Response
from galileod.net.tls import CertificateError, load_context
from galileod.secretfile import SecretFileError, read_secret_file
from galileod.server.static import load_static
from galileod.storage.s3.credentials import read_keys
from galileod.storage.settings import BOTOCORE_MISSING

from .paths import PathError, check_command, check_directory

T = TypeVar("T")


@frozen
class Prepared:
    """A checked configuration, the file `source` that it was read from, and the objects for it."""

    config: Config
    source: str | None
    authenticator: Authenticator
    static: Mapping[str, Response]
    tls: ssl.SSLContext | None


def prepare(reading: Reading) -> Prepared:
    """Read each file that the configuration names, and create the objects that need it. Blocks.

    Raises ConfigError with all mistakes, those of `reading` included.
    """
    config = reading.config
    attempts = _Attempts(reading)
    tokens = attempts.do(("auth.tokens_file",), lambda: open_tokens(config.auth))
    ticket_key = attempts.do(("auth.ticket.key_file",), lambda: open_ticket_key(config.auth))
    tls = attempts.do(("tls.certificate", "tls.key"), lambda: load_context(config.tls))
    attempts.do(("storage.directory",), lambda: check_directory(config.storage.directory))
    if config.storage.backend == "s3":
        attempts.do(("storage.backend",), _require_botocore)
        if (keys := config.storage.s3.credentials_file) is not None:
            # Only a check: the client of the object storage reads it again.
            attempts.do(("storage.s3.credentials_file",), lambda: _check_keys(keys))
    if config.ledger.url is not None:
        attempts.do(("ledger.url",), _require_psycopg)
        attempts.do(("ledger.node",), lambda: _check_node(config))
    if (password := config.ledger.password_file) is not None:
        # Only a check: each connection to the database reads it again.
        attempts.do(("ledger.password_file",), lambda: _check_secret(password))
    hooks, directory = config.hooks, config.storage.directory
    attempts.do(
        ("hooks.stored", "storage.directory"), lambda: check_command(hooks.stored, directory)
    )
    attempts.do(
        ("hooks.removed", "storage.directory"), lambda: check_command(hooks.removed, directory)
    )
    attempts.do(("hooks.admit", "storage.directory"), lambda: check_command(hooks.admit, directory))
    if (secret := config.hooks.secret_file) is not None:
        # Only a check: each delivery reads it again.
        attempts.do(("hooks.secret_file",), lambda: read_secret(secret))
    if attempts.mistakes:
        raise ConfigError(*attempts.mistakes)
    authenticator = Authenticator(tokens, ticket_key)
    return Prepared(config, reading.source, authenticator, load_static(config), tls)


def _require_botocore() -> None:
    """Raise PathError if the package is not installed. It is not imported, which takes long."""
    if find_spec("botocore") is None:
        raise PathError(f'"s3": {BOTOCORE_MISSING}')


def _require_psycopg() -> None:
    """Raise PathError if the package is not installed. It is not imported, which takes long."""
    if find_spec("psycopg") is None:
        raise PathError(PSYCOPG_MISSING)


def _check_node(config: Config) -> None:
    """Raise PathError if the machine's name cannot be that of the node."""
    try:
        check_node_name(config.ledger)
    except ValueError as error:
        raise PathError(str(error)) from None


def _check_secret(path: str) -> None:
    """Raise PathError if the file of a password cannot be read."""
    try:
        read_secret_file(path)
    except SecretFileError as error:
        raise PathError(str(error)) from None


def _check_keys(path: str) -> None:
    """Raise PathError if the file of credentials cannot be used."""
    try:
        read_keys(path)
    except SecretFileError as error:
        raise PathError(str(error)) from None


class _Attempts:
    """Steps of which each may fail. `mistakes` collects why, and begins with those of `reading`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.mistakes = [*reading.mistakes]

    def do(self, keys: tuple[str, ...], step: Callable[[], T]) -> T | None:
        """The result of a step that uses the values of `keys`; None if it fails.

        A step with a value that is known to be wrong is left out.
        """
        if not self._reading.wrong.isdisjoint(keys):
            return None
        try:
            return step()
        except CertificateError as error:
            self.mistakes += [f"{self._reading.source}: {reason}" for reason in error.reasons]
        except (SecretFileError, HookError) as error:
            self.mistakes.append(f"{self._reading.source}: {error}")
        except PathError as error:
            self.mistakes.append(f"{self._reading.where(keys[0])}: {error}")
        return None
