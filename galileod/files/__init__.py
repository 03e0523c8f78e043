"""Stored files after their upload: removal, retention, and the ledger's agreement with the disk."""
