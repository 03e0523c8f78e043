"""The only module that imports botocore. Importing it raises StorageError if that is missing."""

from galileod.storage.errors import StorageError

try:
    import botocore.credentials
    import botocore.session
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.handlers import add_expect_header
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
except ImportError:
    raise StorageError(
        'storage.backend = "s3" needs the Python package botocore: install galileosend[s3]'
    ) from None

__all__ = [
    "AWSHTTPConnection",
    "AWSHTTPSConnection",
    "BotoCoreError",
    "ClientError",
    "Config",
    "HTTPConnectionPool",
    "HTTPSConnectionPool",
    "add_expect_header",
    "botocore",
]
