"""Who holds what: stored files, running uploads, receipts that are owed.

Touches the database alone.
"""
