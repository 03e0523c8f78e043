"""The authenticator: from a credential that a client presented to what it allows."""

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
from .tokens import Tokens, check_token, read_tokens

_TOKEN_PREFIX: Final = "gal_"  # noqa: S105  how tokens begin

_log: FilteringBoundLogger = structlog.get_logger()


class TokenFile:
    """The tokens of a file as it is now: it is read again when it was changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: Tokens = {}
        self._complaint: str | None = None
        self._limiter = trio.CapacityLimiter(1)

    def read(self) -> Tokens:
        """The tokens; none where there is no file yet. Blocks. Raises SecretFileError."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self._seen, self._tokens = None, {}
            return self._tokens
        except OSError as error:
            raise SecretFileError(f"{self._path}: cannot be read: {error.strerror}") from None
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._tokens = read_tokens(read_secret_file(self._path), self._path)
            self._seen = seen
        return self._tokens

    async def current(self) -> Tokens:
        """The tokens; those of before, and a line in the log, where the file is of no use."""
        # One at a time: a file that changed is read by the first who asks, and not by all at once.
        return await trio.to_thread.run_sync(self._read_or_keep, limiter=self._limiter)

    def _read_or_keep(self) -> Tokens:
        try:
            tokens = self.read()
        except SecretFileError as error:
            # Once: whoever shows credentials must not be able to fill the log with it.
            if self._complaint != str(error):
                self._complaint = str(error)
                _log.error("auth.tokens_rejected", reason=self._complaint)
            return self._tokens
        self._complaint = None
        return tokens


@frozen(eq=False)
class Authenticator:
    """Checks credentials. Without `tokens` and `ticket_key` none is needed, and none looked at."""

    tokens: TokenFile | None = None
    ticket_key: TicketKey | None = None
    slowdown: Slowdown = field(factory=Slowdown)

    @property
    def is_open(self) -> bool:
        """Whether anybody may upload."""
        return self.tokens is None and self.ticket_key is None

    async def check(self, credential: str, client: str) -> Grant:
        """What the credential allows. Raises Unauthorized, after a while.

        `client` is whose failures count together. A right credential never waits: whoever fails
        may share his address with others who do not.
        """
        try:
            return await self._judge(credential)
        except Unauthorized:
            await trio.sleep(self.slowdown.failed(client, trio.current_time()))
            raise

    async def _judge(self, credential: str) -> Grant:
        if len(credential) > MAX_CREDENTIAL:
            raise Unauthorized("a credential that is far too long")
        if not credential.isascii():  # half a surrogate, which JSON can hold, is not even text
            raise Unauthorized("a credential that is not ASCII")
        if self.tokens and (credential.startswith(_TOKEN_PREFIX) or not self.ticket_key):
            tokens = await self.tokens.current()
            return check_token(tokens, credential, datetime.now(UTC))
        if self.ticket_key:
            return check_ticket(self.ticket_key, credential, time.time())
        raise Unauthorized("no credential is taken here")


def open_authenticator(auth: Auth) -> Authenticator:
    """The authenticator that `auth` asks for. Blocks. Raises SecretFileError, with the key."""
    tokens = ticket_key = None
    if auth.takes("token"):
        tokens = TokenFile(auth.tokens_file)
        with _told_as("auth.tokens_file"):
            tokens.read()
    ticket = auth.ticket
    # The configuration was checked: where tickets are taken it has all three.
    if auth.takes("ticket") and ticket.algorithm and ticket.key_file and ticket.audience:
        with _told_as("auth.ticket.key_file"):
            ticket_key = load_ticket_key(ticket.algorithm, ticket.key_file, ticket.audience)
    return Authenticator(tokens, ticket_key)


@contextmanager
def _told_as(key: str) -> Iterator[None]:
    try:
        yield
    except SecretFileError as error:
        raise SecretFileError(f"{key}: {error}") from None
