"""Whether the tables can be used: none is missing, and the user may write to all of them."""

from typing import Final

from galileod.ledger.base import LedgerError

from .connection import Connection

TABLES: Final = (
    "asks",
    "discards",
    "files",
    "folders",
    "galileod_schema",
    "held_names",
    "holdings",
    "home",
    "nodes",
    "objects",
    "outbox",
    "parts",
    "stored_uploads",
    "tickets",
    "totals",
    "uploads",
)

_UNUSABLE: Final = (
    "SELECT name, to_regclass(name) IS NULL, string_agg(\"right\", ', ' ORDER BY at), current_user"
    " FROM unnest(%s::text[]) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'])"
    ' WITH ORDINALITY AS rights ("right", at)'
    ' WHERE has_table_privilege(to_regclass(name), "right") IS NOT TRUE'
    " GROUP BY name ORDER BY name LIMIT 1"
)


def check(connection: Connection) -> None:
    """Raise LedgerError if a table is missing, or the user lacks a right. Changes nothing."""
    row = connection.execute(_UNUSABLE, (list(TABLES),)).fetchone()
    if row is None:
        return
    name, is_missing, rights, user = row
    if is_missing:
        reason = f"the table {name} is missing; restore a backup of the database"
    else:
        reason = (
            f'the user "{user}" lacks rights for the table {name}: GRANT {rights} ON {name} TO it,'
            " or let it own the tables"
        )
    raise LedgerError("the ledger cannot be used", f": {reason}")
