"""The ledger in an SQLite file.

A module a subject: each has functions on a connection, which run within one transaction; `ledger`
composes the transactions of the contract from them, and `database` runs them in a thread.
"""

from .ledger import SqliteLedger

__all__ = ["SqliteLedger"]
