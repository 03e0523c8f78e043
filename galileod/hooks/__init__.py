"""Hooks: a command or URL that receives a receipt for each stored file.

Receipts that are not delivered yet are in the outbox of the ledger, which survives a crash.
"""
