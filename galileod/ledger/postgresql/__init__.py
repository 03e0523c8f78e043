"""The ledger in PostgreSQL, for any number of processes that write.

Each module has the statements of one subject, as functions that take a connection; it has the name
of the module of `sqlite` with those of SQLite. `database` runs them in transactions, and `ledger`
composes the contract of them.
"""

from .connection import Address
from .ledger import PostgresqlLedger

__all__ = ["Address", "PostgresqlLedger"]
