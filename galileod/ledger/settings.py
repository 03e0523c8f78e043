"""`[ledger]`: where the ledger is."""

import re
import socket
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from galileod.extras import missing
from galileod.units import Violation

PSYCOPG_MISSING: Final = missing("postgresql", "psycopg[binary]>=3.3,<3.4")
"""What is said where the extra for PostgreSQL is not installed."""

HIDDEN: Final = ("ledger.url",)
"""The keys whose values may contain a password: error messages do not contain them."""

_EXPECTED: Final = 'the URL of a database, such as "postgresql://galileod@db.example.org/galileod"'

_NO_PASSWORD: Final = "a URL without a password, which belongs into the file ledger.password_file"  # noqa: S105  there is none


_PASSWORD: Final = re.compile("password *=", re.IGNORECASE)
"""In the parameters of a URL, also `sslpassword` and what libpq refuses: the URL is logged."""

_NODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""A node is a part of names of directories."""

_NODE_EXPECTED: Final = (
    "at most 63 letters, digits, dots, hyphens and underscores, the first a letter or digit"
)


@frozen
class Ledger:
    """`[ledger]`: the `url` of a database in PostgreSQL, and the file with its password.

    Without `url`, the ledger is a file of SQLite below `storage.directory`. `node` is the name of
    this process among those that share the database, by default that of the machine.
    """

    url: str | None = None
    password_file: str | None = None
    node: str | None = None

    @property
    def node_name(self) -> str | None:
        """The name of this node; None if it has its ledger alone. See `check_node_name`."""
        return None if self.url is None else self.node or socket.gethostname()


def violations(ledger: Ledger) -> Iterator[Violation]:
    """The values that have the right type but are not valid."""
    if ledger.url is not None:
        yield from _url_violations(ledger.url)
    if ledger.node is not None:
        if not _NODE.fullmatch(ledger.node):
            yield "ledger.node", ledger.node, _NODE_EXPECTED
        elif ledger.url is None:
            yield "ledger.node", ledger.node, "no name, since ledger.url is not set"
    if ledger.password_file is None:
        return
    if not ledger.password_file or "\0" in ledger.password_file:
        yield "ledger.password_file", ledger.password_file, "the path of a file"
    elif ledger.url is None:
        yield "ledger.password_file", ledger.password_file, "no file, since ledger.url is not set"


def check_node_name(ledger: Ledger) -> None:
    """Raise ValueError if the name of the machine cannot be that of the node."""
    name = ledger.node_name
    if name is not None and not _NODE.fullmatch(name):
        raise ValueError(
            f"not set, and the name of the machine is {name!r}: expected {_NODE_EXPECTED}"
        )


def _url_violations(url: str) -> Iterator[Violation]:
    try:
        parts = urlsplit(url)
        parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        if "," not in parts.netloc:  # of several servers, each may have a port
            parts.port  # noqa: B018  raises if it is not one
    except ValueError:
        yield "ledger.url", url, _EXPECTED
        return
    if parts.password is not None or _PASSWORD.search(unquote(parts.query)):
        yield "ledger.url", url, _NO_PASSWORD
    elif (
        parts.scheme != "postgresql"
        or not url.startswith("postgresql://")
        or not url.isprintable()
        or " " in url
        or parts.fragment
    ):
        yield "ledger.url", url, _EXPECTED
