"""`galileod token`: add, list and revoke tokens."""

import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import click

from galileod.auth.grant import USER_EXPECTED, is_user, parse_retention
from galileod.auth.store import change_tokens, load_tokens
from galileod.auth.tokens import (
    MAX_TOKENS,
    NOTE_EXPECTED,
    Token,
    Tokens,
    is_note,
    make_token,
)
from galileod.auth.uses import Uses, load_uses
from galileod.config import file as config
from galileod.config.model import Config
from galileod.printable import printable
from galileod.secretfile import SecretFileError
from galileod.storage.state import token_uses_path
from galileod.units import Duration, Size, format_duration, format_size, parse_duration, parse_size

from .options import config_option

T = TypeVar("T")

END_EXPECTED: Final = (
    'a duration such as "90d", or a date or time in the future such as 2027-01-01 or'
    " 2027-01-01T12:00+01:00"
)

_COMPACT: Final = re.compile(r"\d{8}", re.ASCII)
"""20270101, which is a date in the basic format of ISO 8601, and also a number of seconds."""

_LINE: Final = (
    "{id:12}  {user:32} {created:20} {expires:20} {last_used:20} {max_file_size:>10} {quota:>10}"
    "  {retention:>10}  {note}"
)
_HEADINGS: Final = {
    **{key: key for key in ("id", "user", "created", "expires", "quota", "retention", "note")},
    "last_used": "last used",
    "max_file_size": "file",
}

_config_option = config_option("Configuration, for auth.tokens_file.")


def _quantity(parse: Callable[[object], T]) -> Callable[..., T | None]:
    """A click callback that parses the value of a flag with `parse`, or leaves None."""

    def read(_: click.Context, __: click.Parameter, value: str | None) -> T | None:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as expected:
            raise click.BadParameter(f"{value!r}: expected {expected}") from None

    return read


def _user(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_user(value):
        raise click.BadParameter(f"{value!r}: expected {USER_EXPECTED}")
    return value


def _note(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not is_note(value):
        raise click.BadParameter(f"{value!r}: expected {NOTE_EXPECTED}")
    return value


def _end(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """When a token expires: a lifetime from now on, or a date or time, in UTC without an offset."""
    if value is None:
        return None
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        end = now + timedelta(seconds=parse_duration(value))
    except ValueError:
        end = _moment(value)
    else:
        if _COMPACT.fullmatch(value) and _is_moment_after(now, value):
            raise click.BadParameter(
                f"{value!r}: may be a date or seconds: expected {END_EXPECTED}"
            )
    if end <= now:
        raise click.BadParameter(f"{value!r}: is past: expected {END_EXPECTED}")
    return end.replace(microsecond=0)


def _moment(value: str) -> datetime:
    """A date or time of ISO 8601. Raises click.BadParameter."""
    try:
        end = datetime.fromisoformat(value)
        return (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r}: expected {END_EXPECTED}") from None


def _is_moment_after(now: datetime, value: str) -> bool:
    try:
        return _moment(value) > now
    except click.BadParameter:
        return False


@click.group(no_args_is_help=False)
def token() -> None:
    """Add, list and revoke tokens. Changes take effect at once, without a restart or reload."""


@token.command()
@_config_option
@click.argument("user", callback=_user)
@click.option(
    "--expires",
    metavar="TIME",
    callback=_end,
    help='Lifetime, as in "90d", or the end, as in "2027-01-01" (UTC).',
)
@click.option("--note", metavar="TEXT", callback=_note, help="For the list, such as a purpose.")
@click.option(
    "--max-file-size",
    metavar="SIZE",
    callback=_quantity(parse_size),
    help="Replaces limits.max_file_size.",
)
@click.option(
    "--quota", metavar="SIZE", callback=_quantity(parse_size), help="Replaces quota.user_bytes."
)
@click.option(
    "--retention",
    metavar="TIME",
    callback=_quantity(parse_retention),
    help='How long files stay stored, as in "30d"; replaces storage.retention.',
)
def add(
    path: str | None,
    user: str,
    expires: datetime | None,
    note: str | None,
    max_file_size: Size | None,
    quota: Size | None,
    retention: Duration | None,
) -> None:
    """Create a token for USER and print it. Only its hash is stored: it cannot be printed again."""
    now = datetime.now(UTC).replace(microsecond=0)
    text, kept = make_token(user, now, expires, max_file_size, quota, note, retention)

    def insert(tokens: Tokens) -> list[Token]:
        if len(tokens) >= MAX_TOKENS:
            raise click.ClickException(f"the file has {MAX_TOKENS} tokens, which is the maximum")
        return [*tokens.values(), kept]

    _change(path, insert)
    click.echo(text)


@token.command("list")
@_config_option
@click.option(
    "--directory",
    metavar="DIR",
    help="The daemon's storage.directory, for the last uses, if FILE has another one.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_tokens(path: str | None, directory: str | None, as_json: bool) -> None:
    """List ids, users and limits of all tokens. The tokens themselves cannot be printed."""
    settings = _config(path)
    try:
        tokens = load_tokens(settings.auth.tokens_file)
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None
    where = settings.storage.directory if directory is None else directory
    uses = _uses(token_uses_path(where, settings.ledger.node_name))
    rows = [_row(kept, uses.get(kept.id)) for kept in tokens.values()]
    if as_json:
        click.echo(json.dumps({"tokens": rows}))
        return
    click.echo(_LINE.format(**_HEADINGS))
    for row in rows:
        shown = {key: "-" if value is None else value for key, value in row.items()}
        click.echo(_LINE.format(**shown))


@token.command()
@_config_option
@click.argument("which", metavar="ID_OR_USER")
def revoke(path: str | None, which: str) -> None:
    """Revoke the token with an id, or all tokens of a user."""
    revoked: list[Token] = []

    def remove(tokens: Tokens) -> list[Token]:
        revoked.extend(kept for kept in tokens.values() if which in (kept.id, kept.user))
        if not revoked:
            raise click.ClickException(f"{which!r}: no token has this id or user")
        return [kept for kept in tokens.values() if kept not in revoked]

    _change(path, remove)
    for kept in revoked:
        click.echo(f"revoked {kept.id} of {kept.user}")


def _uses(path: str) -> Uses:
    """When the tokens were last used; nothing, and a warning, if the file cannot be read."""
    try:
        return load_uses(path)
    except SecretFileError as error:
        click.echo(
            f"galileod: warning: the last uses are not known: {printable(str(error))}", err=True
        )
        return {}


def _row(kept: Token, used: datetime | None) -> dict[str, str | float | None]:
    return {
        "id": kept.id,
        "user": kept.user,
        "created": _stamp(kept.created),
        "expires": _stamp(kept.expires),
        "max_file_size": None if kept.max_file_size is None else format_size(kept.max_file_size),
        "quota": None if kept.quota is None else format_size(kept.quota),
        "retention": None if kept.retention is None else format_duration(kept.retention),
        "last_used": _stamp(used),
        "note": kept.note,
    }


def _stamp(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _change(path: str | None, change: Callable[[Tokens], list[Token]]) -> None:
    try:
        change_tokens(_config(path).auth.tokens_file, change)
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None


def _config(path: str | None) -> Config:
    return config.load(config.find_file(path, os.environ))
