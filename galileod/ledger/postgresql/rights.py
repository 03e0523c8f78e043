"""The rights of other roles, with which they could act as galileod."""

from typing import Final

from galileod.ledger.base import LedgerError

from .connection import Connection

_CREATORS: Final = (
    "SELECT quote_ident(nspname), string_agg(coalesce(quote_ident(rolname), 'PUBLIC'), ', '"
    " ORDER BY rolname) FROM pg_database, pg_namespace CROSS JOIN"
    " aclexplode(coalesce(nspacl, acldefault('n', nspowner)))"
    " LEFT JOIN pg_roles ON pg_roles.oid = grantee"
    " WHERE datname = current_database() AND nspname = current_schema()"
    " AND privilege_type = 'CREATE' AND grantee NOT IN (nspowner, datdba)"
    # PUBLIC, which is everybody, is no role.
    " AND NOT coalesce(rolsuper OR pg_has_role(pg_roles.oid, 'MEMBER'), FALSE)"
    " GROUP BY nspname"
)
"""Roles that may create in the schema of the tables, but for superusers, the owners of the schema
and of the database, and those whose member the user in `ledger.url` is."""


def check(connection: Connection) -> None:
    """Raise LedgerError if strangers may create in the schema of the tables. Changes nothing.

    A function of theirs whose arguments match better than those of the ledger's own, or of one of
    PostgreSQL, is called in its place, with the rights of galileod.
    """
    row = connection.execute(_CREATORS).fetchone()
    if row is not None:
        schema, roles = row
        raise LedgerError(
            "the ledger cannot be used",
            f": others may create functions in the schema {schema}, which would run with the rights"
            f" of galileod: REVOKE CREATE ON SCHEMA {schema} FROM {roles}, or use a schema of"
            " galileod's own",
        )
