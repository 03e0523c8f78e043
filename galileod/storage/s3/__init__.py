"""Files in S3-compatible object storage.

Imports nothing: botocore, which `client` needs, is an extra, and only this backend loads it.
"""
