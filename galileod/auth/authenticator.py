"""The authenticator: checks a credential and returns its grant."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

import structlog
import trio
from attrs import field, frozen
from structlog.typing import FilteringBoundLogger

from galileod.policy.slowdown import Slowdown
from galileod.secretfile import SecretFileError, read_secret_file

from .grant import MAX_CREDENTIAL, Grant, Unauthorized
from .settings import Auth
from .tickets import TicketKey, check_ticket, load_ticket_key
from .tokens import Tokens, check_token, id_of, read_tokens
from .uses import TokenUses

_TOKEN_PREFIX: Final = "gal_"  # noqa: S105  not a secret

_log: FilteringBoundLogger = structlog.get_logger()


class TokenFile:
    """The tokens in a file, which is read again after each change of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._tokens: Tokens = {}
        self._last_error: str | None = None
        self._limiter = trio.CapacityLimiter(1)

    def read(self) -> Tokens:
        """The tokens in the file; none if it does not exist. Blocks. Raises SecretFileError."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._version, self._tokens = None, {}
            return self._tokens
        except OSError as error:
            raise SecretFileError(f"{self._path}: cannot be read: {error.strerror}") from None
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._tokens = read_tokens(read_secret_file(self._path), self._path)
            self._version = version
        return self._tokens

    async def current(self) -> Tokens:
        """The tokens in the file; if it has become invalid, logs that, and returns the old ones."""
        # One thread at a time: a changed file is read once, also if several requests wait for it.
        return await trio.to_thread.run_sync(self._read_or_keep, limiter=self._limiter)

    def _read_or_keep(self) -> Tokens:
        try:
            tokens = self.read()
        except SecretFileError as error:
            # Each error is logged once: clients must not be able to fill the log.
            if self._last_error != str(error):
                self._last_error = str(error)
                _log.error("auth.tokens_rejected", reason=self._last_error)
            return self._tokens
        self._last_error = None
        return tokens


@frozen(eq=False)
class Authenticator:
    """Checks credentials. With neither `tokens` nor `ticket_key`, anyone may upload."""

    tokens: TokenFile | None = None
    ticket_key: TicketKey | None = None
    slowdown: Slowdown = field(factory=Slowdown)
    uses: TokenUses = field(factory=TokenUses)

    @property
    def is_open(self) -> bool:
        """Whether uploads need no credential."""
        return self.tokens is None and self.ticket_key is None

    async def check(self, credential: str, client: str, *, allow_expired: bool = False) -> Grant:
        """The grant of a credential. Raises Unauthorized, after a delay, if it is not valid.

        With `allow_expired`, a ticket that has expired counts as valid: its grant is `expired`.

        The delay grows with the number of failures of `client`, which is a network. Valid
        credentials are not delayed: their owner may share the address with a client that fails.
        """
        try:
            return await self._verify(credential, allow_expired=allow_expired)
        except Unauthorized:
            await trio.sleep(self.slowdown.failed(client, trio.current_time()))
            raise

    async def _verify(self, credential: str, *, allow_expired: bool) -> Grant:
        if len(credential) > MAX_CREDENTIAL:
            raise Unauthorized("the credential is too long")
        if not credential.isascii():  # JSON can contain lone surrogates, which cannot be encoded
            raise Unauthorized("the credential is not ASCII")
        if self.tokens and (credential.startswith(_TOKEN_PREFIX) or not self.ticket_key):
            tokens, now = await self.tokens.current(), datetime.now(UTC)
            grant = check_token(tokens, credential, now)
            self.uses.note(id_of(credential), now)
            return grant
        if self.ticket_key:
            return check_ticket(
                self.ticket_key, credential, time.time(), allow_expired=allow_expired
            )
        raise Unauthorized("credentials are not accepted")


def open_tokens(auth: Auth) -> TokenFile | None:
    """The tokens, if `auth` accepts them. Reads the file, which blocks.

    Raises SecretFileError, whose message begins with the key of the configuration.
    """
    if not auth.accepts("token"):
        return None
    tokens = TokenFile(auth.tokens_file)
    with _key_in_errors("auth.tokens_file"):
        tokens.read()
    return tokens


def open_ticket_key(auth: Auth) -> TicketKey | None:
    """The key of tickets, if `auth` accepts them. Blocks and raises as `open_tokens` does."""
    ticket = auth.ticket
    # A checked configuration that accepts tickets has all three.
    if auth.accepts("ticket") and ticket.algorithm and ticket.key_file and ticket.audience:
        with _key_in_errors("auth.ticket.key_file"):
            return load_ticket_key(ticket.algorithm, ticket.key_file, ticket.audience)
    return None


@contextmanager
def _key_in_errors(key: str) -> Iterator[None]:
    try:
        yield
    except SecretFileError as error:
        raise SecretFileError(f"{key}: {error}") from None
