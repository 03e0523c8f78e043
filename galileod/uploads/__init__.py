"""One upload from its metadata to `close`, and what all uploads share.

The only package in which protocol, policy, storage and ledger meet.
"""
