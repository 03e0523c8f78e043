"""Sends requests with botocore, and turns what it raises into errors of a store."""

from collections.abc import Mapping
from typing import Any, Final

from galileod.storage.errors import BadNameError, StorageError

from .errors import (
    FAILURES,
    NOT_S3,
    KeyTakenError,
    NoSuchUploadError,
    Place,
    UncertainError,
    refuses_keys,
)
from .library import ResponseParserError
from .session import Connection

_STORING: Final = {"put_object", "upload_part", "complete_multipart_upload"}
"""Requests that fail if nothing can be stored. Some stores accept CreateMultipartUpload then."""

_PUBLISHING: Final = {"put_object", "complete_multipart_upload"}
"""Requests whose outcome may be uncertain."""

_OF_ONE_OBJECT: Final = (BadNameError, KeyTakenError, NoSuchUploadError)
"""Failures that say nothing of other objects."""


class Sender:
    """Sends requests for a bucket, by the names of their methods in botocore.

    `failed` says why the last request that stores data has failed; None if it did not.
    """

    def __init__(self, connection: Connection, bucket: str) -> None:
        self.bucket = bucket
        self.endpoint = connection.endpoint
        self.failed: StorageError | None = None
        self._connection = connection
        self._place = Place(bucket, connection.endpoint)

    def _told(self, answer: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  a value of any type
        """What an answer must have, and that of a web server has not."""
        if name not in answer:
            raise StorageError(NOT_S3, f" ({self.endpoint})")
        return answer[name]

    def _do(self, method: str, **values: Any) -> Any:  # noqa: ANN401  botocore has no types
        """The answer to a request, or the data of an object. Raises StorageError."""
        return self._send(self._connection.usual, method, values)

    def _do_once(self, method: str, **values: Any) -> Any:  # noqa: ANN401  botocore has no types
        """The same for a request that is not sent again, and whose answer may take minutes."""
        return self._send(self._connection.patient, method, values)

    def _send(self, client: Any, method: str, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  botocore has no types
        renewed = False
        self._connection.attempts.uncertain = False
        while True:
            try:
                answer = getattr(client, method)(Bucket=self.bucket, **values)
                if method == "get_object":
                    answer = answer["Body"].read()
            except FAILURES as error:
                if not renewed and refuses_keys(error) and self._renewed():
                    renewed = True
                    continue
                failure = self._translated(error, method)
                if method in _STORING and not isinstance(failure, _OF_ONE_OBJECT):
                    self.failed = failure
                raise failure from error
            if method in _STORING:
                self.failed = None
            return answer

    def _renewed(self) -> bool:
        """Whether the file of credentials has others by now."""
        keys = self._connection.keys
        return keys is not None and keys.renew()

    def _translated(self, error: Exception, method: str) -> StorageError:
        operation = self._connection.usual.meta.method_to_api_mapping[method]
        translated = self._place.translated(error, operation)
        keys = self._connection.keys
        if keys is not None and keys.problem and refuses_keys(error):
            return StorageError(translated.reason, f"{translated.place}; {keys.problem}")
        uncertain = self._connection.attempts.uncertain or isinstance(error, ResponseParserError)
        if uncertain and method in _PUBLISHING and not isinstance(translated, _OF_ONE_OBJECT):
            return UncertainError(translated.reason, translated.place)
        return translated
