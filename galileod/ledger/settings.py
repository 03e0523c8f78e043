"""`[ledger]`: where the ledger is."""

import shlex
import sys
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from attrs import frozen

from galileod.units import Violation

PSYCOPG_MISSING: Final = (
    "needs the Python package psycopg:"
    f" {shlex.quote(sys.executable)} -m pip install 'psycopg[binary]>=3.3,<3.4'"
)
"""What is said where the extra for PostgreSQL is not installed."""

HIDDEN: Final = ("ledger.url",)
"""The keys whose values may contain a password: error messages do not contain them."""

_EXPECTED: Final = 'the URL of a database, such as "postgresql://galileod@db.example.org/galileod"'

_NO_PASSWORD: Final = "a URL without a password, which belongs into the file ledger.password_file"  # noqa: S105  there is none


@frozen
class Ledger:
    """`[ledger]`: the `url` of a database in PostgreSQL, and the file with its password.

    Without `url`, the ledger is a file of SQLite below `storage.directory`.
    """

    url: str | None = None
    password_file: str | None = None


def violations(ledger: Ledger) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    if ledger.url is not None:
        yield from _url_violations(ledger.url)
    if ledger.password_file is None:
        return
    if not ledger.password_file or "\0" in ledger.password_file:
        yield "ledger.password_file", ledger.password_file, "the path of a file"
    elif ledger.url is None:
        yield "ledger.password_file", ledger.password_file, "no file, since ledger.url is not set"


def _url_violations(url: str) -> Iterator[Violation]:
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        if "," not in parts.netloc:  # of several servers, each may have a port
            parts.port  # noqa: B018  raises if it is not one
    except ValueError:
        yield "ledger.url", url, _EXPECTED
        return
    if parts.password is not None or "password" in dict(query):
        yield "ledger.url", url, _NO_PASSWORD
    elif (
        parts.scheme != "postgresql"
        or not url.startswith("postgresql://")
        or not url.isprintable()
        or " " in url
        or parts.fragment
    ):
        yield "ledger.url", url, _EXPECTED
