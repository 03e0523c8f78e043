"""The parameter types of the command's flags, and where the token is read from."""

import os
import re
from collections.abc import Callable
from typing import Final

import click
from attrs import frozen

from galileod.client.address import parse_url
from galileod.units import parse_duration, parse_size

MAX_PARALLEL: Final = 256
"""Maximum parallel uploads; each needs two or three descriptors and at times a thread."""

MAX_RETRIES: Final = 1000

_MAX_TOKEN: Final = 16 * 1024
"""Maximum characters of a token: no server accepts a longer request head."""


@frozen
class _Parsed(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """A parameter that `parse` converts; it raises ValueError with what is expected."""

    name: str
    parse: Callable[[str], object]

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self.parse(value)
        except ValueError as error:
            text = str(error)
            self.fail(text if text.endswith(".") else f"expected {text}.", param, ctx)


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return parse


SIZE: Final = _Parsed("size", parse_size)
DURATION: Final = _Parsed("duration", parse_duration)
URL: Final = _Parsed("url", parse_url)
PARALLEL: Final = _Parsed("number", _count(1, MAX_PARALLEL))
RETRIES: Final = _Parsed("number", _count(0, MAX_RETRIES))


def read_token(path: str | None) -> str | None:
    """The token from the file at `path`, else from $GALILEO_TOKEN.

    There is no flag for the token itself: all users can read a command line. Raises
    click.UsageError.
    """
    if path is None:
        return os.environ.get("GALILEO_TOKEN", "").strip() or None
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read(_MAX_TOKEN).strip()
    except OSError as error:
        raise click.UsageError(f"The token file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        token = ""
    if not token:
        raise click.UsageError(f"The token file {path} contains no token.")
    return token
