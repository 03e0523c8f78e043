"""Errors of PostgreSQL, as errors of the ledger that say what to do."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import psycopg

from galileod.ledger.base import LedgerError
from galileod.ledger.lease import LeaseLostError
from galileod.ledger.unavailable import UnavailableError

LEASE_LOST: Final = "GA001"
"""The SQLSTATE with which `check_fence` refuses a node."""

_ADVICE: Final[Mapping[str, str]] = {
    "25006": "it is a standby, or set to read-only: ledger.url must name the primary server",
    "40P01": "the tables were being changed, as by a galileod that was upgraded",
    "42501": "the owner of the tables must be the user in ledger.url, and that user needs the right"
    " to create tables: GRANT CREATE ON SCHEMA public TO the user, or ALTER DATABASE OWNER TO it",
    "42P01": "it has other tables than a ledger, or the user lacks the right USAGE for the schema;"
    " restore a backup, or use another database",
    "42P07": "it has other tables than a ledger; use another database",
    "3F000": "the user in ledger.url has no schema: set its search_path, or create schema public",
    "42703": "it has other tables than a ledger; restore a backup, or use another database",
    "53100": "the disk of the server is full",
    "53200": "the server has no memory left",
    "53300": "raise max_connections of the server; each galileod needs a few of them",
    "55P03": "another galileod, or a backup, has locked it for too long",
    "57014": "the server took too long: check its load and its disk",
    "57P01": "the server is being stopped, or an administrator has ended the connection",
    "57P02": "a process of the server has crashed, and it recovers",
    "57P03": "the server is starting or stopping",
}
"""What to do about an error, by its SQLSTATE."""

_CONNECTING: Final[Mapping[str, str]] = {
    "too many connections for database": "the database has a limit of its own, which is too"
    " low for those that use it: ALTER DATABASE it CONNECTION LIMIT",
    "too many connections for role": "the user in ledger.url has a limit, which is too low for"
    " those that use it: ALTER ROLE the user CONNECTION LIMIT",
    "too many clients": _ADVICE["53300"],
    "too many connections": _ADVICE["53300"],
    "remaining connection slots": _ADVICE["53300"],
    "password authentication failed": "check ledger.password_file, and the user in ledger.url",
    "Peer authentication failed": "by the unix socket, the user in ledger.url must have the name of"
    " the user that runs galileod, or pg_hba.conf must allow another method",
    "is not permitted to log in": "ALTER ROLE the user LOGIN, or correct the user in ledger.url",
    "permission denied for database": "GRANT CONNECT ON DATABASE it TO the user in ledger.url",
    'database ".*" does not exist': "create it (createdb --owner USER --encoding UTF8"
    " --template template0 NAME), or correct its name in ledger.url",
    'role ".*" does not exist': "create it (createuser --pwprompt NAME), or correct the"
    " user in ledger.url",
    "No such file or directory": "the server does not run, or its unix socket is in another"
    " directory: host=DIRECTORY in ledger.url names it",
    "certificate verify failed": "name the authority that has signed the certificate of the server"
    " with sslrootcert=FILE in ledger.url, or the host as the certificate does",
    "no password supplied": "the server asks for a password: set ledger.password_file",
    r"no pg_hba\.conf entry": "add an entry for this host, user and database to the server's"
    " pg_hba.conf, and reload the server",
    "starting up": _ADVICE["57P03"],
    "shutting down": _ADVICE["57P03"],
    "recovery mode": _ADVICE["57P02"],
}
"""What to do about a connection that is refused, by a pattern of the message.

There is no SQLSTATE then. In another language than English, the message is without advice.
"""


_LASTING: Final = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied",
    "certificate verify failed",
    "does not match host name",
    "does not support SSL",
)
"""Parts of the message of a connection that is refused until an administrator has done something.

In another language than English, it counts as one that may pass.
"""

_PASSING: Final = frozenset({"40P01", "53300", "57014", "55P03", "57P01", "57P02", "57P03"})
"""The SQLSTATEs of what passes by itself."""


class SilentError(psycopg.OperationalError):
    """The server did not answer in time. The connection cannot be used any more."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn an error of PostgreSQL into a LedgerError."""
    try:
        yield
    except psycopg.Error as error:
        raise as_ledger_error(error) from error


def as_ledger_error(error: psycopg.Error) -> LedgerError:
    """The error that says the same, and what to do."""
    if error.sqlstate == LEASE_LOST:
        return LeaseLostError("another node has taken over the uploads of this one")
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return UnavailableError("the connection to the database is lost", f": {first_line(error)}")
    advice = _ADVICE.get(error.sqlstate or "")
    message = error.diag.message_primary or first_line(error)
    kind = UnavailableError if error.sqlstate in _PASSING else LedgerError
    return kind("the ledger cannot be used", f": {message}{_then(advice)}")


def unreachable(where: str, error: psycopg.Error) -> LedgerError:
    """The error of a connection that cannot be made. `where` names the database.

    An UnavailableError if it may pass by itself.
    """
    told = str(error)
    advice = next((text for part, text in _CONNECTING.items() if re.search(part, told)), None)
    place = f": {where}: {first_line(error)}{_then(advice)}"
    lasts = any(part in told for part in _LASTING)
    return (LedgerError if lasts else UnavailableError)("the database cannot be reached", place)


def first_line(error: psycopg.Error) -> str:
    """The text of an error without its hints, which are in further lines."""
    line = str(error).partition("\n")[0].removeprefix("connection failed: ")
    return " ".join(line.split())


def _then(advice: str | None) -> str:
    return f"; {advice}" if advice else ""
