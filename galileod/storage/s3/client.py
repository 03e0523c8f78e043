"""A client of the object storage: the requests that the store needs, as blocking methods."""

import base64
import hashlib
import ipaddress
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

from attrs import frozen

from galileod.storage.errors import (
    MissingError,
    StorageBusyError,
    StorageError,
    UnavailableError,
)
from galileod.storage.settings import S3

from .errors import (
    NO_ANSWER,
    KeyTakenError,
    UncertainError,
    code_of,
)
from .library import ClientError
from .sending import Sender
from .session import Connection
from .transport import Body

COMPLETE_PAUSES: Final = (0.5, 2.0, 8.0)
"""Seconds to wait before a Complete is sent again to a store that asks for fewer requests."""

MAX_KEYS: Final = 1000
"""Maximum keys in a listing."""

LAST: Final = "\U0010ffff"
"""Sorts behind all that a key may have."""

UPLOAD: Final = "galileod-upload"
"""The key of the metadata that has the id of the upload."""

_NO_OBJECT: Final = {"404", "NoSuchKey"}
"""The codes of an answer if there is no such object."""


@frozen
class Head:
    """What the store tells of an object. `modified_ns` is in nanoseconds since 1970."""

    size: int
    modified_ns: int
    metadata: Mapping[str, str]
    etag: str


def is_of(head: Head | None, upload: str, size: int | None = None) -> bool:
    """Whether an object is the file of an upload, and has that size if one is given."""
    return (
        head is not None
        and head.metadata.get(UPLOAD) == upload
        and (size is None or head.size == size)
    )


class Client(Sender):
    """A bucket. Every method but `close` blocks, and may raise StorageError; all are thread-safe.

    Each request is bounded in time, and sent a few times if it fails for a reason that may pass.
    Metadata is any text, which is stored percent-encoded. Give bodies as bytes or bytearray; they
    are not copied, and must not change meanwhile.

    `conditional`: the store is not known to lack conditional requests.
    """

    def __init__(self, connection: Connection, bucket: str) -> None:
        super().__init__(connection, bucket)
        self.conditional = True
        # Otherwise TLS protects a part on its way, or it has none.
        self._checks_parts = _is_exposed(connection.endpoint)

    @classmethod
    def open(cls, settings: S3, *, requests: int) -> Self:
        """A client for that many simultaneous requests. Sends none to the store.

        Raises StorageError if there are no credentials, or the settings cannot be used.
        """
        return cls(Connection.open(settings, requests), str(settings.bucket))

    def for_checks(self) -> "Client":
        """A client of the same bucket, whose requests end within seconds."""
        return type(self)(self._connection.for_checks, self.bucket)

    def no_answer(self) -> StorageError:
        """The error if there was no answer yet."""
        return UnavailableError(NO_ANSWER, self._place.text("HeadBucket"))

    def put(
        self,
        key: str,
        body: bytes | bytearray | memoryview,
        metadata: Mapping[str, str],
        *,
        new: bool,
    ) -> str:
        """Store an object in one request; returns its ETag. The store checks its MD5.

        With `new`, raises KeyTakenError if there is an object with this key, unless it has the same
        UPLOAD and size: then it is of this call, and the first answer was lost. Raises
        UncertainError if the object may have been stored.
        """
        if new and not self.conditional:
            return self._put_after_head(key, body, metadata)
        try:
            return self._put(key, body, metadata, {"IfNoneMatch": "*"} if new else {})
        except KeyTakenError:
            try:
                head = self.head(key)
            except StorageError as error:  # it may be of this call
                raise UncertainError(error.reason, error.place) from error
            if head is None or not is_of(head, metadata.get(UPLOAD, ""), len(body)):
                raise
            return head.etag
        except StorageError as error:
            if not new or _code(error) != "NotImplemented":
                raise
        self.conditional = False
        return self._put_after_head(key, body, metadata)

    def create(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin a multipart upload; returns its id."""
        answer = self._do("create_multipart_upload", Key=key, Metadata=_encoded(metadata))
        return str(self._told(answer, "UploadId"))

    def upload_part(
        self, key: str, multipart: str, number: int, body: bytes | bytearray | memoryview
    ) -> str:
        """Send a part; returns its ETag. One that was sent before is replaced."""
        check = {"ContentMD5": _md5(body)} if self._checks_parts else {}
        which: Any = {"Key": key, "UploadId": multipart, "PartNumber": number}
        return str(self._told(self._do("upload_part", **which, Body=Body(body), **check), "ETag"))

    def complete(self, key: str, multipart: str, parts: Sequence[tuple[int, str]]) -> None:
        """Make the object of the parts, given as numbers and ETags. May take minutes.

        Raises UncertainError if it may have been made. So it may with NoSuchUploadError: an earlier
        request may have made it.
        """
        tags = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        which: Any = {"Key": key, "UploadId": multipart, "MultipartUpload": {"Parts": tags}}
        for pause in COMPLETE_PAUSES:
            try:
                self._do_once("complete_multipart_upload", **which)
            except StorageBusyError:
                time.sleep(pause)
            else:
                return
        self._do_once("complete_multipart_upload", **which)

    def abort(self, key: str, multipart: str) -> None:
        """Forget a multipart upload and its parts, if there is one."""
        try:
            self._do("abort_multipart_upload", Key=key, UploadId=multipart)
        except StorageError as error:
            if _code(error) != "NoSuchUpload":
                raise

    def is_unfinished(self, key: str, multipart: str) -> bool:
        """Whether there is such a multipart upload, neither completed nor aborted."""
        try:
            self._do("list_parts", Key=key, UploadId=multipart, MaxParts=1)
        except StorageError as error:
            if _code(error) not in {"NoSuchUpload", "NoSuchKey"}:  # the latter by Ceph
                raise
            return False
        return True

    def head(self, key: str) -> Head | None:
        """What is known of an object; None if there is none."""
        try:
            answer = self._head(key)
        except StorageError as error:
            if _code(error) in _NO_OBJECT:
                return None
            raise
        metadata = {name: unquote(text) for name, text in answer["Metadata"].items()}
        modified = _nanoseconds(self._told(answer, "LastModified"))
        size, etag = self._told(answer, "ContentLength"), self._told(answer, "ETag")
        return Head(size, modified, metadata, etag)

    def find(self, key: str) -> Head | None:
        """As `head`, where something is removed if there is no object.

        It also answers so if the bucket is gone, which may come back: then this raises.
        """
        head = self.head(key)
        if head is None:
            self.check()
        return head

    def get(self, key: str) -> bytes:
        """The data of an object. Raises MissingError if there is none."""
        try:
            return bytes(self._do("get_object", Key=key))
        except StorageError as error:
            if _code(error) == "NoSuchKey":
                raise MissingError(error.reason, error.place) from error
            raise

    def delete(self, key: str, *, once: bool = False) -> None:
        """Remove an object, if there is one. `once`: without a second request if one fails."""
        do = self._do_once if once else self._do
        do("delete_object", Key=key)

    def list(self, prefix: str, after: str, count: int) -> Sequence[tuple[str, int]]:
        """Keys that begin with `prefix` and follow `after`, with their sizes.

        With LAST at its end, keys that begin with the rest of `after` do not follow.

        They are sorted as UTF-8; SeaweedFS has `a/b` before `a-b`, as if `a` stood in its place.
        They are at most `count`, or MAX_KEYS; none if there are no more. May be out of date.
        """
        which: Any = {"Prefix": prefix, "MaxKeys": min(count, MAX_KEYS)}
        if after:
            which["StartAfter"] = after
        answer = self._do("list_objects_v2", **which)
        listed = [(each["Key"], each["Size"]) for each in answer.get("Contents", ())]
        passed = after.removesuffix(LAST)
        for key, _ in listed:
            if key == after or (passed != after and key.startswith(passed)):
                # It would go on for ever.
                raise StorageError("the store cannot list objects from a key on")
        return listed

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, datetime]]:
        """All multipart uploads with such keys: key, id, when it was begun. May be out of date."""
        markers: dict[str, str] = {}
        while True:
            which = {"Prefix": prefix, "MaxUploads": MAX_KEYS}
            answer = self._do("list_multipart_uploads", **which, **markers)
            for each in answer.get("Uploads", ()):
                yield each["Key"], each["UploadId"], each["Initiated"]
            following = {
                "KeyMarker": answer.get("NextKeyMarker", ""),
                "UploadIdMarker": answer.get("NextUploadIdMarker", ""),
            }
            # A store that gives the same markers again would do so for ever.
            if not answer.get("IsTruncated") or following == markers:
                return
            markers = following

    def check(self) -> None:
        """Raise StorageError if the bucket cannot be used as things are."""
        try:
            self._do("head_bucket")
        except StorageError as error:
            self._explain(error)

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()

    def _put_after_head(
        self, key: str, body: bytes | bytearray | memoryview, metadata: Mapping[str, str]
    ) -> str:
        """For a store that knows no conditional request."""
        head = self.head(key)
        if head is not None:
            if is_of(head, metadata.get(UPLOAD, ""), len(body)):
                return head.etag
            raise KeyTakenError(f'an object with the key "{key}" exists already')
        return self._put(key, body, metadata, {})

    def _put(
        self,
        key: str,
        body: bytes | bytearray | memoryview,
        metadata: Mapping[str, str],
        condition: Mapping[str, str],
    ) -> str:
        what: Any = {"Body": Body(body), "ContentMD5": _md5(body), "Metadata": _encoded(metadata)}
        return str(self._told(self._do("put_object", Key=key, **what, **condition), "ETag"))

    def _head(self, key: str) -> Any:  # noqa: ANN401  botocore has no types
        try:
            return self._do("head_object", Key=key)
        except StorageError as error:
            if _code(error) in _NO_OBJECT:
                raise
            self._explain(error)
            return self._do("head_object", Key=key)

    def _explain(self, error: StorageError) -> None:
        """Raise what another request says. An answer to HEAD has no body that says why.

        Returns if the other is carried out, as in a store where HEAD fails in the wrong region, and
        others learn of the right one.
        """
        if not _code(error).isdigit():
            raise error
        self._do("list_objects_v2", MaxKeys=1)


def _code(error: StorageError) -> str:
    """The code of the answer that an error was made of."""
    return code_of(error.__cause__) if isinstance(error.__cause__, ClientError) else ""


def _encoded(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: quote(text, safe="") for name, text in metadata.items()}


def _md5(body: bytes | bytearray | memoryview) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _nanoseconds(time_: datetime) -> int:
    return int(time_.timestamp()) * 10**9


def _is_exposed(endpoint: str) -> bool:
    """Whether what is sent there is not encrypted, and leaves this machine."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host != "localhost"
