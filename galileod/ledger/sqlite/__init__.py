"""The ledger in an SQLite file.

There is one module per subject, whose functions take a connection and run within a transaction.
`ledger` composes the transactions of the contract from them, and `database` runs these in a thread.
"""

from .ledger import SqliteLedger

__all__ = ["SqliteLedger"]
