"""Connections to the server: how they are made, how long they wait, and made again."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import psycopg
from attrs import frozen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from galileod.ledger.base import LedgerError, Step, UncertainError, ignore_step
from galileod.secretfile import SecretFileError, read_secret_file

from .errors import SilentError, as_ledger_error, first_line, translated, unreachable

T = TypeVar("T")

CONNECT_SECONDS: Final = 5
"""Maximum seconds for a connection to be made, for each address of the server's name."""

STATEMENT_SECONDS: Final = 8
"""Maximum seconds of a statement, and of the wait for a lock in it. The server observes them."""

SILENT_SECONDS: Final = 10.0
"""Maximum seconds without an answer; longer than STATEMENT_SECONDS. Then the server hangs, or has
vanished, and the connection is given up."""

IDLE_SECONDS: Final = 4
"""Maximum seconds between two statements of a transaction: a process that is stopped meanwhile must
not keep its locks. Shorter than STATEMENT_SECONDS, so that who waits for them gets them in time.
The server observes them."""

HURRIED_SECONDS: Final = 3.0
"""The same, and maximum seconds for a connection to be made, once nobody is to wait any more."""

PATIENT_SECONDS: Final = 600
"""Maximum seconds of a statement, without an answer, in `reporting`."""

RETRY_SECONDS: Final = 1.0
"""Seconds for which no further connection is tried after one that failed: all steps that wait would
else wait for one after the other."""

_LIMITS: Final[dict[str, Any]] = {
    "application_name": "galileod",
    "client_encoding": "UTF8",
    # For a server that vanished while nothing is sent, and while something is.
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": int(SILENT_SECONDS * 1000),
}

VERSION_TABLE: Final = "relname = 'galileod_schema' AND pg_table_is_visible(oid)"
"""Of a row of `pg_class`: that it is the table with the version of the tables."""

_SETTINGS: Final = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s';"  # noqa: S608  constant
    f" SET lock_timeout = '{STATEMENT_SECONDS}s';"
    f" SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s';"
    " SET default_transaction_isolation = 'read committed';"
    # Times are read as they are, and NULL in an array is not the text; strings and comparisons are
    # those of the standard.
    " SET extra_float_digits = 1; SET array_nulls = on; SET standard_conforming_strings = on;"
    " SET transform_null_equals = off;"
    # Since PostgreSQL 14 and 17.
    " SELECT set_config(name, '0', FALSE) FROM pg_settings"
    " WHERE name IN ('idle_session_timeout', 'transaction_timeout');"
    # The schema of the tables, or in which they are to be, and no other one: who may create in
    # another one could have functions called in place of those of PostgreSQL and of the ledger.
    " SELECT set_config('search_path', coalesce((SELECT relnamespace::regnamespace::TEXT"
    f" FROM pg_class WHERE {VERSION_TABLE}), quote_ident(current_schema())), FALSE)"
)
"""In place of what an administrator may have set for the server, the database or the user."""

_PATIENT: Final = "; ".join(
    f"SET LOCAL {limit} = '{PATIENT_SECONDS}s'"
    for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
)

_NOT_READ: Final = "the password for the database cannot be read"

_USABLE: Final = (TransactionStatus.INTRANS, TransactionStatus.INERROR)


Hurried = Callable[[], bool]
"""Whether nobody is to wait any more, since the daemon ends. Called in any thread."""


def unhurried() -> bool:
    """The Hurried of one who has time."""
    return False


@frozen
class Address:
    """Where the database is: `ledger.url` and `ledger.password_file`."""

    url: str
    password_file: str | None = None

    def describe(self) -> str:
        """The database and its server, for an error. Raises LedgerError if the URL is not valid."""
        try:
            parts = conninfo_to_dict(self.url)
        except psycopg.Error as error:
            raise LedgerError(f"ledger.url is not valid: {first_line(error)}") from error
        host, port = parts.get("host"), parts.get("port")
        name = parts.get("dbname") or parts.get("user") or ""
        at = f" at {host}{f':{port}' if port else ''}" if host else ""
        return f'"{name}"{at}'

    def password(self) -> str | None:
        """The password, read from its file; None if there is none. Raises LedgerError."""
        if self.password_file is None:
            return None
        try:
            password = read_secret_file(self.password_file).decode().strip("\r\n")
        except SecretFileError as error:
            raise LedgerError(_NOT_READ, f": ledger.password_file: {error}") from None
        except UnicodeDecodeError:
            password = ""
        if not password or not password.isprintable():
            expected = f": ledger.password_file: {self.password_file}: expected one line with it"
            raise LedgerError(_NOT_READ, expected)
        return password


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for no longer than `silence` seconds for an answer.

    The server's own limits do not help if it is stopped: its kernel still acknowledges data. While
    it waits, it calls `step` several times in a second. Once it is `hurried`, it waits for no
    longer than HURRIED_SECONDS.
    """

    silence: float = SILENT_SECONDS
    step: Step = staticmethod(ignore_step)
    hurried: Hurried = staticmethod(unhurried)

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401  as there
        """Run the generator of a statement, which yields while it waits."""
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        """The same generator. psycopg resumes it ten times in a second in any case."""
        began = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready:
                    self.step()
                    silence = HURRIED_SECONDS if self.hurried() else self.silence
                    if time.monotonic() > began + silence:
                        raise SilentError(f"the server has not answered for {silence:g} s")
                wanted = gen.send(ready)
        except StopIteration as ended:
            result: T = ended.value
            return result


def connect(address: Address, seconds: float = CONNECT_SECONDS) -> Connection:
    """Make a connection, within so many seconds. Blocks; raises LedgerError."""
    where, password = address.describe(), address.password()
    limits = {**_LIMITS, "connect_timeout": int(seconds)}
    try:
        connection = Connection.connect(address.url, autocommit=True, password=password, **limits)
    except psycopg.Error as error:
        raise unreachable(where, error) from error
    try:
        _check_encoding(connection, where)
        with translated():
            connection.execute(_SETTINGS, prepare=False)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_encoding(connection: Connection, where: str) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise LedgerError(
            "the database cannot be used",
            f": {where} has the encoding {encoding}, but a ledger needs UTF8: create it with"
            " createdb --encoding UTF8 --template template0",
        )


def goes_on(connection: Connection) -> bool:
    """Whether a transaction runs, which may have failed so far that it can only be rolled back."""
    return connection.info.transaction_status in _USABLE


@contextmanager
def apart(connection: Connection) -> Iterator[None]:
    """A part of a transaction that is undone alone if it raises, unless the connection is lost.

    Raises LedgerError for errors of the database.
    """
    with translated():
        connection.execute("SAVEPOINT step")
        try:
            yield
            connection.execute("RELEASE step")
        except BaseException:
            if goes_on(connection):
                connection.execute("ROLLBACK TO step; RELEASE step", prepare=False)
            raise


@contextmanager
def reporting(connection: Connection, step: Step) -> Iterator[None]:
    """Call `step` while statements of the block run, in a transaction; they may take minutes.

    What it raises ends the block.
    """
    with translated():
        connection.execute(_PATIENT, prepare=False)
    before = connection.silence, connection.step
    connection.silence, connection.step = float(PATIENT_SECONDS), step
    try:
        yield
    finally:
        connection.silence, connection.step = before


class Line:
    """A connection for one thread at a time, which is made when it is needed, and made again.

    Once it is `hurried`, it is made again only if that has not failed before.
    """

    def __init__(self, address: Address, hurried: Hurried = unhurried) -> None:
        self._address = address
        self._hurried = hurried
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._closed = False
        self._failure: tuple[float, LedgerError] | None = None

    def open(self) -> None:
        """Make the connection. Blocks; raises LedgerError."""
        with self._lock:
            if self._connection is None:
                self._connect()

    def close(self, seconds: float) -> None:
        """Close it; waits at most `seconds` for the thread that uses it. Blocks."""
        self._closed = True
        if self._lock.acquire(timeout=seconds):
            self._drop()
            self._lock.release()

    @contextmanager
    def transaction(self, begin: str) -> Iterator[Connection]:
        """A transaction for the block, which the statements `begin` begin. Blocks.

        It is rolled back if the block raises. If the connection is broken before, as after a
        restart of the server, another one is made once. Raises LedgerError; UncertainError if the
        connection is lost in the COMMIT.
        """
        with self._lock:
            connection = self._begin(begin)
            try:
                with translated():
                    yield connection
                    _commit(connection)
            except BaseException:
                self._roll_back(connection)
                raise

    def _begin(self, begin: str) -> Connection:
        if self._connection is not None:
            try:
                return _run(self._connection, begin)
            except psycopg.Error as error:
                broken = self._connection.broken and not isinstance(error, SilentError)
                self._roll_back(self._connection)
                if not broken:
                    raise as_ledger_error(error) from error
        connection = self._connect()
        try:
            with translated():
                return _run(connection, begin)
        except BaseException:
            self._roll_back(connection)
            raise

    def _connect(self) -> Connection:
        if self._closed:
            raise LedgerError("the ledger is closed")
        hurried = self._hurried()
        if self._failure is not None and (hurried or time.monotonic() < self._failure[0]):
            failed = self._failure[1]
            raise type(failed)(failed.reason, failed.place)
        try:
            self._connection = connect(
                self._address, HURRIED_SECONDS if hurried else CONNECT_SECONDS
            )
        except LedgerError as error:
            self._failure = (time.monotonic() + RETRY_SECONDS, error)
            raise
        self._failure = None
        self._connection.hurried = self._hurried
        return self._connection

    def _roll_back(self, connection: Connection) -> None:
        """Roll back what runs; if that cannot be, close the connection: the server does it then."""
        if goes_on(connection):
            try:
                connection.execute("ROLLBACK")
            except psycopg.Error:
                pass  # looked at below
        if connection.info.transaction_status != TransactionStatus.IDLE:
            self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _commit(connection: Connection) -> None:
    """COMMIT, which is no error of the server if it has to roll back."""
    try:
        told = connection.execute("COMMIT").statusmessage
    except psycopg.OperationalError as error:
        if connection.info.transaction_status == TransactionStatus.IDLE:
            raise  # the server has answered
        told_why = as_ledger_error(error)
        raise UncertainError(told_why.reason, told_why.place) from error
    if told != "COMMIT":
        raise LedgerError("the transaction was rolled back after an error in it")


def _run(connection: Connection, begin: str) -> Connection:
    cursor = connection.execute(begin, prepare=False)
    while True:
        if cursor.rowcount == 0:  # the row that is locked
            raise LedgerError("the table totals is empty; restore a backup of the database")
        if not cursor.nextset():
            return connection
