"""The sums of `holdings` and `totals`, and the triggers that keep them."""

from typing import Final

SUMS: Final = ("bytes", "files", "reserved", "uploads", "kept", "kept_uploads")
"""The columns of both tables; `holdings` has `user` before them."""

FILE_SUMS: Final = 'SELECT "user", bytes, 1, 0, 0, 0, 0 FROM {table}'
UPLOAD_SUMS: Final = (
    'SELECT "user", 0, 0, CASE WHEN "offset" IS NULL THEN bytes ELSE 0 END,'
    ' ("offset" IS NULL)::INTEGER, coalesce("offset", 0), ("offset" IS NOT NULL)::INTEGER'
    " FROM {table}"
)
"""What each row of a table adds to the sums of its user."""

NAMED: Final = ", ".join(SUMS)
_SUMMED: Final = ", ".join(f"sum({one})::BIGINT AS {one}" for one in SUMS)
_SOME: Final = " OR ".join(f"sum({one}) <> 0" for one in SUMS)
_NEGATED: Final = ", ".join(f"-{one}" for one in SUMS)
_ADDED: Final = ", ".join(f"{one} = held.{one} + excluded.{one}" for one in SUMS)
_NONE: Final = " AND ".join(f"{one} = 0" for one in SUMS)
_ADDED_TO_ALL: Final = ", ".join(f"{one} = totals.{one} + change.{one}" for one in SUMS)


def by_user(rows: str) -> str:
    """The statement that adds up rows, as FILE_SUMS selects them, for each user with any."""
    return (
        f'SELECT "user", {_SUMMED} FROM ({rows}) AS each ("user", {NAMED})'  # noqa: S608  constant
        f' GROUP BY "user" HAVING {_SOME}'
    )


def counting(table: str, sums: str) -> str:
    """The triggers that add to the sums what a statement changes in a table, at its end.

    Once for each row, that would take time in proportion to the square of their number: `totals`
    has a version of its row for each change in a transaction, and all are looked at. A statement
    that changes no sum must not lock that row. Who holds nothing any more has no row in `holdings`:
    there may be a new user for each address.
    """
    added, removed = sums.format(table="added"), sums.format(table="removed")
    less = f'SELECT "user", {_NEGATED} FROM ({removed}) AS each ("user", {NAMED})'  # noqa: S608
    return (
        _trigger(table, "INSERT", "NEW TABLE AS added", added)
        + _trigger(table, "DELETE", "OLD TABLE AS removed", less)
        + _trigger(
            table,
            "UPDATE",
            "OLD TABLE AS removed NEW TABLE AS added",
            f"{added} UNION ALL {less}",
        )
    )


def _trigger(table: str, event: str, tables: str, rows: str) -> str:
    name = f"count_{table}_{event.lower()}"
    return f"""
    CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        emptied TEXT[];
    BEGIN
        WITH changes AS ({by_user(rows)}),
        changed AS (
            INSERT INTO holdings AS held SELECT * FROM changes ORDER BY "user"
            ON CONFLICT ("user") DO UPDATE SET {_ADDED}
            RETURNING "user", {_NONE} AS is_empty
        ),
        summed AS (
            UPDATE totals SET {_ADDED_TO_ALL}
            FROM (SELECT {_SUMMED} FROM changes) AS change WHERE change.bytes IS NOT NULL
        )
        SELECT array_agg("user") INTO emptied FROM changed WHERE is_empty;
        IF emptied IS NOT NULL THEN
            DELETE FROM holdings WHERE "user" = ANY(emptied) AND {_NONE};
        END IF;
        RETURN NULL;
    END $$;
    CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {tables}
        FOR EACH STATEMENT EXECUTE FUNCTION {name}();
    """  # noqa: S608  constant
