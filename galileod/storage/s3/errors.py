"""Errors of the object storage as sentences that its administrator can act on."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from attrs import frozen

from galileod.printable import printable
from galileod.storage.errors import (
    BadNameError,
    NoSpaceError,
    StorageBusyError,
    StorageError,
    UnavailableError,
)

from .library import BotoCoreError, ClientError, ResponseParserError
from .transport import CONNECT_SECONDS, RedirectedError

MAX_MESSAGE: Final = 200
"""Maximum characters of a message of the store that becomes a part of an error."""


class KeyTakenError(StorageError):
    """There is an object with this key already."""


class NoSuchUploadError(StorageError):
    """There is no such multipart upload, or not with the parts that were sent.

    It was completed, aborted, or never begun; or another program has changed it.
    """


class UncertainError(StorageError):
    """The request may have been carried out: no answer came, or one that leaves it open."""


Reason = tuple[type[StorageError], str]
"""The class of an error, and its sentence."""

_PERMISSIONS: Final[Mapping[str, str]] = {
    "HeadBucket": "s3:ListBucket",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "HeadObject": "s3:GetObject and s3:ListBucket",
    "GetObject": "s3:GetObject",
    "DeleteObject": "s3:DeleteObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "ListParts": "s3:ListMultipartUploadParts",
}
_PUT: Final = "s3:PutObject"
"""The permission for all other operations."""

FAILURES: Final = (BotoCoreError, ClientError, ResponseParserError, RedirectedError)
"""What a client of botocore raises, as it is set up here."""

NOT_S3: Final = "storage.s3.endpoint is not the address of an object storage"

NO_ANSWER: Final = "the object storage does not answer in time"

_NO_BUCKET: Final = (StorageError, "the bucket does not exist")
_NO_STORE: Final = (StorageError, f"{NOT_S3}: the server has answered with status 404")
_NO_UPLOAD: Final = (NoSuchUploadError, "the multipart upload does not exist any more")
_OTHER_PARTS: Final = (
    NoSuchUploadError,
    "the parts of the multipart upload are not those that were sent",
)
_TAKEN: Final = (KeyTakenError, "an object with this key exists already")
_UNKNOWN_KEY: Final = (StorageError, "the access key is not known there, or is disabled")
_WRONG_SECRET: Final = (StorageError, "the secret does not belong to the access key")
_EXPIRED: Final = (StorageError, "the credentials have expired")
_FULL: Final = (NoSpaceError, "its quota is exhausted, or the store is full")
_BUSY: Final = (StorageBusyError, "the store asks for fewer requests")
_BAD_KEY: Final = (BadNameError, "the store does not accept the key, such as a long one")

_REASONS: Final[Mapping[str, Reason]] = {
    "NoSuchBucket": _NO_BUCKET,
    "NoSuchUpload": _NO_UPLOAD,
    "InvalidPart": _OTHER_PARTS,
    "InvalidPartOrder": _OTHER_PARTS,
    "EntityTooSmall": _OTHER_PARTS,
    "PreconditionFailed": _TAKEN,
    "ConditionalRequestConflict": _TAKEN,
    "412": _TAKEN,
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "InvalidToken": _UNKNOWN_KEY,
    "SignatureDoesNotMatch": _WRONG_SECRET,
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "QuotaExceeded": _FULL,
    "XMinioAdminBucketQuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "507": _FULL,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "TooManyRequests": _BUSY,
    "429": _BUSY,
    "503": _BUSY,
    "KeyTooLongError": _BAD_KEY,
    "InvalidObjectName": _BAD_KEY,
    "InvalidURI": _BAD_KEY,
    "XMinioInvalidObjectName": _BAD_KEY,
}
"""By the code of an answer, or else by its HTTP status. Some stores have codes of their own."""

_DENIED: Final = "access is denied: the credentials lack {permission}, or are not valid"

_CREDENTIALS: Final = "correct the credentials (storage.s3.credentials_file)"

_ADVICE: Final[Mapping[str, str]] = {
    _NO_BUCKET[1]: "; create it, or correct storage.s3.bucket or storage.s3.endpoint",
    _UNKNOWN_KEY[1]: f"; {_CREDENTIALS}, or storage.s3.endpoint",
    _WRONG_SECRET[1]: f"; {_CREDENTIALS}",
    **{
        _DENIED.format(permission=each): f"; grant the right, or {_CREDENTIALS}"
        for each in (_PUT, *_PERMISSIONS.values())
    },
}
"""What to do, by the sentence: for those who hear where the storage is, and not for clients."""

_NOTHING_THERE: Final[Mapping[str, Reason]] = {
    "HeadBucket": _NO_BUCKET,
    "ListObjectsV2": _NO_STORE,
    "ListMultipartUploads": _NO_STORE,
    "CreateMultipartUpload": _NO_STORE,
    "PutObject": _NO_STORE,
}
"""By operation, what status 404 means if it does not say what there is not."""

_SKEWED: Final = {"RequestTimeTooSkewed", "RequestInTheFuture"}
_ELSEWHERE: Final = {
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
    "301",
    "307",
}
_REFUSED_KEYS: Final = {
    code for code in _REASONS if _REASONS[code] in (_EXPIRED, _UNKNOWN_KEY, _WRONG_SECRET)
}
"""The codes after which other keys may be accepted."""

_REFUSED: Final = {401, 403}
_OK: Final = 200
_NOT_FOUND: Final = 404
_FAILED: Final = 500
"""From this HTTP status on, it is the server that has failed."""

_NOT_IMPLEMENTED: Final = 501

_UNREACHABLE: Final = {
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "ProxyConnectionError",
}
"""The errors of botocore that are due to the network, or to a server that is not there yet."""

_NEVER_SENT: Final = {
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ProxyConnectionError",
    "SSLError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ParamValidationError",
    "RedirectedError",
}
"""The errors of botocore after which the store has certainly not had the request."""


@frozen
class Place:
    """The bucket and the server that an error is about."""

    bucket: str
    endpoint: str

    def translated(self, error: Exception, operation: str) -> StorageError:
        """The error for what botocore has raised in an operation; its text has no key or secret."""
        is_answer = isinstance(error, ClientError)
        kind, sentence = _answered(error, operation) if is_answer else _unanswered(error)
        return kind(sentence, f"{self.text(operation)}{_ADVICE.get(sentence, '')}")

    def text(self, operation: str) -> str:
        """The place of an error in an operation."""
        return f' ({operation}, bucket "{self.bucket}" at {self.endpoint})'


def translated_setting(error: Exception) -> StorageError:
    """The error for settings, or credentials, that botocore does not accept."""
    kind, sentence = _unanswered(error)
    return kind(f"the object storage cannot be used: {sentence}")


def code_of(error: BaseException | None) -> str:
    """The code of an answer, or its HTTP status where it has no body; "" if there was none."""
    return str(_told(error).get("Code", "")) if isinstance(error, ClientError) else ""


def refuses_keys(error: BaseException) -> bool:
    """Whether other keys may be accepted. Some stores call wrong ones a lack of rights."""
    return isinstance(error, ClientError) and (
        code_of(error) in _REFUSED_KEYS or _status(error) in _REFUSED
    )


class Attempts(threading.local):
    """Whether an attempt of the last request of this thread may have been carried out, but failed.

    The error that is raised is only that of the last attempt.
    """

    uncertain = False

    def note(
        self,
        exception: Exception | None,
        parsed_response: Mapping[str, Any] | None,
        **_more: object,
    ) -> None:
        """An attempt has ended: for botocore's event `response-received`."""
        if exception is not None:
            self.uncertain |= type(exception).__name__ not in _NEVER_SENT
        elif parsed_response is not None:
            status = parsed_response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            error = parsed_response.get("Error", {})
            # An error inside of a 200 is one that came after the request was accepted.
            failed = status >= _FAILED or (status == _OK and error)
            if failed and not _reason(str(error.get("Code", "")), status):
                self.uncertain = True


def _reason(code: str, status: int) -> Reason | None:
    return _REASONS.get(code) or _REASONS.get(str(status))


def _answered(error: Exception, operation: str) -> Reason:
    code, status = code_of(error), _status(error)
    reason = _reason(code, status)
    if status == _NOT_FOUND:
        reason = reason or _NOTHING_THERE.get(operation)
    if reason:
        return reason
    if code in _SKEWED:
        return StorageError, f"the clocks differ by {_skew(error)}: set the clock of this machine"
    if code in _ELSEWHERE:
        return StorageError, f"the bucket is in {_region(error)}: set storage.s3.region"
    if status in _REFUSED:
        permission = _PERMISSIONS.get(operation, _PUT)
        return StorageError, _DENIED.format(permission=permission)
    message = _told(error).get("Message") or "without a reason"
    said = f"status {status}, {_shown(f'{code}: {message}')}"
    if status >= _FAILED:
        kind = StorageError if status == _NOT_IMPLEMENTED else UnavailableError
        return kind, f"the store has failed with {said}"
    return StorageError, f"the store has refused the request with {said}"


def _unanswered(error: Exception) -> Reason:
    """The reason for what is no answer of the store."""
    # A proxy closes a connection in the TLS handshake if no server is behind it.
    closed = any(isinstance(cause, ssl.SSLEOFError) for cause in _causes(error))
    may_pass = closed or type(error).__name__ in _UNREACHABLE
    return UnavailableError if may_pass else StorageError, _sentence(error)


def _sentence(error: Exception) -> str:
    name = type(error).__name__
    if name == "ConnectTimeoutError":
        return f"the object storage cannot be reached within {CONNECT_SECONDS:g} s"
    if name == "ReadTimeoutError":
        return NO_ANSWER
    if sentence := next(filter(None, map(_told_by, _causes(error))), None):
        return sentence
    if name == "ConnectionClosedError":
        return "the object storage has closed the connection without an answer"
    if isinstance(error, ResponseParserError):
        return NOT_S3
    return f"the request has failed: {name}: {_shown(str(error))}"


def _told_by(cause: BaseException) -> str | None:  # noqa: PLR0911  one line for each
    """The sentence for an error of the system."""
    match cause:
        case RedirectedError():
            return f"{NOT_S3}: the server redirects to {_shown(cause.location)}"
        case ssl.SSLCertVerificationError():
            return f"the certificate of the object storage is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            return f"TLS with the object storage has failed: {cause.reason or cause.strerror}"
        case socket.gaierror():
            return f"the name of the object storage cannot be resolved: {cause.strerror}"
        case TimeoutError():
            return "the object storage does not take data any more"
        case OSError(strerror=str()):
            return f"the connection to the object storage has failed: {cause.strerror}"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what has led to it, from the outside in. urllib3 has that in arguments."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [getattr(each, "kwargs", {}).get("error"), getattr(each, "reason", None)]
            waiting += [*each.args, each.__cause__, each.__context__]


def _told(error: Any) -> Mapping[str, Any]:  # noqa: ANN401  botocore has no types
    told: Mapping[str, Any] = error.response.get("Error", {})
    return told


def _metadata(error: Any) -> Mapping[str, Any]:  # noqa: ANN401  botocore has no types
    metadata: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    return metadata


def _status(error: Exception) -> int:
    return int(_metadata(error).get("HTTPStatusCode", 0))


def _skew(error: Exception) -> str:
    """How far the clocks are apart, from the date of the answer."""
    date = _metadata(error).get("HTTPHeaders", {}).get("date")
    try:
        seconds = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    except (TypeError, ValueError):
        return "too much"
    return f"{seconds:.0f} s"


def _region(error: Exception) -> str:
    headers = _metadata(error).get("HTTPHeaders", {})
    region = _told(error).get("Region") or headers.get("x-amz-bucket-region")
    return f'the region "{_shown(region)}"' if region else "another region"


def _shown(text: str) -> str:
    return printable(text[:MAX_MESSAGE])
