"""`galileod token`: add, list and revoke tokens."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import click

from galileod.auth.grant import USER_EXPECTED, is_user
from galileod.auth.store import change_tokens, load_tokens
from galileod.auth.tokens import MAX_TOKENS, Token, Tokens, make_token
from galileod.config import file as config
from galileod.secretfile import SecretFileError
from galileod.units import Duration, Size, format_size, parse_duration, parse_size

from .options import config_option

T = TypeVar("T")

_config_option = config_option("Configuration, for auth.tokens_file.")


def _quantity(parse: Callable[[object], T]) -> Callable[..., T | None]:
    """A click callback that parses the value of a flag with `parse`, or leaves None."""

    def read(_: click.Context, __: click.Parameter, value: str | None) -> T | None:
        if value is None:
            return None
        try:
            return parse(int(value) if value.isdecimal() else value)
        except ValueError as expected:
            raise click.BadParameter(f"{value!r}: expected {expected}") from None

    return read


def _user(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_user(value):
        raise click.BadParameter(f"{value!r}: expected {USER_EXPECTED}")
    return value


@click.group()
def token() -> None:
    """Add, list and revoke tokens. Changes take effect at once, without a restart or reload."""


@token.command()
@_config_option
@click.argument("user", callback=_user)
@click.option(
    "--expires", metavar="TIME", callback=_quantity(parse_duration), help='Lifetime, as in "90d".'
)
@click.option(
    "--max-file-size",
    metavar="SIZE",
    callback=_quantity(parse_size),
    help="Replaces limits.max_file_size.",
)
@click.option(
    "--quota", metavar="SIZE", callback=_quantity(parse_size), help="Replaces quota.user_bytes."
)
def add(
    path: str | None,
    user: str,
    expires: Duration | None,
    max_file_size: Size | None,
    quota: Size | None,
) -> None:
    """Create a token for USER and print it. Only its hash is stored: it cannot be printed again."""
    now = datetime.now(UTC).replace(microsecond=0)
    until = now + timedelta(seconds=expires) if expires is not None else None
    text, kept = make_token(user, now, until, max_file_size, quota)

    def insert(tokens: Tokens) -> list[Token]:
        if len(tokens) >= MAX_TOKENS:
            raise click.ClickException(f"the file has {MAX_TOKENS} tokens, which is the maximum")
        return [*tokens.values(), kept]

    _change(path, insert)
    click.echo(text)


@token.command("list")
@_config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def list_tokens(path: str | None, as_json: bool) -> None:
    """List ids, users and limits of all tokens. The tokens themselves cannot be printed."""
    try:
        tokens = load_tokens(_file(path))
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None
    rows = [_row(kept) for kept in tokens.values()]
    if as_json:
        click.echo(json.dumps({"tokens": rows}))
        return
    click.echo(f"{'id':12}  {'user':32} {'created':20} {'expires':20} {'file':>10} {'quota':>10}")
    for row in rows:
        shown = {key: "-" if value is None else value for key, value in row.items()}
        click.echo(
            "{id:12}  {user:32} {created:20} {expires:20} {max_file_size:>10} {quota:>10}".format(
                **shown
            )
        )


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


def _row(kept: Token) -> dict[str, str | int | None]:
    return {
        "id": kept.id,
        "user": kept.user,
        "created": _stamp(kept.created),
        "expires": _stamp(kept.expires),
        "max_file_size": None if kept.max_file_size is None else format_size(kept.max_file_size),
        "quota": None if kept.quota is None else format_size(kept.quota),
    }


def _stamp(time: datetime | None) -> str | None:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else None


def _change(path: str | None, change: Callable[[Tokens], list[Token]]) -> None:
    try:
        change_tokens(_file(path), change)
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None


def _file(path: str | None) -> str:
    """The path of the tokens file, from the configuration at `path`."""
    return config.load(config.find_file(path, os.environ)).auth.tokens_file
