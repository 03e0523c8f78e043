"""The store in S3-compatible object storage.

Nothing is imported here: with the local store, the libraries for it are not loaded.
"""
