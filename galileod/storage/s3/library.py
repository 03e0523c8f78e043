"""The only module that imports botocore. Importing it raises StorageError if that is missing."""

from galileod.storage.errors import StorageError
from galileod.storage.settings import BOTOCORE_MISSING

try:
    import botocore.credentials
    import botocore.session
    from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.handlers import add_expect_header
    from botocore.parsers import ResponseParserError
    from botocore.retries.quota import RetryQuota
    from botocore.retries.standard import RetryQuotaChecker, register_retry_handler
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
except ImportError:
    raise StorageError(f'storage.backend = "s3" {BOTOCORE_MISSING}') from None

__all__ = [
    "AWSHTTPConnection",
    "AWSHTTPSConnection",
    "BotoCoreError",
    "ClientError",
    "Config",
    "HTTPConnectionPool",
    "HTTPSConnectionPool",
    "ResponseParserError",
    "RetryQuota",
    "RetryQuotaChecker",
    "add_expect_header",
    "botocore",
    "register_retry_handler",
]
