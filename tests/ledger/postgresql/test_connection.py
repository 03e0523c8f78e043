"""Connections to PostgreSQL that cannot be made: each error says what to do, in one line."""

from pathlib import Path

import psycopg
import pytest
from helpers.certificates import make_certificate
from helpers.database_tls import use_tls
from helpers.engines.postgresql import PASSWORD, Postgresql
from psycopg.sql import SQL, Identifier

from galileod.ledger.base import LedgerError
from galileod.ledger.node import Me
from galileod.ledger.postgresql import PostgresqlLedger
from galileod.ledger.postgresql.connection import Address, connect
from galileod.ledger.postgresql.database import Database
from galileod.ledger.postgresql.errors import unreachable
from galileod.ledger.unavailable import UnavailableError

pytestmark = pytest.mark.timeout(60)


def refusal(address: Address) -> str:
    with pytest.raises(LedgerError) as raised:
        Database.open(address).close()
    text = str(raised.value)
    assert "\n" not in text
    return text


def secret(tmp_path: Path, text: str, mode: int = 0o600) -> str:
    path = tmp_path / "password"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    """The URL of a database that asks for a password."""
    return postgresql.new_database(user=postgresql.server.access_key)


@pytest.mark.parametrize("text", [PASSWORD, f"{PASSWORD}\n"])
def test_the_password_is_read_from_its_file(url: str, tmp_path: Path, text: str) -> None:
    Database.open(Address(url, secret(tmp_path, text))).close()


def test_a_wrong_password_is_refused_and_never_shown(url: str, tmp_path: Path) -> None:
    text = refusal(Address(url, secret(tmp_path, "not it")))
    assert 'password authentication failed for user "galileod"' in text
    assert "check ledger.password_file" in text
    assert "not it" not in text


def test_a_password_that_is_missing_is_asked_for(url: str) -> None:
    assert refusal(Address(url)).endswith(
        "the server asks for a password: set ledger.password_file"
    )


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        ("", 0o600, "expected one line with it"),
        ("one\ntwo", 0o600, "expected one line with it"),
        (PASSWORD, 0o644, "has mode 0644"),
    ],
)
def test_a_file_that_has_no_password_is_refused(
    url: str, tmp_path: Path, text: str, mode: int, expected: str
) -> None:
    answer = refusal(Address(url, secret(tmp_path, text, mode)))
    assert f"cannot be read: ledger.password_file: {tmp_path}/password: " in answer
    assert expected in answer


def test_a_file_that_is_not_there_is_refused(url: str, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(Address(url, str(tmp_path / "no")))


def test_a_database_that_is_not_there_is_named(postgresql: Postgresql) -> None:
    text = refusal(Address(f"{postgresql.server.url}missing"))
    assert text.startswith('the database cannot be reached: "missing" at 127.0.0.1:')
    assert 'database "missing" does not exist' in text
    assert "createdb --owner USER --encoding UTF8" in text


def test_a_user_that_is_not_there_or_may_not_log_in_is_told_what_to_do(
    postgresql: Postgresql,
) -> None:
    url = postgresql.local("postgres")
    text = refusal(Address(url.replace("postgres@", "unknown@")))
    assert 'role "unknown" does not exist; create it (createuser --pwprompt NAME)' in text
    postgresql.execute("CREATE ROLE barred")
    text = refusal(Address(url.replace("postgres@", "barred@")))
    assert "is not permitted to log in; ALTER ROLE the user LOGIN" in text


def test_a_database_that_the_user_may_not_enter_is_told_what_to_grant(
    postgresql: Postgresql,
) -> None:
    url = postgresql.new_database(user="postgres").replace("postgres@", "trusted@")
    name = url.rpartition("/")[2]
    revoke = SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC")
    postgresql.execute(revoke.format(Identifier(name)))
    assert "; GRANT CONNECT ON DATABASE it TO the user in ledger.url" in refusal(Address(url))


def test_a_user_of_another_name_at_the_unix_socket_is_told_what_to_do() -> None:
    refused = psycopg.OperationalError('FATAL:  Peer authentication failed for user "galileod"')
    error = unreachable("db", refused)
    assert not isinstance(error, UnavailableError)
    assert "the user in ledger.url must have the name of the user that runs galileod" in str(error)


def test_a_certificate_of_an_unknown_authority_is_told_what_to_set(
    own_postgresql: Postgresql, tmp_path: Path
) -> None:
    url, served = own_postgresql.new_database(), use_tls(own_postgresql)
    other = make_certificate(tmp_path)
    text = refusal(Address(f"{url}?sslmode=verify-ca&sslrootcert={other.authority}"))
    assert "certificate verify failed; name the authority" in text
    assert "sslrootcert=FILE" in text
    connect(Address(f"{url}?sslmode=verify-ca&sslrootcert={served.authority}")).close()


def test_a_server_that_does_not_run_is_named() -> None:
    text = refusal(Address("postgresql://anna@127.0.0.1:1/files"))
    assert text.startswith('the database cannot be reached: "files" at 127.0.0.1:1: ')
    assert text.endswith("Connection refused")


def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = refusal(Address(f"postgresql://anna@/files?host={tmp_path}"))
    assert text.startswith(f'the database cannot be reached: "files" at {tmp_path}: ')
    assert "host=DIRECTORY in ledger.url" in text


def test_a_host_that_is_not_known_is_named() -> None:
    assert "db.invalid" in refusal(Address("postgresql://anna@db.invalid/files"))


def test_a_url_with_an_unknown_parameter_is_refused() -> None:
    text = refusal(Address("postgresql://h/d?colour=red"))
    assert text.startswith("ledger.url is not valid: ")
    assert '"colour"' in text


def test_a_database_of_another_encoding_is_refused(postgresql: Postgresql) -> None:
    url = postgresql.new_database("ENCODING 'SQL_ASCII' TEMPLATE template0")
    text = refusal(Address(url))
    assert "has the encoding SQL_ASCII" in text
    assert "createdb --encoding UTF8" in text


def test_a_user_who_may_not_create_tables_is_told_what_to_grant(postgresql: Postgresql) -> None:
    text = refusal(
        Address(postgresql.new_database(user="postgres").replace("postgres@", "trusted@"))
    )
    assert "permission denied for schema public" in text
    assert "GRANT CREATE ON SCHEMA public" in text


def test_a_database_with_tables_of_another_program_is_refused(postgresql: Postgresql) -> None:
    address = Address(postgresql.new_database())
    connection = connect(address)
    connection.execute("CREATE TABLE files (id INTEGER)")
    connection.close()
    text = refusal(address)
    assert 'relation "files" already exists' in text
    assert text.endswith("use another database")


def test_a_server_that_only_reads_is_refused(postgresql: Postgresql) -> None:
    url = postgresql.new_database()
    text = refusal(Address(f"{url}?options=-cdefault_transaction_read_only%3Don"))
    assert "read-only transaction" in text
    assert "must name the primary server" in text


def test_a_node_without_a_connection_for_its_lease_is_refused(postgresql: Postgresql) -> None:
    url = postgresql.new_database("CONNECTION LIMIT 6")
    with psycopg.connect(url), psycopg.connect(url):
        Database.open(Address(url)).close()
        with pytest.raises(LedgerError, match="too many connections for database"):
            PostgresqlLedger.open(Address(url), me=Me("one", "1" * 32, "1.0", local=False))
