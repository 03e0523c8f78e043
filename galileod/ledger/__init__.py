"""Who holds what: stored files, running uploads, used tickets, and receipts owed to the hook.

`base` and `outbox` are the contract; `sqlite` is its implementation. Touches the database alone.
"""
