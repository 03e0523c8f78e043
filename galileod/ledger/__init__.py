"""The ledger: owners of stored files, reservations, used tickets, receipts owed to the hook.

`base` and `outbox` are the contract; `sqlite` is its implementation. Nothing here accesses
the stored files.
"""
