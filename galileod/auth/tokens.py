"""Tokens: random strings. `galileod token` stores their hashes in the tokens file.

A token is `gal_`, an id of 12 hex digits, `_`, and 160 random bits in hex. The id is not secret: it
identifies the token in lists. The hash is a plain sha256, since 160 bits cannot be guessed.
"""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any, Final

import cattrs
import tomli_w
from attrs import asdict, evolve, frozen
from cattrs.errors import ClassValidationError, IterableValidationError

from galileod.secretfile import SecretFileError
from galileod.units import Duration, Size, format_duration, format_size, parse_size

from .grant import USER_EXPECTED, Grant, Unauthorized, is_user, parse_retention

ID_BYTES: Final = 6
SECRET_BYTES: Final = 20

MAX_TOKENS: Final = 10_000
"""Maximum tokens in one file. After a change the daemon parses it while uploads run, which takes
seconds for this number. With the longest user names the file is well below `secretfile.MAX_BYTES`.
"""

MAX_NOTE: Final = 128
"""Maximum characters of a note."""

NOTE_EXPECTED: Final = f"1 to {MAX_NOTE} printable characters, without spaces at either end"

HEADER: Final = "# Written by `galileod token`. Contains only hashes of the tokens.\n"

_NOTE: Final = re.compile(rf"# note ([0-9a-f]{{{2 * ID_BYTES}}}): (.*)")
"""A line in the header. Notes are comments, since older versions accept no further keys."""

_TOKEN: Final = re.compile(rf"gal_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
_NO_HASH: Final = "0" * 64

_FORMATS: Final[Mapping[str, Callable[[Any], object]]] = {
    "max_file_size": format_size,
    "quota": format_size,
    "retention": format_duration,
}
"""How the values of some keys are written."""


@frozen
class Token:
    """A token as it is stored. `hash` is the sha256 of its text in hex; times are in UTC."""

    id: str
    user: str
    hash: str
    created: datetime
    expires: datetime | None = None
    max_file_size: Size | None = None
    quota: Size | None = None
    note: str | None = None
    retention: Duration | None = None

    def is_expired(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.expires is not None and now >= self.expires


Tokens = Mapping[str, Token]
"""Tokens by id."""


def make_token(
    user: str,
    now: datetime,
    expires: datetime | None = None,
    max_file_size: Size | None = None,
    quota: Size | None = None,
    note: str | None = None,
    retention: Duration | None = None,
) -> tuple[str, Token]:
    """Create a token; returns its text, and the Token to store."""
    identity = secrets.token_hex(ID_BYTES)
    text = f"gal_{identity}_{secrets.token_hex(SECRET_BYTES)}"
    digest = _hash(text)
    kept = Token(identity, user, digest, now, expires, max_file_size, quota, note, retention)
    return text, kept


def is_note(text: str) -> bool:
    """Whether `text` is valid as a note: see NOTE_EXPECTED."""
    return 0 < len(text) <= MAX_NOTE and text.isprintable() and text == text.strip()


def id_of(text: str) -> str:
    """The id in the text of a token that was checked."""
    return text.split("_")[1]


def check_token(tokens: Tokens, text: str, now: datetime) -> Grant:
    """The grant of the token `text` at the time `now`. Raises Unauthorized.

    The hashes are compared in constant time.
    """
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise Unauthorized("the credential is not a token")
    known = tokens.get(match[1])
    right = hmac.compare_digest(_hash(text), known.hash if known else _NO_HASH)
    if known is None or not right:
        raise Unauthorized("the token is unknown")
    if known.is_expired(now):
        raise Unauthorized(f"the token {known.id} of {known.user} has expired")
    return Grant(known.user, known.max_file_size, known.quota, retention=known.retention)


def read_tokens(data: bytes, path: str) -> Tokens:
    """Parse the content of a tokens file. Raises SecretFileError, whose message has `path`."""
    try:
        text = data.decode()
        table = tomllib.loads(text)
        tokens = _converter.structure(table, _File).token
    except (ValueError, RecursionError) as error:
        raise SecretFileError(f"{path}: is not TOML: {error}") from None
    except (ClassValidationError, IterableValidationError, cattrs.BaseValidationError):
        raise SecretFileError(f"{path}: is not a file that `galileod token` has written") from None
    if len(tokens) > MAX_TOKENS:
        raise SecretFileError(f"{path}: has {len(tokens)} tokens: expected at most {MAX_TOKENS}")
    notes = _read_notes(text)
    return {token.id: evolve(token, note=notes.get(token.id)) for token in tokens}


def write_tokens(tokens: Collection[Token]) -> bytes:
    """The content of a file with these tokens."""
    rows = [
        {
            key: _FORMATS[key](value) if key in _FORMATS else value
            for key, value in asdict(token).items()
            if value is not None and key != "note"
        }
        for token in tokens
    ]
    notes = "".join(f"# note {token.id}: {token.note}\n" for token in tokens if token.note)
    return f"{HEADER}{notes}\n{tomli_w.dumps({'token': rows})}".encode()


def _read_notes(text: str) -> Mapping[str, str]:
    """The notes in the header, by the ids of the tokens."""
    header = takewhile(lambda line: line.startswith("#"), text.split("\n"))
    found = filter(None, map(_NOTE.fullmatch, header))
    return {match[1]: match[2] for match in found if is_note(match[2])}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@frozen
class _File:
    token: tuple[Token, ...] = ()


def _time(value: object, _: type) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError("a date and time with offset")
    return value.astimezone(UTC)


def _size(value: object, _: type) -> Size:
    return parse_size(value)


def _retention(value: object, _: type) -> Duration:
    return parse_retention(value)


def _string(value: object, _: type) -> str:
    if not isinstance(value, str):
        raise ValueError("a string")  # noqa: TRY004  cattrs collects ValueErrors
    return value


def _token(value: Any, kind: type[Token]) -> Token:  # noqa: ANN401  any value of TOML
    token = _fill(value, kind)
    if not is_user(token.user):
        raise ValueError(USER_EXPECTED)
    return token


_converter: Final = cattrs.Converter(forbid_extra_keys=True)
_converter.register_structure_hook(datetime, _time)
_converter.register_structure_hook(Size, _size)
_converter.register_structure_hook(Duration, _retention)
_converter.register_structure_hook(str, _string)
_fill: Final = cattrs.gen.make_dict_structure_fn(
    Token,
    _converter,
    _cattrs_forbid_extra_keys=True,
    note=cattrs.gen.override(omit=True),  # not a key: see _NOTE
)
_converter.register_structure_hook(Token, _token)
