"""Tokens: long random texts, of which only a hash is kept, in a file that `galileod token` writes.

A token is `gal_`, an id of 12 hex digits, `_`, and 160 random bits in hex. The id is no secret: it
names the token in lists. sha256 is enough for the rest, since nobody can guess at 160 bits.
"""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import cattrs
import tomli_w
from attrs import asdict, frozen
from cattrs.errors import ClassValidationError, IterableValidationError

from galileod.secretfile import SecretFileError
from galileod.units import Size, format_size, parse_size

from .grant import Grant, Unauthorized, is_user

ID_BYTES: Final = 6
SECRET_BYTES: Final = 20

MAX_TOKENS: Final = 10_000
"""Tokens in one file: after a change it takes seconds to be read, beside the uploads that run. The
longest names that users may have leave it well below what is read of a file."""

HEADER: Final = "# Written by `galileod token`. A token cannot be told from what stands here.\n\n"

_TOKEN: Final = re.compile(rf"gal_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
_NOTHING: Final = "0" * 64


@frozen
class Token:
    """One token as it is kept. `hash` is the sha256 of its text, in hex; times are UTC."""

    id: str
    user: str
    hash: str
    created: datetime
    expires: datetime | None = None
    max_file_size: Size | None = None
    quota: Size | None = None

    def is_expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


Tokens = Mapping[str, Token]
"""By id."""


def make_token(
    user: str,
    now: datetime,
    expires: datetime | None = None,
    max_file_size: Size | None = None,
    quota: Size | None = None,
) -> tuple[str, Token]:
    """A new token: its text, which is told once, and what is kept of it."""
    identity = secrets.token_hex(ID_BYTES)
    text = f"gal_{identity}_{secrets.token_hex(SECRET_BYTES)}"
    kept = Token(identity, user, _hash(text), now, expires, max_file_size, quota)
    return text, kept


def check_token(tokens: Tokens, text: str, now: datetime) -> Grant:
    """What the token `text` allows. Raises Unauthorized.

    Takes as long for an unknown token as for one that is nearly right.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Unauthorized("not a token")
    known = tokens.get(match[1])
    right = hmac.compare_digest(_hash(text), known.hash if known else _NOTHING)
    if known is None or not right:
        raise Unauthorized("an unknown token")
    if known.is_expired(now):
        raise Unauthorized("an expired token")
    return Grant(known.user, known.max_file_size, known.quota)


def read_tokens(data: bytes, path: str) -> Tokens:
    """The tokens of a file's content. Raises SecretFileError, which names `path`."""
    try:
        table = tomllib.loads(data.decode())
        tokens = _converter.structure(table, _File).token
    except (ValueError, RecursionError) as error:
        raise SecretFileError(f"{path}: is not TOML: {error}") from None
    except (ClassValidationError, IterableValidationError, cattrs.BaseValidationError):
        raise SecretFileError(f"{path}: is not as `galileod token` writes it") from None
    if len(tokens) > MAX_TOKENS:
        raise SecretFileError(f"{path}: has more than {MAX_TOKENS} tokens")
    return {token.id: token for token in tokens}


def write_tokens(tokens: Iterable[Token]) -> bytes:
    """The content of a file with these tokens."""
    rows = [
        {
            key: format_size(value) if key in ("max_file_size", "quota") else value
            for key, value in asdict(token).items()
            if value is not None
        }
        for token in tokens
    ]
    return (HEADER + tomli_w.dumps({"token": rows})).encode()


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@frozen
class _File:
    token: tuple[Token, ...] = ()


def _time(value: object, _: type) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("a time with its offset")
    return value.astimezone(UTC)


def _size(value: object, _: type) -> Size:
    return parse_size(value)


def _text(value: object, _: type) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")  # noqa: TRY004  hooks answer with ValueError
    return value


def _token(value: Any, kind: type[Token]) -> Token:  # noqa: ANN401  whatever TOML holds
    token = _fill(value, kind)
    if not is_user(token.user):
        raise ValueError("the name of a user")
    return token


_converter: Final = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(datetime, _time)
_converter.register_structure_hook(Size, _size)
_converter.register_structure_hook(str, _text)
_fill: Final = cattrs.gen.make_dict_structure_fn(Token, _converter, _cattrs_forbid_extra_keys=True)
_converter.register_structure_hook(Token, _token)
